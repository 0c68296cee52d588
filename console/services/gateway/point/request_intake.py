"""What a request is before it is served: its body, and the answers that it goes on from."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge
from aiohttp.web_protocol import RequestPayloadError

from console.model.access import RouteName
from console.services.gateway.decision.decide import Verdict
from console.services.gateway.point.dialect import responses_api
from console.services.gateway.point.dialect.request_body import MAX_BYTES, Body, RefusedError, read
from console.services.listening import BrokenBodyError, TooSlowError, invite_body


def naming_of(
    key: bytes, verdict: Verdict, body: Body, upstream: str
) -> responses_api.Naming | None:
    """Return how the answer is written for its caller, where that differs."""
    if body.route is not RouteName.RESPONSES or verdict.grant is None:
        return None
    return responses_api.Naming(key, verdict.grant.id, upstream, body.previous, body.user)


def earlier_of(key: bytes, verdict: Verdict, body: Body, upstream: str) -> str | None:
    """Return the upstream's id of the answer that a call goes on from, if the grant made it."""
    grant = verdict.grant
    grants = (grant.id, *grant.lineage) if grant is not None else ()
    return responses_api.opened(key, grants, upstream, body.previous)


async def body_of(request: web.BaseRequest, route: RouteName) -> Body:
    """Read and take apart the body. Raises `RefusedError`."""
    for header in ("anthropic-beta", "openai-beta"):
        if request.headers.get(header):
            raise RefusedError("feature_unknown", f"`{header}` features are not offered here.")
    if request.query_string:
        raise RefusedError("feature_unknown", "Query parameters are not offered here.")
    if (request.content_length or 0) > MAX_BYTES:
        raise RefusedError("too_large", "")
    try:
        await invite_body(request)
        raw = await request.read()
    except HTTPRequestEntityTooLarge:
        raise RefusedError("too_large", "") from None
    except TooSlowError:
        raise RefusedError("request_invalid", "The body did not arrive in time.") from None
    except (BrokenBodyError, RequestPayloadError, PayloadEncodingError):
        raise RefusedError("request_invalid", "The body could not be read to its end.") from None
    return read(route, raw)
