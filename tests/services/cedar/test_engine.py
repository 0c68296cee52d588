"""The engine decides fail-closed: with the schema, and any doubt is a deny."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import PilotError
from console.model.grant import GrantedCapability, GrantProjection
from console.services.cedar.engine import CedarBundle, Uid, decide_call, decide_hold, entities_of
from console.services.cedar.shipped import SHIPPED, bundle_in

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def projection(**changes: Any) -> GrantProjection:
    held = GrantProjection(
        id="grt_1",
        revision=3,
        pilot="aurora",
        stage="limited",
        partner="acme",
        partner_state="active",
        capabilities=[
            GrantedCapability(
                slug="cyber.triage",
                tier=1,
                category="dual-use",
                models=["aurora-1", "aurora-2"],
                routes=["chat.completions"],
            )
        ],
        models=["aurora-1"],
        networks=[],
        not_before=NOON,
        lapses=[],
        state="active",
        tier=1,
        grace_seconds=60,
        egress=[],
        subprocessors=[],
    )
    return msgspec.structs.replace(held, **changes)


@pytest.fixture(scope="module")
def bundle() -> CedarBundle:
    return bundle_in()


def allowed(bundle: CedarBundle, held: GrantProjection, **ask: str) -> bool:
    asked = {"capability": "cyber.triage", "model": "aurora-1", "route": "chat.completions", **ask}
    return decide_call(bundle, held, **asked).allow


def test_a_call_that_an_active_grant_covers_is_allowed_and_says_why(bundle: CedarBundle) -> None:
    decision = decide_call(bundle, projection(), "cyber.triage", "aurora-1", "chat.completions")
    assert decision.allow
    assert decision.reasons == ["active-grant-covers-call"]
    assert decision.errors == []
    assert decision.bundle_revision == bundle.revision
    assert len(bundle.revision) == 16


def test_what_the_grant_does_not_cover_is_denied(bundle: CedarBundle) -> None:
    held = projection()
    assert allowed(bundle, held)
    assert not allowed(bundle, held, model="aurora-2"), "the capability has it, the grant has not"
    assert not allowed(bundle, held, model="other")
    assert not allowed(bundle, held, route="messages")
    assert not allowed(bundle, held, capability="cyber.other")


@pytest.mark.parametrize(
    "state", ["draft", "pending_approval", "provisioning", "suspended", "expired", "revoked", "x"]
)
def test_only_an_active_grant_lets_a_call_through(bundle: CedarBundle, state: str) -> None:
    assert not allowed(bundle, projection(state=state))


def test_a_partner_that_is_not_active_is_forbidden_by_name(bundle: CedarBundle) -> None:
    assert allowed(bundle, projection(partner_state="restricted"))
    for state in ("prospect", "suspended", "offboarded", ""):
        held = projection(partner_state=state)
        assert not allowed(bundle, held)
        assert decide_hold(bundle, held).reasons == ["partner-not-active"]


def test_a_prohibited_category_is_denied_with_or_without_an_approval(bundle: CedarBundle) -> None:
    banned = msgspec.structs.replace(projection().capabilities[0], category="prohibited")
    for approval in ("", "apv_1"):
        held = projection(capabilities=[banned], approval_id=approval)
        assert not allowed(bundle, held)
        assert "prohibited-category" in decide_hold(bundle, held).reasons


def test_tier_three_opens_only_with_a_consumed_approval(bundle: CedarBundle) -> None:
    assert allowed(bundle, projection(tier=2))
    assert not allowed(bundle, projection(tier=3))
    assert decide_hold(bundle, projection(tier=4)).reasons == ["approval-required-from-tier-3"]
    assert allowed(bundle, projection(tier=3, approval_id="apv_1"))


@given(text=st.text(max_size=60))
@settings(max_examples=150)
def test_hostile_text_in_a_call_never_raises_and_never_allows(text: str) -> None:
    bundle = _SHARED
    for name in ("capability", "model", "route"):
        ask = {"capability": "cyber.triage", "model": "aurora-1", "route": "chat.completions"}
        if text != ask[name]:
            assert not allowed(bundle, _HELD, **{name: text})


def test_a_lone_surrogate_is_a_deny_and_not_an_exception(bundle: CedarBundle) -> None:
    assert not allowed(bundle, projection(), model="\ud800")


BLOCKED_SCHEMA = json.dumps(
    {
        "": {
            "entityTypes": {"U": {}, "R": {}},
            "actions": {
                "go": {
                    "appliesTo": {
                        "principalTypes": ["U"],
                        "resourceTypes": ["R"],
                        "context": {
                            "type": "Record",
                            "attributes": {"blocked": {"type": "Boolean"}},
                        },
                    }
                }
            },
        }
    }
)
BLOCKED = """
@id("anyone") permit(principal, action, resource);
@id("blocked") forbid(principal, action, resource) when { context.blocked };
"""


def test_a_forbid_that_cannot_be_evaluated_does_not_let_its_permit_stand() -> None:
    bundle = CedarBundle(BLOCKED, BLOCKED_SCHEMA)
    none = bundle.entities([])
    ask = (Uid("U", "u"), "go", Uid("R", "r"))
    assert bundle.decide(*ask, {"blocked": False}, none).allow
    assert not bundle.decide(*ask, {"blocked": True}, none).allow
    absent = bundle.decide(*ask, {}, none)
    assert not absent.allow
    assert absent.errors, "the deny tells that it is for want of an answer"


def test_an_error_in_any_policy_denies_even_where_another_permits() -> None:
    schema = json.loads(BLOCKED_SCHEMA)
    schema[""]["entityTypes"]["U"] = {
        "shape": {"type": "Record", "attributes": {"bad": {"type": "Boolean"}}}
    }
    bundle = CedarBundle(
        '@id("anyone") permit(principal, action, resource);'
        '@id("bad") forbid(principal is U, action, resource) when { principal.bad };',
        json.dumps(schema),
    )
    # an unknown principal has no attributes: the forbid errors, and Cedar would skip it
    decision = bundle.decide(
        Uid("U", "nobody"), "go", Uid("R", "r"), {"blocked": False}, bundle.entities([])
    )
    assert not decision.allow
    assert decision.errors


def test_an_unknown_action_or_type_is_a_deny(bundle: CedarBundle) -> None:
    entities = bundle.grant_entities(projection())
    partner, grant = Uid("Partner", "acme"), Uid("Grant", "grt_1")
    assert not bundle.decide(partner, "fly", grant, {}, entities).allow
    assert not bundle.decide(Uid("Ship", "x"), "hold", grant, {}, entities).allow


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ('@id("a") permit(principal, action, resource) when { context.nothing };', "nothing"),
        ('@id("a") permit(principal, action, resource', "unexpected"),
        ("permit(principal, action, resource);", "no @id"),
        ('@id("a") permit(principal, action, resource);' * 2, "two policies"),
        ('@id("a") permit(principal == Ship::"x", action, resource);', "Ship"),
    ],
)
def test_a_bundle_that_does_not_validate_is_refused_and_says_why(policies: str, says: str) -> None:
    with pytest.raises(PilotError) as refused:
        CedarBundle(policies, BLOCKED_SCHEMA)
    assert refused.value.code == "bundle-invalid"
    assert says in refused.value.message


def test_a_folder_without_policies_or_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PilotError, match=r"no \.cedar file"):
        CedarBundle.load(tmp_path)
    (tmp_path / "a.cedar").write_text(BLOCKED)
    with pytest.raises(PilotError, match="cannot be read"):
        CedarBundle.load(tmp_path)
    (tmp_path / "schema.json").write_text("{")
    with pytest.raises(PilotError, match="refused"):
        CedarBundle.load(tmp_path)


def test_the_revision_changes_with_either_part() -> None:
    one = CedarBundle(BLOCKED, BLOCKED_SCHEMA)
    assert one.revision == CedarBundle(BLOCKED, BLOCKED_SCHEMA).revision
    assert one.revision != CedarBundle(BLOCKED + "\n", BLOCKED_SCHEMA).revision
    assert one.revision != CedarBundle(BLOCKED, BLOCKED_SCHEMA + " ").revision


def test_a_bundle_without_the_pilots_types_denies_every_call() -> None:
    assert not allowed(CedarBundle(BLOCKED, BLOCKED_SCHEMA), projection())


def test_entities_are_parsed_once_for_one_projection_and_again_for_another(
    bundle: CedarBundle,
) -> None:
    held = projection()
    assert bundle.grant_entities(held) is bundle.grant_entities(held)
    changed = projection(state="suspended")
    assert not allowed(bundle, changed), "the same id with another state is not the old one"
    assert allowed(bundle, held)


def test_the_shipped_files_are_the_bundle() -> None:
    assert (SHIPPED / "schema.json").is_file()
    assert "Grant" in bundle_in().types
    assert bundle_in().actions["call"].context == {"capability", "model", "route"}
    assert entities_of(projection())[1]["tags"].keys() == {"cyber.triage"}


def test_a_decision_takes_well_under_a_millisecond(bundle: CedarBundle) -> None:
    held, times = projection(), []
    for _ in range(300):
        began = time.perf_counter()
        allowed(bundle, held)
        times.append(time.perf_counter() - began)
    assert sorted(times)[150] < 0.001


_SHARED = bundle_in()
_HELD = projection()
