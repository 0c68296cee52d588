"""A point whose every connection streams: the switch is proven there, and nobody else fits."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from console.services.gateway.decision import probe_token
from console.services.listening import Bounds
from console.services.listening.bounds import KEPT_DESCRIPTORS
from tests import nursery
from tests.services.gateway.rig import Rig, projection

DESCRIPTORS = KEPT_DESCRIPTORS + 128
BOUNDS = Bounds(total=64)
"""What a point makes of so few descriptors."""
FEW = f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"'
SLOW = '[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 10000\n[models]\naurora-1 = "builtin"\n'
PROXIED = 'proxies = ["127.0.0.0/8"]\ntrusted_hops = 1\n'


class FewFiles(Rig):
    """A gateway whose points may open few files."""

    def start(self, name: str) -> None:
        if name == "control":
            super().start(name)
            return
        words = ["-m", "console.services.gateway.point", "--home", str(self.home), "--name", name]
        with (self.home / f"{name}.err").open("ab") as err:
            self.processes[name] = subprocess.Popen(
                ["sh", "-c", FEW, sys.executable, *words], cwd=nursery.ROOT,
                stdin=subprocess.DEVNULL, stdout=err, stderr=err,
            )  # fmt: skip


def connect(rig: Rig, source: str) -> socket.socket:
    place = urlsplit(rig.url)
    assert place.port is not None
    return socket.create_connection(("127.0.0.1", place.port), 60, (source, 0))


def call(key: str, **more: object) -> bytes:
    body = {"model": "aurora-1", "messages": [{"role": "user", "content": "hi"}], **more}
    raw = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"X-Forwarded-For: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


def answered(rig: Rig, said: bytes) -> bytes:
    """Send a request by a connection of its own; return all that comes until it is closed."""
    with connect(rig, "127.0.0.9") as line:
        line.sendall(said)
        got = b""
        with suppress(ConnectionError):
            while part := line.recv(65536):
                got += part
        return got


def fill(rig: Rig, key: str) -> list[socket.socket]:
    """Hold every connection that callers over the network may have; return them."""
    lines = []
    for n in range(BOUNDS.network):
        line = connect(rig, f"127.0.0.{2 + n // 20}")
        line.sendall(call(key, stream=True))
        assert line.recv(15) == b"HTTP/1.1 200 OK", n
        lines.append(line)
    return lines


@pytest.fixture(params=["", PROXIED], ids=["two addresses", "a declared proxy"])
def full(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Rig, str, list[socket.socket]]]:
    home: Path = tmp_path_factory.mktemp("g")
    with FewFiles(home, request.param + SLOW) as rig:
        greedy, other = projection("greedy"), projection("other")
        rig.project(greedy, other)
        _, key = rig.issue(greedy)
        rig.issue(other)
        lines = fill(rig, key)
        try:
            yield rig, key, lines
        finally:
            for line in lines:
                line.close()


def runs(line: socket.socket) -> bool:
    """Whether a stream goes on: what came of it so far does not end it."""
    line.setblocking(False)
    got = b""
    with suppress(BlockingIOError):
        while part := line.recv(65536):
            got += part
        return False
    return b"[DONE]" not in got and not got.endswith(b"0\r\n\r\n")


def test_a_lock_is_proven_at_a_point_all_of_whose_connections_stream(
    full: tuple[Rig, str, list[socket.socket]],
) -> None:
    rig, key, lines = full
    lock = rig.lock("partner", "other")
    receipt = rig.receipt(lock["receipt_id"])
    assert [each["method"] for each in receipt["points"]] == ["probe"]
    assert all(runs(line) for line in lines), "the streams are over, so nothing was shown"

    # what is kept for probes is nobody else's, whatever they call themselves
    forged = probe_token.mint(
        probe_token.new_key(),
        probe_token.Probe(
            credential="crd_1", model="aurora-1", route="chat.completions", nonce="1", exp=2e9
        ),
    )
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for said in (call(key), call(forged), call("probe.me"), health):
        assert answered(rig, said).startswith(b"HTTP/1.1 503"), said
    silent = [connect(rig, "127.0.0.9") for _ in range(2 * BOUNDS.total)]
    try:
        rig.receipt(rig.lock("network", "198.51.100.1/32")["receipt_id"])
    finally:
        for line in silent:
            line.close()
