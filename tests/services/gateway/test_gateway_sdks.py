"""The official SDKs against real processes: what partners' programs meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.model.grant import GrantedCapability, Lapse
from tests.sdks import anthropic, openai
from tests.services.gateway.conftest import Lab
from tests.services.gateway.rig import Rig, projection

ASK: Any = [{"role": "user", "content": "Say something about the harbour."}]
RETRIES = "x-stainless-retry-count"
"""With what both SDKs say how often they have tried again."""
LONG: Any = [{"role": "user", "content": "Write 900 words."}]


def openai_at(rig: Rig, key: str, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{rig.url}/v1", max_retries=2, **more)


def anthropic_at(rig: Rig, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=rig.url, max_retries=2)


@pytest.fixture
def key(gateway: Rig) -> str:
    grant = projection()
    gateway.project(grant)
    return gateway.issue(grant)[1]


def test_the_openai_sdk_gets_an_answer_a_stream_and_the_model_list(gateway: Rig, key: str) -> None:
    with openai_at(gateway, key) as client:
        assert [model.id for model in client.models.list()] == ["aurora-1"]
        answer = client.chat.completions.create(model="aurora-1", messages=ASK, max_tokens=5)
        assert answer.usage is not None
        assert answer.choices[0].finish_reason == "length"
        assert len((answer.choices[0].message.content or "").split()) == 5
        assert answer.usage.completion_tokens == 5
        again = client.chat.completions.create(model="aurora-1", messages=ASK, max_tokens=5)
        assert again.choices[0].message.content == answer.choices[0].message.content
        stream = client.chat.completions.create(model="aurora-1", messages=ASK, stream=True)
        chunks = list(stream)
        assert all(chunk.choices for chunk in chunks), "the usage chunk was not asked for"
        asked = client.chat.completions.create(
            model="aurora-1", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        assert list(asked)[-1].usage is not None


def test_the_anthropic_sdk_gets_an_answer_a_stream_and_the_model_list(
    gateway: Rig, key: str
) -> None:
    with anthropic_at(gateway, key) as client:
        assert [model.id for model in client.models.list()] == ["aurora-1"]
        answer = client.messages.create(model="aurora-1", max_tokens=5, messages=ASK)
        assert answer.stop_reason == "max_tokens"
        assert answer.usage.output_tokens == 5
        with client.messages.stream(model="aurora-1", max_tokens=50, messages=ASK) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert final.usage.output_tokens == len(text.split())


def test_usage_and_the_decision_are_recorded_for_each_call(gateway: Rig, key: str) -> None:
    with openai_at(gateway, key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="aurora-1", messages=ASK, max_tokens=5, extra_headers={"User-Agent": "probe/1"}
        )
        record = gateway.record(raw.headers["x-request-id"])
    assert record["outcome"] == "allowed"
    assert record["code"] == ""
    assert (record["input_tokens"], record["output_tokens"]) == (5, 5)
    assert (record["estimated"], record["finish_reason"]) == (False, "length")
    assert record["capability"] == "text.general"
    assert record["user_agent"] == "probe/1"
    assert record["upstream"] == "builtin"
    assert record["bundle_revision"]
    assert all(check["passed"] for check in record["checks"])
    assert key not in str(record)


Refusal = tuple[str, int]


def _unknown(rig: Rig) -> str:
    return "sk-pilot-" + "x" * 43


def _key_revoked(rig: Rig) -> str:
    grant = projection()
    rig.project(grant)
    credential, key = rig.issue(grant)
    rig.revoke("credential", credential)
    return key


def _grant_revoked(rig: Rig) -> str:
    grant = projection()
    rig.project(grant)
    _, key = rig.issue(grant)
    rig.revoke("grant", grant.id)
    return key


def _locked(rig: Rig) -> str:
    grant = projection()
    rig.project(grant)
    _, key = rig.issue(grant)
    rig.lock("grant", grant.id, "Call us.")
    return key


def _changed(**facts: Any) -> Callable[[Rig], str]:
    def change(rig: Rig) -> str:
        grant = projection()
        rig.project(grant)
        _, key = rig.issue(grant)
        given = {"id": grant.id, "revision": 2, "not_before": grant.not_before, **facts}
        rig.project(projection(**given))
        return key

    return change


def _past(code: str) -> list[Lapse]:
    return [Lapse(at=datetime.now(UTC) - timedelta(minutes=1), code=code)]


CASES: list[tuple[str, int, Callable[[Rig], str]]] = [
    ("key_unknown", 401, _unknown),
    ("key_revoked", 403, _key_revoked),
    ("grant_revoked", 403, _grant_revoked),
    ("locked", 403, _locked),
    ("grant_suspended", 403, _changed(lapses=_past("terms_lapsed"))),
    ("grant_suspended", 403, _changed(state="suspended", state_reason="assessment_lapsed")),
    ("grant_expired", 403, _changed(lapses=_past("grant_expired"))),
    ("model_out_of_scope", 403, _changed(models=["aurora-2"])),
    ("network_not_allowed", 403, _changed(networks=["203.0.113.0/24"])),
    ("policy_denied", 403, _changed(partner_state="suspended")),
]
IDS = [f"{code}-{n}" for n, (code, _, _) in enumerate(CASES)]


@pytest.mark.parametrize(("code", "status", "made"), CASES, ids=IDS)
def test_a_refusal_is_the_sdks_own_typed_error_with_our_code_and_a_record(
    gateway: Rig, code: str, status: int, made: Callable[[Rig], str]
) -> None:
    key = made(gateway)
    gateway.settled()
    with openai_at(gateway, key) as client:
        wanted: type[openai.APIStatusError] = (
            openai.AuthenticationError if status == 401 else openai.PermissionDeniedError
        )
        for stream in (False, True):
            with pytest.raises(wanted) as caught:
                client.chat.completions.create(model="aurora-1", messages=ASK, stream=stream)
            assert caught.value.code == code
            assert caught.value.request.headers[RETRIES] == "0", "the SDK retried a refusal"
            record = gateway.record(str(caught.value.request_id))
            assert (record["code"], record["status"]) == (code, status)
            assert record["outcome"] in {"denied", "blocked"}
            assert not record["checks"][-1]["passed"]
    with anthropic_at(gateway, key) as other:
        wanted_too: type[anthropic.APIStatusError] = (
            anthropic.AuthenticationError if status == 401 else anthropic.PermissionDeniedError
        )
        with pytest.raises(wanted_too) as met:
            other.messages.create(model="aurora-1", max_tokens=5, messages=ASK)
        assert met.value.response.headers["x-pilotctl-code"] == code
        body: Any = met.value.body
        assert body["error"]["code"] == code
        assert body["request_id"] == met.value.request_id
        assert met.value.request.headers[RETRIES] == "0", "the SDK retried a refusal"
    gateway.record(str(met.value.request_id))
    explained = gateway.get(f"/v1/calls/{met.value.request_id}/explanation")
    assert code in explained["summary"]
    assert explained["mend"]


def test_what_is_locked_is_told_the_locks_message_and_not_its_reason(gateway: Rig) -> None:
    key = _locked(gateway)
    gateway.settled()
    with openai_at(gateway, key) as client, pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="aurora-1", messages=ASK)
    assert caught.value.body == {
        "message": "Call us.", "type": "permission_error", "param": None, "code": "locked",
    }  # fmt: skip


def _streams(rig: Rig, key: str, dialect: str) -> Iterator[Any]:
    if dialect == "openai":
        with openai_at(rig, key) as client:
            yield from client.chat.completions.create(model="aurora-1", messages=LONG, stream=True)
    else:
        with anthropic_at(rig, key) as other:
            yield from other.messages.create(
                model="aurora-1", max_tokens=4000, messages=LONG, stream=True
            )


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("verb", ["grant", "credential", "lock", "lapse"])
def test_a_running_stream_is_cut_at_once(gateway: Rig, dialect: str, verb: str) -> None:
    grant = projection("cut-partner")
    gateway.project(grant)
    credential, key = gateway.issue(grant)
    stream = _streams(gateway, key, dialect)
    for _ in range(10):
        next(stream)
    receipt, lock = None, None
    match verb:
        case "grant":
            receipt, code = gateway.revoke("grant", grant.id)["id"], "grant_revoked"
        case "credential":
            receipt, code = gateway.revoke("credential", credential)["id"], "key_revoked"
        case "lock":
            lock = gateway.lock("partner", "cut-partner")
            receipt, code = lock["receipt_id"], "locked"
        case _:
            soon = datetime.now(UTC) + timedelta(milliseconds=300)
            lapses = [Lapse(at=soon, code="terms_lapsed")]
            gateway.project(projection("cut-partner", id=grant.id, revision=2, lapses=lapses))
            code = "grant_suspended"
    asked = time.monotonic()
    with pytest.raises((openai.APIError, anthropic.APIStatusError)) as caught:
        list(stream)
    assert time.monotonic() - asked < 60.0  # at once, on a quiet machine
    assert code in str(caught.value.body)
    if receipt is not None:
        proof = gateway.receipt(receipt)["points"][0]
        assert (proof["state"], proof["method"], proof["streams_cut"]) == ("refused", "probe", 1)
        assert proof["codes"] == [code]
    page = gateway.wait(
        lambda: gateway.get(f"/v1/calls?credential={credential}")["items"], "the record is there"
    )
    assert page[0]["code"] == code
    assert page[0]["estimated"]
    assert page[0]["output_tokens"] > 0
    if lock is not None:
        gateway.call("POST", f"/v1/locks/{lock['id']}/release", {"reason": "test"}, If_Match='"1"')


def test_a_call_chooses_its_capability_by_a_header(gateway: Rig) -> None:
    capabilities = [
        GrantedCapability(
            slug=slug,
            tier=tier,
            category="general",
            models=["aurora-1"],
            routes=["chat.completions"],
        )
        for slug, tier in (("text.low", 0), ("text.high", 2))
    ]
    grant = projection(capabilities=capabilities, tier=2)
    gateway.project(grant)
    _, key = gateway.issue(grant)
    for named, found in (("", "text.low"), ("text.high", "text.high")):
        headers = {"x-pilot-capability": named} if named else {}
        with openai_at(gateway, key, default_headers=headers) as client:
            raw = client.chat.completions.with_raw_response.create(model="aurora-1", messages=ASK)
        assert gateway.record(raw.headers["x-request-id"])["capability"] == found
    with (
        openai_at(gateway, key, default_headers={"x-pilot-capability": "other"}) as client,
        pytest.raises(openai.PermissionDeniedError) as caught,
    ):
        client.chat.completions.create(model="aurora-1", messages=ASK)
    assert caught.value.code == "capability_out_of_scope"


def test_features_and_routes_that_are_not_known_are_refused(
    gateway: Rig, key: str, lab: Lab
) -> None:
    with openai_at(gateway, key) as client:
        for extra in (
            {"store": True},
            {"web_search_options": {}},
            {"tools": [{"type": "web_search"}]},
            {"functions": []},
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(model="aurora-1", messages=ASK, extra_body=extra)
            assert refused.value.code == "feature_unknown"
        with pytest.raises(openai.NotFoundError) as nowhere:
            client.embeddings.create(model="aurora-1", input="x")
        assert nowhere.value.code == "route_unknown"
        assert gateway.record(str(nowhere.value.request_id))["partner"] == "acme"
    with anthropic_at(gateway, key) as other:
        with pytest.raises(anthropic.BadRequestError):
            other.messages.create(
                model="aurora-1", max_tokens=5, messages=ASK, extra_body={"mcp_servers": []}
            )
        with pytest.raises(anthropic.BadRequestError):
            other.beta.messages.create(
                model="aurora-1", max_tokens=5, messages=ASK, betas=["files-api-2025-04-14"]
            )
        with pytest.raises(anthropic.NotFoundError):
            other.messages.count_tokens(model="aurora-1", messages=ASK)


def test_what_is_no_request_is_a_bad_request_and_a_closed_key_hears_of_that_first(
    gateway: Rig, key: str
) -> None:
    import urllib.error
    import urllib.request

    def post(raw: bytes, with_key: str) -> tuple[int, str]:
        request = urllib.request.Request(
            f"{gateway.url}/v1/chat/completions", raw, {"Authorization": f"Bearer {with_key}"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
        with caught.value as answer:
            return answer.code, answer.headers["x-pilotctl-code"]

    revoked = _key_revoked(gateway)
    gateway.settled()
    for raw in (
        b"{}", b'{"messages":[{}]}', b'{"model":null}',
        b"", b"[]", b"{", b'{"model": 1}', b'{"model": "aurora-1"}', b"\xff\xfe", b"[" * 100_000,
        b'{"model":"aurora-1","messages":"x"}', b'{"model":"aurora-1","messages":[1]}',
    ):  # fmt: skip
        assert post(raw, key) == (400, "request_invalid"), raw
        assert post(raw, revoked) == (403, "key_revoked"), raw
    assert post(b'{"model":"aurora-1","messages":[{}],"stream":"yes"}', key)[1] == "request_invalid"
    assert post(b'{"x":"' + b"x" * (9 * 1024 * 1024) + b'"}', key) == (413, "too_large")


def test_bytes_that_are_no_text_in_a_header_or_path_are_recorded_all_the_same(
    gateway: Rig, key: str
) -> None:
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(gateway.url)
    for path in (b"/v1/chat/completions", b"/v1/\xff%ff%00", b"/v1/models"):
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as sock:
            sock.sendall(
                b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff\xfe\r\n"
                b"x-pilot-capability: \xff\r\nAuthorization: Bearer " + key.encode() + b"\xff\r\n"
                b"Connection: close\r\n\r\n"
            )
            got = b""
            while more := sock.recv(4096):
                got += more
        assert got.split()[1] in {b"400", b"401", b"404"}, got
    gateway.wait(
        lambda: [
            c
            for c in gateway.get("/v1/calls")["items"]
            if "\ufffd" in c["user_agent"] or "?" in c["user_agent"]
        ],
        "the record of it",
    )
