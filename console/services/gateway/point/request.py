"""Reading a caller's request: which members it may have, and what it asks for.

A body is taken apart at its top level only and put together again from the parts that
were read, so what is judged is what is sent on: a member given twice, or one that this
gateway does not know, never reaches the upstream.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from console.model.access import RouteName
from console.services.gateway.point import responses

MOST_BYTES = 8 * 1024 * 1024

PATHS = {
    "/v1/chat/completions": RouteName.CHAT,
    "/v1/messages": RouteName.MESSAGES,
    "/v1/responses": RouteName.RESPONSES,
}

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

_RESPONSES_MEMBERS = """
model input stream stream_options instructions max_output_tokens temperature top_p
top_logprobs text tools tool_choice parallel_tool_calls reasoning truncation include
previous_response_id store user safety_identifier prompt_cache_key metadata service_tier
"""
_RESPONSES = frozenset(_RESPONSES_MEMBERS.split())
"""The same for OpenAI responses: no `background`, `conversation`, `prompt`, `moderation`;
`store` only where it is false.
"""
_KNOWN = {RouteName.CHAT: _CHAT, RouteName.MESSAGES: _MESSAGES, RouteName.RESPONSES: _RESPONSES}
_ASKS = {RouteName.CHAT: "messages", RouteName.MESSAGES: "messages", RouteName.RESPONSES: "input"}
"""The member that holds what is asked."""

MOST_USER_CHARACTERS = 256
"""As many as policy takes of a principal's identifier."""

_TOOL_TYPES: dict[RouteName, set[str | None]] = {
    RouteName.CHAT: {"function"},
    RouteName.MESSAGES: {None, "custom"},
    RouteName.RESPONSES: {"function", "custom"},
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
    user: str = ""
    """Whom the caller names as its user, as it wrote it: never stored and never sent on."""
    previous: str = ""
    """The earlier answer that it goes on from, by the id that we gave it."""

    @property
    def asked_bytes(self) -> int:
        """How long what is asked is, in bytes of JSON."""
        asked = len(self.members[_ASKS[self.route]])
        return asked + len(self.members.get("instructions", b""))

    def naming(self, principal: str) -> Body:
        """Return the body with the salted hash in the place of the user that it names."""
        members = dict(self.members)
        for name in ("safety_identifier", "user"):
            if name in members and self.route is not RouteName.MESSAGES:
                del members[name]
                if principal:
                    members[name] = _raw(principal)
        if self.route is RouteName.MESSAGES and "metadata" in members:
            about = _members.decode(members["metadata"]) if self.user else {}
            said = {**about, "user_id": _raw(principal)} if principal else about
            members["metadata"] = _raw(said)
        return self._replace(members=members)

    def following(self, there: str) -> Body:
        """Return the body that goes on from an answer by the id that its upstream knows."""
        return self._replace(members={**self.members, "previous_response_id": _raw(there)})

    def encode(self, model: str) -> bytes:
        """Return the bytes for an upstream that calls the model `model`.

        An OpenAI stream is always asked for its usage, which is taken out again where
        the caller did not ask.
        """
        members: dict[str, Any] = {**self.members, "model": model}
        if self.route is RouteName.CHAT and self.stream and not self.wants_usage:
            members["stream_options"] = {"include_usage": True}
        return msgspec.json.encode(members)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_bool = msgspec.json.Decoder(bool | None)
_tools = msgspec.json.Decoder(list[_Tool] | None)
_options = msgspec.json.Decoder(_StreamOptions | None)
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_text = msgspec.json.Decoder(str | None)
_metadata = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def read(route: RouteName, raw: bytes) -> Body:
    """Take a body apart. Raises `RefusedError`: request_invalid, or feature_unknown."""
    try:
        members = _members.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError("request_invalid", f"The body is no JSON object: {error}.") from None
    model = _read(_string, members, "model", "a string", "")
    asks = _ASKS[route]
    if not model or len(model) > 200 or not members.get(asks):
        missing = "model" if not model else asks
        raise RefusedError("request_invalid", f"`{missing}` is needed and must fit.", model[:200])
    for name in members:
        if name not in _KNOWN[route]:
            raise RefusedError("feature_unknown", f"`{name[:60]}` is not offered here.", model)
    if route is RouteName.RESPONSES:
        try:
            members = responses.checked(members)
        except responses.NotOfferedError as refused:
            raise RefusedError(refused.code, str(refused), model) from None
    else:
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
    previous = _read(_text, members, "previous_response_id", "a string", model) or ""
    return Body(
        route,
        model,
        stream,
        members,
        bool(options and options.include_usage),
        _user(route, members, model),
        previous,
    )


def _user(route: RouteName, members: dict[str, msgspec.Raw], model: str) -> str:
    """Return whom the caller names as its user, or an empty string."""
    if route is RouteName.MESSAGES:
        about = _read(_metadata, members, "metadata", "an object", model) or {}
        named = [_read(_text, about, "user_id", "a string", model)]
    else:
        names = ("safety_identifier", "user")
        named = [_read(_text, members, name, "a string", model) for name in names]
    user = next((each for each in named if each), "")
    if len(user) > MOST_USER_CHARACTERS:
        said = f"The user's name has more than {MOST_USER_CHARACTERS} characters."
        raise RefusedError("request_invalid", said, model)
    return user


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
