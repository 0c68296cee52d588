"""Closing works while policy and audit are down; what is frozen is never taken for closed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from console.model.text import now
from console.operations import closing
from tests import nursery
from tests.thread.pilot_rig import (
    PLAIN,
    Rig,
    assessed,
    capability,
    faults_of,
    granted,
    key_of,
    programme,
    running,
    short_folder,
    vetted,
)


@pytest.fixture(scope="module")
def pilot() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch, short_folder() as folder:
        stale = {"console.services.gateway.decision.decide:STALE_SECONDS": 4.0}
        patch.setenv(nursery.SETS, json.dumps(stale))
        with running(folder / "home", points=2) as rig:
            programme(rig)
            yield rig


@pytest.fixture
def rig(pilot: Rig) -> Iterator[Rig]:
    """The pilot of this file, which every test leaves running and without a lock."""
    yield pilot
    pilot.restore()


class Prober(threading.Thread):
    """Calls every point with the raw key, every few milliseconds, until told to stop."""

    def __init__(self, rig: Rig, key: str) -> None:
        super().__init__(daemon=True)
        self.bases = rig.points()
        self.rig, self.key = rig, key
        self.calls: list[tuple[datetime, httpx.Response]] = []
        self._enough = threading.Event()
        self.start()
        rig.until(lambda: self.calls, what="it is served before anything is closed")

    def run(self) -> None:
        with httpx.Client(verify=PLAIN) as client:
            while not self._enough.wait(0.005):
                for base in self.bases:
                    at = now()
                    answer = self.rig.call(self.key, base=base, client=client)
                    self.calls.append((at, answer))

    def dead_after(self, receipt: dict[str, Any], code: str) -> float:
        """Stop once a call that began after the proof was answered; check every answer.

        Return the milliseconds from the record of the closing to the last call that was
        served: that is printed, as a machine that runs everything else too has its own pace.
        """
        recorded, proven = (
            datetime.fromisoformat(receipt[name]) for name in ("recorded_at", "enforced_at")
        )
        self.rig.until(lambda: self.calls[-1][0] > proven, what="it is asked after the proof")
        self._enough.set()
        self.join(60)
        assert not self.is_alive()
        served = [at for at, answer in self.calls if answer.status_code == 200]
        refused = [answer for at, answer in self.calls if at > proven]
        assert served, "it served before"
        assert max(served) <= proven, "a call that began after the proof was served"
        assert {answer.status_code for answer in refused} == {403}
        assert {answer.json()["error"]["code"] for answer in refused} == {code}
        return (max(served) - recorded).total_seconds() * 1e3


@pytest.mark.parametrize("down", [("policy",), ("audit",), ("policy", "audit")], ids="+".join)
def test_lock_and_revoke_work_at_once_and_are_recorded_once(
    rig: Rig, down: tuple[str, ...], record_property: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "audit" in down:  # commands run in this process, and wait for the log in vain
        monkeypatch.setattr(closing, "LOG_SECONDS", 0.3)
    partner = "-".join(("acme", *down))
    vetted(rig, partner)
    first, second = granted(rig, partner), granted(rig, partner)
    _, key = key_of(rig, first.id)
    _, other = key_of(rig, second.id)
    rig.logged()
    rig.stop(*down)
    try:
        prober = Prober(rig, key)
        done = rig.cli("grant", "revoke", first.id, "--reason", "leaked", "--confirm", partner,
                       "--timeout", "30s", "-o", "json")  # fmt: skip
        receipt = done.value
        revoked = prober.dead_after(receipt, "grant_revoked")
        assert rig.call(other).status_code == 200
        assert receipt["state"] == "verified"
        assert {each["method"] for each in receipt["points"]} == {"probe"}
        prober = Prober(rig, other)
        lock = rig.cli("lock", "add", "everything", "--reason", "fire", "--message", "closed now",
                       "--confirm", "everything", "--timeout", "30s", "-o", "json")  # fmt: skip
        locked = prober.dead_after(lock.value, "locked")
        assert "closed now" in rig.call(other).text
        if "audit" in down:
            assert (done.exit, lock.exit) == (9, 9)
            for each in (done, lock):
                assert "not proven to be in the log" in each.err
                assert each.value["log"] is None
        else:
            assert (done.exit, lock.exit) == (0, 0), done.err + lock.err
            assert receipt["logged_at"]
        record_property("told", f"dead {revoked:.1f} ms and {locked:.1f} ms after the record")
    finally:
        rig.start(*down)
    ids = (receipt["event_id"], lock.value["event_id"])
    events = rig.logged()
    for each in ids:
        assert sum(event.id == each for event in events) == 1
    assert sum(event.target == first.id for event in rig.events(action="grant.revoke")) == 1
    rig.until(lambda: rig.do("grant.show", grant=first.id).state == "revoked")
    for each in (receipt, lock.value):
        rig.until(lambda each=each: rig.json("receipt", "show", each["id"])["logged_at"])
    assert rig.do("lock.release", lock=lock.value["lock_id"], reason="over").state == "released"
    rig.until(lambda: rig.call(other).status_code == 200, what="served again")
    assert rig.call(key).status_code == 403


@pytest.mark.parametrize("down", [("policy",), ("audit",), ("policy", "audit")], ids="+".join)
def test_nothing_opens_at_tier_3(rig: Rig, down: tuple[str, ...]) -> None:
    slug = "cyber.exploit-" + "-".join(down)
    partner = "boreal-" + "-".join(down)
    capability(rig, slug, 3, model="aurora-2")
    vetted(rig, partner, slug)
    before = granted(rig, partner, slug, models=["aurora-2"])
    assert before.state == "pending_approval"
    rig.stop(*down)
    try:
        wanted = ("grant", "create", partner, "--pilot", "aurora", "--stage", "limited",
                  "--capability", slug, "--model", "aurora-2", "--purpose", "p", "--expires",
                  "30d", "--reason", "r", "--yes", "-o", "json")  # fmt: skip
        done = rig.cli(*wanted)
        if "policy" in down:
            assert done.exit == 7, done
        else:
            assert (done.exit, done.value["state"]) == (8, "pending_approval")
            activated = rig.cli("grant", "activate", before.id, "--reason", "r", "--yes")
            assert activated.exit not in {0, 1}, activated
        issued = rig.cli("key", "issue", before.id, "--reason", "r", "--yes", "-o", "json")
        assert issued.exit in {3, 5, 7}, issued
    finally:
        rig.start(*down)
    found = rig.do("grant.list", partner=partner).items
    assert {each.state for each in found} == {"pending_approval"}
    assert rig.do("key.list", partner=partner).items == []


def test_without_policy_calls_go_on_for_the_grace_of_their_pilot(rig: Rig) -> None:
    vetted(rig, "gannets")
    rig.do("pilot.create", slug="brief", title="Brief", models=["aurora-1"], reason="r",
           stages=["limited:most-partners=9,longest=90d"], grace_seconds="1s")  # fmt: skip
    rig.do("capability.create", slug="text.brief", title="T", pilot="brief", category="general",
           tier="1", models=["aurora-1"], routes=["chat.completions"], reason="r",
           longest_grant_seconds="90d")  # fmt: skip
    text = rig.home.parent / "brief.txt"
    text.write_text("for the purpose stated")
    rig.do("terms.publish", pilot="brief", title="T", text=str(text), reason="r")
    rig.do("terms.accept", pilot="brief", partner="gannets", signatory="s", evidence="e",
           reason="r")  # fmt: skip
    assessed(rig, "gannets", "text.brief")
    patient = key_of(rig, granted(rig, "gannets").id)[1]
    brief = key_of(rig, granted(rig, "gannets", "text.brief", pilot="brief").id)[1]
    rig.stop("policy")
    try:
        stale = rig.until(lambda: _refusal(rig, brief), what="its grace is over")
        assert (stale.status_code, stale.json()["error"]["code"]) == (503, "policy_stale")
        assert rig.call(patient).status_code == 200, "an hour's grace is not over"
    finally:
        rig.start("policy")
    rig.until(lambda: rig.call(brief).status_code == 200, what="served when policy is back")


def _refusal(rig: Rig, key: str) -> Any:
    answer = rig.call(key)
    return None if answer.status_code == 200 else answer


def test_a_restart_keeps_everything(rig: Rig) -> None:
    vetted(rig, "cinder")
    kept, ended = granted(rig, "cinder"), granted(rig, "cinder")
    _, key = key_of(rig, kept.id)
    _, dead = key_of(rig, ended.id)
    rig.do("grant.revoke", grant=ended.id, reason="over")
    lock = rig.do("lock.add", kind="model", target="aurora-2", reason="withdrawn")
    rig.logged()
    lists = ("partner.list", "grant.list", "terms.list", "assessment.list", "key.list",
             "lock.list", "receipt.list", "capability.list", "pilot.list")  # fmt: skip
    before = {each: rig.do(each, limit="0").items for each in lists}
    for service in ("policy", "gateway"):
        rig.stop(service)
        rig.start(service)
    assert {each: rig.do(each, limit="0").items for each in lists} == before
    rig.until(lambda: rig.call(key).status_code == 200, what="served after the restart")
    for base in rig.points():
        assert rig.call(dead, base=base).json()["error"]["code"] == "grant_revoked"
        assert rig.call(key, model="aurora-2", base=base).status_code == 403
    assert rig.do("lock.release", lock=lock.lock_id, reason="over").state == "released"


class Stream(threading.Thread):
    """A streamed answer, read as it comes: each piece with the moment it came."""

    def __init__(self, base: str, key: str, *, words: int = 3000) -> None:
        super().__init__(daemon=True)
        self.base, self.key, self.words = base, key, words
        self.pieces: list[tuple[float, str]] = []
        self.ended = ""
        self.start()

    def run(self) -> None:
        try:
            with httpx.stream(
                "POST",
                f"{self.base}/v1/chat/completions",
                headers={"authorization": f"Bearer {self.key}"},
                json={
                    "model": "aurora-1",
                    "stream": True,
                    "messages": [{"role": "user", "content": f"{self.words} words"}],
                },
                timeout=60,
                verify=PLAIN,
            ) as answer:
                for line in answer.iter_lines():
                    if line:
                        self.pieces.append((time.monotonic(), line))
            self.ended = "closed"
        except httpx.HTTPError as error:
            self.ended = type(error).__name__

    def contents(self, since: float) -> list[str]:
        """Return what was served since then, without what only says how it ended."""
        return [
            line
            for at, line in self.pieces
            if at >= since and '"choices"' in line and '"content":' in line
        ]


EPOLL = {"232", "281", "22"}
"""The numbers of epoll_wait and epoll_pwait on the machines that Linux runs on mostly."""


def freeze(pid: int) -> None:
    """Stop a process while it waits.

    One that stops between its last look at the lease and the system call that follows sends
    that one piece when it wakes: no process can see that it was stopped there. Everything
    that it decides after waking is what is held here.
    """
    for _ in range(200):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.01)
        try:
            inside = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        except OSError:
            return  # not to be seen here
        if inside in EPOLL:
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.007)
    raise AssertionError("the point never waits")


def test_a_frozen_point_is_not_counted_before_its_lease_has_lapsed(
    rig: Rig, record_property: Any
) -> None:
    vetted(rig, "frost")
    ended, kept = granted(rig, "frost"), granted(rig, "frost")
    key_id, key = key_of(rig, ended.id)
    _, still = key_of(rig, kept.id)
    point = next(each for each in rig.do("point.list").items if each.name == "gw-2")
    rig.until(lambda: rig.call(still, base=point.url).status_code == 200)
    stream = Stream(point.url, key)
    rig.until(lambda: len(stream.pieces) > 5, what="the stream runs")
    pid = rig.pid("gw-2")
    freeze(pid)
    try:
        time.sleep(0.2)  # what was on its way when it froze has arrived
        frozen = next(each for each in rig.do("point.list").items if each.name == "gw-2")
        looks: list[tuple[datetime, Any]] = []
        raw = rig.cli("grant", "revoke", ended.id, "--reason", "leaked", "--confirm", "frost",
                      "--no-wait", "-o", "json")  # fmt: skip
        assert raw.exit == 8
        receipt = raw.value["id"]

        def proven() -> Any:
            shown = rig.do("receipt.show", receipt=receipt)
            states = {each.point: each for each in shown.points}
            looks.append((datetime.now(frozen.lease_until.tzinfo), states["gw-2"]))
            return shown if shown.state == "verified" else None

        verified = rig.until(proven, what="verified")
        by_point = {each.point: each for each in verified.points}
        assert (by_point["gw-1"].state, by_point["gw-1"].method) == ("refused", "probe")
        lapsed = by_point["gw-2"]
        assert (lapsed.state, lapsed.method) == ("lapsed", "lease")
        assert lapsed.at >= frozen.lease_until
        early = [each for at, each in looks if at < frozen.lease_until]
        assert early, "it was looked at while the lease held"
        assert {each.state for each in early} == {"waiting"}
        assert by_point["gw-1"].at < frozen.lease_until < lapsed.at
        # Calls that wait in its listener's queue for the moment of its waking.
        queued = [Stream(point.url, each, words=50) for each in (key, still)]
        time.sleep(0.2)
        woken = time.monotonic()
    finally:
        os.kill(pid, signal.SIGCONT)
    for each in (stream, *queued):
        each.join(60)  # the one that is let through may be served whole
        assert not each.is_alive()
    assert stream.contents(woken) == [], "a stream went on after the lease had lapsed"
    assert queued[0].contents(woken) == []
    told = "".join(line for _, line in queued[0].pieces)
    assert "grant_revoked" in told or "point_fenced" in told
    told = "".join(line for _, line in queued[1].pieces)
    assert "point_fenced" in told or queued[1].contents(woken)
    rig.until(lambda: rig.call(still, base=point.url).status_code == 200, what="it serves again")
    assert rig.call(key, base=point.url).json()["error"]["code"] == "grant_revoked"
    record_property(
        "told",
        f"lease until {frozen.lease_until:%H:%M:%S.%f}, lapsed {lapsed.at:%H:%M:%S.%f}, "
        f"looked {len(early)} times before",
    )
    assert rig.do("key.show", credential=key_id).state == "revoked"


def test_the_alert_on_a_call_after_verification_never_fires(rig: Rig) -> None:
    rig.logged()
    assert rig.do("alert.list", rule="admitted-after-revoke").items == []


def test_every_event_of_the_outages_is_valid_ocsf(rig: Rig) -> None:
    events = rig.logged()
    assert len(events) > 50
    assert faults_of(events) == []
    whole = rig.json("audit", "verify")
    assert whole["good"]
    assert whole["entries"] >= len(events)  # the clock adds digests of call records
    assert all(msgspec.json.encode(json.loads(each.body)) for each in events)
