"""What an upstream began to answer is never free, and is held until its figure is known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from console.model.limits import Limits, Period
from tests.services.gateway.dataplane import (
    DONE,
    STOP,
    asking,
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

TEXT = delta("x" * 400)
BEGUN = MESSAGE_EVENTS[:-1]
"""An answer of messages whose first event tells one token of output, and no later one tells."""
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
WITHOUT_USAGE: dict[str, dict[str, Any]] = {
    "chat": {**WHOLE, "usage": None},
    "messages": {**MESSAGE, "usage": None},
    "responses": {**RESPONSE, "usage": None},
}
LONG_EVENT = "data: " + "x" * (4 * 1024 * 1024 + 1)


@pytest.fixture(scope="module")
def key(priced: Rig) -> str:
    limits = Limits(budget_micros=10**10, budget_period=Period.DAY)
    return key_for_all_routes(priced, partner="unknown-figures", limits=limits)


def answered(text: str, kind: str = "application/json") -> dict[str, Any]:
    return scripted("chat", script(text, kind=kind), stream=False)


FAILED: list[Any] = [
    pytest.param(asking("chat", prompt_cache_key="huge"), id="over 32 MB"),
    pytest.param(answered("<html>hello</html>"), id="no JSON"),
    pytest.param(answered("<html>hello</html>", "text/html"), id="another media type"),
    pytest.param(answered('{"hello": "world"}'), id="no answer of the dialect"),
    pytest.param(answered('{"error": {"message": "late"}}'), id="an error with 200"),
    pytest.param(scripted("chat", script(LONG_EVENT)), id="a first event over 4 MiB"),
    pytest.param(scripted("chat", script("data: {half\n\n")), id="a first event that is no JSON"),
    pytest.param(scripted("chat", script({"error": {"message": "no"}})), id="an error at first"),
]


@pytest.mark.parametrize("asked", FAILED)
def test_what_the_upstream_began_to_answer_costs_the_request_at_least_and_stays_held(
    gateway: Rig, key: str, asked: dict[str, Any]
) -> None:
    told = post(gateway, key, "chat", {**asked, "max_tokens": 500})
    record = gateway.record(told.request_id)
    assert record["code"] in {"upstream_malformed", "upstream_error"}
    assert record["estimated"]
    assert record["input_tokens"] * 4 >= len(json.dumps(asked["messages"][0]["content"]))
    assert record["cost_micros"] >= record["input_tokens"]
    assert record["cost_micros"] + record["held_micros"] >= 500 * 10


def test_what_the_upstream_refused_costs_nothing(gateway: Rig, key: str) -> None:
    for how in ("500", "429", "400", "hang-up"):
        told = post(gateway, key, "chat", asking("chat", prompt_cache_key=how))
        record = gateway.record(told.request_id)
        assert record["code"] in {"upstream_error", "upstream_unreachable"}
        assert (record["input_tokens"], record["cost_micros"], record["held_micros"]) == (0, 0, 0)


SERVED: list[Any] = [
    pytest.param("chat", [TEXT, STOP, DONE], id="chat, [DONE] without usage"),
    pytest.param("chat", [TEXT, STOP], id="chat, the end after the finish reason"),
    pytest.param("chat", [TEXT, STOP, None], id="chat, dropped after the finish reason"),
    pytest.param("chat", [usage(11, 1), TEXT, STOP, DONE], id="chat, usage before the text"),
    pytest.param("messages", [*BEGUN, END, {"type": "message_stop"}], id="messages"),
    pytest.param("responses", [
        {"type": "response.output_text.delta", "output_index": 0, "delta": "x" * 400},
        {"type": "response.completed", "response": WITHOUT_USAGE["responses"]}], id="responses"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "parts"), SERVED)
def test_a_finished_stream_without_a_final_figure_is_an_estimate_and_stays_held(
    gateway: Rig, key: str, route: str, parts: list[Any]
) -> None:
    bound = "max_output_tokens" if route == "responses" else "max_tokens"
    told = post(gateway, key, route, scripted(route, script(*parts), **{bound: 20_000}))
    record = gateway.record(told.request_id)
    assert (record["code"], record["estimated"]) == ("", True)
    assert record["cost_micros"] + record["held_micros"] >= 20_000 * 10


@pytest.mark.parametrize("route", list(WITHOUT_USAGE))
def test_a_whole_answer_without_usage_stays_held_and_one_with_usage_does_not(
    gateway: Rig, key: str, route: str
) -> None:
    bound = "max_output_tokens" if route == "responses" else "max_tokens"
    known: dict[str, Any] = {"chat": WHOLE, "messages": MESSAGE, "responses": RESPONSE}
    for said, is_known in ((WITHOUT_USAGE[route], False), (known[route], True)):
        text = script(json.dumps(said), kind="application/json")
        asked = scripted(route, text, stream=False, **{bound: 20_000})
        record = gateway.record(post(gateway, key, route, asked).request_id)
        assert record["estimated"] is not is_known
        assert (record["held_micros"] == 0) is is_known
        assert is_known or record["cost_micros"] + record["held_micros"] >= 20_000 * 10


@pytest.mark.parametrize("is_known", [True, False])
def test_a_response_that_failed_is_an_error_and_costs_what_its_upstream_told(
    gateway: Rig, key: str, is_known: bool
) -> None:
    failed = {**RESPONSE, "status": "failed", "output": [], "error": {"message": "overloaded"}}
    failed["usage"] = {"input_tokens": 17, "output_tokens": 900} if is_known else None
    parts = [{"type": "response.output_text.delta", "output_index": 0, "delta": "x" * 400},
             {"type": "response.failed", "response": failed}]  # fmt: skip
    told = post(gateway, key, "responses", scripted("responses", script(*parts)))
    assert b"upstream_error" in told.body
    record = gateway.record(told.request_id)
    assert (record["code"], record["estimated"]) == ("upstream_error", not is_known)
    assert (record["output_tokens"], record["held_micros"] == 0) == (
        (900, True) if is_known else (100, False)
    )
