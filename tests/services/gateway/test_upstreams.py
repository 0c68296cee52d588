"""A real second upstream over HTTP: well, slow, broken, and none at all."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from console.model.grant import GrantedCapability
from tests.sdks import anthropic, openai
from tests.services.gateway.conftest import Lab
from tests.services.gateway.rig import Rig, projection

ASK: Any = [{"role": "user", "content": "Hello, laboratory."}]


@pytest.fixture(scope="module")
def key(gateway: Rig) -> str:
    models = ["lab-1", "lab-2", "gone-1"]
    capability = GrantedCapability(
        slug="lab.use",
        tier=1,
        category="general",
        models=models,
        routes=["chat.completions", "messages"],
    )
    grant = projection("lab-partner", capabilities=[capability], models=models)
    gateway.project(grant)
    return gateway.issue(grant)[1]


@pytest.fixture
def client(gateway: Rig, key: str) -> Any:
    with openai.OpenAI(api_key=key, base_url=f"{gateway.url}/v1", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, how: str, stream: bool = False) -> Any:
    return client.chat.completions.with_raw_response.create(
        model="lab-1", messages=ASK, prompt_cache_key=how, stream=stream
    )


def test_the_upstream_gets_its_own_key_and_name_and_nothing_of_the_callers(
    gateway: Rig, client: openai.OpenAI, key: str, lab: Lab
) -> None:
    client = client.with_options(default_headers={"X-Secret-Of-Mine": "yes", "Cookie": "a=b"})
    record = gateway.record(ask(client, "well").headers["x-request-id"])
    assert (record["input_tokens"], record["output_tokens"]) == (11, 7)
    assert (record["estimated"], record["upstream"]) == (False, "lab")
    sent = lab.said()["seen"][-1]
    assert sent["headers"]["authorization"] == "Bearer upstream-own-key"
    assert sent["headers"]["x-request-id"] == record["id"]
    assert sent["body"]["model"] == "lab-model"
    assert key not in json.dumps(sent)
    assert set(sent["headers"]) == {
        "host", "content-type", "accept", "user-agent", "x-request-id", "authorization",
        "content-length",
    }  # fmt: skip


def test_a_stream_passes_unbuffered_and_its_usage_is_asked_for_and_taken_out_again(
    gateway: Rig, client: openai.OpenAI, lab: Lab
) -> None:
    raw = ask(client, "plain", stream=True)
    chunks = list(raw.parse())
    assert all(chunk.choices for chunk in chunks)
    assert lab.said()["seen"][-1]["body"]["stream_options"] == {"include_usage": True}
    record = gateway.record(raw.headers["x-request-id"])
    assert (record["input_tokens"], record["output_tokens"]) == (11, 7)
    assert (record["estimated"], record["finish_reason"]) == (False, "stop")
    before = lab.said()["hung_up"]
    slow = ask(client, "long", stream=True)
    first = next(iter(slow.parse()))
    assert first.choices
    slow.http_response.close()
    gateway.wait(lambda: lab.said()["hung_up"] > before, "it was let go before it had told all")


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("html", 502, "upstream_malformed"),
        ("not-json", 502, "upstream_malformed"),
        ("wrong-shape", 502, "upstream_malformed"),
        ("huge", 502, "upstream_malformed"),
        ("hang-up", 502, "upstream_unreachable"),
        ("slow", 504, "upstream_timeout"),
        ("redirect", 502, "upstream_error"),
        ("500", 502, "upstream_error"),
        ("401", 502, "upstream_error"),
        ("429", 429, "upstream_error"),
        ("400", 400, "upstream_error"),
    ],
)
def test_an_upstream_that_gives_no_answer_is_a_named_failure(
    gateway: Rig, client: openai.OpenAI, how: str, status: int, code: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, how)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "secret words" not in str(caught.value)
    if how == "429":
        assert caught.value.response.headers["Retry-After"] == "7"
    if how == "400":
        assert "temperature is wrong" in str(caught.value)
    record = gateway.record(str(caught.value.request_id))
    assert (record["outcome"], record["code"]) == ("error", code)
    assert record["error_type"]


def test_an_upstream_that_is_not_there_is_unreachable(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="gone-1", messages=ASK)
    assert caught.value.code == "upstream_unreachable"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("broken", "upstream_broken"),
        ("garbled", "upstream_malformed"),
        ("stalls", "upstream_timeout"),
    ],
)
def test_a_stream_that_breaks_ends_with_a_typed_error_and_its_usage_is_an_estimate(
    gateway: Rig, client: openai.OpenAI, how: str, code: str
) -> None:
    raw = ask(client, how, stream=True)
    got = []
    with pytest.raises(openai.APIError) as caught:
        got += [chunk for chunk in raw.parse()]  # noqa: C416 - what came before the error counts
    assert caught.value.code == code
    record = gateway.record(raw.headers["x-request-id"])
    assert (record["code"], record["estimated"]) == (code, True)
    assert record["output_tokens"] > 0


def test_an_answer_without_usage_is_estimated_and_flagged(
    gateway: Rig, client: openai.OpenAI
) -> None:
    record = gateway.record(ask(client, "no-usage").headers["x-request-id"])
    assert (record["estimated"], record["output_tokens"]) == (True, 1)
    assert record["input_tokens"] > 0


def test_when_the_caller_hangs_up_the_upstream_is_let_go_and_usage_is_recorded(
    gateway: Rig, key: str, lab: Lab
) -> None:
    before = lab.said()["hung_up"]
    asked = {"model": "lab-1", "messages": ASK, "stream": True, "prompt_cache_key": "long"}
    body = json.dumps(asked)
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as sock:
        sock.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        got = b""
        while got.count(b"data:") < 5:
            got += sock.recv(4096)
    head = dict(line.lower().split(b": ", 1) for line in got.split(b"\r\n")[1:8] if b": " in line)
    record = gateway.record("req_" + head[b"x-request-id"].decode()[4:].upper())
    assert (record["code"], record["outcome"]) == ("caller_gone", "allowed")
    assert record["estimated"]
    assert record["output_tokens"] > 0
    gateway.wait(lambda: lab.said()["hung_up"] > before, "the upstream noticed")


def stands_still(port: int | None, peer: int) -> bool:
    """Tell whether what a listener has for a peer is no more nor less in ten looks at it."""
    looks = set()
    for _ in range(10):
        looks.add(unsent(port, peer))
        time.sleep(0.03)
    return len(looks) == 1 and looks != {0}


def unsent(port: int | None, peer: int) -> int:
    """Return how many bytes the kernel holds that were written to a peer and not taken."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, _, queues, *_ = line.split()
        if (int(here[-4:], 16), int(there[-4:], 16)) == (port, peer):
            return int(queues.partition(":")[0], 16)
    return 0


def test_a_caller_that_does_not_read_cannot_keep_what_a_revocation_ends(
    gateway: Rig, lab: Lab
) -> None:
    """The upstream floods it, so that the point stands still in the middle of a write."""
    usual = projection("deaf")
    capability = msgspec.structs.replace(usual.capabilities[0], models=["lab-1"])
    grant = msgspec.structs.replace(usual, capabilities=[capability], models=["lab-1"])
    gateway.project(grant)
    _, key = gateway.issue(grant)
    body = json.dumps(
        {"model": "lab-1", "messages": ASK, "stream": True, "prompt_cache_key": "flood"}
    )
    parts = urlsplit(gateway.url)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect((parts.hostname, parts.port))
        sock.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        sock.recv(100)
        gateway.wait(lambda: stands_still(parts.port, sock.getsockname()[1]), "no byte goes on")
        receipt = gateway.receipt(gateway.revoke("grant", grant.id)["id"])
        assert receipt["points"][0]["streams_cut"] == 1


def test_the_anthropic_dialect_passes_through_with_its_own_headers(
    gateway: Rig, key: str, lab: Lab
) -> None:
    with anthropic.Anthropic(api_key=key, base_url=gateway.url, max_retries=0) as client:
        raw = client.messages.with_raw_response.create(model="lab-2", max_tokens=9, messages=ASK)
        record = gateway.record(raw.headers["request-id"])
        assert (record["input_tokens"], record["output_tokens"]) == (13, 5)
        sent = lab.said()["seen"][-1]
        assert sent["headers"]["x-api-key"] == "upstream-own-key"
        assert sent["headers"]["anthropic-version"] == "2023-06-01"
        with client.messages.stream(model="lab-2", max_tokens=9, messages=ASK) as stream:
            assert "".join(stream.text_stream) == "lab"
        with pytest.raises(anthropic.NotFoundError) as caught:
            client.messages.create(model="lab-1", max_tokens=9, messages=ASK)
        assert caught.value.response.headers["x-pilotctl-code"] == "route_unknown"
