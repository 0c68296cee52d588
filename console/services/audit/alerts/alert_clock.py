"""What time does to alerts with nobody watching.

Snoozes end, silences end, what nobody took on is told to the next, memory is freed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import Connection, delete, select

from console.errors import PilotError
from console.model.audit import AlertState
from console.model.oncall import DeliveryState
from console.model.silence import SilenceState
from console.model.text import now
from console.services.audit.alerts import alerts, detections, silences
from console.services.audit.paging import pages
from console.services.audit.rules.rule_book import RuleBook
from console.services.audit.state.schema import ALERTS, DELIVERIES, SILENCES
from console.services.store import Store

LOOK_SECONDS = 1.0
TIDY_SECONDS = 600.0
KEPT_DELIVERIES = timedelta(days=90)
"""How long it can be seen what was delivered, and what was not."""


async def follow_clock(store: Store, book: RuleBook) -> None:
    """Do what is due, for ever."""
    tidied = 0.0
    while True:
        clock = asyncio.get_running_loop().time()
        with suppress(PilotError):  # a full disk: again in a second
            if await store.read(_waits):
                await store.write(_due)
            if clock - tidied > TIDY_SECONDS:
                await store.write(lambda conn: _tidy(conn, book))
                tidied = clock
        await asyncio.sleep(LOOK_SECONDS)


def _waits(conn: Connection) -> bool:
    snoozed = select(ALERTS.c.id).where(ALERTS.c.state == AlertState.SNOOZED.value).limit(1)
    silenced = select(SILENCES.c.id).where(SILENCES.c.state == SilenceState.ACTIVE.value).limit(1)
    late = select(DELIVERIES.c.id).where(*pages.late(now())).limit(1)
    return any(conn.execute(each).first() is not None for each in (snoozed, silenced, late))


def _due(conn: Connection) -> None:
    at = now()
    alerts.wake_due(conn, at)
    silences.end_due(conn, at)
    pages.send_late(conn, at)


def _tidy(conn: Connection, book: RuleBook) -> None:
    detections.forget(conn, book.active)
    going = (DeliveryState.WAITING.value, DeliveryState.PENDING.value)
    ended = DELIVERIES.c.state.not_in(going)
    old = DELIVERIES.c.created_at < now() - KEPT_DELIVERIES
    conn.execute(delete(DELIVERIES).where(ended, old))
