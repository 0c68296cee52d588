"""Who is paged about an alert: decided and stored with the change that it tells of.

Those on call at the alert's level whose severities and hours fit; where there is nobody,
those of the next level. What is muted or snoozed pages nobody.

Who is on call with a delay is told later, at that level or above, and only of what is still
nobody's then: such a page waits in the store, so that no restart loses it. Whatever takes the
alert on, ends it or makes it quiet cancels the page in its own transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, literal_column, select, update

from console.model.audit import Alert, AlertPage, AlertState, Severity
from console.model.ids import new_id
from console.model.oncall import Delivery, DeliveryState, OncallTarget
from console.model.text import rfc3339
from console.services.audit.rules.weekly_hours import schedule
from console.services.audit.state.schema import ALERTS, DELIVERIES, ONCALL, PAGED_ALERT
from console.services.events import SYSTEM, event
from console.services.store import emit, signal

TOPIC = "pages"
"""Signalled when there is something to deliver."""
MAX_WAITING = 20
"""Pages that may wait for one target: further alerts are told of by the newest of them."""
SHOWN = 20
"""Pages that an alert shows."""
_LATE_AT_ONCE = 200


def targets(conn: Connection) -> list[OncallTarget]:
    """Return those who are on call, by level and name."""
    rows = conn.execute(select(ONCALL.c.body).where(ONCALL.c.state == "active")).scalars()
    return sorted(rows, key=lambda each: (each.level, each.slug))


def last_level(conn: Connection) -> int:
    """Return the highest level at which somebody is on call; 0 if nobody is."""
    return max((each.level for each in targets(conn)), default=0)


def next_level(conn: Connection, level: int) -> int:
    """Return the next level above `level` at which somebody is on call."""
    return min((each.level for each in targets(conn) if each.level > level), default=level)


def page(conn: Connection, alert: Alert, why: str, at: datetime, *, asked: bool = False) -> None:
    """Put a page about the alert into this transaction for each who is to be told.

    Who is told later waits anew from `at`. An alert that somebody has taken on waits for
    nobody, unless an operator `asked` for more people.
    """
    if alert.silenced_by or alert.state == AlertState.SNOOZED:
        return
    on_call = targets(conn)
    for target in _told(on_call, alert, at):
        if not _joined(conn, target, alert):
            enqueue(conn, target, alert_payload(alert, why, at), alert=alert, why=why, at=at)
    if alert.state == AlertState.IN_PROGRESS and not asked:
        return
    later = _told_later(on_call, alert, at)
    waiting = {each.target: each for each in _waiting(conn, alert)} if later else {}
    for target in later:
        if target.slug in waiting:
            _cancel(conn, waiting[target.slug], alert, f"it waits anew: the alert was {why}", at)
        enqueue(conn, target, {}, alert=alert, why=why, at=at, after=target.after_seconds)


def waits(conn: Connection, alert: Alert) -> bool:
    """Tell whether a page about the alert waits for nobody to take it on."""
    return bool(_waiting(conn, alert))


def spare(conn: Connection, alert: Alert, at: datetime) -> None:
    """Cancel the pages about the alert that still wait, where what it became makes them idle."""
    for each in _waiting(conn, alert):
        if said := _taken_on(alert, each.created_at):
            _cancel(conn, each, alert, said, at)


def late(at: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return what holds for pages that have waited long enough."""
    return (DELIVERIES.c.state == DeliveryState.WAITING.value, DELIVERIES.c.next_at <= at)


def send_late(conn: Connection, at: datetime) -> None:
    """Let out the pages that have waited long enough, about what is still nobody's."""
    rows = conn.execute(
        select(DELIVERIES.c.body, ONCALL.c.body.label("target"))
        .join(ONCALL, ONCALL.c.id == DELIVERIES.c.target_id)
        .where(*late(at))
        .order_by(DELIVERIES.c.next_at, DELIVERIES.c.id)
        .limit(_LATE_AT_ONCE)
    ).all()
    for delivery, target in rows:
        alert: Alert = conn.execute(
            select(ALERTS.c.body).where(ALERTS.c.id == delivery.alert_id)
        ).scalar_one()
        if said := _taken_on(alert, delivery.created_at):
            _cancel(conn, delivery, alert, said, at)
        elif _joined(conn, target, alert):
            _cancel(conn, delivery, alert, "another page to it tells of this one too", at)
        else:
            due = msgspec.structs.replace(
                delivery, state=DeliveryState.PENDING.value, severity=alert.severity, next_at=at
            )
            payload = alert_payload(alert, delivery.why, at)
            payload["data"]["unacknowledged_seconds"] = delivery.after_seconds
            settle(conn, due, payload=msgspec.json.encode(payload))
            _record(conn, "page.escalate", due, alert, "nobody has taken it on", at)
            signal(conn, TOPIC)


def about(conn: Connection, alert_id: str) -> list[AlertPage]:
    """Return who was told of an alert, and who will be, newest first."""
    found = conn.execute(
        select(DELIVERIES.c.body)
        .where(literal_column(PAGED_ALERT) == alert_id)
        .order_by(DELIVERIES.c.created_at.desc(), DELIVERIES.c.id.desc())
        .limit(SHOWN)
    ).scalars()
    return [
        AlertPage(
            target=each.target,
            state=each.state,
            at=each.next_at or each.ended_at or each.created_at,
            said=each.error,
        )
        for each in found
    ]


def settle(conn: Connection, delivery: Delivery, **more: Any) -> None:
    """Store what became of a page."""
    conn.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.id == delivery.id)
        .values(state=delivery.state, next_at=delivery.next_at, body=delivery, **more)
    )


def enqueue(
    conn: Connection,
    target: OncallTarget,
    payload: dict[str, Any],
    *,
    alert: Alert | None,
    why: str,
    at: datetime,
    after: int = 0,
) -> Delivery:
    """Put one page to one target into this transaction: due at once, or `after` seconds."""
    due = at + timedelta(seconds=after)
    delivery = Delivery(
        id=new_id("delivery"),
        target=target.slug,
        alert_id=alert.id if alert else "",
        title=alert.title if alert else "A test page",
        severity=alert.severity if alert else Severity.INFORMATIONAL.value,
        why=why,
        state=(DeliveryState.WAITING if after else DeliveryState.PENDING).value,
        after_seconds=after,
        created_at=at,
        next_at=due,
    )
    conn.execute(
        DELIVERIES.insert().values(
            id=delivery.id,
            target_id=target.id,
            state=delivery.state,
            created_at=at,
            next_at=due,
            payload=msgspec.json.encode(payload),
            body=delivery,
        )
    )
    if not after:
        signal(conn, TOPIC)
    return delivery


def alert_payload(alert: Alert, why: str, at: datetime) -> dict[str, Any]:
    """Return what a page says, in the shape of standard-webhooks. Evidence stays here."""
    return {
        "type": f"alert.{why}",
        "timestamp": rfc3339(at),
        "data": {
            "id": alert.id,
            "title": alert.title,
            "severity": alert.severity,
            "state": alert.state,
            "rule": alert.rule,
            "partner": alert.partner,
            "about": alert.about,
            "count": alert.count,
            "first_seen_at": rfc3339(alert.first_seen_at),
            "last_seen_at": rfc3339(alert.last_seen_at),
            "assignee": alert.assignee,
            "level": alert.level,
            "command": f"pilotctl alert show {alert.id}",
        },
    }


def _told(on_call: Sequence[OncallTarget], alert: Alert, at: datetime) -> list[OncallTarget]:
    fitting = [each for each in on_call if not each.after_seconds and _fits(each, alert, at)]
    level = min((each.level for each in fitting), default=0)
    return [each for each in fitting if each.level == level]


def _told_later(on_call: Sequence[OncallTarget], alert: Alert, at: datetime) -> list[OncallTarget]:
    """Return those with a delay who are on call when it is over."""
    return [
        each
        for each in on_call
        if each.after_seconds and _fits(each, alert, at + timedelta(seconds=each.after_seconds))
    ]


def _fits(target: OncallTarget, alert: Alert, at: datetime) -> bool:
    return (
        target.level >= alert.level
        and alert.severity in target.severities
        and schedule(target.hours).holds(at)
    )


def _waiting(conn: Connection, alert: Alert) -> Sequence[Delivery]:
    return (
        conn.execute(
            select(DELIVERIES.c.body).where(
                literal_column(PAGED_ALERT) == alert.id,
                DELIVERIES.c.state == DeliveryState.WAITING.value,
            )
        )
        .scalars()
        .all()
    )


def _taken_on(alert: Alert, since: datetime) -> str:
    """Return why the alert needs nobody else, in words; empty where it does."""
    if alert.state == AlertState.RESOLVED:
        return f"closed as {alert.verdict} by {alert.updated_by}"
    if alert.state == AlertState.SNOOZED:
        return f"snoozed by {alert.updated_by}"
    if alert.silenced_by:
        return f"silenced by {', '.join(alert.silenced_by)}"
    if alert.acknowledged_at is not None and alert.acknowledged_at >= since:
        return f"acknowledged by {alert.assignee}"
    return ""


def _cancel(conn: Connection, delivery: Delivery, alert: Alert, said: str, at: datetime) -> None:
    ended = msgspec.structs.replace(
        delivery,
        state=DeliveryState.CANCELLED.value,
        next_at=None,
        ended_at=at,
        error=f"not sent: {said}",
    )
    settle(conn, ended)
    _record(conn, "page.cancel", ended, alert, said, at)


def _record(  # noqa: PLR0917 - what an event says
    conn: Connection, action: str, delivery: Delivery, alert: Alert, reason: str, at: datetime
) -> None:
    emit(
        conn,
        event(
            action,
            service="audit",
            actor=SYSTEM,
            kind="oncall",
            target=delivery.target,
            name=delivery.title,
            partner=alert.partner,
            reason=reason,
            after=delivery,
            at=at,
        ),
    )


def _joined(conn: Connection, target: OncallTarget, alert: Alert) -> bool:
    """Let a page that waits stand for this alert too, where too many wait already."""
    waits = (DELIVERIES.c.target_id == target.id, DELIVERIES.c.state == DeliveryState.PENDING.value)
    waiting = conn.execute(select(func.count()).where(*waits)).scalar_one()
    if waiting < MAX_WAITING or alert.severity == Severity.CRITICAL:
        return False
    newest = conn.execute(
        select(DELIVERIES).where(*waits).order_by(DELIVERIES.c.created_at.desc()).limit(1)
    ).one()
    conn.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.id == newest.id)
        .values(body=msgspec.structs.replace(newest.body, also=newest.body.also + 1))
    )
    return True
