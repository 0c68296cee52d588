"""What a request's content may hold, on every route by one definition: inline data only.

An address would be fetched from the upstream's network, and a file's id names a file of the
shared upstream account: nothing that the upstream would resolve passes. What a part may hold
is listed by name, so a member that this gateway does not know is refused, too.
"""

from __future__ import annotations

import re
from typing import Any

from console.model.access import RouteName
from console.services.gateway.point.dialect.shapes import (
    Check,
    Object,
    OneOf,
    anything,
    each,
    text,
    text_or,
    unoffered,
)

_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\r\n]*+={0,2}[\r\n]*+")


def is_inline(value: Any) -> bool:
    """Tell whether a value is the data itself: base64, or a `data:` address."""
    if not isinstance(value, str):
        return False
    return value.startswith("data:") or _BASE64.fullmatch(value) is not None


def _inline(value: Any) -> None:
    if not is_inline(value):
        raise unoffered("Content by an address or a file's id (only inline data is)")


def _data_address(value: Any) -> None:
    if not (isinstance(value, str) and value.startswith("data:")):
        raise unoffered("Content by an address or a file's id (only inline data is)")


def _caller(value: Any) -> None:
    if not (isinstance(value, dict) and value.get("type") == "direct" and len(value) == 1):
        raise unoffered("A tool call that the upstream made")


_BREAK = {"prompt_cache_breakpoint": anything, "cache_control": anything}
_TYPE: dict[str, Check] = {"type": text}

_CITATION = OneOf(
    "A citation",
    {
        "char_location": Object("a citation", dict.fromkeys((
            "type", "cited_text", "document_index", "document_title", "start_char_index",
            "end_char_index",
        ), anything)),
        "page_location": Object("a citation", dict.fromkeys((
            "type", "cited_text", "document_index", "document_title", "start_page_number",
            "end_page_number",
        ), anything)),
        "content_block_location": Object("a citation", dict.fromkeys((
            "type", "cited_text", "document_index", "document_title", "start_block_index",
            "end_block_index",
        ), anything)),
        "search_result_location": Object("a citation", dict.fromkeys((
            "type", "cited_text", "search_result_index", "source", "title", "start_block_index",
            "end_block_index",
        ), anything)),
    },
)  # fmt: skip
_ANNOTATION = OneOf(
    "An annotation",
    {
        "url_citation": Object("an annotation", dict.fromkeys((
            "type", "url_citation", "start_index", "end_index", "title", "url",
        ), anything)),
    },
)  # fmt: skip
_ANNOTATIONS = each(_ANNOTATION, "`annotations`")

# Chat completions

_CHAT_PART = OneOf(
    "Content",
    {
        "text": Object("text content", {**_TYPE, **_BREAK, "text": text}),
        "refusal": Object("refused content", {**_TYPE, "refusal": text}),
        "image_url": Object(
            "image content",
            {
                **_TYPE,
                **_BREAK,
                "image_url": Object("`image_url`", {"url": _data_address, "detail": text}),
            },
        ),
        "input_audio": Object(
            "audio content",
            {
                **_TYPE,
                **_BREAK,
                "input_audio": Object("`input_audio`", {"data": _inline, "format": text}),
            },
        ),
        "file": Object(
            "file content",
            {
                **_TYPE,
                **_BREAK,
                "file": Object("`file`", {"file_data": _inline, "filename": text}),
            },
        ),
    },
)
_CHAT_CALL = OneOf(
    "A tool call",
    {
        "function": Object(
            "a tool call",
            {
                **_TYPE,
                "id": text,
                "index": anything,
                "function": Object("a function call", {"name": text, "arguments": text}),
            },
        ),
        "custom": Object(
            "a tool call",
            {
                **_TYPE,
                "id": text,
                "index": anything,
                "custom": Object("a tool call", {"name": text, "input": text}),
            },
        ),
    },
    "function",
)
_CHAT_MESSAGE = Object(
    "a message",
    {
        "role": text,
        "content": text_or(_CHAT_PART, "`content`"),
        "name": text,
        "refusal": text,
        "reasoning": text,
        "reasoning_content": text,
        "annotations": _ANNOTATIONS,
        "tool_call_id": text,
        "tool_calls": each(_CHAT_CALL, "`tool_calls`"),
        "function_call": Object("a function call", {"name": text, "arguments": text}),
        "cache_control": anything,
    },
)
_CHAT_TOOL = OneOf(
    "A tool",
    {
        "function": Object(
            "a tool",
            {
                **_TYPE,
                **_BREAK,
                "function": Object(
                    "a function",
                    {"name": text, "description": text, "parameters": anything, "strict": anything},
                ),
            },
        )
    },
)

# Anthropic messages

_TEXT_BLOCK = Object(
    "text content",
    {**_TYPE, **_BREAK, "text": text, "citations": each(_CITATION, "`citations`")},
)
_IMAGE_BLOCK = Object(
    "image content",
    {
        **_TYPE,
        **_BREAK,
        "source": OneOf(
            "An image",
            {"base64": Object("an image", {**_TYPE, "media_type": text, "data": _inline})},
        ),
    },
)
_DOCUMENT_BLOCK = Object(
    "a document",
    {
        **_TYPE,
        **_BREAK,
        "title": text,
        "context": text,
        "citations": anything,
        "source": OneOf(
            "A document",
            {
                "base64": Object("a document", {**_TYPE, "media_type": text, "data": _inline}),
                "text": Object("a document", {**_TYPE, "media_type": text, "data": text}),
                "content": Object(
                    "a document",
                    {
                        **_TYPE,
                        "content": text_or(
                            OneOf("Content", {"text": _TEXT_BLOCK, "image": _IMAGE_BLOCK}),
                            "`content`",
                        ),
                    },
                ),
            },
        ),
    },
)
_FOUND_BLOCK = Object(
    "a search result",
    {
        **_TYPE,
        **_BREAK,
        "source": text,
        "title": text,
        "citations": anything,
        "content": each(OneOf("Content", {"text": _TEXT_BLOCK}), "`content`"),
    },
)
_GIVEN_BLOCKS = {
    "text": _TEXT_BLOCK,
    "image": _IMAGE_BLOCK,
    "document": _DOCUMENT_BLOCK,
    "search_result": _FOUND_BLOCK,
}
_MESSAGES_BLOCK = OneOf(
    "Content",
    {
        **_GIVEN_BLOCKS,
        "thinking": Object("thinking", {**_TYPE, "thinking": text, "signature": text}),
        "redacted_thinking": Object("thinking", {**_TYPE, "data": text}),
        "tool_use": Object(
            "a tool call",
            {**_TYPE, **_BREAK, "id": text, "name": text, "input": anything, "caller": _caller},
        ),
        "tool_result": Object(
            "a tool's result",
            {
                **_TYPE,
                **_BREAK,
                "tool_use_id": text,
                "is_error": anything,
                "content": text_or(OneOf("Content", _GIVEN_BLOCKS), "`content`"),
            },
        ),
    },
)
_MESSAGES_MESSAGE = Object(
    "a message", {"role": text, "content": text_or(_MESSAGES_BLOCK, "`content`")}
)
_MESSAGES_TOOL = OneOf(
    "A tool",
    {
        "custom": Object(
            "a tool",
            {
                **_TYPE,
                **_BREAK,
                "name": text,
                "description": text,
                "input_schema": anything,
                "input_examples": anything,
                "strict": anything,
                "eager_input_streaming": anything,
            },
        )
    },
    "custom",
)

# OpenAI responses

_RESPONSES_PART = OneOf(
    "Content",
    {
        "input_text": Object("text content", {**_TYPE, **_BREAK, "text": text}),
        "output_text": Object(
            "text content",
            {**_TYPE, "text": text, "annotations": _ANNOTATIONS, "logprobs": anything},
        ),
        "refusal": Object("refused content", {**_TYPE, "refusal": text}),
        "input_image": Object(
            "image content",
            {**_TYPE, **_BREAK, "image_url": _data_address, "detail": text},
        ),
        "input_file": Object(
            "file content",
            {**_TYPE, **_BREAK, "file_data": _inline, "filename": text, "detail": text},
        ),
    },
)
_PARTS = text_or(_RESPONSES_PART, "`content`")
_ITEM: dict[str, Check] = {**_TYPE, "id": text, "status": text}
_CALLED: dict[str, Check] = {
    **_ITEM, "call_id": text, "name": text, "namespace": text, "caller": _caller,
}  # fmt: skip
_SUMMARY = each(
    OneOf(
        "A summary",
        {
            "summary_text": Object("a summary", {**_TYPE, "text": text}),
            "reasoning_text": Object("reasoning", {**_TYPE, "text": text}),
        },
    ),
    "`summary`",
)
_RESPONSES_ITEM = OneOf(
    "Input",
    {
        "message": Object("a message", {**_ITEM, "role": text, "phase": text, "content": _PARTS}),
        "function_call": Object("a tool call", {**_CALLED, "arguments": text}),
        "custom_tool_call": Object("a tool call", {**_CALLED, "input": text}),
        "function_call_output": Object("a tool's result", {**_CALLED, "output": _PARTS}),
        "custom_tool_call_output": Object("a tool's result", {**_CALLED, "output": _PARTS}),
        "reasoning": Object(
            "reasoning",
            {**_ITEM, "summary": _SUMMARY, "content": _SUMMARY, "encrypted_content": text},
        ),
    },
    "message",
)
_RESPONSES_TOOL = OneOf(
    "A tool",
    {
        "function": Object(
            "a tool",
            {
                **_TYPE,
                "name": text,
                "description": text,
                "parameters": anything,
                "strict": anything,
            },
        ),
        "custom": Object(
            "a tool", {**_TYPE, "name": text, "description": text, "format": anything}
        ),
    },
)

_CONTENT: dict[RouteName, dict[str, Check]] = {
    RouteName.CHAT: {
        "messages": each(_CHAT_MESSAGE, "`messages`"),
        "tools": each(_CHAT_TOOL, "`tools`"),
    },
    RouteName.MESSAGES: {
        "messages": each(_MESSAGES_MESSAGE, "`messages`"),
        "system": text_or(OneOf("Content", {"text": _TEXT_BLOCK}), "`system`"),
        "tools": each(_MESSAGES_TOOL, "`tools`"),
    },
    RouteName.RESPONSES: {
        "input": text_or(_RESPONSES_ITEM, "`input`"),
        "tools": each(_RESPONSES_TOOL, "`tools`"),
    },
}


def check_content(route: RouteName, members: dict[str, Any]) -> None:
    """Check what a request says and which tools it brings. Raises `NotOfferedError`."""
    for name, check in _CONTENT[route].items():
        if members.get(name) is not None:
            check(members[name])
    for item in members.get("input") or () if route is RouteName.RESPONSES else ():
        if isinstance(item, dict) and item.get("type") == "reasoning":
            _check_reasoning(item)


def _check_reasoning(item: dict[str, Any]) -> None:
    if not isinstance(item.get("encrypted_content"), str):
        raise unoffered("Reasoning by its id alone (without `encrypted_content`)")
