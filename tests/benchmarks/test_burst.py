"""A burst of 50,000 refused calls: when it is one alert, and what other partners feel of it.

First as it comes: a partner calls for a model that it lacks, as fast as its connections are
answered, through the point that also serves another. Then as a backlog: the records are all
there before audit, which was stopped, is let go. Load and upstream are pinned to one core,
the services to none. Meant for a quiet machine.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.benchmarks.test_gateway import HERE, UPSTREAM, figures
from tests.services.audit.audit_rig import call
from tests.services.gateway.rig import REPO, Rig, Unix, projection

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="it takes two cores"),
]

COUNT = 50_000
STEP = 500
RATE = 60.0
CONNECTIONS = 8
SECONDS = 5.0


class Watched:
    """A gateway and audit over one home, and another partner's key."""

    def __init__(self, rig: Rig, key: str, audit: subprocess.Popen[bytes]) -> None:
        self.rig = rig
        self.key = key
        self.audit = audit

    def ask(self, method: str, service: str, path: str, body: Any = None) -> Any:
        peer = Unix(self.rig.home / "run" / f"{service}.sock")
        sent = None if body is None else msgspec.json.encode(body)
        try:
            peer.request(method, path, sent, {"Content-Type": "application/json"})
            answer = peer.getresponse()
            said = answer.read()
        finally:
            peer.close()
        assert answer.status < 300, said
        return json.loads(said)

    def load(self, seconds: float = SECONDS) -> subprocess.Popen[str]:
        """Start the calls of the partner that is served."""
        return self._start(self.key, str(seconds), "4", str(RATE))

    def refused(self, key: str, connections: int) -> subprocess.Popen[str]:
        """Start the burst: calls for a model that the key's grant does not hold."""
        return self._start(key, "600", str(connections), "--model=aurora-2", f"--count={COUNT}")

    def _start(self, key: str, *how: str) -> subprocess.Popen[str]:
        args = [sys.executable, str(HERE / "load.py"), f"{self.rig.url}/v1/chat/completions", *how]
        process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(process.pid, {1})
        assert process.stdin is not None
        process.stdin.write(key + "\n")
        process.stdin.flush()
        return process

    def count(self) -> int:
        items = self.ask("GET", "audit", "/v1/alerts?rule=denial-burst")["items"]
        return sum(each["count"] for each in items)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    port = tmp_path / "port"
    upstream = subprocess.Popen([sys.executable, str(UPSTREAM), str(port)])
    audit = None
    try:
        while not port.exists():
            time.sleep(0.02)
        os.sched_setaffinity(upstream.pid, {1})
        base = f"http://127.0.0.1:{port.read_text()}/v1"
        home = tmp_path / "g"
        with Rig(home, f'[upstreams.lab]\nkind = "openai"\nbase_url = "{base}"\n') as rig:
            grant = projection()
            rig.project(grant)
            _, key = rig.issue(grant)
            audit = subprocess.Popen(
                [sys.executable, "-m", "console.services.audit", "--home", str(home)], cwd=REPO
            )
            found = Watched(rig, key, audit)
            rig.wait(lambda: found.count() == 0 or True, "audit answers")
            yield found
    finally:
        for each in (upstream, audit):
            if each is not None:
                each.terminate()
                each.wait()


def burst(round_: int) -> list[bytes]:
    """The batches in which a point would send the records of one burst."""
    told = {"point": "gw-9", "outcome": "denied", "code": "model_out_of_scope", "status": 403}
    start = datetime.now(UTC)
    records = [
        call(
            sequence=round_ * COUNT + nth + 1,
            started_at=start + timedelta(milliseconds=nth / 10),
            partner="zenith",
            grant_id="grt_z",
            credential_id=f"crd_{round_}",
            **told,
        )
        for nth in range(COUNT)
    ]
    return [msgspec.json.encode({"items": records[at : at + STEP]}) for at in range(0, COUNT, STEP)]


def memory(pid: int) -> float:
    """The resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


class Round(NamedTuple):
    """One burst: seconds to take it in, seconds until it was one alert, and what others felt."""

    taken: float
    seen: float
    quiet: dict[str, Any]
    busy: dict[str, Any]

    @property
    def ratio(self) -> float:
        return float(self.busy["p99"] / self.quiet["p99"])


def measured(watched: Watched, round_: int) -> Round:
    batches = burst(round_)
    quiet = figures(watched.load().communicate()[0])
    watched.audit.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    peer = Unix(watched.rig.home / "run" / "gateway.sock")
    try:
        for body in batches:
            path = "/internal/v1/points/gw-9/calls"
            peer.request("POST", path, body, {"Content-Type": "application/json"})
            answer = peer.getresponse()
            assert answer.status < 300, answer.read()
            answer.read()
    finally:
        peer.close()
    taken = time.monotonic() - began
    load = watched.load()
    time.sleep(1.0)
    watched.audit.send_signal(signal.SIGCONT)
    began = time.monotonic()
    while watched.count() < COUNT * (round_ + 1):
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    seen = time.monotonic() - began
    return Round(taken, seen, quiet, figures(load.communicate()[0]))


def test_a_burst_is_one_alert_two_seconds_after_its_last_call_and_slows_nobody_else(
    watched: Watched,
) -> None:
    probing = projection("zenith")
    watched.rig.project(probing)
    _, key = watched.rig.issue(probing)
    services = {**watched.rig.processes, "audit": watched.audit}
    before = {name: memory(each.pid) for name, each in services.items()}
    quiet = figures(watched.load(20.0).communicate()[0])
    load = watched.load(600.0)
    began = time.monotonic()
    burst = json.loads(watched.refused(key, CONNECTIONS).communicate()[0])
    ended = time.monotonic()
    while watched.count() < burst["failed"]:
        assert time.monotonic() - ended < 30
        time.sleep(0.02)
    seen = time.monotonic() - ended
    load.send_signal(signal.SIGINT)
    busy = figures(load.communicate()[0])
    ratio = busy["p99"] / quiet["p99"]
    print(
        f"\n{burst['failed']:,} refused calls in {ended - began:.0f} s over {CONNECTIONS} "
        f"connections, one alert {seen:.2f} s after the last; another partner's calls: p50 "
        f"{quiet['p50']:.2f} ms quiet, {busy['p50']:.2f} ms during; p99 {quiet['p99']:.2f} ms "
        f"quiet, {busy['p99']:.2f} ms during: {ratio:.2f} times"
    )
    for name, each in services.items():
        print(f"{name}: {before[name]:.0f} MB before, {memory(each.pid):.0f} MB after")
    (alert,) = watched.ask("GET", "audit", "/v1/alerts")["items"]
    assert (alert["rule"], alert["count"]) == ("denial-burst", burst["failed"])
    assert burst["failed"] >= COUNT
    assert seen < 2
    assert ratio < 1.5


def test_a_backlog_of_50_000_refused_calls_is_one_alert_in_two_seconds(watched: Watched) -> None:
    point = {"name": "gw-9", "url": "http://127.0.0.1:9", "version": "1", "incarnation": "x"}
    watched.ask("POST", "gateway", "/internal/v1/points", point)
    before = memory(watched.audit.pid)
    rounds = [measured(watched, each) for each in range(3)]
    for each in rounds:
        print(
            f"\n{COUNT:,} refused calls: taken in in {each.taken:.2f} s, all in one alert "
            f"{each.seen:.2f} s after audit was let go; another partner's calls: p50 "
            f"{each.quiet['p50']:.2f} ms quiet, {each.busy['p50']:.2f} ms during; p99 "
            f"{each.quiet['p99']:.2f} ms quiet, {each.busy['p99']:.2f} ms during: "
            f"{each.ratio:.2f} times",
            end="",
        )
    print(f"\naudit: {before:.0f} MB before, {memory(watched.audit.pid):.0f} MB after")
    alerts = watched.ask("GET", "audit", "/v1/alerts")["items"]
    assert {(each["rule"], each["count"]) for each in alerts} == {("denial-burst", COUNT)}
    assert len(alerts) == len(rounds)
    assert statistics.median(each.seen for each in rounds) < 2
    assert statistics.median(each.ratio for each in rounds) < 1.5
