"""Alerts: one row a fingerprint, from the first match to the verdict, and again if it returns.

Each change is recorded as an OCSF Detection Finding in the same transaction. A growing
count is recorded when it gains a digit, so that a burst does not flood the log. What
operators do with alerts is in `triage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Text, cast, func, select

from console.api.problems import refusal
from console.model.audit import Alert, AlertState
from console.model.ids import new_id
from console.model.stored import Page
from console.services.audit.alerts.alert_rows import rank, row_of, store
from console.services.audit.alerts.silences import Mutes
from console.services.audit.paging import pages
from console.services.audit.rules.rule import EVIDENCE, Finding
from console.services.audit.state.schema import ALERTS
from console.services.events import SYSTEM, event
from console.services.store import emit, signal
from console.services.web import Ask, page

CHANGED = "alerts"
"""Signalled when an alert changed."""


def known(conn: Connection, fingerprints: Sequence[str]) -> dict[str, Alert]:
    """Return the alerts there are for these fingerprints."""
    found: dict[str, Alert] = {}
    for start in range(0, len(fingerprints), 500):
        some = fingerprints[start : start + 500]
        rows = conn.execute(select(ALERTS.c.body).where(ALERTS.c.fingerprint.in_(some)))
        found |= {row.body.fingerprint: row.body for row in rows}
    return found


def fire(conn: Connection, findings: Sequence[Finding], at: datetime) -> None:
    """Count what fired into its alerts: new ones, open ones, or ones that reopen."""
    if not findings:
        return
    there = known(conn, [each.fingerprint for each in findings])
    mutes = Mutes(conn, at)
    for each in findings:
        before = there.get(each.fingerprint)
        if before is None:
            _begin(conn, each, mutes, at)
        elif before.state == AlertState.RESOLVED:
            _return(conn, each, before, mutes, at)
        else:
            _grow(conn, each, before, mutes, at)
    mutes.save()


def _begin(conn: Connection, finding: Finding, mutes: Mutes, at: datetime) -> None:
    rule, fired = finding.rule, finding.fired
    about = {name: str(value) for name, value in finding.group.items()}
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
        fingerprint=finding.fingerprint,
        count=fired.matches,
        first_seen_at=fired.first,
        last_seen_at=fired.last,
        partner=about.get("partner", ""),
        grant_id=about.get("grant_id", ""),
        credential_id=about.get("credential_id", ""),
        state=AlertState.NEW.value,
        evidence=list(reversed(fired.evidence)),
        about=about,
    )
    alert = mutes.applied(alert, fired.matches)
    conn.execute(ALERTS.insert().values(**row_of(alert), began_at=fired.first))
    record(conn, "alert.create", alert, SYSTEM, at)
    pages.page(conn, alert, "created", at)


def _return(conn: Connection, finding: Finding, before: Alert, mutes: Mutes, at: datetime) -> None:
    alert = msgspec.structs.replace(
        _counted(finding, before, at),
        severity=finding.rule.severity.value,
        state=AlertState.REOPENED.value,
        acknowledged_at=None,
        verdict="",
        closed_at=None,
        level=1,
    )
    alert = mutes.applied(alert, finding.fired.matches)
    store(conn, alert, began_at=finding.fired.first)
    record(conn, "alert.reopen", alert, SYSTEM, at, before=before)
    pages.page(conn, alert, "reopened", at)


def _grow(conn: Connection, finding: Finding, before: Alert, mutes: Mutes, at: datetime) -> None:
    alert = _counted(finding, before, at)
    worse = rank(alert.severity) > rank(before.severity)
    alert = mutes.applied(alert, finding.fired.matches)
    if before.state == AlertState.SNOOZED and (worse or alert.count >= 2 * before.snoozed_at_count):
        why = "its severity rose" if worse else "its count doubled"
        wake(conn, alert, before, why, at)
        return
    store(conn, alert)
    if worse or len(str(alert.count)) > len(str(before.count)):
        record(conn, "alert.update", alert, SYSTEM, at, before=before)
    if worse:
        pages.page(conn, alert, "escalated", at)


def _counted(finding: Finding, before: Alert, at: datetime) -> Alert:
    rule, fired = finding.rule, finding.fired
    evidence = sorted([*before.evidence, *fired.evidence], key=lambda each: each.at)[-EVIDENCE:]
    return msgspec.structs.replace(
        before,
        revision=before.revision + 1,
        updated_at=at,
        updated_by=SYSTEM,
        rule_revision=rule.revision,
        title=rule.title,
        severity=max(before.severity, rule.severity.value, key=rank),
        count=before.count + fired.matches,
        first_seen_at=min(before.first_seen_at, fired.first),
        last_seen_at=max(before.last_seen_at, fired.last),
        evidence=evidence[::-1],
    )


def wake(conn: Connection, alert: Alert, before: Alert, why: str, at: datetime) -> None:
    """End a snooze: the alert is again what it was."""
    alert = msgspec.structs.replace(
        alert,
        state=(AlertState.IN_PROGRESS if alert.acknowledged_at else AlertState.NEW).value,
        snoozed_until=None,
        snoozed_at_count=0,
    )
    store(conn, alert)
    record(conn, "alert.wake", alert, SYSTEM, at, before=before, reason=why)
    pages.page(conn, alert, "woken", at)


def wake_due(conn: Connection, at: datetime) -> None:
    """End the snoozes whose time is over."""
    query = select(ALERTS.c.body).where(ALERTS.c.state == AlertState.SNOOZED.value)
    for alert in conn.execute(query).scalars().all():
        if alert.snoozed_until is not None and alert.snoozed_until <= at:
            after = msgspec.structs.replace(alert, revision=alert.revision + 1, updated_at=at)
            wake(conn, after, alert, "its snooze is over", at)


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
    if assignee := ask.query.get("assignee", ""):
        query = query.where(_member("assignee") == assignee)
    if (silenced := ask.query.get("silenced", "")) in {"yes", "no"}:
        some = func.json_array_length(cast(ALERTS.c.body, Text), "$.silenced_by") > 0
        query = query.where(some if silenced == "yes" else ~some)
    keys = [ALERTS.c.rank.desc(), ALERTS.c.last_seen_at.desc(), ALERTS.c.id.desc()]
    return page(conn, query, ask, keys=keys, decode=_alert)


def show(conn: Connection, ask: Ask) -> Alert:
    """Answer `alert.show`: with those who were told of it, and who will be."""
    alert, _ = find(conn, ask)
    return msgspec.structs.replace(alert, pages=pages.about(conn, alert.id))


def find(conn: Connection, ask: Ask) -> tuple[Alert, datetime]:
    """Return the alert that the path names, and when it began. Raises `not-found`."""
    row = conn.execute(select(ALERTS).where(ALERTS.c.id == ask.path["alert"])).first()
    if row is None:
        raise refusal("not-found", f"there is no alert {ask.path['alert'][:80]!a}")
    return row.body, row.began_at


def _member(name: str) -> Any:
    return func.json_extract(cast(ALERTS.c.body, Text), f"$.{name}")


def _alert(row: Row[Any]) -> Alert:
    found: Alert = row.body
    return found


def record(
    conn: Connection,
    action: str,
    alert: Alert,
    actor: str,
    at: datetime,
    *,
    before: Alert | None = None,
    ask: Ask | None = None,
    reason: str = "",
) -> None:
    """Record one change of an alert, in its transaction."""
    # Its evidence is in the finding already: not twice again in the object.
    after = msgspec.structs.replace(alert, evidence=[], comments=[])
    earlier = None
    if before is not None:
        earlier = msgspec.structs.replace(before, evidence=[], comments=[])
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
            reason=reason or (alert.note if ask else ""),
            request_id=ask.request_id if ask else "",
            before=earlier,
            after=after,
            at=at,
            alert=alert,
        ),
    )
    signal(conn, CHANGED)
