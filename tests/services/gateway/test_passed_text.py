"""The text that passed is counted whole and once, however an upstream tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.model.access import RouteName
from console.services.gateway.point.dialect import text_tally
from console.services.gateway.point.dialect.request_size import Size
from console.services.gateway.point.dialect.usage_meter import Meter
from tests.services.gateway.dataplane import delta
from tests.services.gateway.lab_upstream import MESSAGE, RESPONSE, WHOLE

WAYS = ("deltas", "text", "part", "item")
TYPES = {
    "content": ("response.output_text", "text", "response.content_part", "output_text"),
    "summary": ("response.reasoning_summary_text", "text", "response.reasoning_summary_part",
                "summary_text"),
    "arguments": ("response.function_call_arguments", "arguments", "", ""),
}  # fmt: skip
"""Of each kind of text: its events, the member of those, the events of its part, its type."""

Told = tuple[dict[str, Any], dict[tuple[int, int], int]]
"""An event, and how many bytes it tells of each text; a delta tells more of its own."""


def length(text: str) -> int:
    return len(text.encode())


def metered(route: RouteName) -> Meter:
    return Meter(route, Size(40))


def fed(meter: Meter, said: Any) -> None:
    meter.event(b"data: " + json.dumps(said).encode() + b"\n\n")


def item_of(kind: str, texts: list[str]) -> dict[str, Any]:
    if kind == "arguments":
        return {"type": "function_call", "call_id": "call_1", "arguments": "".join(texts)}
    parts = [{"type": TYPES[kind][3], "text": text} for text in texts]
    kinds = {"content": "message", "summary": "reasoning"}
    return {"type": kinds[kind], kind: parts, "id": "item_1"}


def told_as(way: str, at: int, kind: str, texts: list[str]) -> list[Told]:
    """Return the events that tell the texts of one item in one way."""
    name, member, part, inner = TYPES[kind]
    whole = {(at, n): length(text) for n, text in enumerate(texts)}
    if way == "item":
        said: dict[str, Any] = {"item": item_of(kind, texts), "output_index": at}
        return [({**said, "type": "response.output_item.done"}, whole)]
    events: list[Told] = []
    for n, text in enumerate(texts):
        of = {"output_index": at, "item_id": f"item_{at}"}
        of |= {} if kind == "arguments" else {f"{kind}_index": n}
        if way == "deltas":
            pieces = [text[:3], text[3:]]
            events += [
                ({"type": f"{name}.delta", **of, "delta": piece}, {(at, n): length(piece)})
                for piece in pieces
            ]
        elif way == "text":
            events.append(({"type": f"{name}.done", **of, member: text}, {(at, n): whole[at, n]}))
        elif part:
            said = {"type": f"{part}.done", **of, "part": {"type": inner, "text": text}}
            events.append((said, {(at, n): whole[at, n]}))
    return events


@st.composite
def responses(draw: st.DrawFn) -> list[Told]:
    """Draw a stream that is cut: each item told in some ways, all in any order."""
    events: list[Told] = [({"type": "response.in_progress", "response": {"output": []}}, {})]
    for at in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(sorted(TYPES)))
        size = 1 if kind == "arguments" else 3
        texts = draw(st.lists(st.text(max_size=30), min_size=1, max_size=size))
        for way in draw(st.sets(st.sampled_from(WAYS), min_size=1)):
            events += told_as(way, at, kind, texts)
    return draw(st.permutations(events))


def passed(told: list[Told]) -> int:
    """Return how many bytes of different texts some events tell."""
    most: dict[tuple[int, int], int] = {}
    pieces: dict[tuple[int, int], int] = {}
    for said, bytes_of in told:
        for text, told_now in bytes_of.items():
            if said["type"].endswith(".delta"):
                pieces[text] = pieces.get(text, 0) + told_now
            most[text] = max(most.get(text, 0), told_now, pieces.get(text, 0))
    return sum(most.values())


@given(responses())
def test_a_cut_call_of_responses_is_what_passed_wherever_it_is_cut(told: list[Told]) -> None:
    meter = metered(RouteName.RESPONSES)
    for n, (said, _) in enumerate(told):
        fed(meter, said)
        assert meter.output_tokens == -(-passed(told[: n + 1]) // 4)


@given(responses())
def test_events_that_name_no_item_are_never_below_what_passed(told: list[Told]) -> None:
    meter = metered(RouteName.RESPONSES)
    for n, (said, _) in enumerate(told):
        unnamed = {"output_index", "item_id", "content_index", "summary_index"}
        fed(meter, {name: said[name] for name in said if name not in unnamed})
        assert meter.output_tokens * 4 >= passed(told[: n + 1])


def test_the_end_of_a_response_repeats_what_passed_and_tells_what_did_not() -> None:
    meter = metered(RouteName.RESPONSES)
    texts = ["x" * 400, "y" * 800]
    for said, _ in told_as("deltas", 0, "content", texts[:1]):
        fed(meter, said)
    output = [item_of("content", [text]) for text in texts]
    fed(meter, {"type": "response.completed", "response": {"output": output, "usage": None}})
    assert (meter.output_tokens, meter.estimated) == (300, True)


CHAT = ("content", "reasoning_content", "refusal")
BLOCKS = {"text": "text_delta", "thinking": "thinking_delta", "partial_json": "input_json_delta"}


@given(st.lists(st.tuples(st.sampled_from(CHAT), st.text(max_size=30), st.integers(0, 2))))
def test_a_cut_call_of_chat_is_what_passed(said: list[tuple[str, str, int]]) -> None:
    meter, total = metered(RouteName.CHAT), 0
    for name, text, choice in said:
        fed(meter, delta({name: text}, index=choice))
        total += length(text)
        assert meter.output_tokens == -(-total // 4)


@given(st.lists(st.tuples(st.sampled_from(sorted(BLOCKS)), st.text(max_size=30), st.booleans())))
def test_a_cut_call_of_messages_is_what_passed(said: list[tuple[str, str, bool]]) -> None:
    meter, total = metered(RouteName.MESSAGES), 0
    for at, (name, text, begins) in enumerate(said):
        inner = {"type": BLOCKS[name], name: text}
        kind = ("content_block_start", "content_block") if begins else ("content_block_delta",
                                                                       "delta")  # fmt: skip
        fed(meter, {"type": kind[0], "index": at, kind[1]: inner})
        total += length(text)
        assert meter.output_tokens == -(-total // 4)


def test_more_parts_than_are_told_apart_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_tally, "MAX_PLACES", 10)
    meter = metered(RouteName.RESPONSES)
    for at in range(40):
        for said, _ in told_as("deltas", at, "content", ["x" * 40]):
            fed(meter, said)
    assert meter.output_tokens == 400


# Values that the model wrote whole

NAMES = st.sampled_from(["id", "type", "role", "status", "audio", "index"]) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False,
                                                                        allow_infinity=False)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_an_object_that_the_model_wrote_counts_whole_whatever_its_members_are_called(
    value: dict[str, Any],
) -> None:
    written = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    call = {"type": "tool_use", "id": "toolu_1", "name": "", "input": value}
    function = {"type": "function", "function": {"name": "", "arguments": value}}
    item = {"type": "function_call", "call_id": "call_1", "arguments": value}
    wholes: list[tuple[RouteName, Any]] = [
        (RouteName.MESSAGES, {**MESSAGE, "usage": None, "content": [call]}),
        (RouteName.CHAT, {**WHOLE, "usage": None, "choices": [
            {"message": {"tool_calls": [function]}}]}),
        (RouteName.RESPONSES, {**RESPONSE, "usage": None, "output": [item]}),
    ]  # fmt: skip
    for route, said in wholes:
        meter = metered(route)
        meter.whole(json.dumps(said).encode())
        assert written <= meter.output_tokens * 4 <= written * 1.5 + 40
    meter = metered(RouteName.MESSAGES)
    fed(meter, {"type": "content_block_start", "index": 0, "content_block": call})
    assert meter.output_tokens * 4 >= written


def test_an_answer_that_is_nested_deeply_is_counted() -> None:
    deep = json.dumps({**MESSAGE, "usage": None, "content": "@"})
    for inner in ('{"type":"tool_use","input":%s}', '{"type":"text","text":%s}'):
        nested = inner % ('{"a":' * 600 + '"' + "x" * 400 + '"' + "}" * 600)
        meter = metered(RouteName.MESSAGES)
        meter.whole(deep.replace('"@"', nested).encode())
        assert meter.output_tokens >= 100
