"""The Responses API by the official SDK: served, metered, refused, cut, and bound to its grant."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.services.gateway.point.dialect import responses_api
from tests.sdks import openai
from tests.services.gateway.conftest import Lab
from tests.services.gateway.rig import Rig, projection
from tests.services.gateway.test_gateway_sdks import openai_at

ASK = "Say something about the harbour."
MODELS = ["aurora-1", "aurora-2", "lab-1"]


def grant(**facts: Any) -> Any:
    usual = projection()
    capability = msgspec.structs.replace(usual.capabilities[0], routes=["responses"], models=MODELS)
    return projection(**{"capabilities": [capability], "models": MODELS, **facts})


@pytest.fixture
def key(gateway: Rig) -> str:
    made = grant()
    gateway.project(made)
    return gateway.issue(made)[1]


@pytest.fixture
def client(gateway: Rig, key: str) -> Iterator[openai.OpenAI]:
    with openai_at(gateway, key) as made:
        yield made


def test_the_sdk_gets_an_answer_and_a_stream(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="aurora-1", input=ASK, max_output_tokens=5)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert len(answer.output_text.split()) == 5
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 5)
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": ASK}]}]
    listed = client.responses.create(model="aurora-1", input=items, store=False)
    assert listed.status == "completed"
    with client.responses.stream(model="aurora-1", input=ASK) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == text
    assert final.usage is not None
    assert final.usage.output_tokens == len(text.split())


def test_usage_and_the_decision_are_recorded(gateway: Rig, client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model="aurora-1", input=ASK, max_output_tokens=5, safety_identifier="ada"
    )
    record = gateway.record(raw.headers["x-request-id"])
    assert (record["route"], record["outcome"]) == ("responses", "allowed")
    assert (record["input_tokens"], record["output_tokens"]) == (5, 5)
    assert (record["estimated"], record["finish_reason"]) == (False, "max_output_tokens")
    assert len(record["principal"]) == 64


def test_an_upstream_of_its_own_is_called_with_its_own_ids(
    gateway: Rig, client: openai.OpenAI, lab: Lab
) -> None:
    first = client.responses.create(model="lab-1", input=ASK, safety_identifier="ada")
    assert first.output_text == "lab"
    assert first.id != "resp_lab1"
    assert first.safety_identifier == "ada"
    again = client.responses.create(model="lab-1", input="more", previous_response_id=first.id)
    assert again.previous_response_id == first.id
    seen = lab.said()["seen"]
    assert seen[-1]["body"]["previous_response_id"] == "resp_lab1"
    assert seen[-1]["path"] == "/v1/responses"
    assert len(seen[-2]["body"]["safety_identifier"]) == 64
    stream = client.responses.create(model="lab-1", input=ASK, stream=True)
    ids = {e.response.id for e in stream if e.type in {"response.created", "response.completed"}}
    assert ids == {first.id}, "the same answer of the same upstream has one id for its grant"


@pytest.mark.parametrize(
    ("how", "error"),
    [("html", "InternalServerError"), ("wrong-shape", "InternalServerError"),
     ("failed", "InternalServerError"), ("429", "RateLimitError"), ("400", "BadRequestError")],
)  # fmt: skip
def test_an_upstream_that_fails_is_a_typed_error(
    gateway: Rig, key: str, how: str, error: str
) -> None:
    typed = getattr(openai, error)
    with openai_at(gateway, key).with_options(max_retries=0) as client, pytest.raises(typed):
        client.responses.create(model="lab-1", input=ASK, prompt_cache_key=how)


@pytest.mark.parametrize("how", ["broken", "fails"])
def test_a_stream_that_breaks_ends_with_a_typed_error(client: openai.OpenAI, how: str) -> None:
    stream = client.responses.create(model="lab-1", input=ASK, stream=True, prompt_cache_key=how)
    with pytest.raises(openai.APIError) as failed:
        list(stream)
    assert failed.value.code in {"upstream_broken", "upstream_error"}


def test_a_revocation_cuts_a_stream_in_the_middle(gateway: Rig) -> None:
    made = grant()
    gateway.project(made)
    _, key = gateway.issue(made)
    with openai_at(gateway, key) as client:
        stream = client.responses.create(model="aurora-1", input="9000 words", stream=True)
        for event in stream:
            if event.type == "response.output_text.delta":
                break
        receipt = gateway.revoke("grant", made.id)
        with pytest.raises(openai.APIError) as cut:
            list(stream)
        assert cut.value.code == "grant_revoked"
        with pytest.raises(openai.PermissionDeniedError):
            client.responses.create(model="aurora-1", input=ASK)
    proven = gateway.receipt(receipt["id"])["points"][0]
    assert (proven["state"], proven["codes"], proven["streams_cut"]) == (
        "refused", ["grant_revoked"], 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        {"store": True},
        {"background": True},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://example.org"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"tools": [{"type": "code_interpreter", "container": "c"}]},
        {"include": ["file_search_call.results"]},
        {"moderation": {}},
        {"max_tool_calls": 3},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]},
        {"input": [{"type": "mcp_approval_response", "approve": True}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]},
        {"input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": "https://example.org/a.png"}]}]},
        {"input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "file_id": "f"}]}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": [
            {"type": "input_file", "file_url": "https://example.org"}]}]},
    ],
)  # fmt: skip
def test_what_stores_fetches_or_runs_elsewhere_is_refused(
    client: openai.OpenAI, asked: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="aurora-1", **{"input": ASK, **asked})
    assert refused.value.code == "feature_unknown"


def test_tools_that_the_caller_runs_and_content_in_the_request_are_let_through(
    client: openai.OpenAI,
) -> None:
    answer = client.responses.create(
        model="lab-1",
        tools=[{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        include=["reasoning.encrypted_content"],
        input=[
            {"role": "user", "content": [
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}
            ]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "7"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        ],
    )  # fmt: skip
    assert answer.output_text == "lab"


def test_other_routes_about_answers_are_not_there(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="aurora-1", input=ASK)
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            ask(answer.id)


def test_an_answers_id_works_for_its_grant_only(gateway: Rig, client: openai.OpenAI) -> None:
    answer = client.responses.create(model="aurora-1", input=ASK)
    more = client.responses.create(model="aurora-2", input="more", previous_response_id=answer.id)
    assert more.previous_response_id == answer.id
    other = grant()
    gateway.project(other)
    with openai_at(gateway, gateway.issue(other)[1]) as stranger:
        told = []
        for given in (answer.id, "resp_never", answer.id + "A", answer.id[5:], "resp_"):
            with pytest.raises(openai.NotFoundError) as refused:
                stranger.responses.create(
                    model="aurora-1", input="more", previous_response_id=given
                )
            told.append(str(refused.value.body).replace(given, "ID"))
        assert len(set(told)) == 1, "another grant's answer is like one that never was"
        assert refused.value.code == "answer_unknown"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="lab-1", input="more", previous_response_id=answer.id)


def test_a_successor_goes_on_from_the_answers_of_the_grant_that_it_renews(gateway: Rig) -> None:
    old = grant()
    gateway.project(old)
    _, key = gateway.issue(old)
    with openai_at(gateway, key) as client:
        answer = client.responses.create(model="aurora-1", input=ASK)
        gateway.project(grant(renews=old.id, lineage=[old.id]))
        gateway.settled()
        assert client.responses.create(
            model="aurora-1", input="more", previous_response_id=answer.id
        )


def test_ids_survive_a_restart_and_work_at_every_point(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("ids")
    (home / "keys").mkdir(mode=0o700)
    key_file = home / "keys" / "lab.key"
    key_file.touch(mode=0o600)
    key_file.write_text("k")
    with Rig(home, lab.config(), points=2) as pair:
        made = grant()
        pair.project(made)
        _, key = pair.issue(made)
        first, second = (
            openai.OpenAI(api_key=key, base_url=f"{pair.urls[each]}/v1") for each in pair.names
        )
        answer = first.responses.create(model="aurora-1", input=ASK)
        more = second.responses.create(
            model="aurora-1", input="more", previous_response_id=answer.id
        )
        first.close()
        second.close()
        pair.restart("gw-1")
        with openai.OpenAI(api_key=key, base_url=f"{pair.url}/v1") as again:
            assert again.responses.create(
                model="aurora-1", input="more", previous_response_id=more.id
            )


def test_many_streams_at_once_keep_their_own_answers(gateway: Rig, key: str) -> None:
    got: dict[int, int] = {}

    def run(count: int) -> None:
        with openai_at(gateway, key) as client:
            stream = client.responses.create(model="aurora-1", input=f"{count} words", stream=True)
            got[count] = sum(e.type == "response.output_text.delta" for e in stream)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(3, 11)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert got == {n: n for n in range(3, 11)}


@settings(max_examples=200)
@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=40), st.binary(max_size=40))
def test_only_what_was_sealed_for_a_grant_is_opened_for_it(
    there: str, grant_id: str, other: str, noise: bytes
) -> None:
    try:
        there.encode(), grant_id.encode(), other.encode()
    except UnicodeEncodeError:
        return
    key = b"k" * 32
    given_id = responses_api.sealed(key, grant_id, "up", there)
    found = responses_api.opened(key, [grant_id], "up", given_id)
    assert found == (there or None)
    if other != grant_id:
        assert responses_api.opened(key, [other], "up", given_id) is None
    assert responses_api.opened(b"x" * 32, [grant_id], "up", given_id) is None
    assert responses_api.opened(key, [grant_id], "elsewhere", given_id) is None
    assert responses_api.opened(key, [grant_id], "up", noise.decode("latin-1")) is None
