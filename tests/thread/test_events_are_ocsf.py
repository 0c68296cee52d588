"""Every change that an operator can make, and what follows by itself, is a valid OCSF 1.8 event."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import rfc8785

from console.operations.index import all_operations
from console.operations.spec import Effect
from tests.thread.pilot_rig import (
    CAPABILITY,
    ROOT,
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


ELSEWHERE = {"log.restart", "call.content", "call.redact", "point.deregister", "point.admit"}
"""They end the log, want a pilot that keeps content, or a second point: their own tests look
at their events."""

BY_NOUN = {"grant": 3005, "key": 3005, "suspension": 3005, "alert": 2004}
"""The class of the events about each noun; 3004 is that of every other."""

CHANGES = {op.id for op in all_operations() if op.effect is not Effect.READ} - ELSEWHERE


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
    rig.do("partner.create", slug="doves", name="D", sponsor=rig.operator,
           egress=["127.0.0.0/24"], reason="r")  # fmt: skip
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
    _about_alerts(rig)
    _about_partners(rig)
    _about_access(rig)
    _about_operators(rig)
    return rig.logged()


def _about_alerts(rig: Rig) -> None:
    alert = rig.do("alert.list", rule="revoked-key-used").items[0].id
    rig.do("alert.assign", alert=alert, assignee=rig.operator, reason="r")
    rig.do("alert.comment", alert=alert, text="looked at")
    rig.do("alert.snooze", alert=alert, until="1h", reason="r")
    rig.do("alert.escalate", alert=alert, severity="critical", reason="r")
    rig.do("alert.close", alert=alert, verdict="benign", reason="r")
    rig.do("alert.reopen", alert=alert, reason="r")
    silence = rig.do("silence.add", rule="egress-*", until="1h", reason="r")
    rig.do("silence.end", silence=silence.id, reason="r")
    rig.do("rule.disable", rule="off-hours-use", reason="r")
    rig.do("rule.enable", rule="off-hours-use", reason="r")
    rig.do("rule.tune", rule="denial-burst", threshold="50", reason="r")
    shipped = ROOT / "console/services/audit/rules/shipped/denial-burst.toml"
    mine = rig.home / "mine.toml"
    mine.write_text(shipped.read_text().replace('id = "denial-burst"', 'id = "mine"'))
    rig.do("rule.add", text=str(mine), reason="r")
    rig.do("rule.remove", rule="mine", reason="r")
    signing = rig.home / "signing"
    signing.write_text("whsec_" + b64encode(bytes(32)).decode())
    rig.do("oncall.add", name="night", webhook="http://127.0.0.1:9/", reason="r",
                  signing_key=str(signing))  # fmt: skip
    rig.do("oncall.test", oncall="night", reason="r")
    rig.do("oncall.remove", oncall="night", reason="r")


def _about_partners(rig: Rig) -> None:
    rig.do("partner.create", slug="wrens", name="W", sponsor=rig.operator, reason="r")
    rig.do("partner.vet", partner="wrens", reason="r")
    rig.do("partner.verify", partner="wrens", until="90d", evidence="e", reason="r")
    rig.do("partner.add-contact", partner="wrens", name="Desk", email="desk@wrens.example",
           reason="r")  # fmt: skip
    rig.do("partner.remove-contact", partner="wrens", email="desk@wrens.example", reason="r")
    rig.do("partner.add-network", partner="wrens", network="192.0.2.0/25", reason="r")
    rig.do("partner.add-network", partner="wrens", network="198.51.100.0/24", reason="r")
    rig.do("partner.remove-network", partner="wrens", network="192.0.2.0/25", reason="r")
    rig.do("partner.add-subprocessor", partner="wrens", subprocessor="store", reason="r")
    rig.do("partner.remove-subprocessor", partner="wrens", subprocessor="store", reason="r")
    rig.do("partner.restrict", partner="wrens", reason="r")
    rig.do("partner.resume", partner="wrens", reason="r")
    rig.do("partner.suspend", partner="wrens", reason="r")
    rig.until(lambda: rig.do("partner.show", partner="wrens").state == "suspended")
    rig.do("partner.resume", partner="wrens", reason="r")
    rig.do("partner.offboard", partner="wrens", reason="r")


def _about_access(rig: Rig) -> None:
    principal = rig.do("principal.create", partner="acme", identifier="user-7", reason="r")
    rig.do("principal.retire", principal=principal.id, reason="r")
    rig.do("price.set", model="aurora-1", input_micros="3", output_micros="15", reason="r")
    text = rig.home / "aurora.toml"
    text.write_text(
        rig.do("pilot.export", pilot="aurora").text.replace(
            "most_partners = 5", "most_partners = 6"
        )
    )
    rig.do("pilot.import", text=str(text), reason="r")
    rig.do("pilot.create", slug="borealis", title="B", models=["aurora-1"],
           stages=["limited:most-partners=1,longest=9d"], reason="r")  # fmt: skip
    rig.do("pilot.close", pilot="borealis", reason="r")
    grant = granted(rig)
    rig.do("grant.amend", grant=grant.id, limits="requests=600", reason="r")
    rig.do("grant.narrow", grant=grant.id, limits="requests=60", reason="r")
    rig.do("grant.suspend", grant=grant.id, reason="r")
    rig.until(lambda: rig.do("grant.show", grant=grant.id).state == "suspended")
    rig.do("grant.resume", grant=grant.id, reason="r")
    rig.until(lambda: rig.do("grant.show", grant=grant.id).state == "active")
    key, _ = key_of(rig, grant.id)
    rig.do("key.rotate", credential=key, grace="1h", reason="r")
    rig.do("grant.renew", grant=grant.id, expires_at="40d", reason="r")


def _about_operators(rig: Rig) -> None:
    rig.do("operator.add", operator="duty", roles=["viewer"], reason="r")
    rig.do("operator.set", operator="duty", roles=["responder"], reason="r")
    rig.do("operator.token", operator="duty", reason="r")
    rig.until(lambda: _is_known(rig, "duty"))
    rig.do("operator.freeze", operator="duty", reason="r")
    rig.do("operator.thaw", operator="duty", reason="r")
    rig.do("operator.cut", operator="duty", reason="r")
    rig.do("operator.restore", operator="duty", reason="r")
    rig.do("break-glass.seal", reason="r")
    rig.do("log.rotate-key", reason="r")


def _is_known(rig: Rig, name: str) -> bool:
    """Tell whether the gateway and audit have been told of an operator."""
    for service in ("gateway", "audit"):
        store = rig.home / f"{service}.db"
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as conn:
            rows = conn.execute("SELECT body FROM operator_roster").fetchall()
        if not any(f'"{name}"'.encode() in row[0] for row in rows):
            return False
    return True


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
    assert CHANGES - done == set()


def test_classes_tell_access_findings_and_entities_apart(events: list[Any]) -> None:
    for each in events:
        wanted = BY_NOUN.get(each.action.split(".")[0], 3004)
        assert json.loads(each.body)["class_uid"] == wanted, each.action


def test_a_change_names_who_and_why(rig: Rig, events: list[Any]) -> None:
    mine = [each for each in events if each.action in CHANGES and each.actor == rig.operator]
    assert {each.action for each in mine} >= CHANGES - {"grant.activate"}
    assert [each.action for each in mine if not each.reason] == []
    assert [each.action for each in mine if not each.request_id] == []
    assert {json.loads(each.body)["actor"]["user"]["name"] for each in mine} == {rig.operator}
