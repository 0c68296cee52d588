"""The upstream's own key never comes back to a caller, whatever the upstream sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.services.gateway.point.upstream.key_guard import REMOVED, KeyGuard
from tests.services.gateway.dataplane import (
    DONE,
    STOP,
    Told,
    delta,
    key_for_all_routes,
    post,
    script,
    scripted,
    usage,
)
from tests.services.gateway.lab_upstream import MESSAGE, RESPONSE, WHOLE
from tests.services.gateway.rig import Rig

OURS = b"upstream-own-key"
ERROR = json.dumps({"error": {"message": "x" * 990 + " header was Bearer {KEY}"}})
BODIES: dict[str, dict[str, Any]] = {"chat": WHOLE, "messages": MESSAGE, "responses": RESPONSE}


@pytest.fixture(scope="module")
def key(gateway: Rig) -> str:
    return key_for_all_routes(gateway, partner="echoes")


def told(gateway: Rig, key: str, route: str, *parts: Any, **more: Any) -> tuple[Told, Any]:
    stream = more.pop("stream", False)
    answer = post(gateway, key, route, scripted(route, script(*parts, **more), stream=stream))
    return answer, gateway.record(answer.request_id)


@pytest.mark.parametrize("route", ["chat", "messages", "responses"])
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500, 503])
def test_a_body_or_an_error_that_echoes_the_key_comes_without_it(
    gateway: Rig, key: str, route: str, status: int
) -> None:
    body = ERROR if status != 200 else json.dumps({**BODIES[route], "debug": "Bearer {KEY}"})
    headers = {"Retry-After": "{KEY}", "X-Echo": "{KEY}"}
    answer, record = told(
        gateway, key, route, body, status=status, kind="application/json", **headers
    )
    assert answer.status in {status, 502}
    assert OURS not in answer.body
    assert OURS[:12] not in answer.body
    assert "{KEY}" not in answer.body.decode()
    assert OURS.decode() not in json.dumps(record)
    if status == 200:
        assert REMOVED in answer.body
        assert (record["code"], record["error_type"]) == ("", "upstream key in answer")


def test_a_header_that_echoes_the_key_comes_without_it(gateway: Rig, key: str) -> None:
    import http.client
    from urllib.parse import urlsplit

    for status, kind in ((429, "application/json"), (503, "text/html"), (200, "text/{KEY}")):
        asked = scripted("chat", script("{}", status=status, kind=kind, **{"Retry-After": "{KEY}"}))
        conn = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)
        conn.request(
            "POST", "/v1/chat/completions", json.dumps(asked), {"Authorization": f"Bearer {key}"}
        )
        with conn.getresponse() as answer:
            assert OURS.decode() not in str(answer.headers)
            assert OURS not in answer.read()
        record = gateway.record(answer.headers["x-request-id"])
        assert OURS.decode() not in json.dumps(record)
        conn.close()


def test_a_stream_that_echoes_the_key_comes_without_it_also_where_chunks_split_it(
    gateway: Rig, key: str
) -> None:
    first, second = json.dumps(delta("it is {KEY}!")).split("{KEY}")
    half = OURS.decode()
    parts = [f"data: {first}{half[:7]}", 0.05, f"{half[7:12]}", 0.05, f"{half[12:]}{second}\n\n",
             delta("again {KEY}"), STOP, usage(11, 7), DONE]  # fmt: skip
    answer, record = told(gateway, key, "chat", *parts, stream=True)
    assert OURS not in answer.body
    assert answer.body.count(REMOVED) == 2
    assert (record["code"], record["error_type"]) == ("", "upstream key in answer")
    failing, _ = told(
        gateway, key, "chat", delta("a"), {"error": {"message": "was {KEY}"}}, stream=True
    )
    assert b"upstream_error" in failing.body
    assert OURS not in failing.body


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(["sk-up/secret", "sk-up", "/secret", "s", "x", "-", "\n"]), max_size=8
    ),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_however_a_stream_is_cut_the_key_is_gone_and_all_else_is_there(
    words: list[str], cuts: list[int]
) -> None:
    whole = "".join(words).encode()
    guard, out, start = KeyGuard("sk-up/secret"), b"", 0
    for end in [*sorted(min(cut, len(whole)) for cut in cuts), len(whole)]:
        out += guard.feed(whole[start:end])
        start = end
    out += guard.rest()
    assert out == whole.replace(b"sk-up/secret", REMOVED)


def test_the_key_is_found_as_json_and_addresses_write_it() -> None:
    key = 'sk/up"é+key'
    for written in (
        key,
        json.dumps(key),
        json.dumps(key).replace("/", "\\/"),
        "sk%2Fup%22%C3%A9%2Bkey",
    ):
        guard = KeyGuard(key)
        assert guard.feed(f"a {written} b".encode()) + guard.rest() != f"a {written} b".encode()
        assert guard.found
    assert KeyGuard("short").feed(b"a short word") == b"a short word"
