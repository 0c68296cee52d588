"""What a point turns away before it is a call: in the caller's shape, counted, and unrecorded."""

from __future__ import annotations

import gzip
import json
import socket
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from random import Random
from urllib.parse import urlsplit

import pytest

from tests.services.gateway.rig import Rig, projection

KEY = "pk_live_only_in_this_test_0123456789"
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
CALL = json.dumps({"model": "aurora-1", "messages": [{"role": "user", "content": "hi"}]}).encode()


def raw(rig: Rig, sent: bytes, *, ends: bool = True) -> bytes:
    """Send exactly this to the point and return all that comes."""
    place = urlsplit(rig.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as line:
        with suppress(OSError):
            line.sendall(sent)
            if not ends:
                line.shutdown(socket.SHUT_WR)
        got = b""
        with suppress(ConnectionError):
            while part := line.recv(65536):
                got += part
        return got


def head(path: str = PATHS["chat"], key: str = KEY, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *more]
    return "\r\n".join([*lines, "Content-Type: application/json", "Connection: close", ""]).encode()


def counted(rig: Rig) -> dict[str, int]:
    found: dict[str, int] = rig.get("/v1/points")["items"][0]["turned_away"]
    return found


def calls(rig: Rig, since: datetime) -> int:
    """Count the recorded calls that began since then: earlier ones may arrive meanwhile."""
    head = int(rig.get("/internal/v1/calls?after=0&limit=1")["head"])
    newest = rig.get(f"/internal/v1/calls?after={max(0, head - 100)}&limit=100")["items"]
    return sum(datetime.fromisoformat(each["call"]["started_at"]) >= since for each in newest)


@cache
def bomb() -> bytes:
    return gzip.compress(b"0" * 50_000_000)


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "unheard-of"])
def test_an_encoded_body_is_415_in_the_callers_shape_and_counted(
    gateway: Rig, dialect: str, encoding: str
) -> None:
    before, since = counted(gateway).get("encoded bodies", 0), datetime.now(UTC)
    said = raw(
        gateway,
        head(PATHS[dialect], KEY, f"Content-Encoding: {encoding}", f"Content-Length: {len(bomb())}")
        + b"\r\n"
        + bomb(),
    )
    if said:  # the rest of the body may have reset the connection first
        assert said.startswith(b"HTTP/1.1 415")
        told = json.loads(said.partition(b"\r\n\r\n")[2])
        assert told["error"]["code"] == "encoding_unknown"
        assert ("request_id" in told) == (dialect == "messages")
    gateway.wait(lambda: counted(gateway).get("encoded bodies", 0) == before + 1, "it is counted")
    assert calls(gateway, since) == 0


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize(
    "bad",
    [
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"X-Broken : y\r\n\r\n",
    ],
)
def test_broken_framing_is_400_in_the_callers_shape(gateway: Rig, dialect: str, bad: bytes) -> None:
    said = raw(gateway, head(PATHS[dialect]) + bad)
    assert said.partition(b" ")[2][:3] == b"400", said
    told = json.loads(said.partition(b"\r\n\r\n")[2])
    assert told["error"]["code"] == "request_invalid"
    assert ("request_id" in told) == (dialect == "messages")


def test_a_body_whose_chunks_break_later_is_a_400_of_the_call(gateway: Rig) -> None:
    grant = projection()
    gateway.project(grant)
    _, key = gateway.issue(grant)
    place = urlsplit(gateway.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as line:
        line.sendall(
            head(PATHS["chat"], key, "Transfer-Encoding: chunked", "Expect: 100-continue") + b"\r\n"
        )
        assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(b'2\r\n{"\r\nzz\r\n')
        said = b""
        while part := line.recv(65536):
            said += part
    assert said.startswith(b"HTTP/1.1 400")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_invalid"


def test_who_expects_to_be_asked_for_the_body_is_asked_and_who_may_not_call_is_not(
    gateway: Rig,
) -> None:
    grant = projection()
    gateway.project(grant)
    _, key = gateway.issue(grant)
    asked = (f"Content-Length: {len(CALL)}", "Expect: 100-continue")
    place = urlsplit(gateway.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as line:
        line.sendall(head(PATHS["chat"], key, *asked) + b"\r\n")
        assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(CALL)
        assert line.recv(65536).startswith(b"HTTP/1.1 200")
    said = raw(gateway, head(PATHS["chat"], "nobody", *asked) + b"\r\n")
    assert said.startswith(b"HTTP/1.1 401")


def test_a_prober_without_a_key_is_answered_and_leaves_no_record(gateway: Rig) -> None:
    since = datetime.now(UTC)
    for path in ("/healthz", "/readyz"):
        for _ in range(20):
            said = raw(
                gateway, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            assert said.startswith(b"HTTP/1.1 200"), said
    raw(gateway, b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    gateway.wait(lambda: calls(gateway, since), "the next call is recorded")
    assert calls(gateway, since) == 1


def test_a_point_without_its_lease_is_alive_and_not_ready(tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    with Rig(tmp_path_factory.mktemp("g")) as rig:
        rig.freeze("control")
        said = b""

        def unready() -> bool:
            nonlocal said
            said = raw(rig, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return said.startswith(b"HTTP/1.1 503")

        rig.wait(unready, "the lease has lapsed")
        assert said.endswith(b"this point holds no lease\n")
        assert raw(
            rig, b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
        ).startswith(b"HTTP/1.1 200")
        rig.wake("control")


def malformed(random: Random) -> bytes:
    """Return a request with the key in it that is broken in some way."""
    mark = random.choice([b"\x00", b"\x01", b"\x7f", b"\r", b"\n ", b"\xff\xfe", b"\x00\x00"])
    key = KEY.encode()
    whole = random.choice(
        [
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b%b\r\n\r\n",
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: %b%b\r\n\r\n",
            b"POST /v1/messages?key=%b%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /%b%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"%b%b /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-%b%b: a\r\n\r\n",
            b"GET /v1/models HTTP/%b%b\r\nHost: x\r\n\r\n",
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%b%b\r\n",
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %b%b\r\n\r\n",
            b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b%b\r\n",
        ]
    ) % (key, mark)
    for _ in range(random.randrange(3)):
        at = random.randrange(len(whole))
        whole = whole[:at] + bytes([random.randrange(256)]) + whole[at:]
    return whole


def test_a_key_in_a_malformed_request_is_in_no_log_no_store_and_no_answer(
    gateway: Rig, record_property: pytest.FixtureRequest
) -> None:
    seed = 20261130
    random = Random(seed)
    said = b""
    for _ in range(300):
        said += raw(gateway, malformed(random), ends=False)
    record_property("told", f"seed {seed}, 300 malformed requests")  # type: ignore[operator]
    assert b"itself in trouble" not in said
    assert KEY.encode() not in said.replace(b"\\", b"")
    before = counted(gateway)
    gateway.wait(lambda: counted(gateway).get("malformed requests", 0), "they are counted")
    assert before is not None
    for path in gateway.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert KEY.encode() not in path.read_bytes(), path
    assert len((gateway.home / "gw-1.err").read_bytes()) < 20_000
