"""Reading a request's parts: each is either what the contract says, or a problem."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from console.api.problems import refusal
from console.api.route import Route
from console.errors import PilotError
from console.model.ids import new_id
from console.model.number import whole_number
from console.services.listening import TooSlowError, invite_body
from console.services.web.strict_decoding import nearest, quoted

BODY_SECONDS = 20.0
"""How long a caller may take to send a body."""

_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,256}")
_BEARER = re.compile(r"[Bb]earer ([\x21-\x7e]{1,512})")
_KEY = re.compile(r'"([\x21\x23-\x5b\x5d-\x7e]{1,128})"|([\x21\x23-\x5b\x5d-\x7e]{1,128})')
_ETAG = re.compile(r'"([0-9]{1,15})"')


def request_id(request: web.BaseRequest) -> str:
    """Return the caller's own id, up to 256 visible ASCII characters and spaces, or a new one.

    The AuthZEN API asks for the very value back.
    """
    said = request.headers.get("X-Request-Id", "")
    return said if _REQUEST_ID.fullmatch(said) else new_id("request")


def bearer(request: web.Request) -> str:
    """Return the bearer token that was sent (RFC 6750), an empty string for none.

    Raises the problem `not-an-operator` for any other kind of credential.
    """
    said = request.headers.get("Authorization", "")
    if not said:
        return ""
    found = _BEARER.fullmatch(said)
    if found is None:
        raise refusal("not-an-operator", "the Authorization header holds no bearer token")
    return found[1]


def too_large(most: int) -> PilotError:
    """Return the problem for a body of more than `most` bytes."""
    return refusal("too-large", f"the body is larger than {most} bytes")


async def body(request: web.Request, most: int) -> bytes:
    """Read the body, at most `most` bytes; a longer one is refused before it is read."""
    if (request.content_length or 0) > most:
        raise too_large(most)
    if not request.can_read_body:
        return b""
    read = bytearray()
    try:
        await invite_body(request)
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.content.iter_any():
                read += part
                if len(read) > most:
                    raise too_large(most)
    except (TimeoutError, TooSlowError):
        raise refusal("malformed", "the body did not arrive in time") from None
    except (web.HTTPException, ValueError):
        raise refusal("malformed", "the body could not be read") from None
    return bytes(read)


def json(request: web.Request, raw: bytes) -> bytes:
    """Return the body where it is said to be JSON, else refuse it (415)."""
    if raw and request.content_type != "application/json":
        raise refusal(
            "wrong-content-type",
            f"the body is {quoted(request.content_type)}; this takes application/json",
        )
    return raw


def query(request: web.Request, route: Route[Any]) -> tuple[dict[str, str], bool]:
    """Return the query parameters and whether `validate_only` is set.

    An unknown or repeated parameter is refused: a mistyped filter must not show more.
    """
    known = [*route.query, *(["validate_only"] if route.writes else [])]
    found: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known:
            shown = name if name.isidentifier() and name.isascii() else quoted(name)
            raise refusal(
                "unknown-member", f"{shown}: there is no such parameter{nearest(name, known)}"
            )
        if name in found:
            raise refusal("malformed", f"{name}: is there twice")
        found[name] = value
    only = found.pop("validate_only", "false")
    if only not in {"true", "false"}:
        raise refusal("malformed", "validate_only: must be true or false")
    return found, only == "true"


def revision(request: web.Request, route: Route[Any], *, validate_only: bool) -> int | None:
    """Return the revision in `If-Match`; refuse its absence where the route needs it (428)."""
    said = request.headers.get("If-Match")
    if said is None:
        if route.if_match and not validate_only:
            raise refusal(
                "revision-required",
                "this write must name the revision it was planned on",
                mend='send If-Match with the ETag you saw, like If-Match: "3"',
            )
        return None
    if not (match := _ETAG.fullmatch(said.strip())):
        raise refusal(
            "malformed",
            'If-Match: must be one revision in quotes, like "3"',
            mend="send the ETag exactly as it was given",
        )
    return int(match[1])


def idempotency_key(request: web.Request) -> str:
    """Return the `Idempotency-Key`, quoted (as its draft has it) or bare."""
    said = request.headers.get("Idempotency-Key", "").strip()
    if not said:
        raise refusal(
            "key-required",
            "a write needs an Idempotency-Key",
            mend="send a fresh random one, and the same again for a retry",
        )
    if not (match := _KEY.fullmatch(said)):
        raise refusal(
            "malformed", "Idempotency-Key: must be 1 to 128 printable characters without spaces"
        )
    return match[1] or match[2]


def number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    """Return a whole number from a query, or `otherwise` where it is not there."""
    text = query.get(name, "")
    if not text:
        return otherwise
    found = whole_number(text)
    if found is None:
        raise refusal("malformed", f"{name}: must be a whole number")
    return found
