"""Where a point's callers arrive: in clear or by TLS, and behind proxies that tell of them.

Where proxies speak the PROXY protocol, a connection's header is taken from its socket
before anything else reads it, and no byte more: what follows is the server's own, a TLS
handshake too, as if the connection had begun with it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeAlias

from aiohttp import web

from console.errors import PilotError
from console.services.gateway.point import proxy
from console.services.gateway.point.proxy import Callers, Header, MalformedError, Trust, read
from console.services.gateway.point.request import MOST_BYTES

_BACKLOG = 1024
_AGAIN_SECONDS = 1.0
"""So long no connection is taken where there is no room for one (too many open files)."""

Handle: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Place(NamedTuple):
    """Where the point listens, and whom it believes about a caller's address."""

    trust: Trust
    callers: Callers
    host: str
    port: int
    """0 takes any free one."""
    tls: ssl.SSLContext | None


async def listen(handle: Handle, place: Place) -> tuple[web.ServerRunner, str]:
    """Open the data-plane listener; return it and its address.

    Raises `PilotError` (`port-in-use`) where it cannot be had.
    """
    loop = asyncio.get_running_loop()

    def request(message, payload, protocol, writer, task):  # type: ignore[no-untyped-def]
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=MOST_BYTES
        )

    server = web.Server(handle, request_factory=request, handler_cancellation=True)
    runner = web.ServerRunner(server, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    host, port = place.host, place.port
    try:
        if place.trust.protocol:
            behind = BehindProxies(runner, server, place)
            await behind.start()
            bound = behind.address
        else:
            await web.TCPSite(runner, host, port, backlog=_BACKLOG, ssl_context=place.tls).start()
            bound = runner.addresses[0]
    except OSError as error:
        await runner.cleanup()
        raise PilotError(
            "port-in-use",
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="set another port in pilot.toml under [data_plane], or 0 for any free one",
        ) from error
    shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return runner, f"{'https' if place.tls else 'http'}://{shown}:{bound[1]}"


class BehindProxies(web.BaseSite):
    """A listener whose connections begin with a PROXY header, from those who are declared.

    A declared proxy that sends none, or sends it slowly, is cut off; a peer that is not
    declared has none to send, and goes straight to the server.
    """

    def __init__(
        self, runner: web.ServerRunner, server: Callable[[], asyncio.Protocol], place: Place
    ) -> None:
        super().__init__(runner, ssl_context=place.tls, backlog=_BACKLOG)
        self._serve = server
        self._place = place
        self._socket: socket.socket | None = None
        self._taking: asyncio.Task[None] | None = None
        self._unready: set[asyncio.Task[None]] = set()
        """Connections whose header or handshake is not yet whole."""

    @property
    def name(self) -> str:
        """Say what it is."""
        return f"behind proxies at {self._place.host}"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    async def start(self) -> None:
        """Listen. Raises OSError where the port cannot be had."""
        _, _, host, port, _ = self._place
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        await super().start()
        self._taking = asyncio.create_task(self._take(self._socket))

    async def stop(self) -> None:
        """Close the listener, and what is not yet the server's."""
        await super().stop()
        tasks = [*self._unready, *([self._taking] if self._taking else [])]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    async def _take(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listening)
            except OSError as error:
                await asyncio.sleep(0 if isinstance(error, ConnectionError) else _AGAIN_SECONDS)
                continue
            task = asyncio.create_task(self._begin(sock, str(peer[0])))
            self._unready.add(task)
            task.add_done_callback(self._unready.discard)
            await asyncio.sleep(0)  # an accept that need not wait lets nobody else work

    async def _begin(self, sock: socket.socket, peer: str) -> None:
        """Bring a connection to the server: its header first, then the handshake."""
        trust, callers, _, _, tls = self._place
        begin: Callable[[], asyncio.Protocol] = self._serve
        try:
            if trust.believes(peer):
                async with asyncio.timeout(proxy.HEADER_SECONDS):
                    header = await header_of(sock)
                if header.address is not None:
                    begin = partial(_Introduced, callers, header.address, self._serve)
        except (MalformedError, OSError):  # too slow is one, too
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        with suppress(OSError):  # a handshake that fails is the caller's affair
            await asyncio.get_running_loop().connect_accepted_socket(begin, sock, ssl=tls)


class _Introduced(asyncio.Protocol):
    """A connection whose caller a header has told: noted, then it is the server's own."""

    def __init__(
        self, callers: Callers, address: str, server: Callable[[], asyncio.Protocol]
    ) -> None:
        self._callers = callers
        self._address = address
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the caller, and give the connection on."""
        self._callers.note(transport, self._address)
        protocol = self._server()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


async def header_of(sock: socket.socket) -> Header:
    """Take the PROXY header from the socket, and nothing of what comes after it.

    Raises `MalformedError` where none comes, and OSError where the connection breaks.
    """
    taken = b""
    while True:
        await _readable(sock)
        try:
            seen = sock.recv(proxy.MOST_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not seen:
            raise MalformedError("it ended")
        header = read(taken + seen)
        taken += sock.recv(len(seen) if header is None else header.size - len(taken))
        if header is not None and len(taken) == header.size:
            return header


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
