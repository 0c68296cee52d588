"""How long a request is: text is text wherever it stands, and only content parts are media."""

from __future__ import annotations

import json
from typing import Any

import pytest

from console.model.access import RouteName
from console.services.gateway.point.dialect.request_body import read
from console.services.gateway.point.dialect.request_size import IMAGE_TOKENS
from tests.services.gateway.dataplane import asking

ROUTES = {"chat": RouteName.CHAT, "messages": RouteName.MESSAGES, "responses": RouteName.RESPONSES}
LONG = "A" * 70_000
SHAPED: list[dict[str, Any]] = [
    {"type": "image_url", "image_url": {"url": LONG}},
    {"type": "input_image", "image_url": LONG},
    {"type": "image", "source": {"data": LONG}},
    {"type": "input_audio", "input_audio": {"data": LONG}},
    {"type": "file", "file": {"file_data": LONG}},
    {"type": "input_file", "file_data": LONG},
    {"type": "document", "source": {"type": "base64", "data": LONG}},
]
"""What looks like a content part."""


def free_form(shaped: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return requests that hold a value where anything may stand: its text is read as it is."""
    nested = {"content": [shaped], "output": [shaped], "source": {"content": [shaped]}}
    function = {"name": "f", "parameters": nested}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": nested}
    schema = {"name": "s", "schema": nested}
    return {
        "chat tool": ("chat", {"tools": [{"type": "function", "function": function}]}),
        "chat format": ("chat", {"response_format": {
            "type": "json_schema", "json_schema": schema}}),
        "messages call": ("messages", {"messages": [{"role": "assistant", "content": [call]}]}),
        "messages tool": ("messages", {"tools": [{"name": "f", "input_schema": nested}]}),
        "messages examples": ("messages", {"tools": [{
            "name": "f", "input_schema": {}, "input_examples": [shaped]}]}),
        "messages break": ("messages", {"messages": [{"role": "user", "content": [
            {"type": "text", "text": "hi", "cache_control": nested}]}]}),
        "responses tool": ("responses", {"tools": [{"type": "function", **function}]}),
        "responses format": ("responses", {"text": {"format": {"type": "json_schema", **schema}}}),
    }  # fmt: skip


def tokens(route: str, members: dict[str, Any]) -> int:
    return read(ROUTES[route], json.dumps(asking(route, **members)).encode()).size.tokens


@pytest.mark.parametrize("shaped", SHAPED, ids=lambda each: each["type"])
@pytest.mark.parametrize("place", list(free_form(None)))
def test_what_is_shaped_like_media_in_a_free_form_value_counts_as_text(
    place: str, shaped: dict[str, Any]
) -> None:
    assert tokens(*free_form(shaped)[place]) * 4 >= len(LONG)


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


INLINE = {"type": "base64", "media_type": "image/png", "data": LONG}
IMAGE = {"type": "image", "source": INLINE}
ADDRESS = "data:image/png;base64," + LONG
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat", user({"type": "image_url", "image_url": {"url": ADDRESS}})),
    "messages": ("messages", user(IMAGE)),
    "messages result": ("messages", user(
        {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]})),
    "messages document": ("messages", user(
        {"type": "document", "source": {"type": "content", "content": [IMAGE]}})),
    "messages document in a result": ("messages", user(
        {"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "document", "source": {"type": "content", "content": [IMAGE]}}]})),
    "responses": ("responses", {"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": ADDRESS}]}]}),
    "responses result": ("responses", {"input": [{
        "type": "function_call_output", "call_id": "c", "output": [
            {"type": "input_image", "image_url": ADDRESS}]}]}),
}  # fmt: skip


@pytest.mark.parametrize("place", list(PARTS))
def test_an_inline_image_of_a_content_part_is_no_text(place: str) -> None:
    assert IMAGE_TOKENS <= tokens(*PARTS[place]) <= IMAGE_TOKENS + 100
