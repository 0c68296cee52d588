"""A point behind a balancer that passes TLS through: its PROXY header comes before the handshake.

One listener serves with a certificate and without one, so most of this is asked of both.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from cryptography import x509

from console.services import settings, tls
from console.services.gateway.point.intake import caller_address
from console.services.gateway.point.intake.caller_address import Callers, Trust
from console.services.gateway.point.intake.listener_sockets import Place, listen
from tests.services.certificates import certify
from tests.services.gateway.rig import Rig, projection
from tests.services.gateway.test_proxies import SPOOF, V2, Line, key_of, seen, v1, v2

LOOPBACK = ("127.0.0.1/32",)
WHOLE = 1 << 20


class Sealed:
    """TLS over a socket by hand: what comes before the handshake, and in which pieces it goes."""

    def __init__(
        self, sock: socket.socket, folder: Path, first: bytes = b"", pieces: int = WHOLE
    ) -> None:
        context = ssl.create_default_context(cafile=str(folder / "tls.pem"))
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._send(first + self._out.read(), pieces)
        self._until(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def recv(self, most: int) -> bytes:
        found: bytes = self._until(lambda: self._tls.read(most))
        return found

    def close(self) -> None:
        self._sock.close()

    def _until(self, do: Callable[[], object]) -> object:
        while True:
            try:
                found = do()
            except ssl.SSLWantReadError:
                self._flush()
                more = self._sock.recv(65536)
                if not more:
                    raise ConnectionResetError("closed") from None
                self._in.write(more)
            else:
                self._flush()
                return found

    def _flush(self) -> None:
        if self._out.pending:
            self._sock.sendall(self._out.read())

    def _send(self, data: bytes, pieces: int) -> None:
        for at in range(0, len(data), pieces):
            self._sock.sendall(data[at : at + pieces])
            if pieces < WHOLE:
                time.sleep(0.001)


def sealed(
    url: str, folder: Path, first: bytes = b"", pieces: int = WHOLE
) -> AbstractContextManager[Line]:
    """A line that speaks TLS after its header."""
    line = Line(url)
    try:
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sock = Sealed(line.sock, folder, first, pieces)  # type: ignore[assignment]
    except BaseException:
        line.sock.close()
        raise
    return line


# the listener by itself: it answers with the address that it was told


@asynccontextmanager
async def listening(
    trust: Trust, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    callers = Callers(trust)

    async def handle(request: web.BaseRequest) -> web.Response:
        told = callers.address(request.transport, request.remote or "", request.headers)
        return web.Response(headers={"x-request-id": told or "nobody"})

    listener, url = await listen(handle, Place(trust, callers, host, 0, context, b"key"))
    try:
        yield url
    finally:
        await listener.stop_listening()
        await listener.runner.cleanup()


def in_listener(
    ask: Callable[[str], None],
    context: ssl.SSLContext | None = None,
    proxies: tuple[str, ...] = LOOPBACK,
    host: str = "127.0.0.1",
) -> None:
    """Run `ask`, which blocks, beside a listener that waits for PROXY headers."""

    async def run() -> None:
        async with listening(Trust(proxies, protocol=True), context, host) as url:
            await asyncio.to_thread(ask, url)

    asyncio.run(run())


def told(header: bytes) -> str:
    found = caller_address.read(header)
    assert found is not None
    return "127.0.0.1" if found.address is None else found.address or "nobody"


HEADERS = [
    v1("203.0.113.7"),
    v1("2001:db8::7", "TCP6", "2001:db8::1"),
    b"PROXY UNKNOWN\r\n",
    v2("203.0.113.7"),
    v2("2001:db8::7"),
    v2("203.0.113.7", tail=b"\x04" + struct.pack("!H", 1500) + b"\x16" * 1500),
    V2 + b"\x20\x00\x00\x00",
]


@pytest.mark.parametrize("pieces", [WHOLE, 1, 7])
def test_a_header_comes_before_the_handshake_whole_or_in_pieces(
    tmp_path: Path, pieces: int
) -> None:
    def ask(url: str) -> None:
        for header in HEADERS if pieces > 1 else [HEADERS[1], HEADERS[4]]:
            with sealed(url, tmp_path, header, pieces) as line:
                assert line.call("k") == (200, told(header))
                assert line.call("k") == (200, told(header)), "the connection is kept"

    in_listener(ask, certify(tmp_path).context())


@pytest.mark.parametrize("pieces", [WHOLE, 1, 7])
def test_without_a_certificate_the_same_listener_takes_no_byte_of_the_request(
    pieces: int,
) -> None:
    def ask(url: str) -> None:
        for header in HEADERS if pieces > 1 else [HEADERS[1], HEADERS[4]]:
            with Line(url) as line:
                line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(header) - pieces, pieces):
                    line.sock.sendall(header[at : at + pieces])
                    time.sleep(0.001)
                rest = header[(len(header) - 1) // pieces * pieces :]
                assert line.call("k", first=rest) == (200, told(header))
                assert line.call("k") == (200, told(header)), "the connection is kept"

    in_listener(ask)


def test_a_proxy_reached_over_ipv6_is_believed_as_well(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")

    def ask(url: str) -> None:
        assert urlsplit(url).hostname == "::1"
        with sealed(url, tmp_path, v2("203.0.113.7")) as line:
            assert line.call("k") == (200, "203.0.113.7")

    in_listener(ask, certify(tmp_path).context(), ("::1/128",), "::1")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n",
        b"PROXY " + b"x" * 200,
        V2 + b"\x31\x11\x00\x0c" + b"\0" * 12,
        V2 + b"\x21\x11\xff\xff",
    ],
)
def test_a_declared_proxy_that_sends_no_good_header_gets_no_handshake(
    tmp_path: Path, first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_address, "HEADER_SECONDS", 3600.0)

    def ask(url: str) -> None:
        with pytest.raises(ConnectionError):
            sealed(url, tmp_path, first)
        with sealed(url, tmp_path, v1("203.0.113.7")) as line:
            assert line.call("k") == (200, "203.0.113.7"), "others are served"

    in_listener(ask, certify(tmp_path).context())


def test_whoever_is_not_declared_speaks_for_himself_alone(tmp_path: Path) -> None:
    def ask(url: str) -> None:
        with sealed(url, tmp_path) as line:
            assert line.call("k") == (200, "127.0.0.1")
        for header in (v1(SPOOF), v2(SPOOF)):
            with pytest.raises((ConnectionError, ssl.SSLError)):
                sealed(url, tmp_path, header)
        with sealed(url, tmp_path) as line:
            assert line.call("k", first=v1(SPOOF))[0] == 400, "inside TLS it is no header either"

    in_listener(ask, certify(tmp_path).context(), ("10.0.0.0/8",))


def test_a_header_inside_the_handshake_is_none(tmp_path: Path) -> None:
    def ask(url: str) -> None:
        with sealed(url, tmp_path, v1("203.0.113.7")) as line:
            assert line.call("k", first=v1(SPOOF))[0] == 400

    in_listener(ask, certify(tmp_path).context())


def test_slow_headers_and_slow_handshakes_hold_up_nobody_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def slow_ones(url: str, seconds: float) -> Iterator[list[socket.socket]]:
        monkeypatch.setattr(caller_address, "HEADER_SECONDS", seconds)
        with (
            closing(Line(url).sock) as silent,
            closing(Line(url).sock) as half,
            closing(Line(url).sock) as unshaken,
        ):
            half.sendall(v2("203.0.113.7")[:20])
            unshaken.sendall(v1("203.0.113.7") + b"\x16\x03\x01")
            yield [silent, half]

    def ask(url: str) -> None:
        with slow_ones(url, 3600.0) as held:
            with sealed(url, tmp_path, v1("203.0.113.8")) as line:
                assert line.call("k") == (200, "203.0.113.8")
            for each in held:
                each.setblocking(False)
                with pytest.raises(BlockingIOError):
                    each.recv(1)
        began = time.monotonic()
        with slow_ones(url, 0.5) as held:
            for each in held:
                assert each.recv(1) == b""
            assert time.monotonic() - began > 0.4
            with sealed(url, tmp_path, v1("203.0.113.8")) as line:
                assert line.call("k") == (200, "203.0.113.8")

    in_listener(ask, certify(tmp_path).context())


def test_many_connections_at_once_are_all_told_apart(tmp_path: Path) -> None:
    async def one(url: str, nth: int, context: ssl.SSLContext) -> str:
        loop = asyncio.get_running_loop()
        at = urlsplit(url)
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (at.hostname, at.port))
        await loop.sock_sendall(sock, v2(f"203.0.113.{nth}"))
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname="127.0.0.1"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said.decode().partition("x-request-id: ")[2].partition("\r\n")[0]

    async def run() -> None:
        context = certify(tmp_path).context()
        trusting = ssl.create_default_context(cafile=str(tmp_path / "tls.pem"))
        async with listening(Trust(LOOPBACK, protocol=True), context) as url:
            found = await asyncio.gather(*(one(url, nth, trusting) for nth in range(1, 101)))
        assert found == [f"203.0.113.{nth}" for nth in range(1, 101)]

    asyncio.run(run())


def test_a_renewed_certificate_is_served_behind_proxies_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.05)
    certificate = certify(tmp_path, serial=1)
    context = certificate.context()

    def serial(url: str) -> int:
        unproven = ssl.create_default_context()
        unproven.check_hostname, unproven.verify_mode = False, ssl.CERT_NONE
        with Line(url) as line:
            line.sock.sendall(v2("203.0.113.7"))
            with unproven.wrap_socket(line.sock) as sock:
                der = sock.getpeercert(binary_form=True)
        assert der
        return x509.load_der_x509_certificate(der).serial_number

    async def run() -> None:
        async with listening(Trust(LOOPBACK, protocol=True), context) as url:
            following = asyncio.create_task(tls.follow(certificate, context))
            assert await asyncio.to_thread(serial, url) == 1
            certify(tmp_path, serial=2)
            async with asyncio.timeout(60):
                while await asyncio.to_thread(serial, url) != 2:  # noqa: ASYNC110 - a file is looked at
                    await asyncio.sleep(0.05)
            following.cancel()

    asyncio.run(run())


def test_a_listener_that_stops_closes_what_waits_for_its_header_or_its_handshake(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        context = certify(tmp_path).context()
        async with listening(Trust(LOOPBACK, protocol=True), context) as url:
            waiting = [Line(url).sock for _ in range(4)]
            waiting[1].sendall(b"PROXY TCP4 ")
            waiting[2].sendall(v1("203.0.113.7"))
            waiting[3].sendall(v1("203.0.113.7") + b"\x16\x03\x01")
            await asyncio.sleep(0.1)
        for each in waiting:
            with closing(each), suppress(ConnectionResetError):
                assert each.recv(1) == b""
        at = urlsplit(url)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((at.hostname, at.port), timeout=60)

    asyncio.run(run())


# a whole point, and the one who proves that a key is dead there


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    home = tmp_path_factory.mktemp("b")
    certify(home)
    config = (
        'proxies = ["127.0.0.1/32"]\nproxy_protocol = true\n'
        'cert_file = "tls.pem"\nkey_file = "tls.key"\n'
    )
    with Rig(home, config) as rig:
        yield rig


def test_a_grants_networks_hold_for_the_caller_whose_tls_a_balancer_passes_through(
    behind: Rig,
) -> None:
    assert behind.url.startswith("https://")
    key = key_of(behind)
    for header in (v1("203.0.113.7"), v2("203.0.113.7")):
        with sealed(behind.url, behind.home, header) as line:
            for _ in range(2):
                status, call_id = line.call(key, f"X-Forwarded-For: {SPOOF}")
                assert status == 200
                assert seen(behind, call_id)["address"] == "203.0.113.7"
    with sealed(behind.url, behind.home, v2(SPOOF)) as line:
        status, call_id = line.call(key, "X-Forwarded-For: 203.0.113.7")
        assert status == 403
        assert (seen(behind, call_id)["address"], seen(behind, call_id)["code"]) == (
            SPOOF,
            "network_not_allowed",
        )


def test_a_revocation_is_proven_through_header_and_tls(behind: Rig) -> None:
    grant = projection()
    behind.project(grant)
    _, key = behind.issue(grant)
    receipt = behind.revoke("grant", grant.id)
    assert behind.receipt(receipt["id"])["points"][0]["method"] == "probe"
    with sealed(behind.url, behind.home, v2("203.0.113.7")) as line:
        assert line.call(key)[0] == 403


@pytest.mark.parametrize("certified", [True, False])
def test_a_revocation_is_proven_where_control_is_no_declared_proxy(
    tmp_path_factory: pytest.TempPathFactory, certified: bool
) -> None:
    home = tmp_path_factory.mktemp("c")
    certify(home)
    config = 'proxies = ["10.0.0.0/8"]\nproxy_protocol = true\n'
    if certified:
        config += 'cert_file = "tls.pem"\nkey_file = "tls.key"\n'
    with Rig(home, config) as rig:
        grant = projection()
        rig.project(grant)
        rig.issue(grant)
        receipt = rig.revoke("grant", grant.id)
        assert rig.receipt(receipt["id"])["points"][0]["method"] == "probe"


def test_the_settings_take_a_certificate_together_with_the_proxy_protocol(tmp_path: Path) -> None:
    home = settings.prepare(tmp_path / "home").path
    certify(home)
    (home / "pilot.toml").write_text(
        '[data_plane]\nproxies = ["127.0.0.1"]\nproxy_protocol = true\n'
        'cert_file = "tls.pem"\nkey_file = "tls.key"\n'
    )
    plane = settings.load(home).data_plane
    assert plane.proxy_protocol
    assert plane.certificate is not None
