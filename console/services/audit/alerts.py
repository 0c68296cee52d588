"""Alerts: one row a fingerprint, from the first match to the verdict, and again if it returns.

Each change is recorded as an OCSF Detection Finding in the same transaction. A growing
count is recorded when it gains a digit, so that a burst does not flood the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, update

from console.api.problems import refusal
from console.model.audit import (
    SEVERITY_ID,
    AcknowledgeAlert,
    Alert,
    AlertState,
    CloseAlert,
    Severity,
    Verdict,
)
from console.model.ids import new_id
from console.model.stored import Page
from console.services.audit.leaf import read_leaf
from console.services.audit.rule import Fired, Rule, Value
from console.services.audit.schema import ALERTS, LEAVES
from console.services.events import SYSTEM, event
from console.services.store import emit
from console.services.web import Ask, fresh, page

EVIDENCE = 20
"""Pieces of evidence that an alert keeps: the newest."""


def known(conn: Connection, fingerprints: Sequence[str]) -> dict[str, Alert]:
    """Return the alerts there are for these fingerprints."""
    found: dict[str, Alert] = {}
    for start in range(0, len(fingerprints), 500):
        some = fingerprints[start : start + 500]
        rows = conn.execute(select(ALERTS.c.body).where(ALERTS.c.fingerprint.in_(some)))
        found |= {row.body.fingerprint: row.body for row in rows}
    return found


def fire(
    conn: Connection,
    rule: Rule,
    fired: Fired,
    *,
    group: Mapping[str, Value],
    fingerprint: str,
    before: Alert | None,
    at: datetime,
) -> None:
    """Count what fired into its alert: a new one, the one that is open, or one that reopens."""
    if before is None:
        alert = Alert(
            id=new_id("alert"),
            created_at=at,
            created_by=SYSTEM,
            updated_at=at,
            updated_by=SYSTEM,
            rule=rule.id,
            rule_revision=rule.revision,
            title=rule.title,
            severity=rule.severity.value,
            fingerprint=fingerprint,
            count=fired.matches,
            first_seen_at=fired.first,
            last_seen_at=fired.last,
            partner=str(group.get("partner", "")),
            grant_id=str(group.get("grant_id", "")),
            credential_id=str(group.get("credential_id", "")),
            state=AlertState.NEW.value,
            evidence=list(reversed(fired.evidence)),
        )
        conn.execute(ALERTS.insert().values(**_row(alert), began_at=fired.first))
        _record(conn, "alert.create", alert, SYSTEM, at)
        return
    evidence = sorted([*before.evidence, *fired.evidence], key=lambda each: each.at)[-EVIDENCE:]
    alert = msgspec.structs.replace(
        before,
        revision=before.revision + 1,
        updated_at=at,
        updated_by=SYSTEM,
        rule_revision=rule.revision,
        title=rule.title,
        severity=rule.severity.value,
        count=before.count + fired.matches,
        first_seen_at=min(before.first_seen_at, fired.first),
        last_seen_at=max(before.last_seen_at, fired.last),
        evidence=evidence[::-1],
    )
    if before.state != AlertState.RESOLVED:
        _store(conn, alert)
        if len(str(alert.count)) > len(str(before.count)):
            _record(conn, "alert.update", alert, SYSTEM, at, before=before)
        return
    alert = msgspec.structs.replace(
        alert,
        state=AlertState.REOPENED.value,
        acknowledged_at=None,
        verdict="",
        closed_at=None,
    )
    _store(conn, alert, began_at=fired.first)
    _record(conn, "alert.reopen", alert, SYSTEM, at, before=before)


def listing(conn: Connection, ask: Ask) -> Page[Alert]:
    """Answer `alert.list`: worst and newest first, what is resolved last."""
    query = select(ALERTS)
    for name in ("severity", "partner", "rule"):
        if value := ask.query.get(name, ""):
            query = query.where(ALERTS.c[name] == value)
    if (state := ask.query.get("state", "")) == "open":
        query = query.where(ALERTS.c.state != AlertState.RESOLVED.value)
    elif state:
        query = query.where(ALERTS.c.state == state)
    keys = [ALERTS.c.rank.desc(), ALERTS.c.last_seen_at.desc(), ALERTS.c.id.desc()]
    return page(conn, query, ask, keys=keys, decode=_alert)


def show(conn: Connection, ask: Ask) -> Alert:
    """Answer `alert.show`."""
    return _found(conn, ask)[0]


def acknowledge(conn: Connection, ask: Ask) -> Alert:
    """Answer `alert.acknowledge`: the operator takes it on. Doing it again changes nothing."""
    said: AcknowledgeAlert = ask.body
    before, _ = _found(conn, ask)
    fresh(ask, before)
    if before.state == AlertState.RESOLVED:
        raise refusal(
            "state",
            f"{before.id} is resolved ({before.verdict})",
            mend="it reopens by itself when it happens again",
            current=before,
        )
    if before.state == AlertState.IN_PROGRESS and before.assignee == ask.operator.name:
        return before
    alert = msgspec.structs.replace(
        _touched(before, ask),
        state=AlertState.IN_PROGRESS.value,
        assignee=ask.operator.name,
        acknowledged_at=ask.now,
        note=said.reason or before.note,
    )
    _store(conn, alert)
    _record(conn, "alert.acknowledge", alert, ask.operator.name, ask.now, before=before, ask=ask)
    return alert


def close(conn: Connection, ask: Ask, rules: Mapping[str, Rule]) -> Alert:
    """Answer `alert.close`. A true positive needs a containment since the alert began."""
    said: CloseAlert = ask.body
    before, began_at = _found(conn, ask)
    fresh(ask, before)
    if before.state == AlertState.RESOLVED:
        if before.verdict == said.verdict:
            return before
        raise refusal(
            "state",
            f"{before.id} is already resolved as {before.verdict}",
            mend="it reopens by itself when it happens again",
            current=before,
        )
    rule = rules.get(before.rule)
    if said.verdict is Verdict.TRUE_POSITIVE and (rule is None or rule.containment):
        _need_containment(conn, before, began_at)
    alert = msgspec.structs.replace(
        _touched(before, ask),
        state=AlertState.RESOLVED.value,
        verdict=said.verdict.value,
        closed_at=ask.now,
        assignee=before.assignee or ask.operator.name,
        note=said.reason,
    )
    _store(conn, alert)
    _record(conn, "alert.close", alert, ask.operator.name, ask.now, before=before, ask=ask)
    return alert


def _need_containment(conn: Connection, alert: Alert, since: datetime) -> None:
    """Look for a lock or a revocation that touches what the alert is about."""
    about = {each for each in (alert.partner, alert.grant_id, alert.credential_id) if each}
    bodies = conn.execute(
        select(LEAVES.c.body)
        .where(LEAVES.c.contains == True, LEAVES.c.at >= since)  # noqa: E712 - SQL, for the partial index
        .order_by(LEAVES.c.idx.desc())
    ).scalars()
    for body in bodies:
        touched = set(read_leaf(body).touches())
        # An alert about nobody known is contained by whatever was locked since.
        if not about or about & touched or "*" in touched:
            return
    if alert.credential_id:
        mend = f"pilotctl key revoke {alert.credential_id}"
    elif alert.partner:
        mend = f"pilotctl lock add partner {alert.partner}"
    else:
        mend = "pilotctl lock add everything, or a network"
    raise refusal(
        "state",
        f"{alert.id} cannot be a true positive: nothing of {' / '.join(sorted(about)) or 'it'} "
        "was locked or revoked since it began",
        mend=f"contain it first ({mend}); if you just did, its record reaches the log in a moment",
        current=alert,
    )


def _found(conn: Connection, ask: Ask) -> tuple[Alert, datetime]:
    row = conn.execute(select(ALERTS).where(ALERTS.c.id == ask.path["alert"])).first()
    if row is None:
        raise refusal("not-found", f"there is no alert {ask.path['alert'][:80]!a}")
    return row.body, row.began_at


def _touched(alert: Alert, ask: Ask) -> Alert:
    return msgspec.structs.replace(
        alert,
        revision=alert.revision + 1,
        updated_at=ask.now,
        updated_by=ask.operator.name,
    )


def _store(conn: Connection, alert: Alert, **more: Any) -> None:
    conn.execute(update(ALERTS).where(ALERTS.c.id == alert.id).values(**_row(alert), **more))


def _row(alert: Alert) -> dict[str, Any]:
    unresolved = alert.state != AlertState.RESOLVED
    return {
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "rank": SEVERITY_ID[Severity(alert.severity)] + 10 * unresolved,
        "state": alert.state,
        "severity": alert.severity,
        "partner": alert.partner,
        "rule": alert.rule,
        "last_seen_at": alert.last_seen_at,
        "body": alert,
    }


def _alert(row: Row[Any]) -> Alert:
    found: Alert = row.body
    return found


def _record(
    conn: Connection,
    action: str,
    alert: Alert,
    actor: str,
    at: datetime,
    *,
    before: Alert | None = None,
    ask: Ask | None = None,
) -> None:
    # Its evidence is in the finding already: not twice again in the object.
    after = msgspec.structs.replace(alert, evidence=[])
    earlier = None if before is None else msgspec.structs.replace(before, evidence=[])
    emit(
        conn,
        event(
            action,
            service="audit",
            actor=actor,
            kind="alert",
            target=alert.id,
            name=alert.title,
            partner=alert.partner,
            reason=alert.note if ask else "",
            request_id=ask.request_id if ask else "",
            before=earlier,
            after=after,
            at=at,
            alert=alert,
        ),
    )
