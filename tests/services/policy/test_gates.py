"""The gates and the state machine, by example and by property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import PilotError
from console.model.access import Capability, Partner, Pilot, Stage, StageKey
from console.model.evidence import Assessment, UsageTerms
from console.model.grant import TRANSITIONS, Decision, Gap, Grant, GrantState
from console.services.policy.judging import gates
from console.services.policy.judging.gates import Facts
from console.services.policy.judging.grant_states import activates, begins, may_become, settles

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
STAMP: dict[str, Any] = {
    "created_at": NOON,
    "created_by": "root",
    "updated_at": NOON,
    "updated_by": "root",
}
PILOT = Pilot(
    id="plt_1",
    slug="aurora",
    title="Aurora",
    models=["m"],
    stages=[Stage(key=StageKey.LIMITED, most_partners=5, longest_grant_seconds=999)],
    grace_seconds=1,
    **STAMP,
)


def day(number: float) -> datetime:
    return NOON + timedelta(days=number)


def partner(**changes: Any) -> Partner:
    held = Partner(
        id="ptn_1",
        slug="acme",
        name="Acme",
        sponsor="root",
        state="active",
        verified_until=day(100),
        verification="R",
        egress=[],
        subprocessors=[],
        **STAMP,
    )
    return msgspec.structs.replace(held, **changes)


def capability(slug: str = "c", tier: int = 1, category: str = "general") -> Capability:
    return Capability(
        id="cap_" + slug,
        slug=slug,
        title=slug,
        pilot="aurora",
        category=category,
        tier=tier,
        models=["m"],
        routes=["messages"],
        longest_grant_seconds=999,
        **STAMP,
    )


def version(number: int, reaccept: float = 0) -> UsageTerms:
    return UsageTerms(
        id=f"trm_{number}",
        pilot="aurora",
        version=number,
        title="T",
        sha256="",
        text="",
        effective_at=NOON,
        reaccept_by=day(reaccept),
        **STAMP,
    )


def assessment(until: float = 50, state: str = "accepted", of: str = "c") -> Assessment:
    return Assessment(
        id=f"rsk_{of}_{until}_{state}",
        partner="acme",
        capability=of,
        assessor="A",
        summary="",
        valid_until=day(until),
        state=state,
        **STAMP,
    )


def facts(**changes: Any) -> Facts:
    held: dict[str, Any] = {
        "pilot": PILOT,
        "partner": partner(),
        "capabilities": [capability()],
        "terms": [version(1)],
        "accepted": frozenset({1}),
        "assessments": [assessment()],
    }
    return Facts(**{**held, **changes})


def codes(held: Facts, at: datetime = NOON, **more: Any) -> list[str]:
    return [gap.code for gap in gates.gaps(held, at, **more)]


def test_with_everything_nothing_is_missing() -> None:
    assert codes(facts()) == []


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"partner": partner(verified_until=None, state="prospect")}, "verification_missing"),
        ({"partner": partner(verified_until=NOON)}, "verification_lapsed"),
        ({"partner": partner(state="suspended")}, "partner_not_active"),
        ({"terms": [], "accepted": frozenset()}, "terms_not_published"),
        ({"accepted": frozenset()}, "terms_not_accepted"),
        ({"terms": [version(1), version(2)]}, "terms_lapsed"),
        ({"assessments": []}, "assessment_missing"),
        ({"assessments": [assessment(state="in_review")]}, "assessment_in_review"),
        ({"assessments": [assessment(0)]}, "assessment_lapsed"),
        ({"assessments": [assessment(0, "expired")]}, "assessment_lapsed"),
        ({"assessments": [assessment(state="withdrawn")]}, "assessment_missing"),
        ({"assessments": [assessment(of="other")]}, "assessment_missing"),
        ({"capabilities": [capability(tier=3)]}, "approval_missing"),
        ({"capabilities": [capability(category="prohibited")]}, "capability_prohibited"),
    ],
)
def test_each_thing_that_can_be_missing_is_a_gap_of_its_own(
    changes: dict[str, Any], missing: str
) -> None:
    assert codes(facts(**changes)) == [missing]


def test_every_capability_needs_its_own_assessment() -> None:
    two = facts(capabilities=[capability("c"), capability("d")])
    assert codes(two) == ["assessment_missing"]
    assert codes(two._replace(assessments=[assessment(), assessment(of="d")])) == []


def test_an_earlier_acceptance_counts_until_the_first_later_window_closes() -> None:
    held = facts(terms=[version(1), version(2, reaccept=5), version(3, reaccept=9)])
    assert codes(held) == []
    assert gates.accepted_until(held) == day(5)
    assert codes(held, day(5)) == ["terms_lapsed"]
    assert gates.accepted_until(held._replace(accepted=frozenset({1, 2}))) == day(9)
    assert gates.accepted_until(held._replace(accepted=frozenset({1, 3}))) is None


def test_the_assessment_that_holds_longest_counts() -> None:
    held = facts(assessments=[assessment(10), assessment(40), assessment(99, "rejected")])
    lapses = gates.lapses(held, day(200), NOON)
    assert [(lapse.code, lapse.at) for lapse in lapses] == [
        ("assessment_lapsed", day(40)),
        ("verification_lapsed", day(100)),
        ("grant_expired", day(200)),
    ]


@given(
    verified=st.floats(0.1, 99),
    assessed=st.floats(0.1, 99),
    window=st.floats(0.1, 99),
    expires=st.floats(0.1, 99),
    at=st.floats(0, 100),
)
@settings(max_examples=300)
def test_a_gap_appears_exactly_when_a_lapse_is_reached(
    verified: float, assessed: float, window: float, expires: float, at: float
) -> None:
    held = facts(
        partner=partner(verified_until=day(verified)),
        assessments=[assessment(assessed)],
        terms=[version(1), version(2, reaccept=window)],
    )
    end = day(expires)
    reached = {lapse.code for lapse in gates.lapses(held, end, NOON) if lapse.at <= day(at)}
    gaps = set(codes(held, day(at), expires_at=end))
    assert gaps == reached, "what the gateway enforces alone is what policy finds missing"
    look = gates.next_moment(held, end, day(at))
    ahead = [lapse.at for lapse in gates.lapses(held, end, day(at))]
    assert look is None or look > day(at)
    assert not ahead or (look is not None and look <= min(ahead)), "no lapse is slept through"


def test_warnings_come_at_thirty_seven_and_one_days_and_not_for_short_grants() -> None:
    held = facts(partner=partner(verified_until=day(400)), assessments=[assessment(400)])

    def days(at: float, since: float = 0) -> list[int]:
        return [n for _, n in gates.warnings_due(held, day(60), day(since), day(at))]

    assert [days(at) for at in (29, 30, 52, 53, 58, 59, 59.9)] == [
        [], [30], [30], [7], [7], [1], [1],
    ]  # fmt: skip
    assert days(57, since=57) == [], "it never ran longer than that"


def decision(allow: bool, *reasons: str, errors: tuple[str, ...] = ()) -> Decision:
    return Decision(
        id="dec_1",
        allow=allow,
        bundle_revision="r",
        reasons=list(reasons),
        errors=list(errors),
        at=NOON,
    )


def test_a_policy_deny_is_a_gap_unless_a_gap_says_it_already() -> None:
    assert gates.decided(decision(True), []) == []
    assert gates.decided(decision(False), [])[0].code == "policy_denied"
    assert gates.decided(decision(False, "my-rule"), [])[0].message.endswith("my-rule")
    assert "boom" in gates.decided(decision(False, errors=("boom",)), [])[0].message
    known = [Gap(code="approval_missing", message="", mend="")]
    reason = "approval-required-from-tier-3"
    assert gates.decided(decision(False, reason), known) == []
    assert gates.decided(decision(False, reason, "my-rule"), known) != []
    assert gates.decided(decision(False, reason, errors=("boom",)), known) != []


def grant(state: str, tier: int = 1, expires: float = 20) -> Grant:
    return Grant(
        id="grt_1",
        pilot="aurora",
        stage="limited",
        partner="acme",
        capabilities=["c"],
        models=["m"],
        networks=[],
        purpose="",
        not_before=NOON,
        expires_at=day(expires),
        tier=tier,
        state=state,
        **STAMP,
    )


GAP = Gap(code="assessment_missing", message="", mend="")
END = Gap(code="grant_expired", message="", mend="")
OPENED = {"provisioning", "active"}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["settle", "activate", "acknowledge", "revoke"]),
        st.booleans(),
        st.floats(0, 2),
    ),
    max_size=30,
)


@given(tier=st.integers(0, 4), missing=st.booleans(), steps=STEPS)
@settings(max_examples=300)
def test_no_path_opens_a_grant_that_misses_something_or_brings_one_back(
    tier: int, missing: bool, steps: list[tuple[str, bool, float]]
) -> None:
    state = begins(tier, [GAP] if missing else [])
    assert not (state in OPENED and (missing or tier >= 3))
    at = NOON
    for verb, gap, days in steps:
        at += timedelta(days=days)
        held, before = grant(state, tier), state
        gaps = [*([GAP] if gap else []), *([END] if at >= held.expires_at else [])]
        if verb == "settle":
            state, _ = settles(held, gaps, at)
        elif verb == "activate":
            try:
                state = activates(held, gaps)
            except PilotError:
                continue
        elif verb == "acknowledge" and state is GrantState.PROVISIONING and not gaps:
            state = GrantState.ACTIVE
        elif verb == "revoke" and may_become(state, GrantState.REVOKED):
            state = GrantState.REVOKED
        assert state == before or state in TRANSITIONS[before]
        assert before not in {"revoked", "denied"} or state == before
        assert not (verb == "settle" and state in OPENED and (gaps or at >= held.expires_at))
        assert not (before not in OPENED and state in OPENED and (gaps or at >= held.expires_at))
        assert not (state in OPENED and tier >= 3), "without an approval nothing opens there"


def test_from_tier_three_up_a_lapsed_grant_resumes_only_by_a_verb() -> None:
    assert settles(grant("suspended", tier=2), [], NOON)[0] == "provisioning"
    assert settles(grant("suspended", tier=3), [], NOON)[0] == "suspended"
    assert activates(grant("suspended", tier=3), []) == "provisioning"


def test_nothing_leaves_revoked_or_denied() -> None:
    for state in (GrantState.REVOKED, GrantState.DENIED):
        assert TRANSITIONS[state] == frozenset()
        with pytest.raises(PilotError):
            activates(grant(state), [])
        assert settles(grant(state, expires=-1), [GAP], NOON)[0] == state
