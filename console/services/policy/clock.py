"""What time alone does: evidence lapses, grants end, warnings fall due."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from console.errors import PilotError
from console.model.text import now
from console.services.cedar.engine import CedarBundle
from console.services.events import SYSTEM
from console.services.policy.evidence.terms import any_ended, expire_assessments
from console.services.policy.judging.settle import settle_each
from console.services.policy.state.event_record import Actor
from console.services.policy.state.tables import GRANTS
from console.services.store import Store

TICK_SECONDS = 1.0
AT_ONCE = 200
"""How many grants one transaction settles, so that no write waits long behind them."""

_LOG = logging.getLogger(__name__)


async def tick_for_ever(store: Store, bundle: CedarBundle) -> None:
    """Settle what time has reached, each second. A store that fails is tried again."""
    while True:
        try:
            while await store.read(lambda conn: due(conn, now())):
                await store.write(lambda conn: tick(conn, bundle, now()))
        except PilotError as error:
            _LOG.warning("the clock could not settle: %s", error.message)
        except Exception:
            # a clock that ended here would let grants outlive their evidence unseen
            _LOG.exception("the clock failed")
        await asyncio.sleep(TICK_SECONDS)


def due(conn: Connection, at: datetime) -> bool:
    """Tell whether time has reached anything."""
    return conn.execute(_due(at).limit(1)).first() is not None or any_ended(conn, at)


def tick(conn: Connection, bundle: CedarBundle, at: datetime) -> None:
    """Settle the grants whose moment has come, and end the assessments that are over."""
    actor = Actor(SYSTEM, at)
    settle_each(conn, conn.execute(_due(at).limit(AT_ONCE)).scalars().all(), bundle, actor)
    expire_assessments(conn, actor)


def _due(at: datetime) -> Select[Any]:
    return select(GRANTS.c.body).where(GRANTS.c.look_at <= at).order_by(GRANTS.c.look_at)
