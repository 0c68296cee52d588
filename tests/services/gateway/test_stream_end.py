"""A finished stream is finished: written, settled, closed, whatever the upstream does then."""

from __future__ import annotations

import time
from typing import Any

import pytest

from console.services.gateway.point.upstream.stream_passage import REST_SECONDS
from tests.sdks import anthropic, openai
from tests.services.gateway.conftest import Lab
from tests.services.gateway.dataplane import (
    DONE,
    STOP,
    delta,
    key_for_all_routes,
    post,
    script,
    scripted,
    usage,
)
from tests.services.gateway.lab_upstream import RESPONSE
from tests.services.gateway.rig import Rig

HANGS = 30
TEXT = delta("hello there")
MESSAGE: Any = [
    {"type": "message_start", "message": {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 5210, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0,
     "delta": {"type": "text_delta", "text": "hello there"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
     "usage": {"input_tokens": 0, "output_tokens": 3}},
]  # fmt: skip


def named(events: list[Any]) -> list[str]:
    """Return Anthropic's events, with the names that its SDK goes by."""
    import json

    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events]


STOPPED = named([{"type": "message_stop"}])


@pytest.fixture(scope="module")
def key(gateway: Rig) -> str:
    return key_for_all_routes(gateway, partner="streams")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([TEXT, STOP, usage(11, 7), DONE, HANGS], id="the upstream stays open"),
        pytest.param([TEXT, STOP, usage(11, 7), DONE, {"error": {"message": "late"}}],
                     id="an error comes after the end"),
        pytest.param([TEXT, STOP, usage(11, 7), "data: [DONE]"], id="no blank line at the end"),
        pytest.param([TEXT, STOP, usage(11, 7), "data: [DONE]\r\n"], id="half a blank line"),
        pytest.param([TEXT, STOP, usage(11, 7)], id="no end at all"),
        pytest.param([TEXT, STOP, usage(11, 7), 'data: {"half', None], id="dropped in an event"),
        pytest.param([TEXT, STOP, usage(11, 7), None], id="dropped after the finish reason"),
        pytest.param([TEXT, STOP, usage(11, 7), "data: {not json\n\n", HANGS],
                     id="a bad event comes before the end"),
        pytest.param([TEXT, STOP, usage(11, 7), {"error": {"message": "late"}}, HANGS],
                     id="an error comes before the end"),
        pytest.param([TEXT, STOP, {"error": {"message": "late"}}, usage(11, 7), DONE],
                     id="an error comes before the usage"),
        pytest.param([TEXT, STOP, usage(11, 7), 'data: {"error": {"message": "late"}}'],
                     id="an error without its blank line"),
        pytest.param([TEXT, STOP, usage(11, 7), *[": wait\n\n", 0.5] * 60],
                     id="the upstream goes on without a word"),
        pytest.param([TEXT, STOP, usage(11, 7), "data: " + "x" * 5_000_000, HANGS],
                     id="an event without end comes before the end"),
    ],
)  # fmt: skip
def test_a_finished_chat_stream_ends_at_once_and_is_recorded_as_served(
    gateway: Rig, key: str, parts: list[Any]
) -> None:
    began = time.monotonic()
    told = post(gateway, key, "chat", scripted("chat", script(*parts)))
    assert time.monotonic() - began < HANGS / 2
    assert told.body.endswith(DONE.encode())
    assert told.body.count(b"[DONE]") == 1
    assert b"error" not in told.body
    record = gateway.record(told.request_id)
    assert (record["outcome"], record["code"], record["estimated"]) == ("allowed", "", False)
    assert (record["input_tokens"], record["output_tokens"]) == (11, 7)


def choice(at: int, text: str, reason: str | None = None) -> dict[str, Any]:
    """Return a chunk of one choice of several."""
    return delta(text, index=at, finish_reason=reason)


def test_a_stream_of_several_choices_is_finished_when_each_of_them_is(
    gateway: Rig, key: str
) -> None:
    waits = [": wait\n\n", 0.5] * int(2 * REST_SECONDS + 2)
    parts = script(
        choice(0, "one", "stop"), *waits, choice(1, "two"), choice(1, "", "stop"),
        usage(11, 7), DONE, HANGS,
    )  # fmt: skip
    told = post(gateway, key, "chat", scripted("chat", parts, n=2))
    assert b'"two"' in told.body
    assert told.body.endswith(DONE.encode())
    record = gateway.record(told.request_id)
    assert (record["code"], record["estimated"], record["output_tokens"]) == ("", False, 7)


@pytest.mark.parametrize("end", [[], [None], [{"error": {"message": "late"}}],
                                 [choice(1, "two")]], ids=range(4))  # fmt: skip
def test_a_stream_that_lacks_one_of_its_choices_is_not_served_as_finished(
    gateway: Rig, key: str, end: list[Any]
) -> None:
    parts = script(choice(0, "one", "stop"), *end)
    told = post(gateway, key, "chat", scripted("chat", parts, n=2))
    assert DONE.encode() not in told.body
    assert b"upstream_" in told.body
    assert gateway.record(told.request_id)["estimated"]


def named_response(kind: str, **members: Any) -> str:
    return named([{"type": kind, **members}])[0]


ANSWERED = named_response("response.completed", response=RESPONSE)
BEGUN = [
    named_response("response.created", response={**RESPONSE, "status": "in_progress",
                                                 "output": [], "usage": None}),
    named_response("response.output_text.delta", item_id="msg_lab", output_index=0,
                   content_index=0, delta="lab"),
]  # fmt: skip


@pytest.mark.parametrize(
    "end",
    [
        pytest.param([ANSWERED, HANGS], id="the upstream stays open"),
        pytest.param([ANSWERED.rstrip()], id="no blank line at the end"),
        pytest.param([ANSWERED, None], id="dropped after the answer"),
        pytest.param([ANSWERED, {"type": "error", "message": "late"}, HANGS],
                     id="an error comes after the end"),
    ],
)  # fmt: skip
def test_a_finished_responses_stream_ends_at_once_and_is_recorded_as_served(
    gateway: Rig, key: str, end: list[Any]
) -> None:
    began = time.monotonic()
    told = post(gateway, key, "responses", scripted("responses", script(*BEGUN, *end)))
    assert time.monotonic() - began < HANGS / 2
    assert b"response.completed" in told.body
    assert b"event: error" not in told.body
    assert told.body.endswith(b"\n\n")
    record = gateway.record(told.request_id)
    assert (record["outcome"], record["code"], record["estimated"]) == ("allowed", "", False)
    assert (record["input_tokens"], record["output_tokens"]) == (17, 3)


def test_a_responses_stream_without_its_last_event_is_broken(gateway: Rig, key: str) -> None:
    told = post(gateway, key, "responses", scripted("responses", script(*BEGUN)))
    assert b"upstream_broken" in told.body
    assert gateway.record(told.request_id)["estimated"]


LATE = {"type": "error", "error": {"type": "overloaded_error", "message": "late"}}


@pytest.mark.parametrize(
    "end",
    [[*STOPPED, HANGS], [STOPPED[0].rstrip()], [], [*named([LATE]), HANGS],
     ["data: {not json\n\n", HANGS]],
    ids=["stays open", "no blank line", "no end", "an error", "a bad event"],
)  # fmt: skip
def test_a_finished_messages_stream_ends_at_once_with_the_usage_of_its_beginning(
    gateway: Rig, key: str, end: list[Any]
) -> None:
    began = time.monotonic()
    told = post(gateway, key, "messages", scripted("messages", script(*named(MESSAGE), *end)))
    assert time.monotonic() - began < HANGS / 2
    assert b"late" not in told.body
    record = gateway.record(told.request_id)
    assert (record["code"], record["estimated"], record["finish_reason"]) == ("", False, "end_turn")
    assert (record["input_tokens"], record["output_tokens"]) == (5210, 3)


def test_whoever_reads_to_the_end_with_the_sdk_was_served(gateway: Rig, key: str) -> None:
    text = script(TEXT, STOP, usage(11, 7), DONE, HANGS)
    with openai.OpenAI(api_key=key, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        ids = []
        for _ in range(20):
            raw = client.chat.completions.with_raw_response.create(
                model="lab-1", messages=[{"role": "user", "content": text}], stream=True
            )
            assert len(list(raw.parse())) == 2
            raw.http_response.close()
            ids.append(raw.headers["x-request-id"])
    with anthropic.Anthropic(api_key=key, base_url=gateway.url, max_retries=0) as other:
        for _ in range(5):
            said = script(*named(MESSAGE), *STOPPED, HANGS)
            stream = other.messages.with_raw_response.create(
                model="lab-2", max_tokens=9, messages=[{"role": "user", "content": said}],
                stream=True,
            )  # fmt: skip
            list(stream.parse())
            stream.http_response.close()
            ids.append(stream.headers["request-id"])
    assert {gateway.record(each)["code"] for each in ids} == {""}


def test_a_stream_without_a_finish_reason_is_broken(gateway: Rig, key: str) -> None:
    told = post(gateway, key, "chat", scripted("chat", script(TEXT)))
    assert b"upstream_broken" in told.body
    assert gateway.record(told.request_id)["estimated"]


def test_a_finished_stream_gives_its_connection_to_the_upstream_back(
    gateway: Rig, key: str, lab: Lab
) -> None:
    text = script(TEXT, STOP, usage(11, 7), DONE, 0.05)

    def again() -> bool:
        assert post(gateway, key, "chat", scripted("chat", text)).status == 200
        peers = lab.said()["peers"]
        return peers[-1] in peers[:-1]

    gateway.wait(again, "a call over an earlier one's connection")
