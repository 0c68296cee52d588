"""Reading usage out of what passes through, in each dialect, whole and streamed.

The upstream's own numbers are taken where it gives them. Where it does not (an answer
without usage, a stream that broke, a caller that hung up), tokens are estimated from the
characters that passed, at four to a token, and flagged.
"""

from __future__ import annotations

import re

import msgspec

from console.model.access import RouteName
from console.services.gateway.point.request_size import Size

_CHARACTERS_PER_TOKEN = 4
_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINES = re.compile(rb"\r\n|\n|\r")
MOST_EVENT_BYTES = 4 * 1024 * 1024


class NotAnAnswerError(ValueError):
    """What the upstream sent is no answer of this dialect."""


class UpstreamSaidError(ValueError):
    """The upstream put an error where an answer was due. The message is its own."""


class _Error(msgspec.Struct):
    message: str = ""


class _ChatUsage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Text(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    message: _Text | None = None
    finish_reason: str | None = None


class _Chat(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _ChatUsage | None = None
    error: _Error | None = None


class _MessagesUsage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Block(msgspec.Struct):
    text: str | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Started(msgspec.Struct):
    usage: _MessagesUsage | None = None


class _Messages(msgspec.Struct):
    type: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _MessagesUsage | None = None
    message: _Started | None = None
    delta: _Delta | None = None
    error: _Error | None = None


class _Item(msgspec.Struct):
    content: list[_Block] | None = None
    arguments: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str = ""


class _Response(msgspec.Struct):
    output: list[_Item] | None = None
    status: str = ""
    usage: _MessagesUsage | None = None
    error: _Error | None = None
    incomplete_details: _Incomplete | None = None


class _ResponsesEvent(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    message: str | None = None
    response: _Response | None = None
    error: _Error | None = None


_responses = msgspec.json.Decoder(_Response)
_responses_event = msgspec.json.Decoder(_ResponsesEvent)
_chat = msgspec.json.Decoder(_Chat)
_messages = msgspec.json.Decoder(_Messages)


class Meter:
    """What one answer adds up to, as it passes."""

    __slots__ = (
        "_asked", "_characters", "_input", "_output", "_route", "finish_reason", "finished",
    )  # fmt: skip

    def __init__(self, route: RouteName, asked: Size) -> None:
        self._route = route
        self._asked = asked
        self._input: int | None = None
        self._output: int | None = None
        self._characters = 0
        self.finish_reason = ""
        self.finished = False
        """Whether the answer came to its end."""

    @property
    def input_tokens(self) -> int:
        """What the upstream counted, or an estimate from what was asked."""
        return self._asked.tokens if self._input is None else self._input

    @property
    def output_tokens(self) -> int:
        """What the upstream counted, or an estimate from what passed."""
        if self._output is not None and self.finished:
            return self._output
        return max(self._output or 0, -(-self._characters // _CHARACTERS_PER_TOKEN))

    @property
    def heard(self) -> bool:
        """Whether any part of an answer passed."""
        return self._characters > 0 or self._input is not None

    @property
    def estimated(self) -> bool:
        """Whether any number is ours and not the upstream's."""
        return self._input is None or self._output is None or not self.finished

    def whole(self, body: bytes) -> None:
        """Read an unstreamed answer. Raises NotAnAnswerError or UpstreamSaidError."""
        try:
            if self._route is RouteName.CHAT:
                chat = _chat.decode(body)
                whole = chat.choices is not None
                error = chat.error
                self._chat(chat)
            elif self._route is RouteName.RESPONSES:
                response = _responses.decode(body)
                error = response.error
                whole = response.output is not None and response.status != "failed"
                self._response(response)
                self._count(response)
            else:
                messages = _messages.decode(body)
                whole = messages.content is not None
                error = messages.error
                self._usage(messages.usage)
                self.finish_reason = messages.stop_reason or ""
                for block in messages.content or ():
                    self._characters += len(block.text or "")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as failed:
            raise NotAnAnswerError(str(failed)) from None
        if error is not None and not whole:
            raise UpstreamSaidError(error.message)
        if not whole:
            raise NotAnAnswerError("it has neither choices, content nor output")
        self.finished = True

    def event(self, event: bytes) -> bool:
        """Read one server-sent event; tell whether it is only the usage chunk.

        Raises NotAnAnswerError where its data is no JSON, UpstreamSaidError where it is an error.
        """
        data = data_of(event)
        if data is None:
            return False
        if self._route is RouteName.CHAT:
            if data.startswith(b"[DONE]"):
                self.finished = True
                return False
            return self._chat_event(data)
        if self._route is RouteName.RESPONSES:
            self._responses_event(data)
        else:
            self._messages_event(data)
        return False

    def _responses_event(self, data: bytes) -> None:
        try:
            said = _responses_event.decode(data)
        except msgspec.ValidationError:
            return
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as failed:
            raise NotAnAnswerError(str(failed)) from None
        if said.type == "error" or said.error is not None:
            raise UpstreamSaidError(said.message or (said.error.message if said.error else ""))
        if said.type.endswith(".delta"):
            self._characters += len(said.delta or "")
        if said.response is not None:
            if said.type == "response.failed":
                error = said.response.error
                raise UpstreamSaidError(error.message if error else "")
            if said.type in {"response.completed", "response.incomplete"}:
                self._response(said.response)
                self.finished = True

    def _response(self, response: _Response) -> None:
        self._usage(response.usage)
        why = response.incomplete_details
        self.finish_reason = why.reason if why and why.reason else response.status

    def _count(self, response: _Response) -> None:
        for item in response.output or ():
            self._characters += len(item.arguments or "")
            self._characters += sum(len(block.text or "") for block in item.content or ())

    def _chat_event(self, data: bytes) -> bool:
        try:
            chat = _chat.decode(data)
        except msgspec.ValidationError:
            return False
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as failed:
            raise NotAnAnswerError(str(failed)) from None
        if chat.error is not None:
            raise UpstreamSaidError(chat.error.message)
        self._chat(chat)
        return chat.usage is not None and not chat.choices

    def _messages_event(self, data: bytes) -> None:
        try:
            said = _messages.decode(data)
        except msgspec.ValidationError:
            return
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as failed:
            raise NotAnAnswerError(str(failed)) from None
        if said.type == "error" or said.error is not None:
            raise UpstreamSaidError(said.error.message if said.error else "")
        if said.message is not None:
            self._usage(said.message.usage)
        self._usage(said.usage)
        if said.delta is not None:
            self._characters += len(said.delta.text or said.delta.partial_json or "")
            self.finish_reason = said.delta.stop_reason or self.finish_reason
        if said.type == "message_stop":
            self.finished = True

    def _chat(self, chat: _Chat) -> None:
        for choice in chat.choices or ():
            text = choice.delta or choice.message
            if text is not None and text.content:
                self._characters += len(text.content)
            self.finish_reason = choice.finish_reason or self.finish_reason
        if chat.usage is not None:
            self._input = max(0, chat.usage.prompt_tokens)
            self._output = max(0, chat.usage.completion_tokens)

    def _usage(self, usage: _MessagesUsage | None) -> None:
        if usage is None:
            return
        if usage.input_tokens is not None:
            cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
            self._input = max(0, usage.input_tokens + cached)
        if usage.output_tokens is not None:
            self._output = max(0, usage.output_tokens)


class Events:
    """Cuts a stream of bytes into whole server-sent events, each with its blank line."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, more: bytes) -> list[bytes]:
        """Return the events that `more` completes. NotAnAnswerError where one is too long."""
        held = self._held + more if self._held else more
        out = []
        start = 0
        for match in _END_OF_EVENT.finditer(held):
            out.append(held[start : match.end()])
            start = match.end()
        self._held = held[start:]
        if len(self._held) > MOST_EVENT_BYTES:
            raise NotAnAnswerError("an event of the stream is too long")
        return out

    def rest(self) -> bytes:
        """Return what stands after the last whole event."""
        return self._held


def data_of(event: bytes) -> bytes | None:
    """Return the event's data (its `data` lines, joined), or None where it has none."""
    lines = [
        line[5:].removeprefix(b" ") for line in _LINES.split(event) if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None
