"""The data-plane listener: what partners' SDKs talk to.

Every request gets an id, one decision and one call record. The record is on disk before
an unstreamed answer or a stream's first byte leaves, and every byte that leaves was
allowed at that very moment.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from contextlib import aclosing, suppress
from typing import NamedTuple

from aiohttp import web

from console.errors import PilotError
from console.model.access import RouteName
from console.model.ids import new_id
from console.model.traffic import Check
from console.services.gateway.decision import probe_token
from console.services.gateway.decision.content_crypto import ContentKeys
from console.services.gateway.decision.decide import MODELS_ROUTE, Asked, Verdict
from console.services.gateway.decision.refusal_codes import CODES
from console.services.gateway.point import caller_responses, limiter
from console.services.gateway.point.call_draft import Draft
from console.services.gateway.point.calls_in_flight import Running
from console.services.gateway.point.content_capture import keeping
from console.services.gateway.point.dialect import dialects, responses_api
from console.services.gateway.point.dialect.request_body import PATHS, Body, RefusedError
from console.services.gateway.point.dialect.sse import TooLongError
from console.services.gateway.point.dialect.usage_meter import (
    Meter,
    NotAnAnswerError,
    UpstreamSaidError,
)
from console.services.gateway.point.intake.caller_address import Callers
from console.services.gateway.point.point import Point
from console.services.gateway.point.request_intake import body_of, earlier_of, naming_of
from console.services.gateway.point.spool import Spool
from console.services.gateway.point.upstream.stream_passage import REST_SECONDS, Passage
from console.services.gateway.point.upstream.upstream import (
    Reply,
    UpstreamFailedError,
    Upstreams,
    UpstreamSpec,
)
from console.services.gateway.point.upstream.upstream_routing import Routing
from console.services.listening import mark_known
from console.services.safety_identifier import hash_of
from console.services.secret_shapes import mask_secrets

_BEFORE_SCOPE = frozenset({"lease", "credential", "tombstone", "locks", "grant"})
"""Checks whose refusal goes before a fault of the request itself."""

_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


_LOG = logging.getLogger(__name__)


class Keys(NamedTuple):
    """The point's secrets, each from its file in the installation's keys."""

    probe: bytes
    principals: bytes
    """The salt of principals."""
    answers: bytes


class Listener:
    """Answers the data plane of one point."""

    def __init__(
        self,
        point: Point,
        spool: Spool,
        upstreams: Upstreams,
        routing: Routing,
        keys: Keys,
        *,
        limiter: limiter.Limiter,
        callers: Callers,
        contents: ContentKeys,
    ) -> None:
        self._point = point
        self._spool = spool
        self._upstreams = upstreams
        self._routing = routing
        self._keys = keys
        self._limiter = limiter
        self._callers = callers
        self._contents = contents

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        draft = Draft(
            id=new_id("call"),
            point=self._point.name,
            path=caller_responses.clean(request.path, 100),
            dialect=dialects.dialect_of(request.path, request.headers),
            address=self._callers.address(request.transport, request.remote or "", request.headers),
            user_agent=caller_responses.clean(request.headers.get("User-Agent", ""), 200),
        )
        try:
            return await self._answer(request, draft)
        except ConnectionError:
            raise
        except Exception as error:
            _LOG.error("call %s failed in the point", draft.id, exc_info=error)
            if draft.recorded is not None:
                raise  # an answer has begun, or its record stands: the connection ends
            return await self._refuse(request, draft, "internal_error", "")

    async def _answer(self, request: web.BaseRequest, draft: Draft) -> web.StreamResponse:
        """Decide about one request, and serve it or refuse it."""
        token = dialects.token_of(request.headers).encode("utf-8", "replace").decode()
        if token.startswith(probe_token.PREFIX):
            question = probe_token.read(self._keys.probe, token, time.time())
            if question is not None and PATHS.get(request.path) == question.route:
                mark_known(request, probe_token.PREFIX)
                return self._probed(draft, question)
        asked = Asked(
            route=PATHS.get(request.path, ""),
            key_sha256=hashlib.sha256(token.encode()).hexdigest() if token else "",
            capability=caller_responses.clean(request.headers.get("x-pilot-capability", ""), 64),
            address=draft.address,
        )
        if request.path == "/v1/models" and request.method == "GET":
            return await self._models(draft, asked._replace(route=MODELS_ROUTE))
        if not asked.route or request.method != "POST":
            draft.attribute(self._point.snapshot, asked)
            said = f"{request.method} {draft.path} is not served here."
            return await self._refuse(request, draft, "route_unknown", said)
        if self._point.leaving:
            draft.attribute(self._point.snapshot, asked)
            return await self._refuse(request, draft, "point_fenced", "This point is stopping.")
        early = self._point.judge(asked)
        if early.key is None:
            draft.decided(asked, early, self._point.snapshot.sequence)
            return await self._decline(request, draft, early)
        mark_known(request, early.key.partner)
        try:
            body = await body_of(request, RouteName(asked.route))
        except RefusedError as refused:
            asked = asked._replace(model=mask_secrets(refused.model))
            verdict = self._point.judge(asked)
            draft.decided(asked, verdict, self._point.snapshot.sequence)
            if not verdict.allow and verdict.checks[-1].name in _BEFORE_SCOPE:
                return await self._decline(request, draft, verdict)
            return await self._refuse(request, draft, refused.code, refused.message)
        if body.user:
            draft.principal = hash_of(self._keys.principals, early.key.partner, body.user)
        asked = asked._replace(model=mask_secrets(body.model), principal=draft.principal)
        draft.stream = body.stream
        verdict = self._point.judge(asked)
        draft.decided(asked, verdict, self._point.snapshot.sequence)
        if not verdict.allow:
            return await self._decline(request, draft, verdict)
        routed = self._routing.upstream_of(body.model)
        if routed is None:
            return await self._refuse(request, draft, "model_unmapped", "")
        spec, there = routed
        draft.upstream, draft.is_builtin = spec.name, spec.kind == "builtin"
        if not self._upstreams.serves(spec, body.route):
            return await self._refuse(
                request, draft, "route_unknown", "This model is not served on this route."
            )
        naming = naming_of(self._keys.answers, verdict, body, spec.name)
        body = body.naming(draft.principal)
        if body.previous:
            earlier = earlier_of(self._keys.answers, verdict, body, spec.name)
            if earlier is None:
                named = caller_responses.clean(body.previous, 200)
                said = f"Previous response with id '{named}' not found."
                return await self._refuse(request, draft, "answer_unknown", said)
            body = body.following(earlier)
        draft.kept = keeping(self._contents, verdict.grant, await request.read(), body)
        return await self._serve(
            request, draft, asked, verdict, body=body, spec=spec, there=there, naming=naming
        )

    async def _serve(
        self,
        request: web.BaseRequest,
        draft: Draft,
        asked: Asked,
        verdict: Verdict,
        *,
        body: Body,
        spec: UpstreamSpec,
        there: str,
        naming: responses_api.Naming | None,
    ) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._limiter.price(draft, body.model)
        meter = Meter(body.route, body.size, body.numbers.get("n", 1))
        running = Running(
            id=draft.id,
            asked=asked,
            verdict=verdict,
            task=task,
            drop=caller_responses.dropper(request),
        )
        self._point.calls.add(running)
        if isinstance(request.transport, asyncio.WriteTransport):
            # Nothing waits in this process: what the caller has not taken is not yet let go.
            request.transport.set_write_buffer_limits(high=0)
        reply: Reply | None = None
        sent: web.StreamResponse | None = None
        try:
            try:
                body = await self._limiter.begin(draft, verdict, body)
                draft.meter = meter
                if body.stream or draft.held is not None:
                    await self._spool.begin_now(draft.running())
                else:
                    self._spool.begin(draft.running())
                began = time.perf_counter()
                reply = await self._upstreams.open(spec, body, there, draft.id)
                draft.answer_began = True
                if body.stream:
                    draft.upstream_ms = (time.perf_counter() - began) * 1000
                    if not self._point.may_go_on(running):
                        return await self._cut(request, draft, running, None)
                    sent = web.StreamResponse(
                        headers={
                            **_STREAM_HEADERS,
                            **caller_responses.ids(draft.id),
                            **limiter.headers(draft.gauges),
                        }
                    )
                    await sent.prepare(request)
                    return await self._stream(
                        request,
                        draft,
                        running,
                        reply=reply,
                        sent=sent,
                        wants_usage=body.wants_usage,
                        naming=naming,
                    )
                whole = await reply.read()
                draft.upstream_ms = (time.perf_counter() - began) * 1000
                self._note_echo(draft, reply)
                meter.whole(whole)
                if naming is not None:
                    whole = naming.whole(whole)
                if draft.kept is not None:
                    draft.kept.answered(whole)
            except asyncio.CancelledError:
                if running.cut is None:
                    draft.code = "caller_gone"
                    self._finish(draft)
                    raise
                task.uncancel()
                return await self._cut(request, draft, running, sent)
            except ConnectionError:
                draft.code = "caller_gone"
                await self._settle(draft, running)
                raise
            except limiter.LimitedError as limited:
                return await self._limited(draft, limited)
            except PilotError:
                return await self._refuse(request, draft, "record_failed", "")
            except (
                UpstreamFailedError,
                NotAnAnswerError,
                TooLongError,
                UpstreamSaidError,
            ) as failed:
                if reply is not None:
                    reply.failed("answers what cannot be passed on")
                return await self._failed(request, draft, running, failed, sent)
            except Exception as error:
                if sent is None:
                    raise
                _LOG.error("call %s failed in the point", draft.id, exc_info=error)
                draft.code = "internal_error"
                with suppress(PilotError):
                    await self._settle(draft, running)
                kind = CODES[draft.code]
                await caller_responses.end_stream(request, sent, draft, kind.status, kind.says)
                return sent
            if not self._point.may_go_on(running):
                return await self._cut(request, draft, running, None)
            try:
                await self._settle(draft, running)
            except PilotError:
                return caller_responses.error(
                    draft, 503, "record_failed", CODES["record_failed"].says
                )
            if not self._point.may_go_on(running):
                # The record of what the upstream did stands. The answer is withheld, and
                # that is a refusal with a record of its own.
                again = draft.again()
                return await self._cut(request, again, running, None)
            # Written here, so that the call counts as in flight until the last byte has left.
            answer = caller_responses.whole(draft, whole)
            await answer.prepare(request)
            await answer.write_eof()
            return answer
        finally:
            if reply is not None:
                reply.close()
            self._point.calls.remove(running)
            self._limiter.let_go(draft)

    def _note_echo(self, draft: Draft, reply: Reply) -> None:
        """Note in the call's record that the upstream sent our key back."""
        if reply.echoed_key and not draft.error_type:
            draft.error_type = "upstream key in answer"
            _LOG.warning("upstream %s sends its key back: it was taken out", draft.upstream)

    async def _limited(self, draft: Draft, limited: limiter.LimitedError) -> web.StreamResponse:
        """Refuse a call that a limit has no room for."""
        draft.code = limited.code
        draft.checks = [
            *draft.checks, Check(name="limits", passed=False, found=limited.found or limited.code)
        ]  # fmt: skip
        with suppress(PilotError):
            await self._finish(draft)
        status = CODES[limited.code].status
        again = status == 503 or limited.retry_after > 0
        answer = caller_responses.error(draft, status, limited.code, limited.message, retry=again)
        answer.headers.update(limiter.headers(limited.gauges))
        if limited.retry_after:
            answer.headers["Retry-After"] = str(limited.retry_after)
        return answer

    async def _stream(
        self,
        request: web.BaseRequest,
        draft: Draft,
        running: Running,
        *,
        reply: Reply,
        sent: web.StreamResponse,
        wants_usage: bool,
        naming: responses_api.Naming | None,
    ) -> web.StreamResponse:
        """Pass events on, each as it comes. A stream that ends early ends with an error event.

        The event that ends the answer ends the stream: the record is handed over before that
        event is written, so a caller who hangs up on reading it hangs up on a finished call.
        """
        meter = draft.meter
        assert meter is not None
        passage = Passage(meter, naming, wants_usage=wants_usage, dialect=draft.dialect)
        loop = asyncio.get_running_loop()
        left = REST_SECONDS

        async def write(out: bytes) -> None:
            if draft.kept is not None:
                draft.kept.answered(out)
            self._note_echo(draft, reply)
            if meter.ended:
                self._finish(draft)
            await sent.write(out)
            await request.writer.drain()

        try:
            async with asyncio.timeout(None) as rest, aclosing(reply.chunks()) as chunks:
                async for chunk in chunks:
                    if (deadline := rest.when()) is not None:
                        left = deadline - loop.time()  # what says nothing wins no time
                    out = passage.feed(chunk)
                    if not self._point.may_go_on(running):
                        return await self._cut(request, draft, running, sent)
                    rest.reschedule(None)  # a caller that reads slowly keeps no usage away
                    if out:
                        await write(out)
                    if meter.ended:
                        break
                    if meter.finished:
                        rest.reschedule(loop.time() + left)
        except (TimeoutError, UpstreamFailedError):
            if not meter.finished:
                raise
        if not meter.ended:
            last = passage.last()
            if not self._point.may_go_on(running):
                return await self._cut(request, draft, running, sent)
            await write(last)
        with suppress(PilotError):  # the row of its beginning stays, and tells of it
            await self._settle(draft, running)
        if not self._point.may_go_on(running):
            running.drop()
            return sent
        await sent.write_eof()
        reply.finish()
        return sent

    async def _cut(
        self,
        request: web.BaseRequest,
        draft: Draft,
        running: Running,
        sent: web.StreamResponse | None,
    ) -> web.StreamResponse:
        """Answer for a call that was ended by a change, a lapse or the lost lease."""
        verdict = running.cut
        assert verdict is not None
        draft.refused(verdict)
        if sent is None:
            done = self._finish(draft)
            with suppress(PilotError):
                await asyncio.shield(done)
            return caller_responses.refusal(draft, verdict)
        self._finish(draft)
        await caller_responses.end_stream(
            request, sent, draft, CODES[verdict.code].status, verdict.message
        )
        return sent

    async def _failed(
        self,
        request: web.BaseRequest,
        draft: Draft,
        running: Running,
        failed: UpstreamFailedError | NotAnAnswerError | TooLongError | UpstreamSaidError,
        sent: web.StreamResponse | None,
    ) -> web.StreamResponse:
        """Answer for an upstream that gave no answer, or stopped in the middle of one."""
        status: int | None = None
        words, retry_after = "", ""
        match failed:
            case UpstreamFailedError():
                draft.code, draft.error_type = failed.code, failed.error_type
                status, words, retry_after = failed.status, failed.message, failed.retry_after
                draft.answer_began = draft.answer_began or failed.answer_began
            case NotAnAnswerError() | TooLongError():
                draft.code, draft.error_type = "upstream_malformed", "malformed"
            case UpstreamSaidError():
                draft.code, draft.error_type = "upstream_error", "error in answer"
                words = str(failed)[:1000]
        draft.status = status or CODES[draft.code].status
        message = words or CODES[draft.code].says
        with suppress(PilotError):
            await self._settle(draft, running)
        if sent is not None:
            await caller_responses.end_stream(request, sent, draft, draft.status, message)
            return sent
        answer = caller_responses.error(
            draft, draft.status, draft.code, message, retry=draft.status in {429, 503}
        )
        if retry_after:
            answer.headers["Retry-After"] = retry_after
        return answer

    async def _models(self, draft: Draft, asked: Asked) -> web.StreamResponse:
        verdict = self._point.judge(asked)
        draft.decided(asked, verdict, self._point.snapshot.sequence)
        if not verdict.allow:
            draft.refused(verdict)
        with suppress(PilotError):
            await self._finish(draft)
        verdict = self._point.judge(asked)
        if not verdict.allow:
            return caller_responses.refusal(draft, verdict)
        return caller_responses.whole(
            draft,
            dialects.model_list(
                draft.dialect,
                [
                    model
                    for model in self._point.open_models(asked)
                    if self._routing.upstream_of(model) is not None
                ],
            ),
        )

    def _probed(self, draft: Draft, question: probe_token.Probe) -> web.StreamResponse:
        """Answer a probe of gateway control: the decision, and nothing behind it."""
        self._point.probes += 1
        verdict = self._point.judge(
            Asked(
                route=question.route,
                model=question.model,
                credential_id=question.credential,
                capability=question.capability,
                address=question.address or draft.address,
                principal=question.principal,
            )
        )
        answer: web.StreamResponse
        if verdict.allow:
            answer = caller_responses.whole(draft, b"{}")
            answer.headers[probe_token.HEADER] = probe_token.WOULD_SERVE
        else:
            answer = caller_responses.refusal(draft, verdict)
            answer.headers[probe_token.HEADER] = "refused"
        answer.headers["x-pilotctl-point"] = self._point.name
        answer.headers["x-pilotctl-sequence"] = str(self._point.snapshot.sequence)
        return answer

    async def _decline(
        self, request: web.BaseRequest, draft: Draft, verdict: Verdict
    ) -> web.StreamResponse:
        draft.refused(verdict)
        return await self._refuse(request, draft, verdict.code, verdict.message)

    async def _refuse(
        self, request: web.BaseRequest, draft: Draft, code: str, message: str
    ) -> web.StreamResponse:
        """Record a refusal, then send it. A refusal that cannot be recorded is still one."""
        draft.code = code
        with suppress(PilotError):
            await self._finish(draft)
        answer = caller_responses.error(
            draft, CODES[code].status, code, message or CODES[code].says
        )
        if self._point.leaving or (request.can_read_body and not request.content.at_eof()):
            answer.force_close()  # the rest of the body is not read
        return answer

    def _finish(self, draft: Draft) -> asyncio.Future[None]:
        """Hand the record over, once."""
        if draft.recorded is None:
            record = draft.finished()
            content = b""
            if draft.kept is not None and record.ended_at is not None:
                content = draft.kept.sealed(draft.id, record.ended_at)
            draft.recorded = self._spool.end(record, content)
        return draft.recorded

    async def _settle(self, draft: Draft, running: Running) -> None:
        """Write the record of a call in flight; a change meanwhile waits until that is done."""
        running.committing = True
        try:
            await self._finish(draft)
        finally:
            running.committing = False
