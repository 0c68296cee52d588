"""What the listener writes: errors in the caller's dialect, and the end of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from console.services.gateway.decision.decide import Verdict
from console.services.gateway.decision.refusal_codes import CODES
from console.services.gateway.point import limiter
from console.services.gateway.point.call_draft import Draft
from console.services.gateway.point.dialect import dialects
from console.services.secret_shapes import mask_secrets


def clean(text: str, most: int) -> str:
    """Return a caller's text as it can be stored: no lone surrogates, and no secret of ours."""
    return mask_secrets(text[:most].encode("utf-8", "replace").decode())


async def end_stream(
    request: web.BaseRequest, sent: web.StreamResponse, draft: Draft, status: int, message: str
) -> None:
    """End a stream with an error event, at once; a caller that does not read is dropped."""
    transport = request.transport
    if transport is None or transport.get_write_buffer_size() > 0:
        dropper(request)()
        return
    event = dialects.error_event(
        draft.dialect, status=status, code=draft.code, message=message, request_id=draft.id
    )
    sent.force_close()
    with suppress(ConnectionError):
        await sent.write(event)
        await sent.write_eof()


def dropper(request: web.BaseRequest) -> Callable[[], None]:
    """Return what closes the caller's connection with all that is buffered for it."""
    transport = request.transport

    def drop() -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()

    return drop


def ids(request_id: str) -> dict[str, str]:
    """Return the headers that name a call, under both SDKs' names."""
    return {"x-request-id": request_id, "request-id": request_id}


def whole(draft: Draft, body: bytes) -> web.Response:
    """Return a JSON answer with the call's id, and how its limits stand."""
    headers = {**ids(draft.id), **limiter.headers(draft.gauges)}
    return web.Response(body=body, content_type=dialects.JSON, headers=headers)


def refusal(draft: Draft, verdict: Verdict) -> web.Response:
    """Return the answer to a call that the decision refused."""
    return error(draft, CODES[verdict.code].status, verdict.code, verdict.message)


def error(
    draft: Draft, status: int, code: str, message: str, *, retry: bool = False
) -> web.Response:
    """Return an error answer. `retry` tells the SDK whether to try again by itself."""
    body = dialects.error_body(
        draft.dialect, status=status, code=code, message=message, request_id=draft.id
    )
    return web.Response(
        body=body,
        status=status,
        content_type=dialects.JSON,
        headers=dialects.error_headers(code, draft.id, retry=retry),
    )
