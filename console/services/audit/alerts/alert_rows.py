"""How an alert lies in the store: its columns, and where it stands in the list."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, update

from console.model.audit import SEVERITY_ID, Alert, AlertState, Severity
from console.services.audit.state.schema import ALERTS


def rank(severity: str) -> int:
    """Return where a severity stands: 1 to 5."""
    return SEVERITY_ID[Severity(severity)]


def store(conn: Connection, alert: Alert, **more: Any) -> None:
    """Put the alert in the place of what it was before."""
    conn.execute(update(ALERTS).where(ALERTS.c.id == alert.id).values(**row_of(alert), **more))


def row_of(alert: Alert) -> dict[str, Any]:
    """Return the columns of an alert. What nobody needs to look at now ranks lower."""
    asleep = alert.state == AlertState.SNOOZED or bool(alert.silenced_by)
    urgency = 0 if alert.state == AlertState.RESOLVED else 10 if asleep else 20
    return {
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "rank": rank(alert.severity) + urgency,
        "state": alert.state,
        "severity": alert.severity,
        "partner": alert.partner,
        "rule": alert.rule,
        "last_seen_at": alert.last_seen_at,
        "body": alert,
    }
