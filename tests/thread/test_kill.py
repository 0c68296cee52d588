"""Kill -9 of any service at any moment: nothing is lost, nothing is doubled, nothing comes back."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.thread.load import Load
from tests.thread.pilot_rig import (
    Rig,
    faults_of,
    granted,
    key_of,
    programme,
    running,
    short_folder,
)

PARTNERS = ["doves", "herons", "larks", "terns"]
VICTIMS = ("policy", "gateway", "gw-1", "audit")

EVENT_OF = {
    "partner.list": "partner.create",
    "grant.list": "grant.create",
    "key.list": "key.issue",
    "lock.list": "lock.add",
}
"""What each listed thing must have exactly one of in the log."""

# httpcore leaves a socket to the collector where nobody listens at a Unix address.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")


@pytest.fixture
def rig() -> Iterator[Rig]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with short_folder() as folder, running(folder / "home", ports=[port]) as rig:
        programme(rig, partners=PARTNERS)
        yield rig


@pytest.mark.parametrize(
    "rounds",
    [4, *(pytest.param(n, marks=pytest.mark.long) for n in (20, 200))],
    ids=lambda n: f"{n}-times",
)
def test_services_killed_at_random_moments_under_load(
    rig: Rig, rounds: int, record_property: Any
) -> None:
    seed = int(os.environ.get("PILOTCTL_TEST_SEED") or time.time_ns() % 10**9)
    dice = random.Random(seed)
    load = Load(rig, PARTNERS, rig.points()[0], seed)
    kills: Counter[str] = Counter()
    for _ in range(6):
        credential, raw = key_of(rig, granted(rig, dice.choice(PARTNERS)).id)
        load.keys[credential] = raw
    try:
        while kills.total() < rounds:
            # Something gets done between two kills, however slow the machine is.
            _until_more(load.acknowledged, seconds=2.0)
            time.sleep(dice.uniform(0.0, 0.6))
            victim = dice.choice(VICTIMS)
            if pid := rig.pid(victim):
                os.kill(pid, signal.SIGKILL)
                kills[victim] += 1
    finally:
        load.over()
    rig.until(rig.all_running, seconds=60, what="everything serves again")
    unsure = len(load.unsure)
    load.settle()
    rig.until(lambda: _nothing_waits(rig), seconds=60, what="each closing is proven at its points")
    said = Counter(each.status for each in load.calls)
    record_property(
        "told",
        f"seed {seed}: {kills.total()} kills {dict(kills)}, {len(load.acknowledged)} changes "
        f"acknowledged ({unsure} only when sent again), {len(load.calls)} calls {dict(said)}, "
        f"{len(load.verified)} revocations verified",
    )
    assert load.acknowledged
    assert said[200]
    events = _the_log_is_whole(rig)
    _each_change_has_one_event(rig, load, events)
    _what_was_revoked_is_dead(rig, load)
    _calls_are_recorded_without_gaps(rig, load)


def _nothing_waits(rig: Rig) -> bool:
    return all(each.state == "verified" for each in rig.do("receipt.list", limit="0").items)


def _until_more(done: list[Any], *, seconds: float) -> None:
    end, before = time.monotonic() + seconds, len(done)
    while len(done) == before and time.monotonic() < end:
        time.sleep(0.01)


def _the_log_is_whole(rig: Rig) -> list[Any]:
    events = rig.until(rig.logged)
    assert len({each.id for each in events}) == len(events)
    for source in ("policy", "gateway", "audit"):
        mine = [(each.sequence, each.id) for each in events if each.source == source]
        assert [sequence for sequence, _ in mine] == list(range(1, len(mine) + 1))
        assert mine[: len(recorded := rig.outbox(source))] == recorded[: len(mine)]
    assert faults_of(events) == []
    whole = rig.json("audit", "verify")
    assert whole["good"]
    assert whole["entries"] >= len(events)
    return events


def _each_change_has_one_event(rig: Rig, load: Load, events: list[Any]) -> None:
    happened = Counter((each.action, each.target) for each in events)
    by_id = {each.id: each for each in events}
    for change in load.acknowledged:
        result, action = change.result, change.operation.id
        if action in {"lock.add", "key.revoke"}:
            assert by_id[result.event_id].action == action
            continue
        target = result.credential.id if action == "key.issue" else result.id
        assert happened[action, target] == 1, (action, target)
    for listed, action in EVENT_OF.items():
        there = sorted(each.id for each in rig.do(listed, limit="0").items)
        said = sorted(each.target for each in events if each.action == action)
        if action == "lock.add":
            assert len(there) == len(said)
        else:
            assert there == said, f"{listed}: not one {action} for each"
    revoked = Counter(each.target for each in events if each.action == "key.revoke")
    dead = {each.id for each in rig.do("key.list", limit="0", state="revoked").items}
    assert revoked == Counter(dead)
    gone = [each for each in events if each.action == "receipt.verify"]
    receipts = rig.do("receipt.list", limit="0").items
    assert {each.state for each in receipts} == {"verified"}
    assert sorted(each.target for each in gone) == sorted(each.id for each in receipts)


def _what_was_revoked_is_dead(rig: Rig, load: Load) -> None:
    for called in load.calls:
        ended = load.verified.get(called.credential)
        if ended is not None and called.began > ended:
            assert called.status in {403, 503}, "a key worked after its revocation was verified"
    for credential, raw in load.keys.items():
        status = rig.call(raw).status_code
        revoked = rig.do("key.show", credential=credential).state == "revoked"
        assert status == (403 if revoked else 200)
    assert rig.do("alert.list", rule="admitted-after-revoke").items == []


def _calls_are_recorded_without_gaps(rig: Rig, load: Load) -> None:
    answered = {each.request_id for each in load.calls}

    def records() -> list[Any]:
        found = list(rig.do("call.list", limit="0").items)
        return found if answered <= {each.id for each in found} else []

    found = rig.until(records, what="every answered call is recorded")
    assert len({each.id for each in found}) == len(found)
    sequences = sorted(each.sequence for each in found if each.point == "gw-1")
    assert sequences == list(range(1, len(sequences) + 1))
    for each in found:
        assert each.ended_at is None or each.outcome in {"allowed", "denied", "error"}
