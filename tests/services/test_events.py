"""Every audit event is a valid OCSF 1.8 event, fits a leaf, and holds no secret."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.model.access import Partner
from console.model.audit import Alert, AlertState, Evidence, Severity, Verdict
from console.model.enforcement import Credential, IssuedKey
from console.model.ids import is_id
from console.services.events import ACTIONS, SYSTEM, event
from console.trust.canonical import canonical
from tests.ocsf import faults

AT = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
LEAF_BYTES = 65_535

NAMED = [
    "pilot.create",
    "pilot.stage",
    "capability.create",
    "partner.create",
    "partner.verify",
    "partner.declare",
    "terms.publish",
    "terms.accept",
    "assessment.create",
    "assessment.accept",
    "assessment.reject",
    "assessment.withdraw",
    "assessment.expire",
    "grant.create",
    "grant.activate",
    "grant.suspend",
    "grant.resume",
    "grant.expire",
    "grant.revoke",
    "key.issue",
    "key.revoke",
    "lock.add",
    "lock.release",
    "alert.create",
    "alert.update",
    "alert.acknowledge",
    "alert.close",
    "alert.reopen",
    "point.register",
    "point.gone",
    "service.start",
    "service.stop",
    "calls.digest",
    "operator.sign-in",
]


def alert(**changed: Any) -> Alert:
    told: dict[str, Any] = {
        "id": "alr_1", "created_at": AT, "created_by": SYSTEM, "updated_at": AT,
        "updated_by": SYSTEM, "rule": "denial-burst", "rule_revision": "ab" * 32,
        "title": "A burst of denials", "severity": "high", "fingerprint": "f", "count": 3,
        "first_seen_at": AT, "last_seen_at": AT, "partner": "acme", "state": "new",
        "evidence": [Evidence(kind="call", id="req_1", at=AT, summary="denied")],
    }  # fmt: skip
    return Alert(**(told | changed))


def built(action: str, **changed: Any) -> dict[str, Any]:
    noun = action.partition(".")[0]
    told: dict[str, Any] = {
        "service": "policy", "actor": "root", "kind": "credential" if noun == "key" else noun,
        "target": f"{noun}_1", "at": AT, "partner": "acme", "request_id": "rid_1",
        "reason": "because", "alert": alert() if noun == "alert" else None,
    }  # fmt: skip
    return event(action, **(told | changed))


def logged(told: dict[str, Any]) -> bytes:
    return canonical({**told, "metadata": {**told["metadata"], "sequence": 7}})


def partner(**changed: Any) -> Partner:
    told: dict[str, Any] = {
        "id": "ptn_1", "created_at": AT, "created_by": "root", "updated_at": AT,
        "updated_by": "root", "slug": "acme", "name": "Acme", "sponsor": "root",
        "state": "active", "verified_until": None, "verification": "", "egress": [],
        "subprocessors": [],
    }  # fmt: skip
    return Partner(**(told | changed))


@pytest.mark.parametrize("actor", ["root", SYSTEM])
@pytest.mark.parametrize("action", sorted({*ACTIONS, *NAMED, "policy.bundle", "grant.other"}))
def test_every_action_makes_a_valid_event(action: str, actor: str) -> None:
    told = built(action, actor=actor, before=partner(), after=partner(revision=2), name="acme")
    assert faults(json.loads(logged(told))) == []
    assert told["metadata"]["event_code"] == action
    assert is_id(told["metadata"]["uid"], "event")
    assert (
        told["unmapped"]["target"] == told["unmapped"]["kind"].replace("credential", "key") + "_1"
    )


def test_the_validator_finds_what_is_wrong() -> None:
    good = json.loads(logged(built("grant.revoke")))
    assert faults(good) == []
    for damage, path in (
        ({"time": "now"}, "time"),
        ({"severity_id": 17}, "severity_id"),
        ({"type_uid": 300501}, "type_uid"),
        ({"activity_id": 99, "activity_name": ""}, "activity_name"),
        ({"user": {}}, "user"),
        ({"user": {"nmae": "x", "uid": "1"}}, "user.nmae"),
        ({"privileges": "one"}, "privileges"),
        ({"surprise": 1}, "surprise"),
        ({"metadata": {"product": {"name": "x"}}}, "metadata.version"),
        ({"actor": {"user": {"name": 5}}}, "actor.user.name"),
    ):
        assert any(each.startswith(path) for each in faults({**good, **damage})), damage
    for name in ("metadata", "time", "privileges", "user", "severity_id"):
        assert any(
            each.startswith(f"{name}:")
            for each in faults({k: v for k, v in good.items() if k != name})
        ), name


@pytest.mark.parametrize("state", list(AlertState))
@pytest.mark.parametrize("severity", list(Severity))
def test_alerts_in_every_state_and_severity_are_valid(state: str, severity: str) -> None:
    told = built("alert.update", alert=alert(state=state, severity=severity))
    assert faults(json.loads(logged(told))) == []


@pytest.mark.parametrize("verdict", list(Verdict))
def test_closed_alerts_carry_their_verdict(verdict: Verdict) -> None:
    told = built("alert.close", alert=alert(state="resolved", verdict=verdict.value, evidence=[]))
    assert faults(json.loads(logged(told))) == []
    assert told["status_id"] == 4


def test_a_failed_change_says_so() -> None:
    told = built("grant.activate", outcome="failure")
    assert (told["status_id"], told["status"]) == (2, "Failure")
    assert faults(told) == []


def test_no_secret_enters_an_event_at_any_depth() -> None:
    key = IssuedKey(
        secret="sk-test-0123456789",
        credential=Credential(
            id="crd_1", grant_id="grt_1", partner="acme", holder="acme", hint="6789", version=1,
            state="issued", created_at=AT, created_by="root", updated_at=AT, updated_by="root",
        ),
    )  # fmt: skip
    told = built("key.issue", after=key, facts={"deep": [{"Token": "t0ps3cret"}]})
    said = logged(told)
    assert b"sk-test" not in said
    assert b"t0ps3cret" not in said
    assert b"crd_1" in said


@given(
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=4000),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=3000),
    many=st.integers(0, 400),
)
def test_any_text_fits_a_leaf_and_stays_valid(reason: str, text: str, many: int) -> None:
    fat = partner(labels={f"l{n}": text for n in range(many)}, verification=text)
    said = logged(built("partner.declare", reason=reason, before=fat, after=fat))
    assert len(said) <= LEAF_BYTES
    told = json.loads(said)
    assert faults(told) == []
    assert told["unmapped"]["reason"] == reason


def test_the_worst_reason_and_objects_still_fit_a_leaf() -> None:
    fat = partner(labels={f"l{n}": "\x01" * 900 for n in range(20)})
    said = logged(
        built(
            "partner.declare", reason="\x01" * 4000, before=fat, after=fat,
            facts={"f": ["\x01"] * 900}, name="n" * 200,
        )
    )  # fmt: skip
    assert len(said) <= LEAF_BYTES


def test_an_alert_event_without_its_alert_is_a_bug() -> None:
    with pytest.raises(ValueError, match="needs the alert"):
        built("alert.create", alert=None)
