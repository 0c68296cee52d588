"""Takes connections in: counts them before anything is read, and outlives a lack of files."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from console.services.listening.connections import Connection, Peer

if TYPE_CHECKING:
    from console.services.listening.listener import Listener

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
AGAIN_SECONDS = 0.05
"""A pause after a connection that could not be taken."""
_SORRY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class Acceptor(web.BaseSite):
    """One listening socket of a `Listener`."""

    def __init__(
        self,
        listener: Listener,
        sock: socket.socket,
        classify: Callable[[socket.socket, Any], Peer],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(listener.runner, ssl_context=tls)
        sock.setblocking(False)
        self._listener = listener
        self._connections = listener.connections
        self._sock = sock
        self._classify = classify
        self._tls = tls
        self._taking: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._spare = _spare()

    @property
    def name(self) -> str:
        """Say where it listens."""
        return f"{'https' if self._tls else 'http'}://{self._sock.getsockname()}"

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of a TCP socket."""
        host, port = self._sock.getsockname()[:2]
        return str(host), int(port)

    async def start(self) -> None:
        """Take connections from now on."""
        await super().start()
        self._taking = asyncio.create_task(self._take())

    async def stop(self) -> None:
        """Listen no more, and let go of what no request was read from yet."""
        await super().stop()
        tasks = [*self._opening, *([self._taking] if self._taking else [])]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sock.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    async def introduce(self, sock: socket.socket, connection: Connection) -> None:
        """Learn more of a caller before its first request; here there is nothing to learn.

        Raises OSError where the connection is not to be served.
        """

    async def _take(self) -> None:
        while True:
            try:
                # accept() itself would say that there are no files where nobody waits
                await readable(self._sock)
                sock, address = self._sock.accept()
                self._admit(sock, address)
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._make_room()
                    await asyncio.sleep(AGAIN_SECONDS)
            except Exception as error:
                # whatever it is, whoever comes next is an operator with a kill to give
                self._listener.failed("accepting a connection", error)
                await asyncio.sleep(AGAIN_SECONDS)
            await asyncio.sleep(0)  # an accept that need not wait lets nobody else work

    def _admit(self, sock: socket.socket, address: Any) -> None:
        try:
            sock.setblocking(False)
            connection = Connection(
                self._classify(sock, address), sock, asyncio.get_running_loop().time()
            )
        except BaseException:
            sock.close()
            raise
        if not self._connections.admit(connection):
            if self._tls is None:
                with suppress(OSError):
                    sock.send(_SORRY)
            sock.close()
            return
        task = asyncio.create_task(self._open(sock, connection))
        connection.task = task
        self._opening.add(task)
        task.add_done_callback(partial(self._opened, sock, connection))

    async def _open(self, sock: socket.socket, connection: Connection) -> None:
        """Bring a connection to where its first request can be read."""
        bounds = self._connections.bounds
        try:
            await self.introduce(sock, connection)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._listener.protocol(connection),
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=bounds.handshake_seconds if self._tls else None,
            )
        except (OSError, ValueError):  # what fails here is the caller's affair
            self._connections.counts["failed handshakes"] += 1

    def _opened(
        self, sock: socket.socket, connection: Connection, task: asyncio.Task[None]
    ) -> None:
        """Let go of a connection that did not come to where it is served, however that was."""
        self._opening.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._listener.failed("opening a connection", error)
        if connection.transport is None:
            self._connections.remove(connection)
            sock.close()

    def _make_room(self) -> None:
        """Take one connection by the spare descriptor, and free another's place for the next."""
        self._connections.counts["out of files"] += 1
        self._connections.free_one()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        try:
            sock, address = self._sock.accept()
        except OSError:
            self._spare = _spare()
            return
        with suppress(OSError):
            if self._classify(sock, address).privileged:
                self._admit(sock, address)
                return  # the spare is made again once a connection has ended
        sock.close()
        self._spare = _spare()


async def readable(sock: socket.socket) -> None:
    """Wait until there is something to read, or to accept."""
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


def _spare() -> int:
    """Return a descriptor that is only there to be given up, or -1 where there is none."""
    try:
        return os.open(Path(os.devnull), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
