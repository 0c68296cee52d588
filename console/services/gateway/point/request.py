"""Reading a caller's request: which members it may have, and what it asks for.

A body is taken apart at its top level only and put together again from the parts that
were read, so what is judged is what is sent on: a member given twice, or one that this
gateway does not know, never reaches the upstream.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from console.model.access import RouteName

MOST_BYTES = 8 * 1024 * 1024

PATHS = {"/v1/chat/completions": RouteName.CHAT, "/v1/messages": RouteName.MESSAGES}

_CHAT_MEMBERS = """
model messages stream stream_options max_tokens max_completion_tokens temperature
top_p n stop seed presence_penalty frequency_penalty logit_bias logprobs top_logprobs
response_format tools tool_choice parallel_tool_calls user safety_identifier
prompt_cache_key reasoning_effort verbosity metadata service_tier
"""
_CHAT = frozenset(_CHAT_MEMBERS.split())
"""Members of a chat completion request that change the answer and reach nothing else.

Left out, so refused: what stores (`store`), what fetches (`web_search_options`), other
modalities, predictions, and the deprecated functions.
"""
_MESSAGES_MEMBERS = """
model messages stream max_tokens system temperature top_p top_k stop_sequences tools
tool_choice metadata thinking service_tier output_config
"""
_MESSAGES = frozenset(_MESSAGES_MEMBERS.split())
"""The same for Anthropic messages: no `mcp_servers`, `container` or `context_management`."""

_TOOL_TYPES: dict[RouteName, set[str | None]] = {
    RouteName.CHAT: {"function"},
    RouteName.MESSAGES: {None, "custom"},
}
"""Tools that the caller runs itself. Tools that run at the upstream would widen access."""


class RefusedError(Exception):
    """The request cannot be taken. `code` is one of the table's."""

    def __init__(self, code: str, message: str, model: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.model = model


class _Tool(msgspec.Struct):
    type: str | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Body(NamedTuple):
    """A request body, taken apart."""

    route: RouteName
    model: str
    stream: bool
    members: dict[str, msgspec.Raw]
    wants_usage: bool
    """Whether an OpenAI caller asked for the usage chunk itself."""

    def encode(self, model: str) -> bytes:
        """Return the bytes for an upstream that calls the model `model`.

        An OpenAI stream is always asked for its usage, which is taken out again where
        the caller did not ask.
        """
        members: dict[str, Any] = {**self.members, "model": model}
        if self.route is RouteName.CHAT and self.stream and not self.wants_usage:
            members["stream_options"] = {"include_usage": True}
        return msgspec.json.encode(members)


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_bool = msgspec.json.Decoder(bool | None)
_tools = msgspec.json.Decoder(list[_Tool] | None)
_options = msgspec.json.Decoder(_StreamOptions | None)
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def read(route: RouteName, raw: bytes) -> Body:
    """Take a body apart. Raises `RefusedError`: request_invalid, or feature_unknown."""
    try:
        members = _members.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError("request_invalid", f"The body is no JSON object: {error}.") from None
    model = _read(_string, members, "model", "a string", "")
    if not model or len(model) > 200 or not members.get("messages"):
        missing = "model" if not model else "messages"
        raise RefusedError("request_invalid", f"`{missing}` is needed and must fit.", model[:200])
    known = _CHAT if route is RouteName.CHAT else _MESSAGES
    for name in members:
        if name not in known:
            raise RefusedError("feature_unknown", f"`{name[:60]}` is not offered here.", model)
    _read(_messages, members, "messages", "a list of messages", model)
    tools = _read(_tools, members, "tools", "a list of tools", model) or []
    for tool in tools:
        if tool.type not in _TOOL_TYPES[route]:
            said = (tool.type or "none")[:60]
            raise RefusedError(
                "feature_unknown", f"Tools of type `{said}` are not offered here.", model
            )
    stream = bool(_read(_bool, members, "stream", "true or false", model))
    options = _read(_options, members, "stream_options", "an object", model)
    return Body(route, model, stream, members, bool(options and options.include_usage))


def _read(
    decoder: msgspec.json.Decoder[Any],
    members: dict[str, msgspec.Raw],
    name: str,
    kind: str,
    model: str,
) -> Any:
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RefusedError("request_invalid", f"`{name}` must be {kind}.", model) from None
