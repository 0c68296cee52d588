"""Reads of calls wait for the points' records: a list asked for right after a call holds it.

A point hands its records over in batches, a moment after its callers have their answers. A
read asks every serving point how many records it has made, and waits until control holds so
many; what it cannot wait for it says, so that a call that is not listed is never taken for
one that was not made.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, select

from console.errors import PilotError
from console.services.gateway.control.calls import call_store
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import POINTS
from console.services.store import Store
from console.services.web import Ask
from console.services.web.server import AsyncHandler

MAX_WAIT_SECONDS = 2.0
"""A read waits so long for the points at most. A point reports in milliseconds."""


class RecordBarrier:
    """Holds a read back until the records of every call that had ended are here."""

    def __init__(self, store: Store, points: Points) -> None:
        self._store = store
        self._points = points

    def before_list(self, handler: AsyncHandler) -> AsyncHandler:
        """Return a list's `handler` whose first page waits, and says what it lacks."""

        async def read(ask: Ask) -> Any:
            behind = [] if ask.query.get("cursor") else await self.wait()
            page = await handler(ask)
            if not behind:
                return page
            return msgspec.structs.replace(page, partial=True, warnings=[*page.warnings, *behind])

        return read

    def before_missing(self, handler: AsyncHandler) -> AsyncHandler:
        """Return a `handler` of one call that waits before it says that there is none."""

        async def read(ask: Ask) -> Any:
            try:
                return await handler(ask)
            except PilotError as error:
                if error.code != "not-found":
                    raise
            await self.wait()
            return await handler(ask)

        return read

    async def wait(self) -> list[str]:
        """Wait until control holds the records of every call that had ended before this.

        Returns a sentence for each point whose newest records are missing still.
        """
        said = await self._points.reports(MAX_WAIT_SECONDS)
        wanted = {name: records for name, records in said.items() if records is not None}

        def held(conn: Connection) -> bool | None:
            return None if _behind(conn, wanted) else True

        if wanted:
            await self._store.until(call_store.TOPIC, held, MAX_WAIT_SECONDS)
        behind = await self._store.read(lambda conn: _behind(conn, wanted))
        silent = await self._store.read(lambda conn: _registered(conn) - wanted.keys())
        return [
            *(f"point {name} does not report: its newest calls may be missing"
              for name in sorted(silent)),
            *(f"point {name} has {count} more calls, on their way"
              for name, count in behind.items()),
        ]  # fmt: skip


def _registered(conn: Connection) -> set[str]:
    return set(conn.execute(select(POINTS.c.name).where(POINTS.c.gone_at.is_(None))).scalars())


def _behind(conn: Connection, wanted: dict[str, int]) -> dict[str, int]:
    """Return how many records control still lacks, by point."""
    rows = conn.execute(select(POINTS.c.name, POINTS.c.calls_held).where(POINTS.c.name.in_(wanted)))
    return {row.name: wanted[row.name] - row.calls_held for row in rows
            if row.calls_held < wanted[row.name]}  # fmt: skip
