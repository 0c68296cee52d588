"""Turning what a handler returned, or what went wrong, into an HTTP response."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from console.api.problems import as_problem, refusal
from console.api.route import Route
from console.errors import PilotError
from console.model.stored import Page
from console.services.secret_shapes import mask_secrets
from console.services.web.request_context import Answer
from console.services.web.request_parsing import too_large

encode = msgspec.json.Encoder().encode
"""JSON as the contract has it."""


def etag_of(answer: Any) -> str:
    """Return the strong ETag of an answer that counts its revisions, else nothing."""
    revision = getattr(answer, "revision", None)
    return f'"{revision}"' if isinstance(revision, int) else ""


def answered(answer: Any, route: Route[Any] | None) -> web.StreamResponse:
    """Return the response for what a handler returned (see `Web.mount`)."""
    if isinstance(answer, web.StreamResponse):
        return answer
    if isinstance(answer, Answer):
        return web.Response(
            status=answer.status,
            body=answer.body,
            content_type=answer.content_type,
            headers=dict(answer.headers),
        )
    if isinstance(answer, bytes):
        return web.Response(body=answer, content_type="application/octet-stream")
    created = route is not None and route.created
    response = web.Response(
        status=201 if created else 200, body=encode(answer), content_type="application/json"
    )
    if etag := etag_of(answer):
        response.headers["ETag"] = etag
    return response


def linked(response: web.StreamResponse, answer: Any, request: web.Request) -> web.StreamResponse:
    """Name the next part of a list in a `Link` header (RFC 8288)."""
    if isinstance(answer, Page) and answer.next_cursor:
        following = request.rel_url.update_query(cursor=answer.next_cursor)
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


def problem(error: PilotError, request_id: str) -> web.Response:
    """Return an error as an RFC 9457 response, which repeats no secret that was sent."""
    said = as_problem(error, request_id)
    said = msgspec.structs.replace(
        said, detail=mask_secrets(said.detail), mend=mask_secrets(said.mend)
    )
    return web.Response(
        status=said.status, body=encode(said), content_type="application/problem+json"
    )


def of_http(error: web.HTTPException, request: web.Request, request_id: str) -> web.Response:
    """Say in our words what aiohttp's own answers say."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        response = problem(
            refusal("wrong-method", f"this path takes {allowed}, not {request.method}"), request_id
        )
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, web.HTTPNotFound):
        return problem(refusal("no-such-route", "there is nothing at this path"), request_id)
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return problem(too_large(request.client_max_size), request_id)
    return problem(
        refusal("malformed", f"the request was refused: HTTP {error.status}"), request_id
    )
