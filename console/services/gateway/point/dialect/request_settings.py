"""What the settings of a request may hold: the members that say how it is answered.

Each is listed by its name, as content is: a member that this gateway does not know is
refused at any depth and not sent on. JSON schemas alone are free, for they name their own.
"""

from __future__ import annotations

from typing import Any

from console.model.access import RouteName
from console.services.gateway.point.dialect.shapes import (
    Check,
    Object,
    OneOf,
    anything,
    each,
    flag,
    invalid,
    text,
    text_or,
)


def _texts(value: Any) -> None:
    """Check an object whose names are the caller's own, and whose values are text."""
    if not isinstance(value, dict):
        raise invalid("`metadata` must be an object.")
    for inner in value.values():
        if inner is not None:
            text(inner)


def _choice(kinds: dict[str, Object]) -> Check:
    """Return the check of a tool choice: a word, or an object of one of these kinds."""
    named = OneOf("`tool_choice`", kinds)

    def either(value: Any) -> None:
        if not isinstance(value, str):
            named(value)

    return either


_TYPE: dict[str, Check] = {"type": text}
_SCHEMA: dict[str, Check] = {
    "name": text, "description": text, "schema": anything, "strict": flag,
}  # fmt: skip
_STREAM = Object("`stream_options`", {"include_usage": flag, "include_obfuscation": flag})

# Chat completions

_NAMED = Object("`tool_choice`", {"name": text})
_NAMED_FUNCTION = Object("`tool_choice`", {**_TYPE, "function": _NAMED})
_NAMED_CUSTOM = Object("`tool_choice`", {**_TYPE, "custom": _NAMED})
_CHAT_CHOICES = {"function": _NAMED_FUNCTION, "custom": _NAMED_CUSTOM}
_CHAT_ALLOWED = Object(
    "`allowed_tools`",
    {"mode": text, "tools": each(OneOf("An allowed tool", _CHAT_CHOICES), "`tools`")},
)
_CHAT_FORMAT = OneOf(
    "`response_format`",
    {
        "text": Object("`response_format`", _TYPE),
        "json_object": Object("`response_format`", _TYPE),
        "json_schema": Object(
            "`response_format`", {**_TYPE, "json_schema": Object("`json_schema`", _SCHEMA)}
        ),
    },
)

# Anthropic messages

_AT_ONCE: dict[str, Check] = {**_TYPE, "disable_parallel_tool_use": flag}
_MESSAGES_CHOICES = {
    "auto": Object("`tool_choice`", _AT_ONCE),
    "any": Object("`tool_choice`", _AT_ONCE),
    "tool": Object("`tool_choice`", {**_AT_ONCE, "name": text}),
    "none": Object("`tool_choice`", _TYPE),
}
_THINKING = OneOf(
    "`thinking`",
    {
        "enabled": Object("`thinking`", {**_TYPE, "budget_tokens": anything, "display": text}),
        "adaptive": Object("`thinking`", {**_TYPE, "display": text}),
        "between_tools": Object("`thinking`", _TYPE),
        "disabled": Object("`thinking`", _TYPE),
    },
)
_OUTPUT = Object(
    "`output_config`",
    {
        "effort": text,
        "format": OneOf(
            "`format`", {"json_schema": Object("`format`", {**_TYPE, "schema": anything})}
        ),
    },
)

# OpenAI responses

_NAMED_TOOL = Object("`tool_choice`", {**_TYPE, "name": text})
_RESPONSES_CHOICES = {"function": _NAMED_TOOL, "custom": _NAMED_TOOL}
_RESPONSES_ALLOWED = Object(
    "`tool_choice`",
    {**_TYPE, "mode": text, "tools": each(OneOf("An allowed tool", _RESPONSES_CHOICES), "`tools`")},
)
_TEXT = Object(
    "`text`",
    {
        "verbosity": text,
        "format": OneOf(
            "`format`",
            {
                "text": Object("`format`", _TYPE),
                "json_object": Object("`format`", _TYPE),
                "json_schema": Object("`format`", {**_TYPE, **_SCHEMA}),
            },
        ),
    },
)
_REASONING = Object(
    "`reasoning`",
    dict.fromkeys(("context", "effort", "generate_summary", "mode", "summary"), text),
)

_SETTINGS: dict[RouteName, dict[str, Check]] = {
    RouteName.CHAT: {
        "tool_choice": _choice(
            {
                **_CHAT_CHOICES,
                "allowed_tools": Object("`tool_choice`", {**_TYPE, "allowed_tools": _CHAT_ALLOWED}),
            }
        ),
        "response_format": _CHAT_FORMAT,
        "metadata": _texts,
        "stream_options": _STREAM,
        "stop": text_or(text, "`stop`"),
        "logprobs": flag,
        "parallel_tool_calls": flag,
        **dict.fromkeys(
            ("prompt_cache_key", "reasoning_effort", "verbosity", "service_tier"), text
        ),
    },
    RouteName.MESSAGES: {
        "tool_choice": _choice(_MESSAGES_CHOICES),
        "thinking": _THINKING,
        "output_config": _OUTPUT,
        "metadata": Object("`metadata`", {"user_id": text}),
        "stop_sequences": each(text, "`stop_sequences`"),
        "service_tier": text,
    },
    RouteName.RESPONSES: {
        "tool_choice": _choice({**_RESPONSES_CHOICES, "allowed_tools": _RESPONSES_ALLOWED}),
        "text": _TEXT,
        "reasoning": _REASONING,
        "metadata": _texts,
        "stream_options": _STREAM,
        "parallel_tool_calls": flag,
        **dict.fromkeys(("instructions", "truncation", "prompt_cache_key", "service_tier"), text),
    },
}
"""The settings of each route; numbers are judged by their bounds, `user` where it is read."""


def check_settings(route: RouteName, members: dict[str, Any]) -> None:
    """Check how a request wants its answer. Raises `NotOfferedError`."""
    for name, check in _SETTINGS[route].items():
        if members.get(name) is not None:
            check(members[name])
