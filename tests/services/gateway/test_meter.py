"""The meter: what an answer comes to, whatever the upstream says and whenever it stops."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.model.access import RouteName
from console.model.limits import Limits, Period
from console.services.gateway.point.dialect.request_size import Size
from console.services.gateway.point.dialect.usage_meter import MAX_COUNT, Meter, NotAnAnswerError
from tests.services.gateway.dataplane import (
    STOP,
    delta,
    key_for_all_routes,
    post,
    script,
    scripted,
    usage,
)
from tests.services.gateway.lab_upstream import MESSAGE, RESPONSE, WHOLE
from tests.services.gateway.rig import Rig
from tests.services.gateway.test_stream_end import MESSAGE as MESSAGE_EVENTS

ROUTES = {"chat": RouteName.CHAT, "messages": RouteName.MESSAGES, "responses": RouteName.RESPONSES}
FIELDS = {
    "chat": ["prompt_tokens", "completion_tokens"],
    "messages": ["input_tokens", "output_tokens", "cache_read_input_tokens",
                 "cache_creation_input_tokens"],
    "responses": ["input_tokens", "output_tokens"],
}  # fmt: skip
WHOLES: dict[str, dict[str, Any]] = {"chat": WHOLE, "messages": MESSAGE, "responses": RESPONSE}
ODD = ["-1", "0", str(2**63), "1e400", "NaN", '"7"', "1.5", "null", "[]", "true"]


def event(said: Any) -> bytes:
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def metered(route: str, *events: Any, asked: int = 40) -> Meter:
    meter = Meter(ROUTES[route], Size(asked))
    for each in events:
        meter.event(event(each))
    return meter


def streamed(**said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": said}


PASSED: list[tuple[str, Any, int]] = [
    ("chat", delta("x" * 400), 100),
    ("chat", delta("\u6f22" * 400), 300),
    ("chat", delta({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                                    "function": {"name": "", "arguments": "x" * 400}}]}), 100),
    ("chat", delta({"refusal": "x" * 400}), 100),
    ("chat", delta({"reasoning_content": "x" * 400}), 100),
    ("chat", delta({"reasoning_details": [{"type": "reasoning.text", "text": "x" * 400}]}), 100),
    ("chat", delta({"content": [{"type": "text", "text": "x" * 400}]}), 100),
    ("messages", streamed(type="text_delta", text="x" * 400), 100),
    ("messages", streamed(type="thinking_delta", thinking="x" * 400), 100),
    ("messages", streamed(type="input_json_delta", partial_json="x" * 400), 100),
    ("messages", {"type": "content_block_start", "index": 0, "content_block": {
        "type": "redacted_thinking", "data": "x" * 400}}, 100),
    ("responses", {"type": "response.output_text.delta", "delta": "x" * 400}, 100),
    ("responses", {"type": "response.function_call_arguments.delta", "delta": "x" * 400}, 100),
    ("responses", {"type": "response.reasoning_summary_text.delta", "delta": "x" * 400}, 100),
    ("responses", {"type": "response.refusal.delta", "delta": "x" * 400}, 100),
    ("responses", {"type": "response.output_item.done", "item": {
        "type": "message", "content": [{"type": "output_text", "text": "x" * 400}]}}, 100),
]  # fmt: skip


@pytest.mark.parametrize(("route", "said", "tokens"), PASSED, ids=range(len(PASSED)))
def test_whatever_the_model_writes_counts_by_its_bytes(route: str, said: Any, tokens: int) -> None:
    meter = metered(route, said)
    assert (meter.output_tokens, meter.input_tokens, meter.estimated) == (tokens, 10, True)


def test_ids_signatures_and_padding_are_no_text() -> None:
    meter = metered("messages", streamed(type="signature_delta", signature="s" * 800))
    padded = metered("chat", delta("word", obfuscation="p" * 800, logprobs={"content": "l" * 800}))
    assert (meter.output_tokens, padded.output_tokens) == (0, 1)


def test_usage_is_merged_by_field_and_never_falls() -> None:
    meter = metered("messages", *MESSAGE_EVENTS)
    assert (meter.input_tokens, meter.output_tokens, meter.finish_reason) == (5210, 3, "end_turn")
    start = {
        "type": "message_start",
        "message": {
            "usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 5000,
                "cache_creation_input_tokens": 200,
            }
        },
    }
    later = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 9},
    }
    assert metered("messages", start, later).input_tokens == 5210
    assert metered("chat", usage(11, 7), usage(0, 0), STOP).input_tokens == 11


counts = st.integers(0, 10_000) | st.none() | st.sampled_from([-1, 2**63, 1.5, "7", True, [], {}])
chunks = st.lists(
    st.tuples(st.text(max_size=12), st.none() | st.tuples(counts, counts)), min_size=1, max_size=8
)


@settings(max_examples=200)
@given(chunks)
def test_metering_never_falls_and_is_never_below_what_was_passed(
    said: list[tuple[str, tuple[Any, Any] | None]],
) -> None:
    meter, before, passed = Meter(RouteName.CHAT, Size(40)), (0, 0), 0
    for text, told in said:
        used = {} if told is None else {"usage": usage(*told)["usage"]}
        meter.event(event({**delta(text), **used}))
        passed += len(text.encode("utf-8", "replace"))
        now = (meter.input_tokens, meter.output_tokens)
        known = [pair[0] for _, pair in said if pair and type(pair[0]) is int and pair[0] > 0]
        assert now[1] >= before[1]
        assert now[1] * 4 >= passed
        assert now[0] >= before[0] or known, "an estimate gives way to the upstream's own count"
        before = now


def odd_whole(route: str, field: str, number: str) -> str:
    body = {**WHOLES[route], "usage": {**WHOLES[route]["usage"], field: "@"}}
    return json.dumps(body).replace('"@"', number)


def check_odd(gateway: Rig, key: str, cases: list[tuple[str, str, str]]) -> None:
    for route, field, number in cases:
        body = odd_whole(route, field, number)
        asked = scripted(route, script(body, kind="application/json"), stream=False)
        told = post(gateway, key, route, asked)
        assert told.status == 200, (route, field, number, told)
        if route != "responses":
            assert told.body == body.encode(), "bytes pass on"
        record = gateway.record(told.request_id)
        readable = "cache" in field and number in {"0", "null"}
        assert record["estimated"] is not readable, (route, field, number)
        assert record["code"] == ""
        assert 0 < record["output_tokens"] <= MAX_COUNT
        assert 0 < record["input_tokens"] <= MAX_COUNT


CASES = [(route, field, odd) for route in FIELDS for field in FIELDS[route] for odd in ODD]


@pytest.fixture(scope="module")
def key(gateway: Rig) -> str:
    return key_for_all_routes(gateway, partner="meter")


def test_usage_that_cannot_be_read_is_estimated_and_flagged_and_the_bytes_pass_on(
    gateway: Rig, key: str, record_property: Any
) -> None:
    seed = random.randrange(10**6)
    chosen = random.Random(seed).sample(CASES, 24)
    record_property("told", f"seed {seed}, {len(chosen)} of {len(CASES)} usage fields")
    check_odd(gateway, key, chosen)


@pytest.mark.long
def test_every_usage_field_of_every_route_with_every_odd_number(gateway: Rig, key: str) -> None:
    check_odd(gateway, key, CASES)


def test_whole_answers_of_odd_shapes_pass_on_and_are_counted(gateway: Rig, key: str) -> None:
    parts = [{"type": "text", "text": "x" * 400}]
    shapes: list[tuple[str, Any]] = [
        ("chat", {**WHOLE, "usage": None, "choices": [{"message": {"content": parts}}]}),
        ("chat", {**WHOLE, "usage": 7, "choices": [{"message": {"content": "x" * 400}}]}),
        ("messages", {**MESSAGE, "usage": [], "content": "x" * 400}),
        ("responses", {**RESPONSE, "usage": None, "id": None, "output": "x" * 400}),
    ]
    for route, said in shapes:
        body = json.dumps(said)
        asked = scripted(route, script(body, kind="application/json"), stream=False)
        told = post(gateway, key, route, asked)
        assert (told.status, told.json) == (200, said)
        record = gateway.record(told.request_id)
        assert (record["estimated"], record["output_tokens"], record["code"]) == (True, 100, "")


@given(st.binary(max_size=40))
def test_what_is_no_answer_is_said_so_and_nothing_else(raw: bytes) -> None:
    for route in RouteName:
        try:
            Meter(route, Size(1)).whole(raw)
        except NotAnAnswerError:
            continue
        raise AssertionError(raw)


# Money


def test_a_hang_up_pays_what_passed_and_what_it_may_have_cost_stays_held(priced: Rig) -> None:
    gateway = priced
    limits = Limits(budget_micros=1_000_000, budget_period=Period.DAY)
    key = key_for_all_routes(gateway, partner="hangs-up", limits=limits)
    call = {"index": 0, "function": {"arguments": "x" * 400}}
    text = script(*[delta({"tool_calls": [call]})] * 5, 0.2, None)
    most = 20_000 * 10
    codes = []
    for _ in range(8):
        told = post(gateway, key, "chat", scripted("chat", text, max_tokens=20_000))
        codes.append(told.code)
        if told.code:
            break
        record = gateway.record(told.request_id)
        assert record["code"] == "upstream_broken"
        assert record["output_tokens"] == 500
        assert record["cost_micros"] >= 5_000
        assert record["held_micros"] + record["cost_micros"] >= most
    assert codes == ["", "", "", "", "budget_exhausted"]

    def state() -> Any:
        budgets = gateway.get("/v1/usage/budgets?partner=hangs-up")["items"]
        return budgets[0] if budgets[0]["spent_micros"] >= 20_000 else None

    found = gateway.wait(state, "every record is counted")
    assert found["reserved_micros"] >= 4 * (most - 6_000)
    assert found["left_micros"] < most
