"""What is closed and lifted again on the whole stack: the alert about it, and who refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.thread.pilot_rig import (
    CAPABILITY,
    Rig,
    granted,
    key_of,
    programme,
    running,
    short_folder,
)

ADMITTED = "admitted-after-revoke"


@pytest.fixture(scope="module")
def pilot() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig, partners=("acme", "birch"))
        yield rig


@pytest.fixture
def rig(pilot: Rig) -> Iterator[Rig]:
    """The pilot of this file, which every test leaves without a lock."""
    yield pilot
    pilot.restore()


def judged(rig: Rig, key: str) -> None:
    """Wait until audit has judged every call: a dead key raises its own alert in their order."""
    (dead,) = [each for each in rig.do("key.list").items if each.hint == key[-4:]]
    rig.until(
        lambda: [
            each
            for each in rig.do("alert.list", rule="revoked-key-used").items
            if each.credential_id == dead.id
        ],
        what="the calls are judged",
    )


def asked(rig: Rig, grant: str, **more: str) -> Any:
    facts = {
        "model": "aurora-1", "capability": CAPABILITY, "route": "chat.completions",
        **more,
    }  # fmt: skip
    context = [word for name, value in facts.items() for word in ("--context", f"{name}={value}")]
    return rig.json("policy", "check", "partner:acme", "call", f"grant:{grant}", *context)


def test_suspend_resume_and_an_ordinary_call_raise_no_alert(rig: Rig) -> None:
    grant = granted(rig)
    _, key = key_of(rig, grant.id)
    assert rig.call(key).status_code == 200
    receipt = rig.do("grant.suspend", grant=grant.id, reason="looked odd")
    assert receipt.state == "verified"
    assert rig.call(key).status_code == 403
    lock = rig.do("lock.add", kind="partner", target="acme", reason="to be sure")
    rig.do("lock.release", lock=lock.lock_id, reason="it was nothing")
    rig.until(lambda: rig.do("grant.show", grant=grant.id).state == "suspended")
    rig.do("grant.resume", grant=grant.id, reason="it was nothing")
    rig.until(lambda: rig.call(key).status_code == 200, what="it serves again")
    for _ in range(5):
        assert rig.call(key).status_code == 200
    rig.do("grant.revoke", grant=grant.id, reason="over")
    rig.until(lambda: rig.call(key).status_code in {401, 403})
    judged(rig, key)
    assert rig.do("alert.list", rule=ADMITTED).items == []
    lifts = [each.action for each in rig.events(action="suspension.lift")]
    assert lifts == ["suspension.lift"]


def test_a_check_says_no_where_a_lock_refuses_and_names_who_does(rig: Rig) -> None:
    grant = granted(rig)
    rig.until(lambda: asked(rig, grant.id)["decision"], what="the gateway has the grant")
    said = asked(rig, grant.id)
    assert (said["policy"], said["gateway"]["allow"], said["refused_by"]) == (True, True, [])
    lock = rig.do("lock.add", kind="model", target="aurora-1", reason="odd answers")
    said = asked(rig, grant.id)
    assert (said["decision"], said["policy"]) == (False, True)
    assert said["refused_by"] == ["gateway"]
    assert (said["gateway"]["code"], said["gateway"]["lock_id"]) == ("locked", lock.lock_id)
    words = ("partner:acme", "call", f"grant:{grant.id}", "--context", "model=aurora-1")
    assert rig.cli("policy", "check", *words, "--exit-status").exit == 1
    (last,) = rig.json("policy", "check", *words)["gateway"]["checks"][-1:]
    assert last["name"] == "locks", "what is not named is something that the grant is for"
    rig.do("lock.release", lock=lock.lock_id, reason="it was nothing")
    assert asked(rig, grant.id)["decision"]
    assert asked(rig, grant.id, address="198.51.100.7")["gateway"]["code"] == "network_not_allowed"
    stranger = asked(rig, grant.id, principal="f" * 64)
    assert stranger["gateway"]["code"] == "principal_not_allowed"
    other = asked(rig, grant.id, model="aurora-2")
    assert other["refused_by"] == ["policy", "gateway"]


def test_from_tier_two_up_calls_come_from_the_declared_egress_and_name_no_user(rig: Rig) -> None:
    grant = granted(rig, "birch")
    assert (grant.networks, grant.principals) == ([], ["service"])
    _, key = key_of(rig, grant.id)
    assert rig.call(key).status_code == 200
    named = rig.call(key, user="analyst-7")
    assert (named.status_code, named.json()["error"]["code"]) == (403, "principal_not_allowed")
    rig.do("partner.declare", partner="birch", egress=["198.51.100.0/24"], reason="moved")

    def refused() -> Any:
        answer = rig.call(key)
        return answer.json()["error"]["code"] if answer.status_code != 200 else None

    code = rig.until(refused, what="the points hear of the declared egress")
    assert code == "network_not_allowed"
