from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from console.model.enforcement import LockKind, LockTarget
from console.model.grant import Decision, GrantedCapability, GrantProjection, Lapse
from console.services.gateway.control.closing.blast import falls_under
from console.services.gateway.decision.decide import Asked, Moment, Verdict, decide
from console.services.gateway.decision.snapshot import EMPTY, Snapshot
from console.services.wire.changes import (
    Body,
    Change,
    GrantChange,
    KeyChange,
    KeyFact,
    LockChange,
    LockFact,
    ReleaseChange,
    State,
    TombstoneChange,
    TombstoneFact,
)
from tests.services.gateway.rig import projection

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
FRESH = Moment(NOW, leased=True, policy_age=1.0)
KEY = KeyFact(id="crd_1", sha256="h1", grant_id="grt_1", partner="acme", holder="delta")


def allows(grant: GrantProjection, *_: str) -> Decision:
    return Decision(id="d", allow=True, bundle_revision="b", at=NOW)


def denies(grant: GrantProjection, *_: str) -> Decision:
    return Decision(id="d", allow=False, bundle_revision="b", reasons=["no"], at=NOW)


def undecided(grant: GrantProjection, *_: str) -> Decision:
    return Decision(id="d", allow=True, bundle_revision="b", errors=["broken"], at=NOW)


def grant(**facts: Any) -> GrantProjection:
    usual = {
        "id": "grt_1",
        "not_before": NOW - timedelta(days=1),
        "lapses": [Lapse(at=NOW + timedelta(days=1), code="grant_expired")],
    }
    return projection(**{**usual, **facts})


def snapshot(
    held: GrantProjection | None = None,
    locks: list[tuple[str, str]] | None = None,
    ended: list[tuple[str, str]] | None = None,
) -> Snapshot:
    return Snapshot(
        State(
            sequence=1,
            grants=[held or grant()],
            keys=[KEY],
            locks=[
                LockFact(id=f"lck_{n}", kind=kind, target=target, message="closed for now")
                for n, (kind, target) in enumerate(locks or [])
            ],
            tombstones=[TombstoneFact(kind=kind, id=named) for kind, named in ended or []],
        )
    )


def asked(**facts: Any) -> Asked:
    usual = {
        "route": "chat.completions",
        "model": "aurora-1",
        "key_sha256": "h1",
        "address": "127.0.0.1",
    }
    return Asked(**{**usual, **facts})


def code(held: Snapshot, ask: Asked | None = None, moment: Moment = FRESH) -> str:
    return decide(held, ask or asked(), moment, allows).code


def test_a_call_within_its_grant_is_allowed_and_says_why() -> None:
    verdict = decide(snapshot(), asked(), FRESH, allows)
    assert verdict.allow
    assert [check.name for check in verdict.checks] == [
        "lease", "credential", "tombstone", "locks", "grant", "route", "model", "capability",
        "policy freshness", "policy",
    ]  # fmt: skip
    assert verdict.bundle_revision == "b"
    assert verdict.until == NOW + timedelta(days=1)


def test_each_refusal_has_its_own_code() -> None:
    two = [
        GrantedCapability(slug=slug, tier=tier, category="general", models=[model], routes=[route])
        for slug, tier, model, route in (
            ("a", 1, "aurora-1", "chat.completions"),
            ("b", 2, "aurora-2", "messages"),
        )
    ]
    wide = grant(capabilities=two, models=["aurora-1", "aurora-2"])
    past = NOW - timedelta(seconds=1)
    cases: list[tuple[str, Snapshot, Asked, Moment]] = [
        ("point_fenced", snapshot(), asked(), FRESH._replace(leased=False)),
        ("key_missing", snapshot(), asked(key_sha256=""), FRESH),
        ("key_unknown", snapshot(), asked(key_sha256="h2"), FRESH),
        ("grant_revoked", snapshot(ended=[("grant", "grt_1")]), asked(), FRESH),
        ("key_revoked", snapshot(ended=[("credential", "crd_1")]), asked(), FRESH),
        ("grant_not_active", snapshot(grant(id="grt_2")), asked(), FRESH),
        ("grant_not_active", snapshot(grant(state="provisioning")), asked(), FRESH),
        ("grant_suspended", snapshot(grant(state="suspended")), asked(), FRESH),
        ("grant_expired", snapshot(grant(state="expired")), asked(), FRESH),
        ("grant_revoked", snapshot(grant(state="revoking")), asked(), FRESH),
        ("grant_not_yet_valid", snapshot(grant(not_before=NOW + timedelta(1))), asked(), FRESH),
        (
            "grant_expired",
            snapshot(grant(lapses=[Lapse(at=past, code="grant_expired")])),
            asked(),
            FRESH,
        ),
        (
            "grant_suspended",
            snapshot(grant(lapses=[Lapse(at=NOW, code="terms_lapsed")])),
            asked(),
            FRESH,
        ),
        ("model_out_of_scope", snapshot(), asked(model="aurora-2"), FRESH),
        (
            "route_out_of_scope",
            snapshot(grant(capabilities=two[:1])),
            asked(route="messages"),
            FRESH,
        ),
        ("route_out_of_scope", snapshot(wide), asked(route="messages"), FRESH),
        ("capability_out_of_scope", snapshot(wide), asked(capability="b"), FRESH),
        ("network_not_allowed", snapshot(grant(networks=["10.0.0.0/8"])), asked(), FRESH),
        ("policy_stale", snapshot(), asked(), FRESH._replace(policy_age=None)),
        ("policy_stale", snapshot(grant(grace_seconds=60)), asked(), FRESH._replace(policy_age=61)),
    ]
    for wanted, held, ask, moment in cases:
        verdict = decide(held, ask, moment, allows)
        assert (verdict.code, verdict.allow) == (wanted, False), wanted
        assert not verdict.checks[-1].passed
        assert verdict.message
    assert decide(snapshot(), asked(), FRESH, denies).code == "policy_denied"
    assert decide(snapshot(), asked(), FRESH, undecided).code == "policy_denied"


def test_the_words_for_a_lapse_name_it_and_never_an_operators_reason() -> None:
    lapsed = snapshot(grant(lapses=[Lapse(at=NOW, code="terms_lapsed")]))
    assert "terms_lapsed" in decide(lapsed, asked(), FRESH, allows).message
    told = snapshot(grant(state="suspended", state_reason="we suspect them"))
    assert "suspect" not in decide(told, asked(), FRESH, allows).message


def test_every_kind_of_lock_stops_what_it_names_and_tells_its_message() -> None:
    for kind, target in (
        (LockKind.EVERYTHING, "*"),
        (LockKind.PARTNER, "acme"),
        (LockKind.GRANT, "grt_1"),
        (LockKind.CREDENTIAL, "crd_1"),
        (LockKind.CAPABILITY, "text.general"),
        (LockKind.MODEL, "aurora-1"),
        (LockKind.STAGE, "aurora/limited"),
        (LockKind.PILOT, "aurora"),
        (LockKind.SUBPROCESSOR, "delta"),
        (LockKind.NETWORK, "127.0.0.0/8"),
    ):
        verdict = decide(snapshot(locks=[(kind, target)]), asked(), FRESH, allows)
        assert (verdict.code, verdict.lock_id) == ("locked", "lck_0"), kind
        assert verdict.message == "closed for now"
        other = decide(snapshot(locks=[(kind, "10.0.0.0/8")]), asked(), FRESH, allows)
        assert other.allow or kind is LockKind.EVERYTHING


def test_a_lock_on_any_covering_capability_stops_a_call_that_names_none() -> None:
    both = [
        GrantedCapability(
            slug=slug,
            tier=tier,
            category="general",
            models=["aurora-1"],
            routes=["chat.completions"],
        )
        for slug, tier in (("low", 1), ("high", 2))
    ]
    held = snapshot(grant(capabilities=both), locks=[("capability", "high")])
    assert code(held) == "locked"
    assert code(held, asked(capability="high")) == "locked"
    assert code(held, asked(capability="low")) == ""


def test_from_tier_three_up_nothing_is_served_once_policy_is_silent() -> None:
    guarded = GrantedCapability(
        slug="x", tier=3, category="dual-use", models=["aurora-1"], routes=["chat.completions"]
    )
    held = snapshot(grant(capabilities=[guarded], tier=3))
    assert code(held, moment=FRESH._replace(policy_age=10.0)) == ""
    assert code(held, moment=FRESH._replace(policy_age=10.1)) == "policy_stale"
    assert code(snapshot(), moment=FRESH._replace(policy_age=3599.0)) == ""


def test_an_ipv4_caller_on_an_ipv6_socket_is_the_ipv4_caller() -> None:
    held = snapshot(grant(networks=["203.0.113.0/24"]))
    assert code(held, asked(address="::ffff:203.0.113.9")) == ""
    assert code(
        snapshot(locks=[("network", "203.0.113.0/24")]), asked(address="::ffff:203.0.113.9")
    )


def test_an_empty_list_of_models_means_all_only_at_tiers_zero_and_one() -> None:
    assert code(snapshot(grant(models=[]))) == ""
    two = GrantedCapability(
        slug="x", tier=2, category="general", models=["aurora-1"], routes=["chat.completions"]
    )
    assert code(snapshot(grant(models=[], capabilities=[two]))) == "model_out_of_scope"


TARGETS = st.sampled_from(
    [
        ("everything", "*"),
        ("partner", "acme"),
        ("partner", "other"),
        ("grant", "grt_1"),
        ("credential", "crd_1"),
        ("capability", "text.general"),
        ("model", "aurora-1"),
        ("model", "aurora-2"),
        ("network", "127.0.0.0/8"),
        ("network", "10.0.0.0/8"),
        ("subprocessor", "delta"),
        ("stage", "aurora/limited"),
    ]
)
ENDS = st.sampled_from([("grant", "grt_1"), ("credential", "crd_1"), ("grant", "grt_9")])
GRANTS = st.builds(
    grant,
    state=st.sampled_from(["active", "suspended", "expired", "revoked", "provisioning"]),
    models=st.sampled_from([[], ["aurora-1"], ["aurora-2"]]),
    networks=st.sampled_from([[], ["127.0.0.0/8"], ["10.0.0.0/8"]]),
)
ASKS = st.builds(
    asked,
    model=st.sampled_from(["aurora-1", "aurora-2", "", "nope"]),
    route=st.sampled_from(["chat.completions", "messages", "models", "other"]),
    key_sha256=st.sampled_from(["h1", "h2", ""]),
    capability=st.sampled_from(["", "text.general", "nope"]),
    address=st.sampled_from(["127.0.0.1", "10.1.1.1", "", "garbage"]),
)
MOMENTS = st.builds(
    Moment,
    now=st.sampled_from([NOW, NOW + timedelta(days=2)]),
    leased=st.booleans(),
    policy_age=st.sampled_from([None, 1.0, 1e6]),
)


@settings(max_examples=300)
@given(
    held=GRANTS,
    ask=ASKS,
    moment=MOMENTS,
    locks=st.lists(TARGETS, max_size=3),
    ended=st.lists(ENDS, max_size=2),
    more_locks=st.lists(TARGETS, max_size=3),
    more_ended=st.lists(ENDS, max_size=2),
)
def test_adding_a_lock_or_a_tombstone_never_lets_a_refused_call_through(
    *,
    held: GrantProjection,
    ask: Asked,
    moment: Moment,
    locks: list[tuple[str, str]],
    ended: list[tuple[str, str]],
    more_locks: list[tuple[str, str]],
    more_ended: list[tuple[str, str]],
) -> None:
    before = decide(snapshot(held, locks, ended), ask, moment, allows)
    after = decide(snapshot(held, locks + more_locks, ended + more_ended), ask, moment, allows)
    assert before.allow or not after.allow
    assert not after.allow or after.code == ""


@settings(max_examples=200)
@given(
    order=st.randoms(use_true_random=False),
    extra=st.lists(TARGETS, max_size=3),
    states=st.lists(
        st.sampled_from(["active", "suspended", "revoked", "provisioning"]), max_size=4
    ),
)
def test_a_tombstone_holds_in_whatever_order_changes_are_read(
    order: random.Random, extra: list[tuple[str, str]], states: list[str]
) -> None:
    bodies: list[Body] = [
        TombstoneChange(ends=[TombstoneFact(kind="credential", id="crd_1")]),
        KeyChange(key=KEY),
        KeyChange(key=KEY),
        GrantChange(grant=grant()),
        *(GrantChange(grant=grant(revision=2 + n, state=s)) for n, s in enumerate(states)),
        *(
            LockChange(lock=LockFact(id=f"lck_{n}", kind=k, target=t, message=""))
            for n, (k, t) in enumerate(extra)
        ),
        *(ReleaseChange(id=f"lck_{n}") for n in range(len(extra))),
    ]
    order.shuffle(bodies)
    held = EMPTY.after(Change(seq=n, body=body) for n, body in enumerate(bodies, 1))
    assert not decide(held, asked(), FRESH, allows).allow
    assert held.ended(KEY) == "key_revoked"
    again = Snapshot(State(sequence=held.sequence, grants=[grant()], keys=[KEY])).keeping(held)
    assert decide(again, asked(), FRESH, allows).code == "key_revoked"


@settings(max_examples=100)
@given(order=st.permutations([1, 2, 3, 4]))
def test_the_newest_projection_of_a_grant_stands_whatever_comes_late(order: list[int]) -> None:
    states = {1: "active", 2: "active", 3: "active", 4: "suspended"}
    held = EMPTY.after(
        Change(seq=n, body=GrantChange(grant=grant(revision=revision, state=states[revision])))
        for n, revision in enumerate(order, 1)
    )
    found = held.grant("grt_1")
    assert found is not None
    assert found.state == "suspended"


def test_the_same_arguments_always_give_the_same_verdict() -> None:
    first: Verdict = decide(snapshot(), asked(), FRESH, allows)
    assert first == decide(snapshot(), asked(), FRESH, allows)


def test_a_snapshot_is_a_value() -> None:
    before = snapshot()
    after = before.after(
        [
            Change(
                seq=2,
                body=LockChange(lock=LockFact(id="l", kind="everything", target="*", message="")),
            )
        ]
    )
    assert code(before) == ""
    assert code(after) == "locked"
    assert code(after.after([Change(seq=3, body=ReleaseChange(id="l"))])) == ""
    assert code(after.after([Change(seq=2, body=ReleaseChange(id="l"))])) == "locked"
    assert Snapshot(after.state()).state() == after.state()


@given(
    GRANTS,
    TARGETS.filter(lambda target: target[0] != "network"),
    st.sampled_from(["delta", "acme", "gamma"]),
)
@settings(max_examples=150)
def test_a_plan_counts_a_key_if_and_only_if_the_point_would_refuse_a_call_of_it(
    held: GrantProjection, target: tuple[str, str], holder: str
) -> None:
    key = msgspec.structs.replace(KEY, holder=holder)
    state = snapshot(held).state()
    bare = msgspec.structs.replace(state, keys=[key])
    lock = LockFact(id="lck_1", kind=target[0], target=target[1], message="")
    free, shut = Snapshot(bare), Snapshot(msgspec.structs.replace(bare, locks=[lock]))
    calls = [
        asked(model=model, route=route)
        for model in ("aurora-1", "aurora-2")
        for route in ("chat.completions", "messages")
    ]
    open_to = [ask for ask in calls if decide(free, ask, FRESH, allows).allow]
    refused = [ask for ask in open_to if decide(shut, ask, FRESH, allows).code == "locked"]
    counted = falls_under(key, held, LockTarget(kind=LockKind(target[0]), id=target[1]))
    if open_to:
        assert counted == bool(refused)
