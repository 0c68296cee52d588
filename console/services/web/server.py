"""The server of one service: checks every request in the same order, then asks a handler.

The order: who (peer credentials), may they (role), what (query, headers, body), was it
done before (idempotency key), then the handler, in a transaction. Each answer that is
not a success is an RFC 9457 problem.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import web
from sqlalchemy import Connection, text

from console.api.problems import refusal
from console.api.route import Route
from console.errors import PilotError
from console.model.ids import new_id
from console.model.operator import Operator, Role
from console.model.text import now
from console.services import listening, tls
from console.services.background import BackgroundTasks
from console.services.failures import FailureLog
from console.services.listening import Acceptor, Bounds, Connections, Listener, Peer
from console.services.listening.sockets import peer_uid, tcp_listener, uid_of, unix_listener
from console.services.settings import Listen
from console.services.store import Store, idempotency, outbox
from console.services.store.faults import disk_notes
from console.services.web import request_parsing
from console.services.web.authority import Authority, Claim
from console.services.web.callers import Authenticator
from console.services.web.request_context import Answer, Ask
from console.services.web.responses import answered, encode, etag_of, linked, of_http, problem
from console.services.web.strict_decoding import loosely, strictly

Handler: TypeAlias = Callable[[Connection, Ask], Any]
AsyncHandler: TypeAlias = Callable[[Ask], Awaitable[Any]]
Do: TypeAlias = Callable[[Claim, Ask], Awaitable[Any]]

MAX_BYTES = 1024 * 1024
"""The largest body of a contract route."""
MAX_INTERNAL_BYTES = 16 * 1024 * 1024
"""The largest body between our own processes."""

FORGET_SECONDS = 3600.0
"""How often idempotency keys that are old enough are dropped."""

_REFUSALS = {
    HTTPStatus.BAD_REQUEST: "malformed",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "wrong-content-type",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
}

_request_id: ContextVar[str] = ContextVar("request_id")

READY_SECONDS = 2.0
"""How long the store may take to answer before the service is called not ready."""


class Web:
    """One service's HTTP server on a Unix socket, and on loopback TCP where asked."""

    def __init__(self, service: str, store: Store, operators: Authenticator) -> None:
        self.service = service
        self.port: int | None = None
        """The TCP port that was bound, where one was asked for."""
        self._store = store
        self._operators = operators
        self._authority = Authority(operators)
        self._waiting: set[asyncio.Task[Any]] = set()
        self._first_use: Callable[[Ask, str], Awaitable[None]] | None = None
        self.log = FailureLog(service)
        self.tasks = BackgroundTasks(self.log)
        """What the service does beside answering."""
        self._app = web.Application(middlewares=[self._guard], client_max_size=MAX_INTERNAL_BYTES)
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self._socket: Path | None = None
        self.internal("GET", "/internal/v1/outbox", self._outbox)

    def mount(self, route: Route[Any], handler: Handler) -> None:
        """Serve `route` by `handler`, run inside a transaction.

        A read (GET, or a POST for viewers) runs on a snapshot. A write runs in the
        writer's transaction with its idempotency key; with `validate_only` it runs
        the same and is then undone.
        """
        self._add(route, partial(self._write if _changes(route) else self._read, handler))

    def mount_async(self, route: Route[Any], handler: AsyncHandler) -> None:
        """Serve `route` by a handler on the event loop, which takes its own transactions.

        For reads that wait, streams, and foreign protocols: no idempotency key is asked.
        """
        self._add(route, partial(self._wait, handler))

    def internal(
        self, method: str, path: str, handler: AsyncHandler, *, body: type | None = None
    ) -> None:
        """Serve a path for our own processes: only for the user who runs this one."""
        self._app.router.add_route(
            method,
            path,
            partial(self._internal, handler, body),
            expect_handler=listening.no_invitation,
        )

    def notes(self) -> list[str]:
        """Say what of the service's work fails, and whether its store has room."""
        return self.tasks.notes() + disk_notes(self._store.path)

    @property
    def connections(self) -> Connections:
        """The connections of this service, while it listens."""
        assert self._listener is not None
        return self._listener.connections

    async def start(
        self,
        *,
        socket: Path | None = None,
        listen: Listen | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Listen, within `bounds` or those that fit this process.

        Raises `PilotError` where another process already does.
        """
        runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=3.0, handle_signals=False
        )
        await runner.setup()
        self._runner = runner
        listener = self._listener = Listener(
            runner,
            bounds or listening.bounds_here(),
            refuse=_refused,
            is_ready=self._unready,
            is_privileged=_is_privileged,
            log=self.log,
        )
        try:
            if socket is not None:
                sock = unix_listener(socket)
                self._socket = socket
                await Acceptor(listener, sock, self._user_peer).start()
            if listen is not None:
                sock = tcp_listener(listen.host, listen.port)
                self.port = int(sock.getsockname()[1])
                context = listen.certificate.context() if listen.certificate else None
                await Acceptor(listener, sock, _address_peer(listener, listen), tls=context).start()
                if listen.certificate is not None and context is not None:
                    self.tasks.add(
                        "following the certificate", tls.follow, listen.certificate, context
                    )
        except BaseException:
            await self.stop()
            raise
        self.tasks.add("ending waits", listener.sweep)
        self.tasks.add("forgetting idempotency keys", self._forget)

    async def stop(self) -> None:
        """Stop listening, let writes finish, cut the reads that wait. May be called twice."""
        await self.tasks.stop()
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        for site in list(runner.sites):
            await site.stop()
        for task in list(self._waiting):
            task.cancel()
        await runner.cleanup()
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
            self._socket = None

    def on_first_use(self, do: Callable[[Ask, str], Awaitable[None]]) -> None:
        """Call `do` with the request, and by what, when a token begins a session here."""
        self._first_use = do

    def end_refused(self) -> None:
        """End every request and stream of whoever was cut off, replaced or demoted by now."""
        self._authority.end_refused()

    def _add(self, route: Route[Any], do: Do) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._contract(route, do, request)

        # A file's path is one parameter with slashes in it (C2SP tile paths).
        self._app.router.add_route(
            route.method,
            route.path.replace("{file}", "{file:.+}"),
            handle,
            expect_handler=listening.no_invitation,
        )

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Give each request its id, and turn whatever goes wrong into a problem."""
        request_id = request_parsing.request_id(request)
        _request_id.set(request_id)
        try:
            answer = await handler(request)
        except PilotError as error:
            answer = problem(error, request_id)
        except web.HTTPException as error:
            answer = of_http(error, request, request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            self.log.failure(f"{request_id} internal", error)
            answer = problem(
                refusal("internal", "the service failed on this request; its log has more"),
                request_id,
            )
        if not answer.prepared:
            answer.headers["X-Request-Id"] = request_id
            answer.headers["Server"] = "pilotctl"
        return answer

    async def _contract(
        self, route: Route[Any], do: Do, request: web.Request
    ) -> web.StreamResponse:
        claim = self._authority.claim(route, peer_uid(request), request_parsing.bearer(request))
        operator = claim.caller.operator
        listening.mark_known(request, operator.name)
        with self._until_stopped(), self._authority.receiving(claim):
            raw = await request_parsing.body(request, MAX_BYTES)
        query, validate_only = request_parsing.query(request, route)
        ask = Ask(
            service=self.service,
            route=route,
            operator=operator,
            uid=operator.uid,
            path=dict(request.match_info),
            query=query,
            body=None
            if route.body is None
            else strictly(request_parsing.json(request, raw), route.body),
            raw=raw,
            revision=request_parsing.revision(request, route, validate_only=validate_only),
            request_id=_request_id.get(),
            validate_only=validate_only,
            now=now(),
            request=request,
        )
        await self._seen(claim, ask)
        return linked(answered(answer := await do(claim, ask), route), answer, request)

    async def _seen(self, claim: Claim, ask: Ask) -> None:
        """Count the request; a token's first use is recorded before it does anything."""
        caller = claim.caller
        source = ask.request.remote or "this machine"
        agent = ask.request.headers.get("User-Agent", "")
        if self._operators.saw(caller, source, agent, ask.now) and (
            caller.token_id and self._first_use is not None
        ):
            with self._authority.in_transactions(claim):
                await self._first_use(ask, caller.by)

    async def _read(self, handler: Handler, claim: Claim, ask: Ask) -> Any:
        with self._authority.in_transactions(claim) as judged:
            return await self._store.read(lambda conn: handler(conn, judged(ask)))

    async def _wait(self, handler: AsyncHandler, claim: Claim, ask: Ask) -> Any:
        with (
            self._until_stopped(),
            self._authority.in_progress(claim),
            self._authority.in_transactions(claim),
        ):
            return await handler(ask)

    @contextmanager
    def _until_stopped(self) -> Iterator[None]:
        """Cancel the current task inside this block where the server stops."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            yield
        finally:
            self._waiting.discard(task)

    async def _write(self, handler: Handler, claim: Claim, ask: Ask) -> Any:
        assert ask.route is not None
        if ask.validate_only:
            return await self._rehearse(handler, claim, ask)
        who = ask.operator.name
        key = request_parsing.idempotency_key(ask.request)
        about = {
            "operator": who,
            "key": key,
            "route": ask.route.id,
            "request_sha256": _digest(ask),
        }

        def change(conn: Connection) -> tuple[Any, bool]:
            if kept := idempotency.earlier(conn, **about):
                return kept, True
            answer = handler(conn, judged(ask))
            status = 201 if ask.route and ask.route.created else 200
            redacted = answer.redacted() if hasattr(answer, "redacted") else answer
            kept = idempotency.Kept(status, encode(redacted), etag_of(answer))
            idempotency.keep(conn, **about, answer=kept, at=ask.now)
            return answer, False

        with self._authority.in_transactions(claim) as judged:
            answer, replayed = await self._store.write(change)
        if replayed:
            headers = {"Idempotent-Replayed": "true"}
            if answer.etag:
                headers["ETag"] = answer.etag
            return Answer(answer.status, answer.body, headers=headers)
        for do in ask.afterwards:
            do()
        for complete in ask.completions:
            answer = await complete(answer)
        return answer

    async def _rehearse(self, handler: Handler, claim: Claim, ask: Ask) -> Any:
        """Do the write and undo it: a dry run sees every check that the write would."""

        def change(conn: Connection) -> Any:
            raise _RehearsedError(handler(conn, judged(ask)))

        try:
            with self._authority.in_transactions(claim) as judged:
                return await self._store.write(change)
        except _RehearsedError as end:
            return Answer(200, encode(end.answer))

    async def _internal(
        self, handler: AsyncHandler, wanted: type | None, request: web.Request
    ) -> web.StreamResponse:
        uid = peer_uid(request)
        if uid is None or uid != os.geteuid():
            raise refusal("not-an-operator", "this path is for the pilot's own processes")
        with self._until_stopped():
            raw = await request_parsing.body(request, MAX_INTERNAL_BYTES)
        ask = Ask(
            service=self.service,
            route=None,
            operator=Operator(name="service", uid=uid, roles=[]),
            uid=uid,
            path=dict(request.match_info),
            query=dict(request.query),
            body=None if wanted is None else loosely(raw, wanted),
            raw=raw,
            revision=None,
            request_id=_request_id.get(),
            validate_only=False,
            now=now(),
            request=request,
        )
        if request.method != "GET":
            return answered(await handler(ask), None)
        with self._until_stopped():
            return answered(await handler(ask), None)

    async def _outbox(self, ask: Ask) -> outbox.OutboxPage:
        """Answer the events after a number; with `wait`, once there is one."""
        after = request_parsing.number(ask.query, "after", 0)
        limit = min(request_parsing.number(ask.query, "limit", 500), 2000)
        wait = min(request_parsing.number(ask.query, "wait", 0), 30)

        def some(conn: Connection) -> outbox.OutboxPage | None:
            found = outbox.after(conn, after, limit)
            return found if found.items else None

        if wait and (found := await self._store.until(outbox.TOPIC, some, wait)) is not None:
            return found
        return await self._store.read(lambda conn: outbox.after(conn, after, limit))

    async def _forget(self) -> None:
        while True:
            with suppress(PilotError):
                await self._store.write(lambda conn: idempotency.forget(conn, now()))
            await asyncio.sleep(FORGET_SECONDS)

    def _user_peer(self, sock: socket.socket, _address: object) -> Peer:
        """Return who is at the other end of our Unix socket."""
        assert self._listener is not None
        uid = uid_of(sock)
        return self._listener.connections.of_user(
            uid, is_own=uid == os.geteuid(), is_operator=self._operators.is_operator(uid)
        )

    async def _unready(self) -> str:
        """Return why the service cannot do its work, or an empty string."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._store.read(lambda conn: conn.execute(text("SELECT 1")).scalar())
        except (PilotError, TimeoutError):
            return "the store does not answer"
        return ""


class _RehearsedError(Exception):
    """Ends a dry run's transaction, so that it is undone, with the answer it reached."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer


def _refused(
    status: HTTPStatus, said: str, _path: str, request: web.BaseRequest | None
) -> web.Response:
    """Return the problem for a request that no handler saw."""
    request_id = new_id("request") if request is None else request_parsing.request_id(request)
    answer = problem(refusal(_REFUSALS[status], said), request_id)
    answer.headers["X-Request-Id"] = request_id
    answer.headers["Server"] = "pilotctl"
    return answer


def _is_privileged(request: web.BaseRequest) -> bool:
    connection = listening.connection_of(request)
    return connection is not None and connection.peer.privileged


def _address_peer(listener: Listener, listen: Listen) -> Callable[[socket.socket, Any], Peer]:
    """Return who calls over TCP: in clear that is the proxy on this machine, for everybody."""

    def peer(_sock: socket.socket, address: Any) -> Peer:
        return listener.connections.of_address(str(address[0]), is_proxy=listen.certificate is None)

    return peer


def _changes(route: Route[Any]) -> bool:
    """Whether it changes anything: a POST for viewers asks a question too long for a URL."""
    return route.writes and route.role is not Role.VIEWER


def _digest(ask: Ask) -> str:
    """Name what was asked for, however it was spelled.

    The revision is not part of it: a command run again plans on what it changed itself.
    """
    told = (
        ask.request.method,
        ask.request.path,
        sorted(ask.query.items()),
        ask.body if ask.body is not None else ask.raw.decode("latin-1"),
    )
    return hashlib.sha256(encode(told)).hexdigest()
