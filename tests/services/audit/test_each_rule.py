"""Each shipped rule finds its case, and is quiet on what only looks like it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from console.model.traffic import CallRecord
from console.services.audit.rules.judge import InMemory, judge
from console.services.audit.rules.replay import Results, evaluate
from console.services.audit.rules.rule import Rule
from console.services.audit.rules.rule_inputs import seen_call
from console.services.gateway.decision.refusal_codes import CODES
from tests.services.audit.audit_rig import START, call, denials
from tests.services.audit.judging import (
    DAY,
    HOUR,
    RULES,
    by_rule,
    found,
    leaves,
    one_after_another,
    working_days,
)

MONDAY = START + timedelta(days=(7 - START.weekday()) % 7)
"""A Monday at noon."""
MORNING = MONDAY.replace(hour=0)
REFUSED = {"outcome": "denied", "status": 403}


def week_then(*calls: CallRecord, days: int = 10, **told: Any) -> list[CallRecord]:
    """Quiet use for `days` from a Monday on, then these calls."""
    return [*working_days(days, start=MORNING, **told), *calls]


@pytest.mark.long
def test_two_quiet_weeks_of_forty_partners_fire_nothing() -> None:
    partners = [
        working_days(
            14,
            start=MORNING,
            hours=range(6 + nth % 5, 16 + nth % 5) if nth % 4 else range(24),
            weekend=nth % 4 == 0,
            each_hour=6 + nth % 9,
            partner=f"partner-{nth}",
            grant_id=f"grt_{nth}",
            credential_id=f"crd_{nth}",
            address=f"198.51.{nth}.7",
        )
        for nth in range(40)
    ]
    calls = sorted(chain.from_iterable(partners), key=lambda each: each.started_at)
    assert len(calls) > 40_000
    assert found(calls) == []


@pytest.mark.parametrize(
    ("rule", "case", "near"),
    [
        ("denial-burst", denials(20), denials(19)),
        ("denial-burst", denials(20, apart=3.0), denials(200, apart=3.5)),
        ("denial-burst", denials(20), denials(40, code="point_fenced")),
        ("denial-burst", denials(20, code="locked"), denials(500, code="rate_limited")),
        ("denial-burst", denials(20, code="grant_expired"), denials(90, code="limits_unknown")),
        (
            "unknown-key-burst",
            denials(20, apart=10.0, code="key_unknown", partner="", address="192.0.2.9"),
            denials(19, apart=10.0, code="key_unknown", partner="", address="192.0.2.9"),
        ),
        (
            "unknown-key-burst",
            [
                *denials(10, code="key_unknown", partner="", address="192.0.2.9"),
                *denials(10, code="key_unknown", partner="", address="192.0.2.200"),
            ],
            [
                *denials(10, code="key_unknown", partner="", address="192.0.2.9"),
                *denials(10, code="key_unknown", partner="", address="192.0.3.9"),
            ],
        ),
        ("egress-undeclared", [call(declared=False)], [call(declared=False, partner=""), call()]),
        (
            "revoked-key-used",
            [call(**REFUSED, code="key_revoked")],
            [call(**REFUSED, code="locked")],
        ),
        ("revoked-key-used", [call(**REFUSED, code="key_rotated")], [call()]),
        (
            "key-many-networks",
            [call(address=f"203.0.{nth}.7") for nth in range(5)],
            [call(address=f"203.0.113.{nth}") for nth in range(50)],
        ),
        (
            "key-many-networks",
            [call(address=f"2001:db8:{nth}::1") for nth in range(5)],
            [call(address=f"2001:db8:1:{nth}::1") for nth in range(50)],
        ),
        (
            "key-many-networks",
            one_after_another(1, START) + [call(address=f"203.0.{nth}.7") for nth in range(5)],
            [
                call(address=f"203.0.{nth}.7", started_at=START + nth * timedelta(minutes=16))
                for nth in range(20)
            ],
        ),
        (
            "key-many-networks",
            [call(address=f"203.0.{nth}.7") for nth in range(5)],
            [call(address=f"203.0.{nth}.7", credential_id=f"crd_{nth}") for nth in range(20)],
        ),
    ],
)
def test_a_rule_finds_its_case_and_not_its_neighbour(
    rule: str, case: list[CallRecord], near: list[CallRecord]
) -> None:
    ((name, alert),) = found(case, rule=rule)
    assert name == rule
    assert alert.count >= 1
    assert found(near, rule=rule) == []


NINTH = MORNING + 9 * DAY
"""A Wednesday, with seven working days before it."""


def test_volume_far_from_the_weeks_norm_fires_and_a_busy_hour_does_not() -> None:
    at = NINTH + 10 * HOUR
    spike = one_after_another(400, at)
    ((rule, alert),) = found(week_then(*spike, days=9), rule="volume-spike")
    assert (rule, alert.about) == ("volume-spike", {"partner": "acme"})
    assert alert.count == 400, "what led up to the limit counts with it"
    assert alert.first_seen_at == spike[0].started_at
    assert found(week_then(*one_after_another(60, at), days=9), rule="volume-spike") == []
    assert found(week_then(*spike, days=2), rule="volume-spike") == [], "too little is known"
    small = week_then(*one_after_another(90, at), days=9, each_hour=2)
    assert found(small, rule="volume-spike") == [], "few calls are no spike, however quiet it was"


def test_a_spike_does_not_become_the_norm_at_once() -> None:
    spikes = [
        each for day in range(3) for each in one_after_another(400, NINTH + day * DAY + 10 * HOUR)
    ]
    alerts = found(week_then(*spikes, days=9), rule="volume-spike")
    assert [alert.count for _, alert in alerts] == [1200]


def test_spend_far_from_the_weeks_norm_fires_where_the_number_of_calls_does_not() -> None:
    at = NINTH + 10 * HOUR
    costly = one_after_another(15, at, cost_micros=500_000)
    assert by_rule(found(week_then(*costly, days=9))) == {"spend-spike": [15]}
    usual = one_after_another(15, at, cost_micros=60_000)
    assert found(week_then(*usual, days=9)) == []
    free = one_after_another(15, at, cost_micros=0)
    assert found(week_then(*free, days=9)) == []


def test_use_at_night_fires_once_the_hours_are_known_and_not_at_their_edge() -> None:
    night = one_after_another(12, NINTH + 2 * HOUR, within=timedelta(minutes=40))
    ((rule, alert),) = found(week_then(*night, days=9))
    assert (rule, alert.count) == ("off-hours-use", 12)
    few = one_after_another(9, NINTH + 2 * HOUR)
    assert found(week_then(*few, days=9)) == []
    edge = one_after_another(12, NINTH + 7 * HOUR)
    assert found(week_then(*edge, days=9)) == [], "an hour early is not night"
    early = one_after_another(12, MORNING + 2 * DAY + 2 * HOUR)
    assert found(week_then(*early, days=2)) == [], "two days make no habit"


def test_a_weekend_of_one_who_never_works_then_is_off_hours_and_another_partners_is_not() -> None:
    saturday = MORNING + 12 * DAY
    assert saturday.weekday() == 5
    calls = one_after_another(12, saturday + 10 * HOUR)
    assert by_rule(found(week_then(*calls, days=12))) == {"off-hours-use": [12]}
    assert found(week_then(*calls, days=12, weekend=True)) == []


def test_a_jump_in_refusals_fires_without_a_burst_and_a_burst_is_left_to_its_own_rule() -> None:
    at = NINTH + 10 * HOUR
    probing = one_after_another(40, at, **REFUSED, code="capability_out_of_scope")
    assert by_rule(found(week_then(*probing, days=9))) == {"refusal-jump": [40]}
    burst = one_after_another(500, at, within=timedelta(seconds=30), **REFUSED, code="locked")
    assert by_rule(found(week_then(*burst, days=9))) == {"denial-burst": [500]}
    fenced = one_after_another(40, at, **REFUSED, code="point_fenced")
    assert found(week_then(*fenced, days=9)) == []
    used = list(working_days(9, start=MORNING, each_hour=12))
    always = [each for nth, each in enumerate(used) if nth % 3]
    denied = [call(started_at=each.started_at, **REFUSED, code="x") for each in used[::3]]
    both = sorted([*always, *denied], key=lambda each: each.started_at)
    more = one_after_another(30, at, **REFUSED, code="x")
    assert found([*both, *more], rule="refusal-jump") == [], "a third was refused all along"


def test_a_burst_of_denials_is_of_what_a_decision_refuses_and_not_of_limits() -> None:
    counted = {code for code in CODES if found(denials(20, code=code), rule="denial-burst")}
    decided = {code for code, kind in CODES.items() if kind.decided}
    failed = {code for code, kind in CODES.items() if kind.outcome not in {"denied", "blocked"}}
    probing = {"answer_unknown"}
    assert counted - failed == (decided | probing) - {"key_unknown", "key_missing"}


def test_a_prober_without_a_key_raises_nothing_beside_quiet_use_and_hides_no_guessing() -> None:
    nobody = {"partner": "", "grant_id": "", "credential_id": "", "model": ""}
    prober = {**nobody, "outcome": "denied", "status": 401, "code": "key_missing"}
    begin, length = MORNING + 9 * DAY, 6 * HOUR
    for seconds in (10, 1):
        count = int(length.total_seconds()) // seconds
        probes = one_after_another(count, begin, within=length, address="192.0.2.9", **prober)
        assert found(probes) == [], f"alone, every {seconds} s"
        both = sorted([*week_then(days=10), *probes], key=lambda each: each.started_at)
        assert found(both) == [], f"beside a partner's use, every {seconds} s"
    guess = prober | {"code": "key_unknown"}
    guesses = denials(20, apart=10.0, address="192.0.2.77", **guess)
    mixed = sorted(
        [*denials(90, apart=1.0, address="192.0.2.9", **prober), *guesses],
        key=lambda each: each.started_at,
    )
    assert by_rule(found(mixed)) == {"unknown-key-burst": [20]}


def test_calls_beyond_a_limit_are_a_jump_in_refusals_and_no_burst() -> None:
    at = MORNING + 9 * DAY + 10 * HOUR
    slow = one_after_another(60, at, outcome="denied", status=429, code="rate_limited")
    assert by_rule(found(week_then(*slow, days=9))) == {"refusal-jump": [60]}
    fast = one_after_another(
        500, at, within=timedelta(seconds=30), outcome="denied", status=429, code="rate_limited"
    )
    assert found(week_then(*fast, days=9)) == []


def warned(days: int, code: str = "terms_lapsed", **told: Any) -> dict[str, Any]:
    facts = {"code": code, "lapse_at": "2026-04-01T00:00:00Z", "days": days}
    return {
        "action": "grant.warn", "kind": "grant", "target": "grt_a", "partner": "acme",
        "facts": facts, **told,
    }  # fmt: skip


def test_what_expires_is_told_by_kind_and_the_last_day_is_worse() -> None:
    events = leaves(warned(30), warned(7), warned(7, "assessment_lapsed"), warned(1))
    alerts = found(events=events)
    assert sorted((rule, each.about["code"], each.count) for rule, each in alerts) == [
        ("expiring-soon", "assessment_lapsed", 1),
        ("expiring-soon", "terms_lapsed", 2),
        ("expiring-tomorrow", "terms_lapsed", 1),
    ]
    assert found(events=leaves({"action": "grant.expire", "kind": "grant", "target": "g"})) == []


def opened(**told: Any) -> dict[str, Any]:
    after = {"state": "active", "tier": 3, "approval_id": "apv_1", **told.pop("after", {})}
    return {
        "action": "grant.activate", "kind": "grant", "target": "grt_a", "partner": "acme",
        "after": after, **told,
    }  # fmt: skip


CONSUMED = {
    "action": "approval.consume", "kind": "approval", "target": "apv_1",
    "after": {"approval_id": "apv_1", "state": "consumed"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("events", "fires"),
    [
        ([opened()], True),
        ([opened(), CONSUMED], True),
        ([CONSUMED, opened()], False),
        ([CONSUMED, opened(), opened(action="grant.resume")], False),
        ([CONSUMED, opened(), opened(target="grt_b")], True),
        ([opened(after={"approval_id": ""})], True),
        ([CONSUMED, opened(after={"approval_id": "apv_2"})], True),
        ([opened(after={"tier": 2, "approval_id": ""})], False),
        ([opened(action="grant.suspend", after={"state": "suspended"})], False),
        ([opened(action="grant.create", after={"state": "pending_approval"})], False),
        ([opened(outcome="failure")], False),
        (
            [
                opened(
                    action="lock.release",
                    kind="lock",
                    target="lck_1",
                    after={"state": "released", "approval_id": ""},
                )
            ],
            True,
        ),
    ],
)
def test_an_opening_from_tier_three_needs_an_approval_consumed_before_it(
    events: list[dict[str, Any]], fires: bool
) -> None:
    alerts = found(events=leaves(*events))
    assert [rule for rule, _ in alerts] == ["opening-without-approval"] * fires


def test_a_call_after_a_verified_end_is_found_in_a_history_too() -> None:
    told = {"kind": "grant", "target": "grt_a", "enforced_at": "2026-03-01T12:00:10Z"}
    ends = leaves({"action": "receipt.verify", "kind": "receipt", "target": "r", "after": told})
    after = START + timedelta(seconds=11)
    assert found([call()], ends) == []
    assert by_rule(found([call(), call(started_at=after)], ends)) == {"admitted-after-revoke": [1]}
    assert found([call(started_at=after, **REFUSED, code="x")], ends) == []


def test_pages_that_were_given_up_and_logs_that_stop_are_alerts() -> None:
    told = {"kind": "oncall", "target": "night", "outcome": "failure"}
    events = leaves(
        {"action": "page.fail", **told}, {"action": "source.stop", **told}, source="audit"
    )
    assert sorted(by_rule(found(events=events))) == ["log-source-stopped", "page-undelivered"]
    elsewhere = leaves({"action": "page.fail", **told}, source="policy")
    assert found(events=elsewhere) == []


COUNTING = [each for each in RULES.values() if each.reads == "calls"]
_LETTERS = st.sampled_from(["a", "b"])
_CALLS = st.lists(
    st.tuples(
        st.integers(0, 12 * 86_400),
        _LETTERS,
        st.sampled_from(["allowed", "denied"]),
        st.sampled_from(["", "key_revoked", "locked", "key_unknown"]),
        st.booleans(),
        st.integers(0, 9),
    ),
    max_size=120,
)


def _made(drawn: list[tuple[int, str, str, str, bool, int]], close: int) -> list[CallRecord]:
    return [
        call(
            started_at=START + timedelta(seconds=at // close),
            partner=name,
            credential_id=f"crd_{name}",
            grant_id=f"grt_{name}",
            outcome=outcome,
            code=code,
            declared=declared,
            address=f"203.0.{net}.1",
            cost_micros=net * 100,
        )
        for at, name, outcome, code, declared, net in sorted(drawn, key=lambda each: each[0])
    ]


def _in_batches(
    rules: list[Rule], calls: list[CallRecord], sizes: list[int]
) -> dict[str, tuple[int, datetime, datetime]]:
    results, states = Results(), InMemory()
    left = calls
    for size in [*sizes, len(calls)]:
        seen = [seen_call(each, ended=False) for each in left[:size]]
        for rule in rules:
            results.add(judge(rule, seen, states))
        left = left[size:]
    return {
        name: (each.count, each.first_seen_at, each.last_seen_at)
        for name, each in results.alerts.items()
    }


@given(_CALLS, st.sampled_from([1, 60, 3600, 86_400]), st.lists(st.integers(1, 20), max_size=12))
@bounded(max_examples=60)
def test_no_split_of_the_feed_loses_or_doubles_a_count(
    drawn: list[tuple[int, str, str, str, bool, int]], close: int, sizes: list[int]
) -> None:
    calls = _made(drawn, close)
    loose = [rule._replace(threshold=min(rule.threshold, 3), history=1) for rule in COUNTING]
    assert _in_batches(loose, calls, sizes) == _in_batches(loose, calls, [])


@given(_CALLS, st.sampled_from([1, 3600]))
@bounded(max_examples=60)
def test_alerts_never_count_more_than_matched_and_one_match_rules_count_each(
    drawn: list[tuple[int, str, str, str, bool, int]], close: int
) -> None:
    calls = _made(drawn, close)
    alerts = by_rule(evaluate(COUNTING, calls))
    for rule in COUNTING:
        matched = sum(rule.matches(seen_call(each, ended=False).fields) for each in calls)
        assert sum(alerts.get(rule.id, [])) <= matched
        if rule.kind == "count" and rule.threshold == 1:
            assert sum(alerts.get(rule.id, [])) == matched


def test_what_a_rule_remembers_is_bounded_whatever_comes() -> None:
    states = InMemory()
    hostile = [
        call(started_at=START + timedelta(seconds=nth), address=f"10.{nth // 256}.{nth % 256}.1")
        for nth in range(30_000)
    ]
    for start in range(0, len(hostile), 1000):
        seen = [seen_call(each, ended=False) for each in hostile[start : start + 1000]]
        for rule in COUNTING:
            list(judge(rule, seen, states))
    sizes = [len(msgspec.json.encode(each)) for each in states._held.values()]
    assert max(sizes) < 40_000
    assert len(sizes) < 12
