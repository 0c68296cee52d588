"""The built-in upstream's answers in the form of the OpenAI Responses API."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from console.services.gateway.point.dialect.request_body import Body


class Answer(Protocol):
    """What was composed."""

    id: str
    words: list[str]
    input_tokens: int
    cut_short: bool

    @property
    def pieces(self) -> list[str]:
        """The words as they are streamed."""
        ...


def whole(answer: Answer, body: Body) -> dict[str, Any]:
    """Return the finished response."""
    state = "incomplete" if answer.cut_short else "completed"
    output = len(answer.words)
    return {
        **_response(answer, body, state),
        "output": [_message(answer, state, [_part(" ".join(answer.words))])],
        "incomplete_details": {"reason": "max_output_tokens"} if answer.cut_short else None,
        "usage": {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + output,
        },
    }


def events(answer: Answer, body: Body) -> list[dict[str, Any]]:
    """Return the streamed events, each with its number, a word to a delta."""
    done = whole(answer, body)
    item, part = done["output"][0], done["output"][0]["content"][0]
    place: dict[str, Any] = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begun = _response(answer, body, "in_progress")
    said: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": _message(answer, "in_progress", []),
        },
        {"type": "response.content_part.added", **place, "part": _part("")},
        *(
            {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
            for piece in answer.pieces
        ),
        {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": f"response.{done['status']}", "response": done},
    ]
    return [{**each, "sequence_number": number} for number, each in enumerate(said)]


def _response(answer: Answer, body: Body, state: str) -> dict[str, Any]:
    previous = body.members.get("previous_response_id")
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": 0,
        "status": state,
        "model": body.model,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": msgspec.json.decode(previous) if previous else None,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


def _message(answer: Answer, state: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "status": state,
        "content": content,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
