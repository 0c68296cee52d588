"""Reading a caller's request: which members it may have, and what it asks for.

What is judged is what is sent on: the body is read once, strictly, judged as that value at
every depth, and the forwarded body is that value written anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from console.model.access import RouteName
from console.services.gateway.point.dialect import strict_json
from console.services.gateway.point.dialect.content_parts import check_content
from console.services.gateway.point.dialect.request_numbers import InvalidNumberError, check_numbers
from console.services.gateway.point.dialect.request_settings import check_settings
from console.services.gateway.point.dialect.request_size import Size, size_of
from console.services.gateway.point.dialect.responses_api import checked
from console.services.gateway.point.dialect.shapes import NotOfferedError

MAX_BYTES = 8 * 1024 * 1024

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

_READ_BY_THE_MODEL = ("messages", "input", "instructions", "system", "tools", "text",
                      "response_format", "output_config")  # fmt: skip
"""Members whose text counts as input."""

MAX_MODEL_CHARACTERS = 200
MAX_USER_CHARACTERS = 256
"""As many as policy takes of a principal's identifier."""


class RefusedError(Exception):
    """The request cannot be taken. `code` is one of the table's."""

    def __init__(self, code: str, message: str, model: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.model = model


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
    numbers: dict[str, int] = {}
    """The whole numbers that it names, by their paths."""
    size: Size = Size(0)
    """How long what is asked is."""

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
            options = _options.decode(members.get("stream_options") or b"null") or {}
            members["stream_options"] = {**options, "include_usage": True}
        return msgspec.json.encode(members)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_options = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def read(route: RouteName, raw: bytes) -> Body:
    """Take a body apart. Raises `RefusedError`: request_invalid, or feature_unknown."""
    try:
        value = strict_json.decode(raw)
    except strict_json.NotStrictError as error:
        raise RefusedError("request_invalid", f"The body is no JSON object: {error}.") from None
    if not isinstance(value, dict):
        raise RefusedError("request_invalid", "The body is no JSON object.")
    model = _text(value, "model", "")
    asks = _ASKS[route]
    if not model or len(model) > MAX_MODEL_CHARACTERS or not value.get(asks):
        missing = asks if model and len(model) <= MAX_MODEL_CHARACTERS else "model"
        raise RefusedError(
            "request_invalid",
            f"`{missing}` is needed and must fit.",
            model[:MAX_MODEL_CHARACTERS],
        )
    try:
        return _judged(route, model, value)
    except NotOfferedError as refused:
        raise RefusedError(refused.code, str(refused), model) from None
    except (InvalidNumberError, strict_json.NotStrictError) as refused:
        raise RefusedError("request_invalid", str(refused), model) from None


def _judged(route: RouteName, model: str, value: dict[str, Any]) -> Body:
    """Judge a body's value whole, and return it written anew."""
    for name in value:
        if name not in _KNOWN[route]:
            raise RefusedError("feature_unknown", f"`{name[:60]}` is not offered here.", model)
    numbers = check_numbers(route, value)
    check_content(route, value)
    check_settings(route, value)
    if route is RouteName.RESPONSES:
        value = checked(value)
    stream = _bool(value, "stream", model)
    options = value.get("stream_options") or {}
    members = {name: strict_json.encode(inner) for name, inner in value.items()}
    asked = [name for name in _READ_BY_THE_MODEL if name in members]
    return Body(
        route,
        model,
        stream,
        members,
        wants_usage=_bool(options, "include_usage", model),
        user=_user(route, value, model),
        previous=_text(value, "previous_response_id", model),
        numbers=numbers,
        size=size_of(value[_ASKS[route]], sum(len(bytes(members[name])) for name in asked)),
    )


def _user(route: RouteName, value: dict[str, Any], model: str) -> str:
    """Return whom the caller names as its user, or an empty string."""
    if route is RouteName.MESSAGES:
        about = value.get("metadata") or {}
        if not isinstance(about, dict):
            raise RefusedError("request_invalid", "`metadata` must be an object.", model)
        named = [_text(about, "user_id", model)]
    else:
        named = [_text(value, name, model) for name in ("safety_identifier", "user")]
    user = next((each for each in named if each), "")
    if len(user) > MAX_USER_CHARACTERS:
        said = f"The user's name has more than {MAX_USER_CHARACTERS} characters."
        raise RefusedError("request_invalid", said, model)
    return user


def _text(value: dict[str, Any], name: str, model: str) -> str:
    """Return a member that is a string; empty where it is left out or null."""
    found = value.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise RefusedError("request_invalid", f"`{name}` must be a string.", model)
    return found


def _bool(value: dict[str, Any], name: str, model: str) -> bool:
    """Return a member that is true or false; false where it is left out or null."""
    found = value.get(name)
    if found is not None and not isinstance(found, bool):
        raise RefusedError("request_invalid", f"`{name}` must be true or false.", model)
    return bool(found)
