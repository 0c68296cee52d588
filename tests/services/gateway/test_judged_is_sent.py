"""What is judged is what is sent on: members, numbers and content, on all three routes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import is_typeddict

from console.model.access import RouteName
from console.services.gateway.point.dialect import strict_json
from console.services.gateway.point.dialect.request_body import RefusedError, read
from console.services.gateway.point.dialect.request_numbers import NUMBERS
from tests.sdks import anthropic, openai
from tests.services.gateway.conftest import Lab
from tests.services.gateway.dataplane import PATHS, asking, key_for_all_routes, post
from tests.services.gateway.rig import Rig

ROUTES = {"chat": RouteName.CHAT, "messages": RouteName.MESSAGES, "responses": RouteName.RESPONSES}
ODD = ["-1", "0", str(2**63), "1e400", "NaN", '"7"', "1.5", "null", "[]", "{}", "true", "-0.0",
       "1e3", "0.30000000000000004", "9" * 50]  # fmt: skip


@pytest.fixture(scope="module")
def key(gateway: Rig) -> str:
    return key_for_all_routes(gateway, partner="judged")


# Members, at any depth

FUNCTION = '"function":{"name":"f","parameters":{"a":1,"\\u0061":2}}'
TWICE = {
    "chat": [
        '"model":"lab-1","model":"secret","messages":[{"role":"user","content":"x"}]',
        ('"model":"lab-1","messages":[{"role":"user","content":"x"}],"tools":[{"type":'
        '"web_search","type":"function","function":{"name":"f"}}]'),
        ('"model":"lab-1","messages":[{"role":"user","content":"x"}],"tools":[{"type":'
        f'"function",{FUNCTION}}}]'),
    ],
    "messages": [
        ('"model":"lab-2","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image",'
        '"source":{"type":"url","url":"https://x.org","type":"base64","data":"AA"}}]}]'),
    ],
    "responses": [
        ('"model":"lab-1","input":[{"type":"item_reference","id":"msg_1","type":"message",'
        '"role":"user","content":"x"}]'),
    ],
}  # fmt: skip


@pytest.mark.parametrize("route", TWICE)
def test_a_member_given_twice_at_any_depth_is_a_bad_request(
    gateway: Rig, key: str, lab: Lab, route: str
) -> None:
    before = len(lab.said()["seen"])
    for inside in TWICE[route]:
        told = post(gateway, key, route, f"{{{inside}}}".encode())
        assert (told.status, told.code) == (400, "request_invalid")
        assert "given twice" in told.json["error"]["message"]
    assert len(lab.said()["seen"]) == before
    assert gateway.record(told.request_id)["partner"] == "judged"


def test_numbers_pass_with_their_own_digits(gateway: Rig, key: str, lab: Lab) -> None:
    body = (
        b'{"model":"lab-1","prompt_cache_key":"well","temperature":1.10,"seed":9007199254740993,'
        b'"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":'
        b'{"name":"f","parameters":{"maximum":123456789012345678901234567890,"minimum":1e-7}}}]}'
    )
    assert post(gateway, key, "chat", body).status == 200
    sent = lab.said()["seen"][-1]["raw"]
    for digits in ("1.10,", "9007199254740993,", "123456789012345678901234567890,", "1e-7}"):
        assert digits in sent


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@settings(max_examples=150)
@given(JSON)
def test_a_value_that_is_read_is_written_as_the_same_value(value: Any) -> None:
    try:
        raw = json.dumps(value, allow_nan=True).encode()
        again = bytes(strict_json.encode(strict_json.decode(raw)))
    except strict_json.NotStrictError:
        assert "\\ud" in raw.decode() or "Infinity" in raw.decode()
        return
    assert json.loads(again) == json.loads(raw)


@settings(max_examples=100)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,01.eE+-NaInfity \\u', max_size=60))
def test_no_bytes_crash_the_strict_reader(raw: bytes | str) -> None:
    encoded = raw if isinstance(raw, bytes) else raw.encode()
    try:
        value = strict_json.decode(encoded)
        written = bytes(strict_json.encode(value))
    except strict_json.NotStrictError:
        return
    assert msgspec.json.decode(written) is not Ellipsis


# Numbers

CHECKED_AS_CONTENT = {"messages", "input", "system", "tools"}
"""Members whose numbers only the model reads: what they may hold is listed in `content_parts`."""


def sdk_numbers(kind: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every number in a type of request parameters."""
    if kind in (int, float):
        yield path
    elif is_typeddict(kind):
        for name, inner in get_type_hints(kind).items():
            if path or name not in CHECKED_AS_CONTENT:
                yield from sdk_numbers(inner, f"{path}.{name}" if path else name)
    elif get_origin(kind) in (dict, Mapping):
        yield from sdk_numbers(get_args(kind)[1], f"{path}.*")
    elif get_origin(kind) is not Literal:
        for inner in get_args(kind):
            yield from sdk_numbers(inner, path)


def lets_in(route: str, member: str) -> bool:
    """Whether a route takes a member at all."""
    try:
        read(ROUTES[route], json.dumps(asking(route, **{member: None})).encode())
    except RefusedError as refused:
        return refused.code != "feature_unknown"
    return True


def test_every_number_of_the_official_sdks_that_a_route_takes_has_its_bounds() -> None:
    kinds = {
        "chat": openai.types.chat.completion_create_params.CompletionCreateParamsBase,
        "messages": anthropic.types.message_create_params.MessageCreateParamsBase,
        "responses": openai.types.responses.response_create_params.ResponseCreateParamsBase,
    }
    for route, kind in kinds.items():
        numbers = set(sdk_numbers(kind))
        assert numbers & set(NUMBERS[ROUTES[route]]), "the types are no longer read"
        unbounded = numbers - set(NUMBERS[ROUTES[route]])
        assert not [each for each in unbounded if lets_in(route, each.partition(".")[0])]


def odd_requests() -> Iterator[tuple[str, str, str]]:
    """Every number member of every route, with every odd number in its place."""
    for route, name in ROUTES.items():
        for path in NUMBERS[name]:
            for number in ODD:
                yield route, path, number


def odd_body(route: str, path: str, number: str) -> bytes:
    name, _, inner = path.partition(".")
    value = "@" if not inner else {"50256" if inner == "*" else inner: "@"}
    body = asking(route, **{name: value})
    if path.startswith("thinking"):
        body["thinking"]["type"] = "enabled"
    return json.dumps(body).replace('"@"', number).encode()


def judge_odd(route: str, path: str, number: str) -> str:
    """Return `served`, or the code of the refusal."""
    try:
        body = read(ROUTES[route], odd_body(route, path, number))
    except RefusedError as refused:
        return refused.code
    assert all(0 <= count <= 10**7 for name, count in body.numbers.items() if "token" in name)
    return "served"


@pytest.mark.parametrize("number", ["-1", str(2**63), "1e400", "NaN", '"7"', "1.5"])
def test_a_count_of_tokens_that_is_none_is_refused_on_every_route(number: str) -> None:
    for route, name in ROUTES.items():
        for path in NUMBERS[name]:
            if "tokens" in path:
                assert judge_odd(route, path, number) == "request_invalid", (route, path)
                assert judge_odd(route, path, "7") == "served", (route, path)


def check_odd(gateway: Rig, key: str, cases: list[tuple[str, str, str]]) -> None:
    for route, path, number in cases:
        told = post(gateway, key, route, odd_body(route, path, number))
        wanted = judge_odd(route, path, number)
        assert told.status == (200 if wanted == "served" else 400), (route, path, number, told)
        assert told.code == ("" if wanted == "served" else wanted)
        assert told.request_id


def test_every_number_member_is_served_or_refused_and_never_crashes(
    gateway: Rig, key: str, record_property: Any
) -> None:
    cases, seed = list(odd_requests()), random.randrange(10**6)
    chosen = random.Random(seed).sample(cases, 40)
    record_property("told", f"seed {seed}, {len(chosen)} of {len(cases)} number members")
    check_odd(gateway, key, chosen)


@pytest.mark.long
def test_every_number_member_of_every_route_with_every_odd_number(gateway: Rig, key: str) -> None:
    check_odd(gateway, key, list(odd_requests()))


# Content

DATA = "data:image/png;base64,AAAA"
AWAY = "https://example.org/a.png"


def chat_part(part: Any) -> dict[str, Any]:
    return asking("chat", messages=[{"role": "user", "content": [part]}])


def block(part: Any) -> dict[str, Any]:
    return asking("messages", messages=[{"role": "user", "content": [part]}])


def result(part: Any) -> dict[str, Any]:
    return block({"type": "tool_result", "tool_use_id": "t", "content": [part]})


def item(part: Any) -> dict[str, Any]:
    return asking("responses", input=[{"role": "user", "content": [part]}])


URL_IMAGE = {"type": "image", "source": {"type": "url", "url": AWAY}}
FILE_IMAGE = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
ELSEWHERE: list[tuple[str, dict[str, Any]]] = [
    ("chat", chat_part({"type": "image_url", "image_url": {"url": AWAY}})),
    ("chat", chat_part({"type": "image_url", "image_url": {"url": DATA, "file_id": "f"}})),
    ("chat", chat_part({"type": "image_url", "Image_URL": {"url": AWAY}})),
    ("chat", chat_part({"type": "file", "file": {"file_id": "file_1"}})),
    ("chat", chat_part({"type": "file", "file": {"file_data": AWAY}})),
    ("chat", chat_part({"type": "input_audio", "input_audio": {"data": AWAY, "format": "wav"}})),
    ("chat", chat_part({"type": "video_url", "video_url": {"url": AWAY}})),
    ("chat", asking("chat", messages=[{"role": "assistant", "audio": {"id": "audio_1"}}])),
    ("chat", asking("chat", tool_choice={"type": "web_search"})),
    ("messages", block(URL_IMAGE)),
    ("messages", block(FILE_IMAGE)),
    ("messages", block({"type": "document", "source": {"type": "url", "url": AWAY}})),
    ("messages", block({"type": "document", "source": {"type": "file", "file_id": "f"}})),
    ("messages", block(
        {"type": "document", "source": {"type": "content", "content": [URL_IMAGE]}})),
    ("messages", block({"type": "container_upload", "file_id": "f"})),
    ("messages", block({"type": "image", "source": {"type": "base64", "data": AWAY}})),
    ("messages", result(URL_IMAGE)),
    ("messages", result(FILE_IMAGE)),
    ("messages", asking("messages", system=[URL_IMAGE])),
    ("messages", asking("messages", tools=[{"name": "f", "Type": "web_search_20250305"}])),
    ("responses", item({"type": "input_image", "image_url": AWAY})),
    ("responses", item({"type": "input_image", "file_id": "f"})),
    ("responses", item({"type": "input_file", "file_data": AWAY})),
    ("responses", item({"type": "input_file", "file_url": AWAY})),
    ("responses", asking("responses", input=[
        {"type": "function_call_output", "call_id": "c", "output": [
            {"type": "input_image", "image_url": AWAY}]}])),
]  # fmt: skip


@pytest.mark.parametrize(("route", "body"), ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_content_that_the_upstream_would_resolve_is_refused(
    gateway: Rig, key: str, route: str, body: dict[str, Any]
) -> None:
    told = post(gateway, key, route, body)
    assert (told.status, told.code) == (400, "feature_unknown"), told
    assert told.json["error"]["code"] == "feature_unknown"


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
INLINE: list[tuple[str, dict[str, Any]]] = [
    ("chat", chat_part({"type": "image_url", "image_url": {"url": DATA, "detail": "high"}})),
    ("chat", chat_part({"type": "file", "file": {"file_data": DATA, "filename": "a.pdf"}})),
    ("chat", chat_part({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
    ("chat", asking("chat", messages=[
        {"role": "assistant", "content": None, "refusal": None, "audio": None, "annotations": [],
         "tool_calls": [{"id": "c", "type": "function",
                         "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "7"},
    ])),
    ("messages", block(IMAGE)),
    ("messages", result(IMAGE)),
    ("messages", block({"type": "document", "title": "t", "source": {
        "type": "base64", "media_type": "application/pdf", "data": "AA=="}})),
    ("messages", asking("messages", system=[{"type": "text", "text": "be kind"}], messages=[
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "yes", "citations": None},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"url": AWAY}}]},
        {"role": "user", "content": "so?"}])),
    ("responses", item({"type": "input_image", "image_url": DATA, "detail": "auto"})),
]  # fmt: skip


@pytest.mark.parametrize(("route", "body"), INLINE, ids=range(len(INLINE)))
def test_content_in_the_request_itself_passes(
    gateway: Rig, key: str, route: str, body: dict[str, Any]
) -> None:
    told = post(gateway, key, route, body)
    assert told.status == 200, told


# Settings

SCHEMA = {"type": "object", "properties": {"anything": {"x-of-the-callers": [AWAY]}}}
NAMED_SCHEMA = {"name": "out", "description": "d", "schema": SCHEMA, "strict": True}
FUNCTION_CHOICE = {"type": "function", "function": {"name": "f"}}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"tool_choice": "auto"}),
    ("chat", {"tool_choice": FUNCTION_CHOICE}),
    ("chat", {"tool_choice": {"type": "custom", "custom": {"name": "f"}}}),
    ("chat", {"tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "auto", "tools": [FUNCTION_CHOICE]}}}),
    ("chat", {"response_format": {"type": "text"}}),
    ("chat", {"response_format": {"type": "json_object"}}),
    ("chat", {"response_format": {"type": "json_schema", "json_schema": NAMED_SCHEMA}}),
    ("chat", {"metadata": {"team": "blue", "run": "7"}}),
    ("chat", {"stop": ["a", "b"], "logprobs": True, "parallel_tool_calls": False}),
    ("chat", {"reasoning_effort": "low", "verbosity": "low", "service_tier": "auto"}),
    ("messages", {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ("messages", {"tool_choice": {"type": "any"}}),
    ("messages", {"tool_choice": {"type": "tool", "name": "f"}}),
    ("messages", {"tool_choice": {"type": "none"}}),
    ("messages", {"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}}),
    ("messages", {"thinking": {"type": "adaptive"}}),
    ("messages", {"thinking": {"type": "disabled"}}),
    ("messages", {"output_config": {
        "effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}}),
    ("messages", {"metadata": {"user_id": "u-7"}}),
    ("messages", {"stop_sequences": ["a"], "service_tier": "auto"}),
    ("responses", {"tool_choice": "required"}),
    ("responses", {"tool_choice": {"type": "function", "name": "f"}}),
    ("responses", {"tool_choice": {"type": "allowed_tools", "mode": "auto",
                                   "tools": [{"type": "function", "name": "f"}]}}),
    ("responses", {"text": {"verbosity": "low", "format": {"type": "text"}}}),
    ("responses", {"text": {"format": {"type": "json_schema", **NAMED_SCHEMA}}}),
    ("responses", {"reasoning": {"effort": "low", "summary": "auto"}}),
    ("responses", {"metadata": {"team": "blue"}}),
    ("responses", {"instructions": "be kind", "truncation": "auto", "service_tier": "auto"}),
]  # fmt: skip


def with_stranger(value: Any) -> Iterator[Any]:
    """Every way to put one member that nobody knows into an object at some depth of a value."""
    match value:
        case dict():
            yield {**value, "x_unknown": {"url": AWAY}}
            for name, inner in value.items():
                if name not in {"schema", "metadata"}:
                    yield from ({**value, name: other} for other in with_stranger(inner))
        case list():
            for at, inner in enumerate(value):
                for other in with_stranger(inner):
                    yield [*value[:at], other, *value[at + 1 :]]


STRANGE = [
    (route, {name: other})
    for route, members in SETTINGS
    for name, inner in members.items()
    for other in with_stranger(inner)
]


@pytest.mark.parametrize(("route", "members"), SETTINGS, ids=range(len(SETTINGS)))
def test_the_settings_that_the_sdks_know_pass(route: str, members: dict[str, Any]) -> None:
    tools = [{"type": "function", "name": "f", "parameters": SCHEMA}]
    more = {"tools": tools} if route == "responses" else {}
    body = read(ROUTES[route], json.dumps(asking(route, **more, **members)).encode())
    for name, value in members.items():
        if name != "metadata":
            assert msgspec.json.decode(body.members[name]) == value


@pytest.mark.parametrize(("route", "members"), STRANGE, ids=range(len(STRANGE)))
def test_a_member_that_nobody_knows_is_refused_in_every_setting_at_every_depth(
    route: str, members: dict[str, Any]
) -> None:
    with pytest.raises(RefusedError) as refused:
        read(ROUTES[route], json.dumps(asking(route, **members)).encode())
    assert refused.value.code in {"feature_unknown", "request_invalid"}


def test_a_setting_that_is_an_object_where_a_word_is_due_is_a_bad_request(
    gateway: Rig, key: str, lab: Lab
) -> None:
    before = len(lab.said()["seen"])
    cases: list[tuple[str, dict[str, Any]]] = [
        *((route, {name: {"url": AWAY}}) for route, members in SETTINGS for name in members
          if name in {"stop", "logprobs", "service_tier", "verbosity", "truncation",
                      "stop_sequences", "reasoning_effort", "instructions"}),
        ("chat", {"metadata": {"team": {"url": AWAY}}}),
        ("chat", {"stream_options": {"include_obfuscation": {"url": AWAY}}}),
    ]  # fmt: skip
    for route, members in cases:
        told = post(gateway, key, route, asking(route, **members))
        assert (told.status, told.code) == (400, "request_invalid"), (route, members, told)
    told = post(gateway, key, "chat", asking("chat", response_format={"type": "grammar"}))
    assert (told.status, told.code) == (400, "feature_unknown")
    assert len(lab.said()["seen"]) == before


def test_an_inline_image_is_no_text() -> None:
    picture = "A" * 933_880
    for route, body in (
        ("chat", chat_part({"type": "image_url", "image_url": {"url": f"data:;base64,{picture}"}})),
        ("messages", block({"type": "image", "source": {"type": "base64", "data": picture}})),
        ("responses", item({"type": "input_image", "image_url": f"data:;base64,{picture}"})),
    ):
        size = read(ROUTES[route], json.dumps(body).encode()).size
        assert 1_600 <= size.tokens < 2_000
        assert size.most_tokens < 10_000
    assert sorted(PATHS) == sorted(ROUTES)
