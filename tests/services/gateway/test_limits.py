"""Limits over real points: what 50 clients get of one limit, and what survives a kill."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from console.model.grant import GrantedCapability, GrantProjection
from console.model.limits import Limits, Period
from tests.sdks import anthropic, openai
from tests.services.gateway.rig import Rig, projection
from tests.services.gateway.test_gateway_sdks import RETRIES

PATIENT_SECONDS = 60.0
"""How much longer is waited for what a busy machine brings late."""
CONFIG = '[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 2\n'


class Said:
    """One answer of the data plane."""

    def __init__(self, status: int, body: Any, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def code(self) -> str:
        return self.headers.get("x-pilotctl-code", "")


def call(url: str, key: str, words: int = 3, **members: Any) -> Said:
    conn = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        said = {
            "model": "aurora-1",
            "messages": [{"role": "user", "content": f"{words} words"}],
            **members,
        }
        conn.request("POST", "/v1/chat/completions", json.dumps(said), {"x-api-key": key})
        with conn.getresponse() as answer:
            body = answer.read()
        return Said(answer.status, body, {k.lower(): v for k, v in answer.headers.items()})
    finally:
        conn.close()


def crowd(rig: Rig, key: str, clients: int, seconds: float, **members: Any) -> list[Said]:
    """Let many clients call both points for a time, and until one was refused, without pause."""
    end = time.monotonic() + seconds
    out: list[Said] = []

    def goes_on() -> bool:
        late = time.monotonic() - end
        return late < 0 or (late < PATIENT_SECONDS and all(said.status == 200 for said in out))

    def client(at: int) -> None:
        url = rig.urls[f"gw-{1 + at % rig.points}"]
        while goes_on():
            said = call(url, key, **members)
            out.append(said)
            if said.status != 200:
                time.sleep(0.05)

    threads = [threading.Thread(target=client, args=(at,)) for at in range(clients)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("l"), CONFIG, points=2) as rig:
        rig.call(
            "POST",
            "/v1/prices",
            {
                "model": "aurora-1",
                "input_micros": 1_000_000,
                "output_micros": 10_000_000,
                "max_output_tokens": 50,
                "reason": "test",
            },
        )
        yield rig


def limited(rig: Rig, **limits: Any) -> tuple[GrantProjection, str]:
    grant = projection(limits=Limits(**limits))
    rig.project(grant)
    return grant, rig.issue(grant)[1]


def test_fifty_clients_on_two_points_never_pass_a_limit_of_requests(two: Rig) -> None:
    _, key = limited(two, requests_per_minute=60)
    said = crowd(two, key, 50, 2.0)
    served = [each for each in said if each.status == 200]
    assert len(served) == 60
    refused = [each for each in said if each.status != 200]
    assert {each.code for each in refused} == {"rate_limited"}
    assert {each.status for each in refused} == {429}
    assert all(1 <= int(each.headers["retry-after"]) <= 60 for each in refused)
    assert refused[0].headers["ratelimit-policy"] == '"requests";q=60;w=60'
    assert refused[-1].headers["ratelimit"].startswith('"requests";r=0;t=')


def test_fifty_clients_never_run_more_calls_at_once_than_allowed(two: Rig) -> None:
    _, key = limited(two, parallel=7)
    running = Gauge()

    def streamed(at: int) -> None:
        end = time.monotonic() + 2.0
        while (late := time.monotonic() - end) < 0 or (
            late < PATIENT_SECONDS and (running.most < 7 or running.total <= 14)
        ):
            if stream(two.urls[f"gw-{1 + at % 2}"], key, running) != 200:
                time.sleep(0.02)

    threads = [threading.Thread(target=streamed, args=(at,)) for at in range(50)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert running.most == 7
    assert running.total > 14, "a slot is free again as soon as its call is over"


class Gauge:
    """How many callers are inside a stream, as the callers see it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = self.total = 0

    def enter(self) -> None:
        with self._lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)

    def leave(self) -> None:
        with self._lock:
            self.now -= 1


def stream(url: str, key: str, running: Gauge) -> int:
    conn = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        said = {
            "model": "aurora-1",
            "stream": True,
            "messages": [{"role": "user", "content": "40 words"}],
        }
        conn.request("POST", "/v1/chat/completions", json.dumps(said), {"x-api-key": key})
        with conn.getresponse() as answer:
            if answer.status == 200:
                running.enter()
                answer.read(5000)
                running.leave()  # before the end: what runs is never counted too high
            answer.read()
        return answer.status
    finally:
        conn.close()


def test_tokens_count_with_the_maximum_at_first_and_with_the_truth_at_the_end(two: Rig) -> None:
    _, key = limited(two, tokens_per_minute=1000)
    big = call(two.url, key, max_tokens=2000)
    assert (big.status, big.code) == (400, "over_limit")
    first = call(two.url, key, 5, max_tokens=900)
    assert first.status == 200
    left = int(first.headers["ratelimit"].partition("r=")[2].partition(";")[0])
    assert left < 100, "reserved at its maximum"
    again = call(two.url, key, 5, max_tokens=900)
    assert again.status == 200, "settled: the first took five words, not 900"
    two.wait(lambda: call(two.url, key, 200, max_tokens=200).status == 429, "the limit binds")
    late = call(two.url, key, 200, max_tokens=200)
    assert late.code == "rate_limited"
    assert 1 <= int(late.headers["retry-after"]) <= 60


def test_a_caller_that_names_no_maximum_gets_the_models_own(two: Rig) -> None:
    _, key = limited(two, tokens_per_minute=10_000)
    said = json.loads(call(two.url, key, 400).body)
    assert said["usage"]["completion_tokens"] == 50, "the price's max_output_tokens"
    assert said["choices"][0]["finish_reason"] == "length"


def test_a_call_that_goes_on_from_an_answer_reserves_what_the_model_can_hold(two: Rig) -> None:
    grant = projection(
        limits=Limits(budget_micros=150_000, budget_period=Period.DAY),
        capabilities=[
            GrantedCapability(
                slug="text.general", tier=1, category="general", models=["aurora-1"],
                routes=["responses"],
            )
        ],
    )  # fmt: skip
    two.project(grant)
    _, key = two.issue(grant)
    with openai.OpenAI(api_key=key, base_url=f"{two.url}/v1", max_retries=0) as client:
        first = client.responses.create(model="aurora-1", input="3 words")
        with pytest.raises(openai.APIStatusError) as refused:
            client.responses.create(
                model="aurora-1", input="4 words", previous_response_id=first.id
            )
        assert refused.value.status_code == 402, "200,000 tokens may be read: 0.20"
        assert client.responses.create(model="aurora-1", input="4 words").id


def spent(rig: Rig, grant: GrantProjection) -> Any:
    items = rig.get("/v1/usage/budgets")["items"]
    return next(each for each in items if each["grant_id"] == grant.id)


def settled(rig: Rig, grant: GrantProjection) -> Any:
    """Wait until no call holds anything of the budget: what is left then is left."""
    return rig.wait(
        lambda: (s := spent(rig, grant))["reserved_micros"] == 0 and s, "every call is settled"
    )


def recorded_cost(rig: Rig, grant: GrantProjection) -> int:
    items = rig.get(f"/v1/calls?grant={grant.id}&outcome=allowed&limit=500")["items"]
    return sum(each["cost_micros"] for each in items)


def test_fifty_clients_never_pass_a_budget_and_every_micro_is_accounted_for(two: Rig) -> None:
    budget = 40_000
    grant, key = limited(two, budget_micros=budget, budget_period=Period.DAY)
    most = 40 * 10 + 100  # one call: forty words out, its bytes in
    said, end = [], time.monotonic() + PATIENT_SECONDS
    while not said or (settled(two, grant)["left_micros"] >= most and time.monotonic() < end):
        said += crowd(two, key, 50, 2.0, words=20, max_tokens=40)
    served = sum(each.status == 200 for each in said)
    assert served > 20
    refused = {(each.status, each.code) for each in said if each.status != 200}
    assert refused == {(402, "budget_exhausted")}
    state = settled(two, grant)
    assert state["spent_micros"] == recorded_cost(two, grant)
    assert budget - most < state["spent_micros"] <= budget
    assert state["left_micros"] == budget - state["spent_micros"]


def test_what_was_spent_while_no_budget_bound_is_spent_all_the_same(two: Rig) -> None:
    budget = Limits(budget_micros=3000, budget_period=Period.DAY)
    grant, key = limited(two, budget_micros=3000, budget_period=Period.DAY)
    assert call(two.url, key, 40, max_tokens=40).status == 200
    two.project(projection(id=grant.id, revision=2))
    two.settled()
    assert [call(two.url, key, 40, max_tokens=40).status for _ in range(9)] == [200] * 9
    two.wait(lambda: recorded_cost(two, grant) > 3000, "ten records")
    two.project(projection(id=grant.id, revision=3, limits=budget))
    two.settled()
    assert call(two.url, key, 1, max_tokens=1).code == "budget_exhausted"
    assert spent(two, grant)["left_micros"] < 0


def test_a_call_without_a_price_is_refused_under_a_budget(two: Rig) -> None:
    grant = projection(models=["aurora-1", "aurora-2"], limits=Limits(budget_micros=10**9))
    two.project(grant)
    _, key = two.issue(grant)
    said = call(two.url, key, model="aurora-2")
    assert (said.status, said.code) == (403, "price_missing")
    explained = two.get(f"/v1/calls/{two.record(said.headers['x-request-id'])['id']}/explanation")
    assert "aurora-2 has no price" in explained["summary"]
    assert "price set" in explained["mend"]


def test_a_limit_that_is_amended_on_a_live_grant_holds_at_once(two: Rig) -> None:
    grant, key = limited(two, requests_per_minute=2)
    assert [call(two.url, key).status for _ in range(3)] == [200, 200, 429]
    two.project(projection(id=grant.id, revision=2, limits=Limits(requests_per_minute=4)))
    two.settled()
    assert [call(two.url, key).status for _ in range(3)] == [200, 200, 429]
    two.project(projection(id=grant.id, revision=3))
    two.settled()
    assert [call(two.url, key).status for _ in range(3)] == [200, 200, 200]


def test_the_sdks_name_the_refusals_and_do_not_try_for_ever(two: Rig) -> None:
    grant, key = limited(two, requests_per_minute=1)
    client = openai.OpenAI(api_key=key, base_url=f"{two.url}/v1", max_retries=0)
    words: list[Any] = [{"role": "user", "content": "hi"}]
    with client:
        client.chat.completions.create(model="aurora-1", messages=words)
        with pytest.raises(openai.RateLimitError) as limit:
            client.chat.completions.create(model="aurora-1", messages=words)
    assert limit.value.code == "rate_limited"
    assert limit.value.response.headers["x-should-retry"] == "true"
    assert 1 <= int(limit.value.response.headers["retry-after"]) <= 60
    other = anthropic.Anthropic(api_key=key, base_url=two.url, max_retries=0)
    with other, pytest.raises(anthropic.RateLimitError) as limited_too:
        other.messages.create(model="aurora-1", messages=words, max_tokens=5)
    assert "rate_limit_error" in str(limited_too.value)
    two.project(
        projection(id=grant.id, revision=2, limits=Limits(budget_micros=1, budget_period="day"))
    )
    two.settled()
    usual = openai.OpenAI(api_key=key, base_url=f"{two.url}/v1")
    with usual, pytest.raises(openai.APIStatusError) as money:
        usual.chat.completions.create(model="aurora-1", messages=words)
    assert (money.value.status_code, money.value.response.headers["x-should-retry"]) == (
        402,
        "false",
    )
    other = anthropic.Anthropic(api_key=key, base_url=two.url)
    with other, pytest.raises(anthropic.APIStatusError) as money_too:
        other.messages.create(model="aurora-1", messages=words, max_tokens=5)
    assert money_too.value.status_code == 402
    assert "billing_error" in str(money_too.value)
    for each in (money, money_too):
        assert each.value.request.headers[RETRIES] == "0", "neither SDK tries again"
    call_id = money.value.response.headers["x-request-id"]
    explained = two.get(f"/v1/calls/{two.record(call_id)['id']}/explanation")
    assert "budget" in explained["summary"]
    assert f"grant amend {grant.id}" in explained["mend"]


def one(tmp_path_factory: pytest.TempPathFactory, points: int = 1) -> Rig:
    return Rig(tmp_path_factory.mktemp("k"), CONFIG.replace("2\n", "30\n"), points=points)


def priced(rig: Rig) -> None:
    body = {"model": "aurora-1", "input_micros": 0, "output_micros": 1_000_000, "reason": "test"}
    rig.call("POST", "/v1/prices", body)


class Stream:
    """A stream that has begun; it goes on while it is not closed."""

    def __init__(self, rig: Rig, key: str, words: int) -> None:
        self._conn = http.client.HTTPConnection(urlsplit(rig.url).netloc, timeout=60)
        said = {
            "model": "aurora-1",
            "stream": True,
            "max_tokens": words,
            "messages": [{"role": "user", "content": f"{words} words"}],
        }
        self._conn.request("POST", "/v1/chat/completions", json.dumps(said), {"x-api-key": key})
        self._answer = self._conn.getresponse()
        assert self._answer.status == 200
        self._answer.read(100)

    def close(self) -> None:
        self._answer.close()
        self._conn.close()


def test_what_a_killed_point_had_reserved_is_spent(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with one(tmp_path_factory) as rig:
        priced(rig)
        grant, key = limited(rig, budget_micros=1000, budget_period=Period.DAY)
        conn = Stream(rig, key, 600)
        assert rig.wait(lambda: spent(rig, grant)["reserved_micros"], "reserved") == 600
        assert call(rig.url, key, 450, max_tokens=450).code == "budget_exhausted"
        rig.restart("gw-1")
        conn.close()
        state = rig.wait(
            lambda: (s := spent(rig, grant))["reserved_micros"] == 0 and s, "settled by the spool"
        )
        assert (state["spent_micros"], state["left_micros"]) == (600, 400)
        assert call(rig.url, key, 450, max_tokens=450).code == "budget_exhausted"
        assert call(rig.url, key, 300, max_tokens=300).status == 200


def test_a_budget_survives_the_death_of_control(tmp_path_factory: pytest.TempPathFactory) -> None:
    with one(tmp_path_factory) as rig:
        priced(rig)
        grant, key = limited(rig, budget_micros=1000, budget_period=Period.DAY)
        assert call(rig.url, key, 300, max_tokens=300).status == 200
        conn = Stream(rig, key, 400)
        rig.wait(lambda: spent(rig, grant)["reserved_micros"] == 400, "reserved")
        rig.restart("control")
        state = spent(rig, grant)
        assert state["left_micros"] <= 300, "what a call in flight may cost is still held"
        assert call(rig.url, key, 400, max_tokens=400).code == "budget_exhausted"
        conn.close()
        state = rig.wait(
            lambda: (s := spent(rig, grant))["reserved_micros"] == 0 and s, "the hang-up is settled"
        )
        assert state["spent_micros"] == recorded_cost(rig, grant)
        assert 300 < state["spent_micros"] < 700


def test_limits_of_a_minute_survive_the_death_of_control(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with one(tmp_path_factory) as rig:
        _, key = limited(rig, requests_per_minute=5)
        assert [call(rig.url, key).status for _ in range(5)] == [200] * 5
        rig.restart("control")
        said = call(rig.url, key)
        assert (said.status, said.code) == (429, "rate_limited")


def test_a_point_without_control_lets_no_limited_call_begin(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with one(tmp_path_factory) as rig:
        _, key = limited(rig, requests_per_minute=1000)
        free = projection()
        rig.project(free)
        _, other = rig.issue(free)
        assert call(rig.url, key).status == 200
        rig.freeze("control")
        said = call(rig.url, other)
        assert said.status == 200, "without limits it serves while its lease lasts"
        said = call(rig.url, key)
        assert said.status == 503
        assert said.code in {"limits_unknown", "point_fenced"}
        rig.wake("control")
        rig.wait(lambda: call(rig.url, key).status == 200, "it is served again")


def test_a_slot_of_a_killed_point_is_free_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    with one(tmp_path_factory, points=2) as rig:
        _, key = limited(rig, parallel=1)
        conn = Stream(rig, key, 900)
        assert call(rig.urls["gw-2"], key).code == "rate_limited"
        rig.kill("gw-1")
        conn.close()
        rig.wait(lambda: call(rig.urls["gw-2"], key).status == 200, "its lease is over")


def test_each_user_of_a_partner_has_a_limit_of_its_own_on_every_route(two: Rig) -> None:
    grant = projection(principal_limits=Limits(requests_per_minute=2))
    two.project(grant)
    _, key = two.issue(grant)
    ann = [call(two.urls[f"gw-{1 + at % 2}"], key, user="ann") for at in range(3)]
    assert [each.status for each in ann] == [200, 200, 429]
    assert "for one user" in json.loads(ann[2].body)["error"]["message"]
    assert call(two.url, key, safety_identifier="ann").status == 429, "the same user, named anew"
    assert [call(two.url, key, user="bob").status for _ in range(3)] == [200, 200, 429]
    assert [call(two.url, key).status for _ in range(3)] == [200, 200, 429], "nobody is one too"
    rows = two.wait(
        lambda: (
            (r := two.get(f"/v1/usage?by=principal&grant={grant.id}")["items"])
            and sum(each["calls"] for each in r) == 10
            and r
        ),
        "ten records",
    )
    assert sorted(each["allowed"] for each in rows) == [2, 2, 2]
    assert {len(each["group"]) for each in rows} == {0, 64}


def test_the_budget_of_one_user_leaves_that_of_another_whole(two: Rig) -> None:
    budget = Limits(budget_micros=2000, budget_period=Period.DAY)
    grant = projection(principal_limits=budget)
    two.project(grant)
    _, key = two.issue(grant)
    ann = [call(two.url, key, 60, user="ann", max_tokens=60) for _ in range(5)]
    assert {each.status for each in ann} == {200, 402}
    assert call(two.url, key, 60, user="bob", max_tokens=60).status == 200
    states = two.wait(
        lambda: [
            each
            for each in two.get("/v1/usage/budgets")["items"]
            if each["grant_id"] == grant.id and each["scope"] == "principal"
        ],
        "budgets of two users",
    )
    assert all(each["spent_micros"] + each["reserved_micros"] <= 2000 for each in states)


@pytest.mark.long
def test_whoever_is_killed_under_load_no_answer_is_free_and_the_budget_holds(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    budget = 60_000
    with Rig(tmp_path_factory.mktemp("w"), CONFIG, points=2) as rig:
        priced(rig)
        grant, key = limited(rig, budget_micros=budget, budget_period=Period.DAY)
        received: list[int] = []
        stop = threading.Event()

        def client(at: int) -> None:
            name = f"gw-{1 + at % 2}"
            while not stop.is_set():
                try:
                    said = call(rig.urls[name], key, 40, max_tokens=60)
                except (OSError, http.client.HTTPException):
                    time.sleep(0.05)
                    continue
                if said.status == 200:
                    received.append(json.loads(said.body)["usage"]["completion_tokens"])
                else:
                    time.sleep(0.05)

        threads = [threading.Thread(target=client, args=(at,)) for at in range(16)]
        for each in threads:
            each.start()
        try:
            for victim in ("gw-1", "control", "gw-2"):
                time.sleep(0.7)
                rig.restart(victim)
            rig.wait(lambda: spent(rig, grant)["left_micros"] < 60, "the budget is used up", 200)
        finally:
            stop.set()
            for each in threads:
                each.join()
        state = rig.wait(
            lambda: (s := spent(rig, grant))["reserved_micros"] == 0 and s, "all is settled", 20
        )
        assert sum(received) <= state["spent_micros"] <= budget
        assert sum(received) > budget / 2, "most of it was of use"


def test_one_question_that_cannot_be_counted_fails_no_other(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Rig(tmp_path_factory.mktemp("p"), CONFIG) as rig:
        grant, key = limited(rig, parallel=9)
        with closing(sqlite3.connect(rig.home / "gateway.db")) as store:
            (incarnation,) = store.execute("SELECT incarnation FROM points").fetchone()
        takes = [
            {"call": f"req_{n}", "grant_id": grant.id, "tokens": tokens, "micros": 0}
            for n, tokens in enumerate([5, 2**70, 5])
        ]
        done = [{"call": "req_0", "tokens": 2**70, "micros": 2**70}]
        said = rig.call(
            "POST",
            "/internal/v1/points/gw-1/limits",
            {"incarnation": incarnation, "take": takes, "done": done},
        )
        assert [each["code"] for each in said["taken"]] == ["", "limits_unknown", ""]
        assert call(rig.url, key).status == 200
        assert call(rig.url, key, max_tokens=2**63 - 1).code == "request_invalid"
        assert call(rig.url, key).status == 200
