"""Audit events: what a change looks like in the log (OCSF 1.8.0).

Grants and keys are User Access Management (3005), alerts Detection Findings (2004),
a sign-in is Authentication (3002), and everything else Entity Management (3004). What
OCSF has no place for is under `unmapped`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from console import __version__
from console.model.audit import SEVERITY_ID, VERDICT_ID, Alert, AlertState, Severity, Verdict
from console.model.ids import new_id
from console.model.text import rfc3339

SYSTEM = "system"
"""The actor of what a clock did."""

MAX_TEXT_CHARACTERS = 1000
"""Texts of an object longer than this go into an event as a digest."""
MAX_OBJECT_BYTES = 12_000
"""An object larger than this goes into an event as a digest: a leaf of the log is at
most 65,535 bytes (C2SP tlog-tiles), and a reason may take 24,000 of them."""

_SECRET = frozenset({"secret", "token", "password", "authorization", "api_key"})

AUTHENTICATION, ENTITY, ACCESS, FINDING = 3002, 3004, 3005, 2004


class Class(NamedTuple):
    """An OCSF class and the activity in it."""

    uid: int
    activity: int
    name: str


def _acts(uid: int, activity: int, name: str, *actions: str) -> dict[str, Class]:
    return {action: Class(uid, activity, name) for action in actions}


ACTIONS: dict[str, Class] = {
    **_acts(
        ACCESS, 1, "Assign Privileges", "grant.activate", "grant.resume", "key.issue", "key.move",
        "key.rotate", "suspension.lift",
    ),
    **_acts(
        ACCESS, 2, "Revoke Privileges", "grant.revoke", "grant.expire", "key.revoke",
        "key.retire",
    ),
    **_acts(ACCESS, 99, "Create", "grant.create"),
    **_acts(ACCESS, 99, "Suspend", "grant.suspend"),
    **_acts(FINDING, 1, "Create", "alert.create"),
    **_acts(
        FINDING, 2, "Update", "alert.update", "alert.acknowledge", "alert.reopen",
        "alert.assign", "alert.snooze", "alert.wake", "alert.escalate", "alert.comment",
    ),
    **_acts(FINDING, 3, "Close", "alert.close"),
    **_acts(AUTHENTICATION, 1, "Logon", "operator.sign-in"),
    **_acts(
        ENTITY, 1, "Create", "pilot.create", "capability.create", "partner.create",
        "terms.publish", "assessment.create", "lock.add",
    ),
    **_acts(
        ENTITY, 3, "Update", "pilot.stage", "partner.verify", "partner.declare", "terms.accept"
    ),
    **_acts(ENTITY, 6, "Enroll", "point.register", "point.admit"),
    **_acts(ENTITY, 7, "Unenroll", "point.gone", "point.deregister"),
    **_acts(ENTITY, 10, "Activate", "assessment.accept", "service.start"),
    **_acts(
        ENTITY, 11, "Deactivate", "assessment.reject", "assessment.withdraw", "assessment.expire",
        "lock.release", "service.stop",
    ),
    **_acts(ENTITY, 99, "Digest", "calls.digest"),
}  # fmt: skip
"""Every action that has a class of its own; any other is `Other` in its noun's class."""

_STATUS = {
    AlertState.NEW.value: 1,
    AlertState.IN_PROGRESS.value: 2,
    AlertState.SNOOZED.value: 3,
    AlertState.RESOLVED.value: 4,
    AlertState.REOPENED.value: 1,
}

_PROFILE = {
    "actor": "host",
    "is_alert": "security_control",
    "verdict": "incident",
    "verdict_id": "incident",
}
"""The profile of each attribute that OCSF has in one alone: an event names those it uses."""


def event(
    action: str,
    *,
    service: str,
    actor: str,
    kind: str,
    target: str,
    name: str = "",
    partner: str = "",
    outcome: str = "success",
    reason: str = "",
    request_id: str = "",
    before: Any = None,
    after: Any = None,
    at: datetime,
    severity: Severity | str = Severity.INFORMATIONAL,
    facts: Mapping[str, Any] | None = None,
    alert: Alert | None = None,
) -> dict[str, Any]:
    """Return the OCSF event of one change, ready for `emit`.

    `kind` and `target` are the noun and the id of what was changed, `name` what people
    call it; `before` and `after` are the object, `facts` further JSON-safe facts.
    `outcome` is `success` or `failure`. Alert actions need `alert`. Members whose names
    say that they are secret are left out, at any depth.
    """
    which = ACTIONS.get(action) or Class(_class_of(action), 99, action)
    severity_id = SEVERITY_ID[Severity(alert.severity if alert else severity)]
    told: dict[str, Any] = {
        "activity_id": which.activity,
        "activity_name": which.name,
        "actor": _actor(actor, service),
        "category_uid": which.uid // 1000,
        "class_uid": which.uid,
        "message": f"{action} {name or target}",
        "metadata": {
            "event_code": action,
            "log_name": service,
            "product": {"name": "pilotctl", "vendor_name": "pilotctl", "version": __version__},
            "uid": new_id("event"),
            "version": "1.8.0",
            **({"correlation_uid": request_id} if request_id else {}),
        },
        "severity_id": severity_id,
        "time": int(at.timestamp() * 1000),
        "type_uid": which.uid * 100 + which.activity,
        "unmapped": {
            "action": action,
            "actor": actor,
            "at": rfc3339(at),
            "kind": kind,
            "name": name,
            "outcome": outcome,
            "partner": partner,
            "reason": reason,
            "target": target,
            **_objects(before=before, after=after, facts=facts),
        },
    }
    if which.uid == FINDING:
        told |= _finding(alert)
    else:
        told["status_id"] = 1 if outcome == "success" else 2
        told["status"] = "Success" if outcome == "success" else "Failure"
    told["metadata"]["profiles"] = sorted({_PROFILE[name] for name in told if name in _PROFILE})
    if which.uid == ENTITY:
        told["entity"] = {"name": name or target, "type": kind, "uid": target}
    elif which.uid == ACCESS:
        told |= _access(kind, target, name, partner, (after, before))
    elif which.uid == AUTHENTICATION:
        told |= {"user": {"name": actor}, "service": {"name": service}}
    return told


def _class_of(action: str) -> int:
    noun = action.partition(".")[0]
    return {"grant": ACCESS, "key": ACCESS, "alert": FINDING}.get(noun, ENTITY)


def _actor(actor: str, service: str) -> dict[str, Any]:
    if actor == SYSTEM:
        return {"app_name": f"pilotctl {service}"}
    return {"user": {"name": actor, "type_id": 1}}


def _access(
    kind: str, target: str, name: str, partner: str, objects: tuple[Any, Any]
) -> dict[str, Any]:
    """Say who is given or loses what: the partner, and the grant's capabilities."""
    privileges: list[str] = next(
        (list(found) for each in objects if (found := getattr(each, "capabilities", None))), []
    )
    return {
        "privileges": privileges or [target],
        "resources": [{"name": name or target, "type": kind, "uid": target}],
        "user": {
            "name": partner or name or target,
            **({"credential_uid": target} if kind == "credential" else {}),
        },
    }


def _finding(alert: Alert | None) -> dict[str, Any]:
    if alert is None:
        raise ValueError("an alert's event needs the alert")
    told: dict[str, Any] = {
        "count": alert.count,
        "finding_info": {
            "analytic": {
                "name": alert.rule,
                "type": "Rule",
                "type_id": 1,
                "uid": alert.rule,
                "version": alert.rule_revision,
            },
            "created_time": int(alert.created_at.timestamp() * 1000),
            "first_seen_time": int(alert.first_seen_at.timestamp() * 1000),
            "last_seen_time": int(alert.last_seen_at.timestamp() * 1000),
            "title": alert.title,
            "uid": alert.id,
        },
        "is_alert": True,
        "status_id": _STATUS.get(alert.state, 0),
    }
    if alert.verdict:
        verdict = Verdict(alert.verdict)
        told["verdict"] = verdict.value.replace("_", " ").title()
        told["verdict_id"] = VERDICT_ID[verdict]
    if alert.evidence:
        told["evidences"] = [
            {"data": {"at": rfc3339(each.at), "id": each.id, "kind": each.kind}}
            for each in alert.evidence
        ]
    return told


def _objects(**objects: Any) -> dict[str, Any]:
    """Return the given objects as JSON that fits into a leaf, without secrets."""
    return {
        key: _bounded(_shown(msgspec.to_builtins(value)))
        for key, value in objects.items()
        if value is not None
    }


def _shown(value: Any) -> Any:
    """Leave secrets out, and put digests in the place of long texts."""
    if isinstance(value, dict):
        return {key: _shown(each) for key, each in value.items() if str(key).lower() not in _SECRET}
    if isinstance(value, list):
        return [_shown(each) for each in value]
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        digest = hashlib.sha256(value.encode()).hexdigest()
        return {"characters": len(value), "sha256": digest}
    return value


def _bounded(value: Any) -> Any:
    encoded = msgspec.json.encode(value)
    if len(encoded) <= MAX_OBJECT_BYTES:
        return value
    return {"bytes": len(encoded), "sha256": hashlib.sha256(encoded).hexdigest()}
