"""The built-in upstream: a small model API that needs no model.

Its answer follows from the request alone: the same request always gets the same words.
A request that mentions `N words` gets that many; `max_tokens` is honoured; a token is a
word. It answers in the form of the route, streamed or whole, so the rest of the point
cannot tell it from a real one.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from console.model.access import RouteName
from console.services.gateway.point.dialect.request_body import Body
from console.services.gateway.point.upstream import builtin_responses

_TEXT = """
the harbour opens early and every ship that waits outside is asked for its papers first
a pilot climbs aboard reads the tide and takes the wheel while the master stays beside them
nobody enters on a word alone the log keeps each turn of the screw each order each reply
when fog comes the bell is rung and what was open is closed until the light is seen again
"""
_WORDS = _TEXT.split()

_ASKED_WORDS = re.compile(r"\b(\d{1,4}) words\b")
_MAX_WORDS = 9999


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = ""


_limit = msgspec.json.Decoder(int | None)
_read = msgspec.json.Decoder(list[_Message])


class Composed:
    """The whole answer to a request, before it is written in either dialect."""

    def __init__(self, body: Body) -> None:
        text = _text_of(body)
        before = bytes(body.members.get("previous_response_id", b"")).decode()
        digest = hashlib.sha256(f"{body.model}\x00{text}{before}".encode()).digest()
        asked = _ASKED_WORDS.search(text)
        wanted = int(asked[1]) if asked else 12 + digest[0] % 36
        limit = _limit_of(body)
        count = min(wanted, limit if limit is not None else wanted, _MAX_WORDS)
        step = int.from_bytes(digest[1:5], "big")
        start = step % len(_WORDS)
        self.id = digest.hex()[:24]
        self.words = [_WORDS[(start + place) % len(_WORDS)] for place in range(count)]
        self.input_tokens = len(text.split())
        self.cut_short = count < wanted

    @property
    def pieces(self) -> list[str]:
        """The words as they are streamed: each with the space before it."""
        return [word if place == 0 else " " + word for place, word in enumerate(self.words)]


def whole(body: Body) -> bytes:
    """Return the unstreamed answer."""
    composed = Composed(body)
    text = " ".join(composed.words)
    said: dict[str, Any]
    if body.route is RouteName.CHAT:
        said = {
            "id": f"chatcmpl-{composed.id}",
            "object": "chat.completion",
            "created": 0,
            "model": body.model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "length" if composed.cut_short else "stop",
                }
            ],
            "usage": _chat_usage(composed),
        }
    elif body.route is RouteName.RESPONSES:
        said = builtin_responses.whole(composed, body)
    else:
        said = {
            **_message(composed, body.model),
            "content": [{"type": "text", "text": text}],
            "stop_reason": "max_tokens" if composed.cut_short else "end_turn",
            "usage": _messages_usage(composed, len(composed.words)),
        }
    return msgspec.json.encode(said)


async def stream(body: Body, chunk_seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield the streamed answer, one word to a chunk, `chunk_seconds` apart."""
    composed = Composed(body)
    match body.route:
        case RouteName.CHAT:
            events = _chat_events(composed, body)
        case RouteName.RESPONSES:
            events = [_event(each) for each in builtin_responses.events(composed, body)]
        case _:
            events = _messages_events(composed, body)
    for event in events:
        yield event
        # A pause after each event, though it be none: whoever cuts the stream gets a turn.
        await asyncio.sleep(chunk_seconds)


def _chat_events(composed: Composed, body: Body) -> list[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _event(
            {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}, ""
        )

    head: dict[str, Any] = {
        "id": f"chatcmpl-{composed.id}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": body.model,
    }
    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": piece}) for piece in composed.pieces]
    events.append(chunk({}, "length" if composed.cut_short else "stop"))
    events.append(_event({**head, "choices": [], "usage": _chat_usage(composed)}, ""))
    return [*events, b"data: [DONE]\n\n"]


def _messages_events(composed: Composed, body: Body) -> list[bytes]:
    started = {
        **_message(composed, body.model),
        "content": [],
        "stop_reason": None,
        "usage": _messages_usage(composed, 0),
    }
    events = [
        _event({"type": "message_start", "message": started}),
        _event(
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            }
        ),
    ]
    events += [
        _event(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": piece},
            }
        )
        for piece in composed.pieces
    ]
    reason = "max_tokens" if composed.cut_short else "end_turn"
    return [
        *events,
        _event({"type": "content_block_stop", "index": 0}),
        _event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {"output_tokens": len(composed.words)},
            }
        ),
        _event({"type": "message_stop"}),
    ]


def _message(composed: Composed, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{composed.id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "stop_sequence": None,
    }


def _event(said: dict[str, Any], kind: str | None = None) -> bytes:
    kind = said["type"] if kind is None else kind
    head = f"event: {kind}\n".encode() if kind else b""
    return head + b"data: " + msgspec.json.encode(said) + b"\n\n"


def _chat_usage(composed: Composed) -> dict[str, int]:
    output = len(composed.words)
    return {
        "prompt_tokens": composed.input_tokens,
        "completion_tokens": output,
        "total_tokens": composed.input_tokens + output,
    }


def _messages_usage(composed: Composed, output: int) -> dict[str, int]:
    return {"input_tokens": composed.input_tokens, "output_tokens": output}


def _text_of(body: Body) -> str:
    asked = body.members.get("messages") or body.members["input"]
    try:
        messages = _read.decode(asked)
    except msgspec.MsgspecError:
        return bytes(asked).decode("utf-8", "replace")
    out = []
    for message in messages:
        if isinstance(message.content, str):
            out.append(message.content)
        else:
            out.extend(part.text for part in message.content or ())
    return " ".join(out)


def _limit_of(body: Body) -> int | None:
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        if (raw := body.members.get(name)) is not None:
            try:
                limit: int | None = _limit.decode(raw)
            except msgspec.MsgspecError:
                continue
            if limit is not None:
                return max(0, limit)
    return None
