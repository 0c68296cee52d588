"""The SDK dialects: where the key stands, how a refusal, a stream's error and a list are written.

OpenAI: `{"error": {"message", "type", "param", "code"}}`; in a stream of its Responses API
that and the members of its `error` event. Anthropic:
`{"type": "error", "error": {"type", "message"}, "request_id"}`, with our `code` beside
the message. Both SDKs choose their exception by the status alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec

from console.services.gateway.decision.refusal_codes import error_type

JSON = "application/json"


class Dialect(Enum):
    """Whose SDK the caller most likely is."""

    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"


def dialect_of(path: str, headers: Mapping[str, str]) -> Dialect:
    """Tell the dialect by the route; where both speak it, by Anthropic's version header."""
    if path.startswith("/v1/messages"):
        return Dialect.ANTHROPIC
    if path.startswith("/v1/responses"):
        return Dialect.RESPONSES
    if path.startswith("/v1/chat"):
        return Dialect.OPENAI
    return Dialect.ANTHROPIC if "anthropic-version" in headers else Dialect.OPENAI


def token_of(headers: Mapping[str, str]) -> str:
    """Return the caller's key: the bearer token, or else `x-api-key`."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip()


def error_body(dialect: Dialect, *, status: int, code: str, message: str, request_id: str) -> bytes:
    """Return the JSON body of an error."""
    kind = error_type(status)
    said: dict[str, Any]
    if dialect is not Dialect.ANTHROPIC:
        said = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    else:
        said = {
            "type": "error",
            "error": {"type": kind, "message": message, "code": code},
            "request_id": request_id,
        }
    return msgspec.json.encode(said)


def error_event(
    dialect: Dialect, *, status: int, code: str, message: str, request_id: str
) -> bytes:
    """Return the server-sent event that ends a stream with an error."""
    if dialect is Dialect.RESPONSES:
        about = {"message": message, "param": None, "code": code}
        event = {"type": "error", **about, "error": {"type": error_type(status), **about}}
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
    body = error_body(dialect, status=status, code=code, message=message, request_id=request_id)
    if dialect is Dialect.OPENAI:
        return b"data: " + body + b"\n\n"
    return b"event: error\ndata: " + body + b"\n\n"


def error_headers(code: str, request_id: str, *, retry: bool) -> dict[str, str]:
    """Return the headers of an error. Both SDKs obey `x-should-retry`."""
    return {
        "x-pilotctl-code": code,
        "x-request-id": request_id,
        "request-id": request_id,
        "x-should-retry": "true" if retry else "false",
    }


def model_list(dialect: Dialect, models: Sequence[str]) -> bytes:
    """Return the models that a key opens, as `GET /v1/models` answers them."""
    said: dict[str, Any]
    if dialect is not Dialect.ANTHROPIC:
        said = {
            "object": "list",
            "data": [
                {"id": model, "object": "model", "created": 0, "owned_by": "pilot"}
                for model in models
            ],
        }
    else:
        said = {
            "data": [
                {
                    "type": "model",
                    "id": model,
                    "display_name": model,
                    "created_at": "1970-01-01T00:00:00Z",
                }
                for model in models
            ],
            "has_more": False,
            "first_id": models[0] if models else None,
            "last_id": models[-1] if models else None,
        }
    return msgspec.json.encode(said)
