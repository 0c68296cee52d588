"""The one way in which our processes serve HTTP: whoever calls, every wait has an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeAlias, cast

from aiohttp import web
from aiohttp.http import HttpVersion11

from console.services.failures import FailureLog
from console.services.listening.bounds import Bounds
from console.services.listening.connections import Connection, Connections
from console.services.listening.protocol import BoundedProtocol, Refuse

SWEEP_SECONDS = 0.5
TELL_SECONDS = 60.0
"""How often the log gets a line with what was turned away, where it was anything."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Handle: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """What all listening sockets of one process share: its server, its bounds, its counts."""

    def __init__(
        self,
        runner: web.BaseRunner,
        bounds: Bounds,
        *,
        refuse: Refuse,
        is_ready: Callable[[], Awaitable[str]],
        is_privileged: Callable[[web.BaseRequest], bool],
        log: FailureLog,
    ) -> None:
        """Serve what `runner` serves, once it is set up.

        `is_ready` returns why the process cannot do its work now, or an empty string.
        `is_privileged` tells the requests that the reserve is for.
        """
        assert runner.server is not None
        self.runner = runner
        self.connections = Connections(bounds)
        self.failed = log.failure
        self._server = runner.server
        self._handle: Handle = runner.server.request_handler
        self._refuse = refuse
        self._is_ready = is_ready
        self._is_privileged = is_privileged
        self._log = log
        self._told: dict[str, int] = {}
        runner.server.request_handler = self._answer

    def protocol(self, connection: Connection) -> BoundedProtocol:
        """Return what serves one connection."""
        return BoundedProtocol(
            self._server, connection, self.connections, refuse=self._refuse, failed=self.failed
        )

    async def sweep(self) -> None:
        """End the waits that are over, for ever, and tell the log what was turned away."""
        loop = asyncio.get_running_loop()
        told = loop.time()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.connections.sweep(loop.time())
            if loop.time() - told > TELL_SECONDS:
                told = loop.time()
                self.tell()

    def tell(self) -> None:
        """Write one line with what was turned away since the last, if it was anything."""
        counts = dict(self.connections.counts)
        new = {what: count - self._told.get(what, 0) for what, count in counts.items()}
        self._told = counts
        if any(new.values()):
            words = ", ".join(f"{count} {what}" for what, count in sorted(new.items()) if count)
            self._log.line(f"turned away: {words}")

    async def stop_listening(self) -> None:
        """Take no more connections; those that are there go on."""
        for site in list(self.runner.sites):
            await site.stop()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request: what no handler need see first."""
        protocol = cast(BoundedProtocol, request.protocol)
        protocol.begin(request)
        if protocol.connection.is_in_reserve and not self._is_privileged(request):
            return self._turn_away(request, self._too_busy(request, "connections over the bound"))
        if request.path in {"/healthz", "/readyz"} and request.method in {"GET", "HEAD"}:
            return await self._health(request)
        if (refused := self._screened(request)) is not None:
            return self._turn_away(request, refused)
        answer = await self._handle(request)
        if request.version < HttpVersion11 and "Transfer-Encoding" in request.headers:
            # RFC 9112 §6.1: its framing cannot be relied on, so nothing may follow it
            if not answer.prepared:
                answer.force_close()
            protocol.close()
        return answer

    def _screened(self, request: web.BaseRequest) -> web.Response | None:
        """Return the refusal of a request whose body could not be read as it is meant."""
        headers = request.headers
        encodings = ",".join(headers.getall("Content-Encoding", [])).strip().lower()
        if encodings not in {"", "identity"}:
            said = "Bodies are taken as they are: send it without Content-Encoding."
            return self._refused(request, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, said, "encoded bodies")
        codings = headers.getall("Transfer-Encoding", [])
        if codings and [each.strip().lower() for each in codings] != ["chunked"]:
            said = "The only Transfer-Encoding that is understood here is chunked."
            return self._refused(request, HTTPStatus.BAD_REQUEST, said, "malformed requests")
        if self.connections.is_busy() and not self._is_privileged(request):
            return self._too_busy(request, "requests over the bound")
        return None

    def _turn_away(self, request: web.BaseRequest, refused: web.Response) -> web.Response:
        """End the connection with this refusal, reading nothing more of it."""
        cast(BoundedProtocol, request.protocol).stop_reading()
        refused.force_close()
        return refused

    def _too_busy(self, request: web.BaseRequest, counted: str) -> web.Response:
        said = "Too many requests are being answered: try again."
        answer = self._refused(request, HTTPStatus.SERVICE_UNAVAILABLE, said, counted)
        answer.headers["Retry-After"] = "1"
        return answer

    def _refused(
        self, request: web.BaseRequest, status: HTTPStatus, said: str, counted: str
    ) -> web.Response:
        self.connections.counts[counted] += 1
        return self._refuse(status, said, request.path, request)

    async def _health(self, request: web.BaseRequest) -> web.Response:
        """Answer whether the process lives, or is ready: to anybody, and unrecorded."""
        why = await self._is_ready() if request.path == "/readyz" else ""
        headers = {"Cache-Control": "no-store", "Server": "pilotctl"}
        status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
        return web.Response(status=status, text=f"{why or 'ok'}\n", headers=headers)


async def invite_body(request: web.BaseRequest) -> None:
    """Tell a caller that waits for it to send its body (RFC 9110 §10.1.1)."""
    said = request.headers.get("Expect", "").strip().lower()
    if said == "100-continue" and request.version >= HttpVersion11 and request.can_read_body:
        await request.writer.write(CONTINUE)
        request.writer.output_size = 0


async def always_ready() -> str:
    """Say that there is nothing that could make a process unready."""
    return ""


async def no_invitation(_request: web.Request) -> None:
    """Leave `Expect` to `invite_body`: who may not call is refused without its body."""
