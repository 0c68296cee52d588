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
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from console.errors import PilotError
from console.services.failures import FailureLog
from console.services.gateway.point.dialect.request_body import MAX_BYTES
from console.services.gateway.point.intake import caller_address, refusals
from console.services.gateway.point.intake.caller_address import (
    Callers,
    Header,
    MalformedError,
    Trust,
    read,
)
from console.services.listening import Acceptor, Bounds, Connection, Listener, Peer, bounds_here
from console.services.listening.acceptor import readable
from console.services.listening.listener import Handle, always_ready

_BACKLOG = 1024
DESCRIPTORS_EACH = 2
"""Files that a call needs: its caller's connection and the upstream's."""


class Place(NamedTuple):
    """Where the point listens, and whom it believes about a caller's address."""

    trust: Trust
    callers: Callers
    host: str
    port: int
    """0 takes any free one."""
    tls: ssl.SSLContext | None
    probe_key: bytes
    """What proves that a request is gateway control's, for which connections are kept."""


async def listen(
    handle: Handle,
    place: Place,
    *,
    is_ready: Callable[[], Awaitable[str]] = always_ready,
    log: FailureLog | None = None,
    bounds: Bounds | None = None,
) -> tuple[Listener, str]:
    """Open the data-plane listener; return it and its address.

    Raises `PilotError` (`port-in-use`) where it cannot be had.
    """
    loop = asyncio.get_running_loop()

    def request(message, payload, protocol, writer, task):  # type: ignore[no-untyped-def]
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=MAX_BYTES
        )

    server = web.Server(handle, request_factory=request, handler_cancellation=True)
    runner = web.ServerRunner(server, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    listener = Listener(
        runner,
        bounds or bounds_here(descriptors_each=DESCRIPTORS_EACH),
        refuse=refusals.refuse,
        is_ready=is_ready,
        is_privileged=partial(refusals.is_probe, key=place.probe_key),
        log=log or FailureLog("point"),
    )
    host, port = place.host, place.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        await runner.cleanup()
        raise PilotError(
            "port-in-use",
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="set another port in pilot.toml under [data_plane], or 0 for any free one",
        ) from error
    acceptor = PointAcceptor(listener, sock, place)
    await acceptor.start()
    bound = acceptor.address
    shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return listener, f"{'https' if place.tls else 'http'}://{shown}:{bound[1]}"


class PointAcceptor(Acceptor):
    """Takes callers in; where proxies speak the PROXY protocol, by the header that begins.

    A declared proxy that sends none, or sends it slowly, is cut off; a peer that is not
    declared has none to send, and is served as it is.
    """

    def __init__(self, listener: Listener, sock: socket.socket, place: Place) -> None:
        super().__init__(listener, sock, self._peer, tls=place.tls)
        self._place = place

    def _peer(self, _sock: socket.socket, address: Any) -> Peer:
        host = str(address[0])
        is_proxy = self._place.trust.believes(host)
        return self._connections.of_address(host, is_proxy=is_proxy, has_reserve=True)

    async def introduce(self, sock: socket.socket, connection: Connection) -> None:
        """Take the proxy's header, if one is to come, and count the caller that it names."""
        trust, callers = self._place.trust, self._place.callers
        if not trust.protocol or not trust.believes(str(sock.getpeername()[0])):
            return
        try:
            async with asyncio.timeout(caller_address.HEADER_SECONDS):
                header = await header_of(sock)
        except MalformedError:
            raise ConnectionError("no PROXY header") from None
        told = header.address
        if told is None:
            return
        connection.on_made = lambda transport: callers.note(transport, told)
        if told and not self._connections.move(connection, self._connections.of_address(told)):
            raise ConnectionError("too many connections from this address")


async def header_of(sock: socket.socket) -> Header:
    """Take the PROXY header from the socket, and nothing of what comes after it.

    Raises `MalformedError` where none comes, and OSError where the connection breaks.
    """
    taken = b""
    while True:
        await readable(sock)
        try:
            seen = sock.recv(caller_address.MAX_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not seen:
            raise MalformedError("it ended")
        header = read(taken + seen)
        taken += sock.recv(len(seen) if header is None else header.size - len(taken))
        if header is not None and len(taken) == header.size:
            return header
