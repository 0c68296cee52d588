"""A call as an HTTP request, and an HTTP answer as a reply: pure, and trusting nothing.

What a server says is checked before it is believed: status, content type, size and shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from console import __version__
from console.api.problems import as_error
from console.api.route import Call, Reply
from console.errors import ExitCode, PilotError
from console.model.number import whole_number

MAX_BYTES = 64 * 1024 * 1024
"""The largest answer that is read. The services page far below it."""

_RETRY_STATUS = frozenset({429, 502, 503, 504})


class Request(NamedTuple):
    """What is sent. `target` is the path with its query, below the API's address."""

    method: str
    target: str
    headers: dict[str, str]
    content: bytes | None


class Answer(NamedTuple):
    """What came back, read whole. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request_of(call: Call, *, key: str, request_id: str) -> Request:
    """Return the HTTP request that `call` describes."""
    route = call.route
    path = route.path
    for name, value in call.path.items():
        # a tile's path has slashes of its own; every other parameter is one segment
        path = path.replace(f"{{{name}}}", _segment(value, keep="/" if name == "file" else ""))
    query = dict(call.query)
    if call.validate_only:
        query["validate_only"] = "true"
    target = path + (
        "?" + "&".join(f"{n}={quote(v, safe='')}" for n, v in query.items()) if query else ""
    )
    accept = "application/octet-stream" if route.answer is bytes else "application/json"
    headers = {
        "accept": f"{accept}, application/problem+json",
        "accept-encoding": "identity",
        "user-agent": f"pilotctl/{__version__}",
        "x-request-id": request_id,
    }
    content = None
    if call.body is not None:
        headers["content-type"] = "application/json"
        content = msgspec.json.encode(call.body)
    if route.writes:
        headers["idempotency-key"] = key
    if call.if_match is not None:
        headers["if-match"] = f'"{call.if_match}"'
    return Request(route.method, target, headers, content)


def reply_of(call: Call, answer: Answer, *, source: str, request_id: str) -> Reply:
    """Return what `answer` means. Raises `PilotError` for a refusal or for nonsense."""
    told = printable(answer.headers.get("x-request-id", "")) or request_id
    if not 200 <= answer.status < 300:
        if 300 <= answer.status < 400:
            raise _nonsense(
                f"redirected with status {answer.status}, which is not followed", source, told
            )
        raise _refusal(answer, source, told)
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise _nonsense("answered in an encoding that was not asked for", source, told)
    return Reply(
        answer.status,
        _value(call.route.answer, answer, source, told),
        answer.headers.get("etag", ""),
        told,
        source,
        answer.headers.get("idempotent-replayed", "").lower() == "true",
    )


def may_retry(answer: Answer) -> bool:
    """Tell whether the same request may be sent again after `answer`."""
    if answer.status in _RETRY_STATUS:
        return True
    # the first sending of this very key is still being worked on
    return answer.status == 409 and b"urn:pilotctl:problem:in-progress" in answer.body


def retry_after(answer: Answer) -> float | None:
    """Return the seconds that the server asks to be left alone, where it says a number."""
    said = whole_number(answer.headers.get("retry-after", ""), 8)
    return None if said is None else float(said)


def _segment(value: str, *, keep: str) -> str:
    quoted = quote(value, safe=keep)
    # a dot segment would be taken for a way up the path, even when it is percent-encoded
    if not quoted or any(part in {".", "..", ""} for part in value.split("/" if keep else "\0")):
        raise PilotError("bad-value", f"{value[:60]!r} cannot name anything", exit=ExitCode.USAGE)
    return quoted


def _value(kind: Any, answer: Answer, source: str, request_id: str) -> Any:
    if kind is bytes:
        return answer.body
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        raise _nonsense(
            f"answered with {printable(media) or 'no content type'} instead of JSON",
            source,
            request_id,
        )
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.ValidationError as error:
        raise _nonsense(
            f"answered with JSON of another shape: {printable(str(error))}", source, request_id
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _nonsense("answered with broken JSON", source, request_id) from error


def _refusal(answer: Answer, source: str, request_id: str) -> PilotError:
    error = as_error(answer.status, answer.body, source=source, request_id=request_id)
    if error.code == "not-an-operator" or answer.status == 401:
        error.hint = error.hint or "see who you are taken for with: pilotctl auth status"
    return error


def _nonsense(what: str, source: str, request_id: str) -> PilotError:
    return PilotError(
        "not-understood",
        f"{source} {what}",
        exit=ExitCode.UNAVAILABLE,
        hint="is this the right address? `pilotctl config explain` shows where it comes from",
        request_id=request_id,
        source=source,
    )


def printable(text: str) -> str:
    """Return what is printable ASCII in a short text of the server's."""
    return "".join(char for char in text[:200] if " " <= char <= "~")
