"""Every change that an operator can make, and what follows by itself, is a valid OCSF 1.8 event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import rfc8785

from console.operations.index import all_operations
from console.operations.spec import Effect
from tests.thread.pilot_rig import (
    CAPABILITY,
    Rig,
    assessed,
    faults_of,
    granted,
    key_of,
    programme,
    publish,
    running,
    short_folder,
    vetted,
)

BY_THEMSELVES = {"grant.expire", "grant.suspend", "grant.resume", "receipt.verify", "service.start"}
"""Some of what the services record without an operator."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        yield rig


@pytest.fixture(scope="module")
def events(rig: Rig) -> list[Any]:
    """Make every change of the registry, let some things lapse, and stop services in between."""
    programme(rig)
    rig.do("pilot.stage", pilot="aurora", stage="sandbox:most-partners=5,longest=9d", reason="r")
    rig.do("partner.declare", partner="acme", egress=["192.0.2.0/24"], reason="moved")
    for verb in ("reject", "withdraw"):
        made = rig.do("assessment.create", partner="acme", capability=CAPABILITY, assessor="a",
                      summary="s", valid_until="9d", reason="r")  # fmt: skip
        rig.do(f"assessment.{verb}", assessment=made.id, reason="r")
    granted(rig, expires_at="3s")
    assessed(rig, "acme", CAPABILITY)
    kept, ended = granted(rig), granted(rig)
    first, raw = key_of(rig, kept.id)
    key_of(rig, ended.id)
    alert = rig.until(lambda: rig.do("alert.list", rule="egress-undeclared").items)[0]
    rig.do("alert.acknowledge", alert=alert.id, reason="looking")
    rig.do("alert.close", alert=alert.id, verdict="benign", reason="theirs")
    rig.stop("audit")
    lock = rig.do("lock.add", seconds=0, kind="partner", target="acme", reason="r")
    rig.start("audit")
    rig.do("lock.release", lock=lock.lock_id, reason="over")
    rig.do("key.revoke", credential=first, reason="leaked")
    assert rig.call(raw).status_code == 403
    rig.do("grant.revoke", grant=ended.id, reason="over")
    rig.do("partner.create", slug="doves", name="D", sponsor=rig.operator, reason="r")
    draft = granted(rig, "doves")
    vetted(rig, "herons")
    publish(rig, "second", reaccept_by="1s")
    rig.until(lambda: rig.do("grant.show", grant=kept.id).state == "suspended")
    for partner in ("acme", "doves"):
        rig.do("terms.accept", pilot="aurora", partner=partner, signatory="s", evidence="e",
               reason="r")  # fmt: skip
    rig.do("partner.verify", partner="doves", until="90d", evidence="e", reason="r")
    assessed(rig, "doves", CAPABILITY)
    rig.do("grant.activate", grant=draft.id, reason="mended")
    rig.until(lambda: rig.do("grant.show", grant=kept.id).state == "active")
    rig.until(lambda: not rig.do("grant.list", state="active", partner="acme", limit="9").items[1:])
    rig.until(lambda: rig.do("alert.list", rule="revoked-key-used").items)
    return rig.logged()


def test_every_event_is_valid_ocsf_in_its_canonical_bytes(events: list[Any]) -> None:
    assert faults_of(events) == []
    for each in events:
        said = json.loads(each.body)
        assert rfc8785.dumps(said) == each.body.encode()
        metadata = said["metadata"]
        assert (metadata["uid"], metadata["event_code"]) == (each.id, each.action)
        assert (metadata["log_name"], metadata["sequence"]) == (each.source, each.sequence)


def test_every_change_of_the_registry_leaves_an_event(events: list[Any]) -> None:
    done = {each.action for each in events}
    assert BY_THEMSELVES - done == set()
    changes = {op.id for op in all_operations() if op.effect is not Effect.READ}
    assert changes - done == set()


def test_classes_tell_access_findings_and_entities_apart(events: list[Any]) -> None:
    for each in events:
        wanted = {"grant": 3005, "key": 3005, "alert": 2004}.get(each.action.split(".")[0], 3004)
        assert json.loads(each.body)["class_uid"] == wanted, each.action


def test_a_change_names_who_and_why(rig: Rig, events: list[Any]) -> None:
    changes = {op.id for op in all_operations() if op.effect is not Effect.READ}
    mine = [each for each in events if each.action in changes and each.actor == rig.operator]
    assert {each.action for each in mine} >= changes - {"grant.activate"}
    assert [each.action for each in mine if not each.reason] == []
    assert [each.action for each in mine if not each.request_id] == []
    assert {json.loads(each.body)["actor"]["user"]["name"] for each in mine} == {rig.operator}
