"""What is answered to a request that is no call yet: it has no decision and no record."""

from __future__ import annotations

import time
from http import HTTPStatus

from aiohttp import web

from console.model.ids import new_id
from console.services.gateway.decision import probe_token
from console.services.gateway.point.dialect import dialects

_CODES = {
    HTTPStatus.BAD_REQUEST: "request_invalid",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "encoding_unknown",
    HTTPStatus.SERVICE_UNAVAILABLE: "point_busy",
    HTTPStatus.INTERNAL_SERVER_ERROR: "point_failed",
}


def refuse(
    status: HTTPStatus, said: str, path: str, request: web.BaseRequest | None
) -> web.Response:
    """Return the refusal in the caller's dialect, as far as its path and headers tell it."""
    dialect = dialects.dialect_of(path, {} if request is None else request.headers)
    code, request_id = _CODES[status], new_id("call")
    body = dialects.error_body(
        dialect, status=status, code=code, message=said, request_id=request_id
    )
    busy = status is HTTPStatus.SERVICE_UNAVAILABLE
    headers = dialects.error_headers(code, request_id, retry=busy)
    return web.Response(body=body, status=status, content_type=dialects.JSON, headers=headers)


def is_probe(request: web.BaseRequest, key: bytes) -> bool:
    """Tell whether a request is gateway control's probe, by the key that they share."""
    token = dialects.token_of(request.headers)
    return (
        token.startswith(probe_token.PREFIX)
        and probe_token.read(key, token, time.time()) is not None
    )
