"""Who is paged about an alert: decided and stored with the change that it tells of.

Those on call at the alert's level whose severities and hours fit; where there is nobody,
those of the next level. What is muted or snoozed pages nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, update

from console.model.audit import Alert, AlertState, Severity
from console.model.ids import new_id
from console.model.oncall import Delivery, DeliveryState, OncallTarget
from console.model.text import rfc3339
from console.services.audit.schedule import schedule
from console.services.audit.schema import DELIVERIES, ONCALL
from console.services.store import signal

TOPIC = "pages"
"""Signalled when there is something to deliver."""
MOST_WAITING = 20
"""Pages that may wait for one target: further alerts are told of by the newest of them."""


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


def page(conn: Connection, alert: Alert, why: str, at: datetime) -> None:
    """Put a page about the alert into this transaction for each who is to be told."""
    if alert.silenced_by or alert.state == AlertState.SNOOZED:
        return
    for target in _told(targets(conn), alert, at):
        if not _joined(conn, target, alert):
            enqueue(conn, target, alert_payload(alert, why, at), alert=alert, why=why, at=at)


def enqueue(
    conn: Connection,
    target: OncallTarget,
    payload: dict[str, Any],
    *,
    alert: Alert | None,
    why: str,
    at: datetime,
) -> Delivery:
    """Put one page to one target into this transaction."""
    delivery = Delivery(
        id=new_id("delivery"),
        target=target.slug,
        alert_id=alert.id if alert else "",
        title=alert.title if alert else "A test page",
        severity=alert.severity if alert else Severity.INFORMATIONAL.value,
        why=why,
        state=DeliveryState.PENDING.value,
        created_at=at,
        next_at=at,
    )
    conn.execute(
        DELIVERIES.insert().values(
            id=delivery.id,
            target_id=target.id,
            state=delivery.state,
            created_at=at,
            next_at=at,
            payload=msgspec.json.encode(payload),
            body=delivery,
        )
    )
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
    fitting = [
        each
        for each in on_call
        if each.level >= alert.level
        and alert.severity in each.severities
        and schedule(each.hours).holds(at)
    ]
    level = min((each.level for each in fitting), default=0)
    return [each for each in fitting if each.level == level]


def _joined(conn: Connection, target: OncallTarget, alert: Alert) -> bool:
    """Let a page that waits stand for this alert too, where too many wait already."""
    waits = (DELIVERIES.c.target_id == target.id, DELIVERIES.c.state == DeliveryState.PENDING.value)
    waiting = conn.execute(select(func.count()).where(*waits)).scalar_one()
    if waiting < MOST_WAITING or alert.severity == Severity.CRITICAL:
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
