"""The kill switch and another partner's calls while a thousand connections wait for nothing.

At the usual 1,024 descriptors. Each figure stands beside its own without the crowd.
"""

from __future__ import annotations

import gzip
import http.client
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.benchmarks.test_gateway import HERE, figures
from tests.services.certificates import certify
from tests.services.gateway.rig import Rig, projection

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(os.geteuid() != 0, reason="the crowd is another user's"),
]

COUNT = 1000
NOBODY = "65534"
SECONDS = 6
CALLS_EACH_SECOND = 60.0
MAX_GROWTH_MB = 48.0
"""What a process may grow by while all of its connections are held."""


class Crowded:
    """A gateway at 1,024 descriptors, a partner whose calls count, and one that is greedy."""

    def __init__(self, rig: Rig, tls: int) -> None:
        self.rig = rig
        self.tls = tls
        self.locked = 0
        honest, greedy = projection("honest"), projection("greedy")
        rig.project(honest, greedy)
        _, self.key = rig.issue(honest)
        _, self.greedy = rig.issue(greedy)

    def calls(self) -> dict[str, Any]:
        """Call at a steady rate as the honest partner."""
        url = f"{self.rig.url}/v1/chat/completions"
        words = [
            sys.executable,
            str(HERE / "load.py"),
            url,
            str(SECONDS),
            "4",
            str(CALLS_EACH_SECOND),
        ]
        done = subprocess.run(
            words, input=self.key + "\n", capture_output=True, text=True, check=True
        )
        return figures(done.stdout)

    def first_call(self) -> float:
        """Call once by a connection of its own; return how many seconds that took."""
        began = time.monotonic()
        conn = http.client.HTTPConnection(urlsplit(self.rig.url).netloc, timeout=60)
        body = b'{"model":"aurora-1","messages":[{"role":"user","content":"What is a pilot?"}]}'
        conn.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {self.key}"})
        assert conn.getresponse().status == 200
        conn.close()
        return time.monotonic() - began

    def lock(self) -> float:
        """Lock a network, and return the seconds until that was verified."""
        began = time.monotonic()
        self.locked += 1
        lock = self.rig.lock("network", f"198.51.{self.locked // 250}.{self.locked % 250}/32")
        receipt = lock["receipt_id"]
        self.rig.receipt(receipt)
        return time.monotonic() - began

    def memory(self) -> dict[str, float]:
        """Return the resident megabytes of control and of the point."""
        return {name: _resident(each.pid) for name, each in self.rig.processes.items()}


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowded]:
    home = tmp_path_factory.mktemp("c")
    for each in (home, *home.parents):
        if not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o001)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    (home / "g").mkdir()
    certify(home / "g")
    with socket.create_server(("127.0.0.1", 0)) as free:
        tls = int(free.getsockname()[1])
    config = (
        f'[listen.gateway]\nport = {tls}\ncert_file = "tls.pem"\nkey_file = "tls.key"\n'
        f'[upstreams.builtin]\nkind = "builtin"\n'
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    try:
        with Rig(home / "g", config) as rig:
            with suppress(ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            yield Crowded(rig, tls)
    finally:
        with suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def crowd(where: str, sort: str, key: str = "", uid: str = "") -> Iterator[list[int]]:
    """Hold a crowd open; the list gets the number of connections that it made."""
    words = [
        sys.executable,
        str(HERE / "idle_crowd.py"),
        where,
        str(COUNT),
        sort,
        *([uid] if uid else []),
    ]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    made: list[int] = []
    try:
        process.stdin.write(key + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "opened\n"
        yield made
    finally:
        said, _ = process.communicate(timeout=60)
        made.append(int(said))


SORTS = {
    "a stranger at the operators' socket": ("socket", "idle"),
    "half a line at the operators' socket": ("socket", "line"),
    "TLS without a token": ("tls", "idle"),
    "half a head over TLS": ("tls", "head"),
    "idle at the data plane": ("plane", "idle"),
    "half a line at the data plane": ("plane", "line"),
    "half a head at the data plane": ("plane", "head"),
    "half a body at the data plane, with a key": ("plane", "body"),
    "a head byte by byte at the data plane": ("plane", "head-trickle"),
    "a body byte by byte at the data plane, with a key": ("plane", "body-trickle"),
}


@pytest.mark.parametrize("name", SORTS)
def test_a_crowd_that_waits_takes_nothing_from_the_switch_nor_from_others(
    crowded: Crowded, name: str
) -> None:
    kind, sort = SORTS[name]
    where = {
        "socket": str(crowded.rig.home / "run/gateway.sock"),
        "tls": f"tls:127.0.0.1:{crowded.tls}",
        "plane": urlsplit(crowded.rig.url).netloc,
    }[kind]
    calm, quick = crowded.calls(), sorted(crowded.lock() for _ in range(5))
    before = crowded.memory()
    key = crowded.greedy if sort.startswith("body") else ""
    with crowd(where, sort, key, NOBODY if kind == "socket" else "") as made:
        locks = [crowded.lock() for _ in range(5)]
        first = crowded.first_call()
        busy = crowded.calls()
        locks += [crowded.lock() for _ in range(5)]
        after = crowded.memory()
    grown = max(after[each] - before[each] for each in before)
    print(
        f"\n{COUNT} x {name} ({made[0]} made): lock verified in {quick[2]:.3f} s alone, "
        f"at most {max(locks):.3f} s; first call {first:.3f} s; "
        f"p99 {calm['p99']:.1f} ms alone, {busy['p99']:.1f} ms "
        f"(x {busy['p99'] / calm['p99']:.2f}); memory + {grown:.1f} MB"
    )
    assert max(locks) < 1.0
    assert grown < MAX_GROWTH_MB
    assert all(process.poll() is None for process in crowded.rig.processes.values())


def test_bombs_of_gzip_slow_nobody(crowded: Crowded) -> None:
    bomb = gzip.compress(b"0" * 250_000_000, 1)
    place = urlsplit(crowded.rig.url)
    over = threading.Event()
    sent = 0

    def throw() -> None:
        nonlocal sent
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
            f"Content-Length: {len(bomb)}\r\n\r\n"
        ).encode()
        while not over.wait(0.2):
            with (
                suppress(OSError),
                socket.create_connection((place.hostname, place.port), 5) as line,
            ):
                line.sendall(head + bomb)
                line.recv(1000)
            sent += 1

    calm, quick = crowded.calls(), crowded.lock()
    before = crowded.memory()
    thread = threading.Thread(target=throw)
    thread.start()
    try:
        busy, locked = crowded.calls(), crowded.lock()
    finally:
        over.set()
        thread.join()
    after = crowded.memory()
    grown = max(after[each] - before[each] for each in before)
    print(
        f"\n{sent} bombs of {len(bomb) / 1e6:.1f} MB for 250: lock verified in {quick:.3f} s "
        f"alone, {locked:.3f} s; p99 {calm['p99']:.1f} ms alone, {busy['p99']:.1f} ms "
        f"(x {busy['p99'] / calm['p99']:.2f}); memory + {grown:.1f} MB"
    )
    assert grown < MAX_GROWTH_MB
    assert locked < 1.0
