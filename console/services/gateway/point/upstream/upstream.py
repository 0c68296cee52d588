"""The model APIs behind the gateway: one call out, whatever stands there.

The caller's key, headers and address stay here; the upstream gets its own key and the
judged body, and its key never comes back. An upstream may be slow, broken, answer HTML,
hang up or never stop: each is one named failure, and no answer is held in memory beyond a
bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from typing import NamedTuple, Protocol

import aiohttp
import msgspec

from console.model.access import RouteName
from console.services.gateway.point.dialect.request_body import Body
from console.services.gateway.point.upstream import builtin
from console.services.gateway.point.upstream.key_guard import KeyGuard
from console.services.gateway.point.upstream.upstream_key import NO_KEY, UpstreamKey
from console.services.gateway.point.upstream.upstream_watch import UpstreamWatch

MAX_ANSWER_BYTES = 32 * 1024 * 1024
_IDLE_SECONDS = 4.0
"""Idle connections are let go before common servers do (5 s), so a call rarely meets a dead one."""

_END_SECONDS = 1.0
"""How long the end of a finished answer is waited for, to keep its connection."""

_PATHS = {
    RouteName.CHAT: "/chat/completions",
    RouteName.MESSAGES: "/messages",
    RouteName.RESPONSES: "/responses",
}
_ROUTES = {
    "openai": frozenset({RouteName.CHAT, RouteName.RESPONSES}),
    "anthropic": frozenset({RouteName.MESSAGES}),
    "builtin": frozenset(RouteName),
}
ANTHROPIC_VERSION = "2023-06-01"


class UpstreamFailedError(Exception):
    """The upstream gave no answer that can be passed on. `code` is one of the table's.

    `status` is what the caller gets; `error_type` what the record says of it
    (OpenTelemetry `error.type`); `retry_after` is the upstream's own header. `answer_began`
    tells that it said 200 first.
    """

    def __init__(
        self,
        code: str,
        error_type: str,
        *,
        status: int | None = None,
        message: str = "",
        retry_after: str = "",
        answer_began: bool = False,
    ) -> None:
        super().__init__(f"{code}: {error_type}")
        self.code = code
        self.error_type = error_type
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.answer_began = answer_began


class UpstreamSpec(NamedTuple):
    """What the settings say of one upstream. `kind` is `builtin`, `openai` or `anthropic`."""

    name: str
    kind: str
    base_url: str = ""
    key: UpstreamKey = NO_KEY
    chunk_seconds: float = 0.02
    connect_seconds: float = 5.0
    read_seconds: float = 120.0


class Reply(Protocol):
    """An upstream's answer with status 200, being read."""

    @property
    def echoed_key(self) -> bool:
        """Whether the upstream's own key was in it, and was taken out."""
        ...

    async def read(self) -> bytes:
        """Return the whole body."""
        ...

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Iterate over the bytes as they come."""
        ...

    def failed(self, why: str, /) -> None:
        """Note that what it said is no answer: the upstream is not well."""
        ...

    def finish(self) -> None:
        """Let go of an answer that is finished, though its last bytes may still be to come."""
        ...

    def close(self) -> None:
        """Let go; where it is not finished the connection is dropped, so the upstream stops."""
        ...


class _Said(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Said | None = None


_error_body = msgspec.json.Decoder(_ErrorBody)


class Upstreams:
    """All configured upstreams, over one pool of kept connections."""

    def __init__(self, specs: Iterable[UpstreamSpec] = ()) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._ending: set[asyncio.Task[None]] = set()
        """Finished answers whose end is still to be read, so that the connection is kept."""
        self._watches: dict[str, UpstreamWatch] = {}
        for each in specs:
            self._watch(each)

    @property
    def watches(self) -> list[UpstreamWatch]:
        """What is known of each."""
        return list(self._watches.values())

    def _watch(self, spec: UpstreamSpec) -> UpstreamWatch:
        known = self._watches.get(spec.name)
        if known is None:
            known = UpstreamWatch(spec.name, spec.kind, spec.base_url, spec.key)
            self._watches[spec.name] = known
        return known

    def serves(self, spec: UpstreamSpec, route: RouteName) -> bool:
        """Tell whether an upstream of this kind speaks the route."""
        return route in _ROUTES.get(spec.kind, frozenset())

    async def open(self, spec: UpstreamSpec, body: Body, model: str, request_id: str) -> Reply:
        """Send one call and wait for the head of its answer. Raises `UpstreamFailedError`."""
        watch = self._watch(spec)
        if spec.kind == "builtin":
            watch.succeeded()
            return _Builtin(body, spec.chunk_seconds)
        try:
            return _Http(*await self._open(spec, body, model, request_id), watch, self._ending)
        except UpstreamFailedError as failed:
            _note(watch, failed)
            raise

    async def _open(
        self, spec: UpstreamSpec, body: Body, model: str, request_id: str
    ) -> tuple[aiohttp.ClientResponse, KeyGuard]:
        session = self._session or self._connect()
        key = spec.key.current()
        guard = KeyGuard(key)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=spec.connect_seconds, sock_read=spec.read_seconds
        )
        try:
            answer = await session.post(
                spec.base_url.rstrip("/") + _PATHS[body.route],
                data=body.encode(model),
                headers=_headers(spec, body, request_id, key),
                timeout=timeout,
                allow_redirects=False,
            )
        except aiohttp.ServerTimeoutError:
            raise UpstreamFailedError("upstream_timeout", "timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamFailedError("upstream_unreachable", type(error).__name__) from None
        if answer.status != 200:
            if answer.status in {401, 403}:
                spec.key.doubt()
            try:
                raise await _refused(answer, guard)
            finally:
                answer.close()
        wanted = "text/event-stream" if body.stream else "application/json"
        if answer.content_type != wanted:
            answer.close()
            kind = guard.clean_text(answer.content_type)[:60]
            said = f"content-type {kind}"
            raise UpstreamFailedError("upstream_malformed", said, answer_began=True)
        return answer, guard

    def _connect(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            auto_decompress=True,
            read_bufsize=64 * 1024,
        )
        return self._session

    async def close(self) -> None:
        """Drop every connection."""
        for task in list(self._ending):
            task.cancel()
        if self._session is not None:
            await self._session.close()


def _note(watch: UpstreamWatch, failed: UpstreamFailedError) -> None:
    """Note a failure that is the upstream's own. A fault of the request, or a limit, is not."""
    if failed.status in {400, 409, 413, 422, 429}:
        return
    said = failed.error_type
    words = {
        "upstream_unreachable": f"cannot be reached: {said}",
        "upstream_timeout": "gives no answer in time",
        "upstream_malformed": f"answers what cannot be passed on: {said}",
        "upstream_broken": f"breaks off in the middle of an answer: {said}",
        "upstream_error": f"refuses our key: it answers {said}"
        if said in {"401", "403"}
        else f"answers {said}",
    }
    watch.failed(
        words.get(failed.code, failed.code), unreachable=failed.code == "upstream_unreachable"
    )


class _Http:
    """An answer over HTTP."""

    __slots__ = ("_answer", "_ending", "_failed", "_finished", "_guard", "_heard", "_watch")

    def __init__(
        self,
        answer: aiohttp.ClientResponse,
        guard: KeyGuard,
        watch: UpstreamWatch,
        ending: set[asyncio.Task[None]],
    ) -> None:
        self._answer = answer
        self._guard = guard
        self._watch = watch
        self._ending = ending
        self._heard = self._failed = self._finished = False

    @property
    def echoed_key(self) -> bool:
        return self._guard.found

    async def read(self) -> bytes:
        length = self._answer.content_length
        if length is not None and length > MAX_ANSWER_BYTES:
            raise UpstreamFailedError("upstream_malformed", "answer too long")
        parts = []
        held = 0
        async for part in self.chunks():
            held += len(part)
            if held > MAX_ANSWER_BYTES:
                raise UpstreamFailedError("upstream_malformed", "answer too long")
            parts.append(part)
        return b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async for part in self._answer.content.iter_any():
                self._heard = True
                if clean := self._guard.feed(part):
                    yield clean
            if rest := self._guard.rest():
                yield rest
        except aiohttp.ServerTimeoutError:
            self.failed("stops in the middle of an answer")
            raise UpstreamFailedError("upstream_timeout", "timeout") from None
        except (aiohttp.ClientError, OSError) as error:
            self.failed(f"breaks off in the middle of an answer: {type(error).__name__}")
            raise UpstreamFailedError("upstream_broken", type(error).__name__) from None

    def failed(self, why: str, /) -> None:
        if not self._failed:
            self._failed = True
            self._watch.failed(why)

    def finish(self) -> None:
        if self._answer.content.at_eof():
            return
        self._finished = True
        task = asyncio.create_task(self._end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self) -> None:
        """Read to the end for a moment; a connection that stays open then is dropped."""
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(_END_SECONDS):
                while await self._answer.content.readany():
                    pass
        self._let_go()

    def close(self) -> None:
        if self._heard and not self._failed:
            self._watch.succeeded()
        if not self._finished:
            self._let_go()

    def _let_go(self) -> None:
        # Gives the connection back where the body was read to its end, else closes it.
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()


class _Builtin:
    """An answer of the built-in upstream, which has no key."""

    __slots__ = ("_body", "_pause")
    echoed_key = False

    def __init__(self, body: Body, pause: float) -> None:
        self._body = body
        self._pause = pause

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        return builtin.whole(self._body)

    def chunks(self) -> AsyncGenerator[bytes, None]:
        return builtin.stream(self._body, self._pause)

    def failed(self, _why: str, /) -> None:
        return

    def finish(self) -> None:
        return

    def close(self) -> None:
        return


def _headers(spec: UpstreamSpec, body: Body, request_id: str, key: str) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if body.stream else "application/json",
        "User-Agent": "pilotctl-gateway",
        "X-Request-Id": request_id,
    }
    if spec.kind == "anthropic":
        headers["anthropic-version"] = ANTHROPIC_VERSION
        if key:
            headers["x-api-key"] = key
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


async def _refused(answer: aiohttp.ClientResponse, guard: KeyGuard) -> UpstreamFailedError:
    """Turn an answer that is no 200 into what the caller is told.

    A fault of the request keeps its status and words; 401, 403, 404 and redirects are
    this installation's own trouble with its upstream, so they are a bad gateway.
    """
    status = answer.status
    said = b""
    try:
        said = await asyncio.wait_for(answer.content.read(64 * 1024), 2.0)
        error = _error_body.decode(said).error
        words = guard.clean_text(error.message)[:1000] if error else ""
    except (msgspec.MsgspecError, UnicodeDecodeError, aiohttp.ClientError, OSError, TimeoutError):
        words = ""
    if status in {400, 409, 413, 422}:
        return UpstreamFailedError("upstream_error", str(status), status=status, message=words)
    if status in {429, 503, 529}:
        return UpstreamFailedError(
            "upstream_error",
            str(status),
            status=429 if status == 429 else 503,
            message=words if status == 429 else "",
            retry_after=guard.clean_text(answer.headers.get("Retry-After", ""))[:40],
        )
    return UpstreamFailedError("upstream_error", str(status), status=504 if status == 504 else 502)
