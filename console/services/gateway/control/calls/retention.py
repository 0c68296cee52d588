"""Call records that are older than they are kept go, some at a time; what they add up to stays.

A record goes only once a digest that covers it is recorded, so that a copy of it can still
be proven to have been one of ours. Each batch is an event.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from console.model.text import now
from console.services.events import SYSTEM, event
from console.services.gateway.control.state.schema import CALL_HOURS, CALLS, POINTS
from console.services.store import emit

BATCH = 20_000


def forget(conn: Connection, before: datetime) -> int:
    """Drop the oldest calls that began before then, at most `BATCH`. Returns how many."""
    newest = conn.execute(select(func.max(CALLS.c.row))).scalar() or 0
    digested = {
        row.name: row.calls_digested
        for row in conn.execute(select(POINTS.c.name, POINTS.c.calls_digested))
    }
    oldest = conn.execute(
        select(CALLS.c.row, CALLS.c.point, CALLS.c.sequence, CALLS.c.started_at)
        .where(CALLS.c.row < newest)  # row numbers must never be used again
        .order_by(CALLS.c.row)
        .limit(BATCH)
    ).all()
    last, ranges = 0, dict[str, list[int]]()
    for row in oldest:
        if row.started_at >= before or row.sequence > digested.get(row.point, 0):
            break
        last = row.row
        ranges.setdefault(row.point, []).append(row.sequence)
    if not last:
        return 0
    gone = conn.execute(delete(CALLS).where(CALLS.c.row <= last)).rowcount
    conn.execute(delete(CALL_HOURS).where(CALL_HOURS.c.last <= last))
    emit(
        conn,
        event(
            "calls.forget",
            service="gateway",
            actor=SYSTEM,
            kind="calls",
            target="*",
            facts={
                "count": gone,
                "before": before.isoformat(),
                "points": {
                    name: {"first": min(each), "last": max(each)} for name, each in ranges.items()
                },
            },
            at=now(),
        ),
    )
    return gone
