"""HTTP/1.1 as a listener of ours speaks it: aiohttp's protocol, with the waits in sight.

What aiohttp would answer or log by itself never leaves: it quotes what was sent, a key in
a broken header among it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from console.services.listening.connections import Connection, Connections

LINGER_SECONDS = 0.5
"""How long an unread body may go on arriving, so that its sender reads our refusal."""

_SILENT = logging.getLogger("console.services.listening.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

Refuse = Callable[[HTTPStatus, str, str, web.BaseRequest | None], web.Response]
"""Returns a refusal in a listener's own shape, from: the status, what to say, the path,
and the request where there is one."""


class BrokenBodyError(ValueError):
    """A body whose chunks, or whose end, cannot be made out."""


class BoundedProtocol(RequestHandler):
    """Serves one connection, whose waits the sweep of `Connections` ends."""

    def __init__(
        self,
        server: web.Server,
        connection: Connection,
        connections: Connections,
        *,
        refuse: Refuse,
        failed: Callable[[str, BaseException], object],
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            # the sweep ends idle connections; this only outlasts it
            keepalive_timeout=connections.bounds.idle_seconds * 2,
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None, its types do not
            logger=_SILENT,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
        )
        self.connection = connection
        self._connections = connections
        self._refuse = refuse
        self._failed = failed
        self._first_line = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        connection = self.connection
        assert isinstance(transport, asyncio.Transport)
        connection.transport, connection.sock = transport, None
        connection.since = self._loop.time()
        if connection.on_made is not None:
            connection.on_made(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of the connection."""
        self._connections.remove(self.connection)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, noting when a head begins, and a body that cannot be read."""
        connection = self.connection
        waits = (
            connection.request is None
            and not self._messages
            and (self._waiter is not None or self._request_count == 0)
        )
        if waits and data:
            if connection.head_since is None:
                connection.head_since = self._loop.time()
                self._first_line = data[:200]
            connection.head_bytes += len(data)
        super().data_received(data)
        if waits and not self._messages and connection.head_bytes > self._most_head:
            self._connections.counts["long heads"] += 1
            self.force_close()
        elif (
            connection.is_receiving
            and self._messages
            and not isinstance(self._messages[-1][0], RawRequestMessage)
        ):
            assert connection.request is not None
            self._messages.pop()
            self._connections.counts["malformed requests"] += 1
            connection.request.content.set_exception(BrokenBodyError("it is not framed as it says"))
            self.close()

    def resume_writing(self) -> None:
        """Note that the caller has taken what was written."""
        self.connection.writes += 1
        super().resume_writing()

    def begin(self, request: web.BaseRequest) -> None:
        """Note that a request's head is here."""
        connection = self.connection
        connection.request, connection.since = request, self._loop.time()
        connection.head_since, connection.head_bytes = None, 0

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer, then wait for the next request."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            connection = self.connection
            connection.request, connection.since = None, self._loop.time()
            connection.head_since, connection.head_bytes = None, 0

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes what was sent
    ) -> web.StreamResponse:
        """Answer what cannot be parsed (400), and what failed here (500), in our own shape."""
        if status == HTTPStatus.BAD_REQUEST:
            self._connections.counts["malformed requests"] += 1
        elif exc is not None:
            self._failed("internal", exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")
        if status == HTTPStatus.BAD_REQUEST:
            said = "The request is no HTTP that is understood here."
            answer = self._refuse(HTTPStatus.BAD_REQUEST, said, self._path, None)
        else:
            said = "The service failed on this request."
            answer = self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, said, request.path, request)
        answer.force_close()
        return answer

    def stop_reading(self) -> None:
        """Read nothing more: the connection ends with the answer."""
        self._lingering_time = 0.0

    @property
    def _most_head(self) -> int:
        return self._connections.bounds.head_bytes

    @property
    def _path(self) -> str:
        """The path of a head that could not be parsed, as far as its first line shows it."""
        parts = self._first_line.partition(b"\n")[0].split(b" ")
        return parts[1].decode("latin-1") if len(parts) > 1 else ""


def connection_of(request: web.BaseRequest) -> Connection | None:
    """Return the connection that a request came by, where a listener of ours took it."""
    protocol = request.protocol
    return protocol.connection if isinstance(protocol, BoundedProtocol) else None


def mark_known(request: web.BaseRequest, holder: str) -> None:
    """Note that a request's caller showed a key or a token of `holder` that is good here."""
    if (connection := connection_of(request)) is not None:
        connection.holder = holder
