"""Reading usage out of what passes through, in each dialect, whole and streamed.

The upstream's own numbers are taken where it gives them, each field by itself, and none
falls again. Where they are missing or cannot be read (an answer without usage, a stream that
broke, a caller that hung up), tokens are estimated from the bytes of text that passed, tool
arguments, reasoning and refusals too, at four to a token, and flagged.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from console.model.access import RouteName
from console.services.gateway.point.dialect.request_size import BYTES_PER_TOKEN, Size
from console.services.gateway.point.dialect.sse import data_of
from console.services.gateway.point.dialect.text_tally import Place, TextTally

MAX_ID_CHARACTERS = 100
"""An item's id that is longer identifies none."""

MAX_COUNT = 10**9
"""A count above this is none: no answer has so many tokens, and sums must fit the store."""

_FIELDS = {
    RouteName.CHAT: (("prompt_tokens",), "completion_tokens"),
    RouteName.MESSAGES: (
        ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
        "output_tokens",
    ),
    RouteName.RESPONSES: (("input_tokens",), "output_tokens"),
}
"""The fields of usage in each dialect: those that add up to the input, and the output."""

_NOT_TEXT = frozenset({
    "role", "id", "type", "object", "index", "status", "signature", "obfuscation", "logprobs",
    "annotations", "citations", "tool_call_id", "call_id", "item_id", "audio",
})  # fmt: skip
"""Members of an answer that the model did not write as text, or that repeat it."""

_FREE_FORM = frozenset({"input", "arguments"})
"""Members that hold a value which the model wrote whole: its names and numbers are text, too."""


class NotAnAnswerError(ValueError):
    """What the upstream sent is no answer of this dialect."""


class UpstreamSaidError(ValueError):
    """The upstream put an error where an answer was due. The message is its own."""


class Meter:
    """What one answer adds up to, as it passes."""

    __slots__ = (
        "_asked", "_choices", "_closed", "_counts", "_passed_at_last_count", "_route", "_stopped",
        "_unread", "_written", "ended", "finish_reason",
    )  # fmt: skip

    def __init__(self, route: RouteName, asked: Size, choices: int = 1) -> None:
        """`choices` is how many the request asks for: the answer is finished when all are."""
        self._route = route
        self._asked = asked
        self._choices = choices
        self._counts: dict[str, int] = {}
        self._passed_at_last_count = -1
        """Tokens of text that had passed as the output was told at the end."""
        self._unread: set[str] = set()
        """Fields of usage that held something, but no count."""
        self._written = TextTally()
        self._stopped: dict[int, bool] = {}
        """Choices that began, and whether each has its finish reason."""
        self._closed = False
        self.finish_reason = ""
        self.ended = False
        """Whether nothing can follow: the event that ends a stream came, or a whole answer."""

    @property
    def finished(self) -> bool:
        """Whether the answer came to its end, be it without the event that says so."""
        return self.ended or self._closed

    @property
    def input_tokens(self) -> int:
        """What the upstream counted, or an estimate from what was asked."""
        return self._input or self._asked.tokens

    @property
    def output_tokens(self) -> int:
        """What the upstream counted, or an estimate from what passed; the more of both, until
        its count is final.
        """
        counted = self._output
        if counted is not None and self._is_final:
            return counted
        return max(counted or 0, self._passed)

    @property
    def estimated(self) -> bool:
        """Whether any number is ours and not the upstream's."""
        told = self._input is not None and self._output is not None
        return not told or bool(self._unread) or not self._is_final

    @property
    def _input(self) -> int | None:
        """The upstream's count; None where it told none. No request comes to nothing."""
        names = _FIELDS[self._route][0]
        return sum(self._counts.get(name, 0) for name in names) or None

    @property
    def _output(self) -> int | None:
        """The upstream's count; None where it told none, or nothing though text passed."""
        counted = self._counts.get(_FIELDS[self._route][1])
        return None if counted == 0 and self._passed else counted

    @property
    def _is_final(self) -> bool:
        """Whether the output was told with the end of the answer or after it, and nothing was
        written since: a count of the beginning, or of the middle, is none of the whole.
        """
        return self._passed_at_last_count == self._passed

    @property
    def _passed(self) -> int:
        """Tokens of the text that passed."""
        return -(-self._written.text_bytes // BYTES_PER_TOKEN)

    def whole(self, body: bytes) -> None:
        """Read an unstreamed answer. Raises NotAnAnswerError or UpstreamSaidError."""
        said = _decoded(body)
        if not isinstance(said, dict):
            raise NotAnAnswerError("it is no object")
        self.ended = True
        match self._route:
            case RouteName.CHAT:
                whole = said.get("choices") is not None
                self._chat(said)
            case RouteName.RESPONSES:
                whole = said.get("output") is not None and said.get("status") != "failed"
                self._response(said)
            case _:
                whole = said.get("content") is not None
                self._write(said.get("content"))
                self._usage(said.get("usage"))
                self.finish_reason = _string(said.get("stop_reason"))
        if not whole and said.get("error") is not None:
            raise UpstreamSaidError(_message(said["error"]))
        if not whole:
            raise NotAnAnswerError("it has neither choices, content nor output")

    def event(self, event: bytes) -> bool:
        """Read one server-sent event; tell whether it is only the usage chunk.

        Raises NotAnAnswerError where its data is no JSON, UpstreamSaidError where it is an error.
        """
        data = data_of(event)
        if data is None or not data.strip():
            return False
        if data.startswith(b"[DONE]"):
            self.ended = self.ended or self._route is RouteName.CHAT
            return False
        said = _decoded(data)
        if not isinstance(said, dict):
            return False
        if said.get("type") == "error" or said.get("error") is not None:
            raise UpstreamSaidError(_message(said.get("error")) or _string(said.get("message")))
        match self._route:
            case RouteName.CHAT:
                self._chat(said)
                return said.get("usage") is not None and not said.get("choices")
            case RouteName.RESPONSES:
                self._responses_event(said)
            case _:
                self._messages_event(said)
        return False

    def _responses_event(self, said: dict[str, Any]) -> None:
        kind, response = _string(said.get("type")), said.get("response")
        text = {name: said[name] for name in said if name not in {"response", "annotation"}}
        self._written.add(_place_of(said, kind), kind, _text_bytes(text))
        if isinstance(response, dict):
            if kind in {"response.completed", "response.incomplete"}:
                self.ended = True
            self._response(response, is_last=kind == "response.failed")
            if kind == "response.failed":
                raise UpstreamSaidError(_message(response.get("error")))

    def _response(self, response: dict[str, Any], *, is_last: bool = False) -> None:
        output, way = response.get("output"), f"response {_string(response.get('status'))}"
        for at, item in enumerate(output if isinstance(output, list) else ()):
            self._written.add((at,), way, _text_bytes(item))
        if isinstance(output, str):
            self._write(output)
        self._usage(response.get("usage"), is_last=is_last)
        why = response.get("incomplete_details")
        reason = _string(why.get("reason")) if isinstance(why, dict) else ""
        self.finish_reason = reason or _string(response.get("status"))

    def _messages_event(self, said: dict[str, Any]) -> None:
        message, delta = said.get("message"), said.get("delta")
        self._write(message.get("content") if isinstance(message, dict) else None)
        self._write(said.get("content_block"))
        if isinstance(delta, dict) and delta.get("stop_reason") is not None:
            self.finish_reason = _string(delta["stop_reason"])
            self._closed = True
        else:
            self._write(delta)
        if said.get("type") == "message_stop":
            self.ended = True
        for inner in (message, said):
            if isinstance(inner, dict):
                self._usage(inner.get("usage"))

    def _chat(self, chat: dict[str, Any]) -> None:
        choices = chat.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            at, reason = choice.get("index"), choice.get("finish_reason")
            place = at if isinstance(at, int) else 0
            for name in ("delta", "message", "text"):
                self._write(choice.get(name))
            self.finish_reason = _string(reason) or self.finish_reason
            self._stopped[place] = self._stopped.get(place, False) or reason is not None
        # A choice that has not begun yet is not finished.
        self._closed = len(self._stopped) >= self._choices and all(self._stopped.values())
        self._usage(chat.get("usage"))

    def _write(self, value: Any) -> None:
        """Count text that nothing else of the answer repeats."""
        self._written.add((), "once", _text_bytes(value))

    def _usage(self, usage: Any, *, is_last: bool = False) -> None:
        """Take in usage, each field by itself: a count never falls.

        `is_last` tells that it is the last word on an answer which does not finish.
        """
        if usage is None:
            return
        inputs, output = _FIELDS[self._route]
        for name in (*inputs, output):
            value = usage.get(name) if isinstance(usage, dict) else ""
            if value is None:
                continue
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
                self._counts[name] = max(self._counts.get(name, 0), value)
                self._unread.discard(name)
                if name == output and (is_last or self.finished):
                    self._passed_at_last_count = self._passed
            elif name not in self._counts:
                self._unread.add(name)


def _decoded(data: bytes) -> Any:
    """Return the value of a JSON text, also of one with NaN or numbers that fit no float.

    Raises NotAnAnswerError.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(data, parse_int=_whole)
    except (ValueError, RecursionError) as failed:
        raise NotAnAnswerError(str(failed)) from None


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < 100 else digits


def _place_of(said: dict[str, Any], kind: str) -> Place:
    """Return where the text of an event stands: an item, a part of one, or one text of a part.

    What names no item stands by itself: nothing tells what it repeats.
    """
    item = said.get("output_index", said.get("item_id"))
    if not isinstance(item, int | str) or len(str(item)) > MAX_ID_CHARACTERS:
        return (kind,)
    if "item" in said:
        return (item,)
    indexes = ((name, said.get(name)) for name in ("content_index", "summary_index"))
    part = next((f"{name} {at}" for name, at in indexes if isinstance(at, int)), "")
    return (item, part) if "part" in said else (item, part, kind.rpartition(".")[0])


def _text_bytes(value: Any) -> int:
    """Return how many bytes of text a part of an answer holds, at any depth."""
    total, left = 0, [value]
    while left:
        this = left.pop()
        if isinstance(this, str):
            total += _encoded_length(this)
        elif isinstance(this, list):
            left += this
        elif isinstance(this, dict):
            for name, inner in this.items():
                if name in _FREE_FORM and inner and isinstance(inner, dict | list):
                    total += _json_bytes(inner)
                elif name not in _NOT_TEXT:
                    left.append(inner)
    return total


def _json_bytes(value: Any) -> int:
    """Return how many bytes of JSON the model wrote for a value, without space between."""
    total, left = 0, [value]
    while left:
        this = left.pop()
        if isinstance(this, str):
            total += _encoded_length(json.dumps(this, ensure_ascii=False))
        elif isinstance(this, list):
            total += 2 + len(this)
            left += this
        elif isinstance(this, dict):
            total += 2 + 2 * len(this)
            left += [*this, *this.values()]
        else:
            total += len(str(this))
    return total


def _encoded_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _string(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _message(error: Any) -> str:
    """Return an upstream's own words: an error's message, or the error where that is text."""
    said = error.get("message") if isinstance(error, dict) else error
    return said if isinstance(said, str) else ""
