"""The caller's true address: declared proxies are believed, and nobody else."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from console.errors import PilotError
from console.services import settings
from console.services.gateway.point.intake import caller_address
from console.services.gateway.point.intake.caller_address import (
    Callers,
    MalformedError,
    Trust,
    forwarded,
    read,
)
from tests.services.gateway.rig import Rig, projection

V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def v1(source: str, family: str = "TCP4", dest: str = "192.0.2.1") -> bytes:
    return f"PROXY {family} {source} {dest} 56324 443\r\n".encode()


def v2(source: str, tail: bytes = b"", command: int = 0x21) -> bytes:
    kind, family = (socket.AF_INET6, 0x21) if ":" in source else (socket.AF_INET, 0x11)
    there = socket.inet_pton(kind, "::1" if ":" in source else "192.0.2.1")
    body = socket.inet_pton(kind, source) + there + struct.pack("!HH", 56324, 443) + tail
    return V2 + bytes([command, family]) + struct.pack("!H", len(body)) + body


# the header by itself


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (v1("203.0.113.7"), "203.0.113.7"),
        (v1("2001:db8::7", "TCP6", "2001:db8::1"), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ""),
        (v2("203.0.113.7"), "203.0.113.7"),
        (v2("2001:db8::7"), "2001:db8::7"),
        (v2("203.0.113.7", tail=b"\x04\x00\x03abc"), "203.0.113.7"),
        (v2("203.0.113.7", command=0x20), None),
        (V2 + b"\x21\x00\x00\x00", ""),
        (V2 + b"\x20\x00\x00\x00", None),
    ],
)
def test_a_header_of_either_version_is_read_in_any_pieces(raw: bytes, address: str | None) -> None:
    for end in range(1, len(raw)):
        assert read(raw[:end]) is None
    assert read(raw + b"POST / HTTP/1.1") == (len(raw), address)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n",
        b"PROXY TCP4 2001:db8::1 192.0.2.1 1 2\r\n",
        b"PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 65536\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 01 2\r\n",
        b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n",
        b"PROXY TCP4 203.0.113.007 192.0.2.1 1 2\r\n",
        b"PROXY \xff\xfe\r\n",
        b"PROXY " + b"x" * 200,
        V2 + b"\x31\x11\x00\x0c" + b"\0" * 12,
        V2 + b"\x22\x11\x00\x0c" + b"\0" * 12,
        V2 + b"\x21\x44\x00\x0c" + b"\0" * 12,
        V2 + b"\x21\x11\x00\x04" + b"\0" * 4,
        V2 + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_no_header_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        read(raw)


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: V2 + tail)
       | st.binary(max_size=60).map(lambda tail: b"PROXY " + tail))  # fmt: skip
def test_no_bytes_do_anything_else_than_be_read_or_refused(raw: bytes) -> None:
    try:
        found = read(raw)
    except MalformedError:
        return
    assert found is None or found.size <= len(raw)


# the headers of a request


def headers(*lines: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(lines))


XFF = "X-Forwarded-For"
SPOOF = "198.51.100.66"


@pytest.mark.parametrize(
    ("lines", "hops", "address"),
    [
        ([(XFF, "203.0.113.7")], 1, "203.0.113.7"),
        ([(XFF, f"{SPOOF}, 203.0.113.7")], 1, "203.0.113.7"),
        ([(XFF, f"{SPOOF}, 203.0.113.7, 10.0.0.9")], 2, "203.0.113.7"),
        ([(XFF, SPOOF), (XFF, "203.0.113.7"), (XFF, "10.0.0.9")], 2, "203.0.113.7"),
        ([(XFF, "203.0.113.7")], 3, "203.0.113.7"),
        ([(XFF, "203.0.113.7:4711")], 1, "203.0.113.7"),
        ([(XFF, "[2001:db8::7]:4711")], 1, "2001:db8::7"),
        ([(XFF, f"{SPOOF}, unknown")], 1, ""),
        ([(XFF, f"{SPOOF},")], 1, ""),
        ([], 1, "10.0.0.1"),
        ([("Forwarded", f"for={SPOOF}")], 1, "10.0.0.1"),
    ],
)
def test_only_the_entry_of_the_outermost_trusted_proxy_counts(
    lines: list[tuple[str, str]], hops: int, address: str
) -> None:
    assert forwarded(headers(*lines), "x-forwarded-for", hops, "10.0.0.1") == address


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        (f"for={SPOOF}, for=203.0.113.7;proto=http;by=203.0.113.43", "203.0.113.7"),
        (f'for={SPOOF};x="a,for=1.2.3.4", proto=http;for=203.0.113.7', "203.0.113.7"),
        (f"for={SPOOF}, proto=http", ""),
        (f"for={SPOOF}, for=_hidden", ""),
        (f"for={SPOOF}, for=unknown", ""),
        (f'for={SPOOF}, by="for=203.0.113.7"', ""),
    ],
)
def test_the_forwarded_header_is_read_as_rfc_7239_writes_it(line: str, address: str) -> None:
    found = forwarded(headers(("Forwarded", line), (XFF, SPOOF)), "forwarded", 1, "10.0.0.1")
    assert found == address


def test_a_peer_that_is_not_declared_speaks_for_nobody() -> None:
    callers = Callers(Trust(("10.0.0.0/8",), hops=1))
    told = headers((XFF, "203.0.113.7"))
    assert callers.address(None, "192.0.2.9", told) == "192.0.2.9"
    assert callers.address(None, "10.1.2.3", told) == "203.0.113.7"
    assert Callers(Trust()).address(None, "10.1.2.3", told) == "10.1.2.3"


# over real sockets


class Line:
    """A connection to a point, byte by byte."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        assert at.hostname
        assert at.port
        self.sock = socket.create_connection((at.hostname, at.port), timeout=60)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def call(self, key: str, *lines: str, first: bytes = b"") -> tuple[int, str]:
        """Make a call; return its status and its id. Nothing at all is (0, "")."""
        body = json.dumps(
            {"model": "aurora-1", "messages": [{"role": "user", "content": "3 words"}]}
        )
        head = [
            "POST /v1/chat/completions HTTP/1.1", "Host: x", f"x-api-key: {key}",
            f"Content-Length: {len(body)}", *lines, "", body,
        ]  # fmt: skip
        self.sock.sendall(first + "\r\n".join(head).encode())
        return self.answer()

    def answer(self) -> tuple[int, str]:
        said = b""
        try:
            while b"\r\n\r\n" not in said and (more := self.sock.recv(65536)):
                said += more
            head, _, rest = said.partition(b"\r\n\r\n")
            fields = dict(
                line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line
            )
            left = int(fields.get("content-length", 0)) - len(rest)
            while left > 0 and (more := self.sock.recv(65536)):
                left -= len(more)
        except ConnectionError:
            return 0, ""
        if not said:
            return 0, ""
        return int(said.split(b" ", 2)[1]), fields.get("x-request-id", "")


def seen(rig: Rig, call_id: str) -> Any:
    return rig.record("req_" + call_id[4:].upper())


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    config = 'proxies = ["127.0.0.1/32"]\nproxy_protocol = true\n'
    with Rig(tmp_path_factory.mktemp("p"), config) as rig:
        yield rig


@pytest.fixture(scope="module")
def hops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    config = 'proxies = ["127.0.0.1/32"]\ntrusted_hops = 2\n'
    with Rig(tmp_path_factory.mktemp("h"), config) as rig:
        yield rig


def key_of(rig: Rig, **facts: Any) -> str:
    grant = projection(networks=["203.0.113.0/24"], egress=["203.0.113.0/25"], **facts)
    rig.project(grant)
    return rig.issue(grant)[1]


@pytest.mark.parametrize("header", [v1, v2])
def test_a_grants_networks_hold_for_the_address_that_the_proxy_tells(
    proxied: Rig, header: Any
) -> None:
    key = key_of(proxied)
    with Line(proxied.url) as line:
        status, call_id = line.call(key, first=header("203.0.113.7"))
        assert status == 200
        assert seen(proxied, call_id)["address"] == "203.0.113.7"
        status, call_id = line.call(key, f"{XFF}: {SPOOF}")
        assert status == 200, "the header holds for the whole connection, a spoof for nothing"
        record = seen(proxied, call_id)
        assert (record["address"], record["declared"]) == ("203.0.113.7", True)
    with Line(proxied.url) as line:
        status, call_id = line.call(key, first=header("203.0.113.200"))
        assert status == 200
        assert seen(proxied, call_id)["declared"] is False, "outside the declared egress"
    with Line(proxied.url) as line:
        status, call_id = line.call(key, f"{XFF}: 203.0.113.7", first=header(SPOOF))
        assert status == 403
        record = seen(proxied, call_id)
        assert (record["address"], record["code"]) == (SPOOF, "network_not_allowed")
    usage = proxied.get("/v1/usage?by=network")["items"]
    assert {"203.0.113.0/24", "198.51.100.0/24"} <= {each["group"] for each in usage}


def test_a_caller_that_the_proxy_does_not_know_is_in_no_network(proxied: Rig) -> None:
    key = key_of(proxied)
    with Line(proxied.url) as line:
        assert line.call(key, first=b"PROXY UNKNOWN\r\n")[0] == 403


@pytest.mark.parametrize("first", [b"", b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n", V2 + b"\x99" * 20])
def test_a_declared_proxy_without_a_good_header_is_cut_off_without_a_word(
    proxied: Rig, first: bytes
) -> None:
    with Line(proxied.url) as line:
        began = time.monotonic()
        assert line.call("k", first=first) == (0, "")
        assert time.monotonic() - began < caller_address.HEADER_SECONDS - 1


def test_a_header_that_comes_too_slowly_is_not_waited_for(proxied: Rig) -> None:
    key = key_of(proxied)
    raw = v1("203.0.113.7")
    lines = [Line(proxied.url) for _ in range(40)]
    began = time.monotonic()

    def drip() -> None:
        for at in range(len(raw)):
            for line in lines:
                try:
                    line.sock.sendall(raw[at : at + 1])
                except OSError:
                    return
            time.sleep(0.3)

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with Line(proxied.url) as good:
            assert good.call(key, first=raw)[0] == 200, "others are served meanwhile"
        for line in lines:
            assert line.answer() == (0, "")
        assert 2.5 < time.monotonic() - began < 60
    finally:
        dripping.join()
        for line in lines:
            line.sock.close()


def test_a_revocation_is_proven_though_the_listener_expects_proxies(proxied: Rig) -> None:
    grant = projection()
    proxied.project(grant)
    _, key = proxied.issue(grant)
    receipt = proxied.revoke("grant", grant.id)
    assert proxied.receipt(receipt["id"])["state"] == "verified"
    with Line(proxied.url) as line:
        assert line.call(key, first=v2("203.0.113.7"))[0] == 403


def test_hops_are_counted_from_the_declared_proxy(hops: Rig) -> None:
    key = key_of(hops)

    def call(*lines: str) -> tuple[int, str]:
        with Line(hops.url) as line:
            return line.call(key, *lines)

    status, call_id = call(f"{XFF}: {SPOOF}, 203.0.113.7, 10.0.0.9")
    assert status == 200
    assert seen(hops, call_id)["address"] == "203.0.113.7"
    assert call(f"{XFF}: 203.0.113.7, {SPOOF}, 10.0.0.9")[0] == 403
    assert call("Forwarded: for=203.0.113.7")[0] == 403
    assert call(f"{XFF}: garbage, 10.0.0.9")[0] == 403
    with Line(hops.url) as line:
        assert line.call(key, first=v1("203.0.113.7"))[0] == 400, "it speaks no PROXY protocol"


def test_headers_and_proxy_lines_of_an_undeclared_caller_never_count(gateway: Rig) -> None:
    key = key_of(gateway)
    with Line(gateway.url) as line:
        status, call_id = line.call(key, f"{XFF}: 203.0.113.7", "Forwarded: for=203.0.113.7")
        assert status == 403
        assert seen(gateway, call_id)["address"] == "127.0.0.1"
    with Line(gateway.url) as line:
        assert line.call(key, first=v1("203.0.113.7"))[0] == 400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('proxies = ["10.0.0.1/8"]', "proxies"),
        ('proxies = ["localhost"]', "proxies"),
        ('proxies = ["10.0.0.0/8"]', "needs trusted_hops"),
        ('proxies = ["10.0.0.0/8"]\ntrusted_hops = 0', "needs trusted_hops"),
        ('proxies = ["10.0.0.0/8"]\nforwarded_header = "forwarded"', "needs trusted_hops"),
        ("proxy_protocol = true", "needs proxies"),
        ("trusted_hops = 1", "needs proxies"),
        ('proxies = ["10.0.0.0/8"]\ntrusted_hops = -1', "trusted_hops"),
        ('proxies = ["10.0.0.0/8"]\nforwarded_header = "x-real-ip"', "forwarded_header"),
        ("proxy_protocols = true", "did you mean proxy_protocol?"),
    ],
)
def test_settings_that_would_believe_nobody_or_anybody_are_refused(
    tmp_path: Any, text: str, said: str
) -> None:
    (tmp_path / "pilot.toml").write_text(f"[data_plane]\n{text}\n")
    with pytest.raises(PilotError) as refused:
        settings.load(tmp_path)
    assert said in str(refused.value)
    assert "pilot.toml:" in str(refused.value)
