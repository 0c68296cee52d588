"""Reads of evidence are events too: who looked at what, before they are given it.

A console polls, so one operator's reads of one object are one event in ten minutes; those
that were not recorded one by one are counted in the next. A read that cannot be recorded is
refused. Lists that everybody polls are no evidence reads, and neither is reading the
record of a read, or watching oneself would never end.

What is one: an alert with its evidence (`read.alert`), an event in full (`read.event`), a
call in full or explained (`read.call`), calls beyond a list's first page (`read.calls`), a
stream of calls (`read.calls`), the kept content of a call (`read.content`), and what is
exported: usage and its cost (`read.usage`), a pilot (`read.pilot`). Backups are recorded where
they are made (`backup.create`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any

from console.model.text import rfc3339
from console.services.events import event
from console.services.store import Store, emit
from console.services.web.request_context import Ask
from console.services.web.server import AsyncHandler, Handler

TOGETHER = timedelta(minutes=10)
"""Reads of one object by one operator within this time are one event."""
_MAX_NAMED = 20_000


class Reads:
    """The evidence reads of one service."""

    def __init__(self, service: str, store: Store) -> None:
        self._service = service
        self._store = store
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, str, str], tuple[datetime, int]] = OrderedDict()
        """Operator, action and object: when that was recorded, and how often it was since."""

    def plain(self, handler: Handler) -> AsyncHandler:
        """Return a `handler` that is read on a snapshot and leaves no record."""

        async def read(ask: Ask) -> Any:
            return await self._store.read(lambda conn: handler(conn, ask))

        return read

    def of(
        self, handler: Handler, kind: str, named: str, *, sort: str = "", quiet: str = ""
    ) -> AsyncHandler:
        """Return `handler` so that each read through it is recorded as `read.<kind>`.

        `named` is the path's parameter that names the object; what starts with `quiet` in
        the answer's `action` is not recorded. `sort` is the kind of object, `kind` without it.
        """

        async def read(ask: Ask) -> Any:
            answer = await self._store.read(lambda conn: handler(conn, ask))
            if quiet and str(getattr(answer, "action", "")).startswith(quiet):
                return answer
            target = str(getattr(answer, "id", "") or ask.path[named])
            partner = str(getattr(answer, "partner", "") or "")
            await self.note(ask, kind, target, sort=sort or kind, partner=partner)
            return answer

        return read

    def exported(self, handler: Handler, kind: str, by: str) -> AsyncHandler:
        """Return an export's `handler` so that each through it is recorded; all where `by`,
        the filter that names what it is of, is left out.
        """

        async def read(ask: Ask) -> Any:
            answer = await self._store.read(lambda conn: handler(conn, ask))
            named = ask.query.get(by, "")
            await self.note(ask, kind, named, partner=ask.query.get("partner", ""))
            return answer

        return read

    def deeper(self, handler: Handler, kind: str) -> AsyncHandler:
        """Return a list's `handler` so that what lies beyond its first page is recorded."""

        async def read(ask: Ask) -> Any:
            answer = await self._store.read(lambda conn: handler(conn, ask))
            if ask.query.get("cursor"):
                await self.note(ask, kind, _filter(ask)[:300], rows=len(answer.items))
            return answer

        return read

    async def note(
        self,
        ask: Ask,
        kind: str,
        target: str,
        *,
        sort: str = "",
        partner: str = "",
        rows: int = 1,
    ) -> None:
        """Record a read, unless the same was recorded a moment ago: then count it."""
        key = (ask.operator.name, kind, target)
        with self._lock:
            at, count = self._seen.get(key, (None, 0))
            if at is not None and ask.now - at < TOGETHER:
                self._seen[key] = (at, count + rows)
                return
            self._seen[key] = (ask.now, 0)
            self._seen.move_to_end(key)
            while len(self._seen) > _MAX_NAMED:
                self._seen.popitem(last=False)
        facts: dict[str, Any] = {"count": count + rows}
        if at is not None:
            facts["since"] = rfc3339(at)
        if asked := _filter(ask):
            facts["filter"] = asked
        made = event(
            f"read.{kind}",
            service=self._service,
            actor=ask.operator.name,
            kind=sort or kind,
            target=target or "*",
            partner=partner,
            request_id=ask.request_id,
            facts=facts,
            at=ask.now,
        )
        try:
            await self._store.write(lambda conn: emit(conn, made))
        except BaseException:
            with self._lock:
                self._seen.pop(key, None)
            raise


def _filter(ask: Ask) -> str:
    """Return what was asked for, as one line: its names and values, without the paging."""
    told = sorted((k, v) for k, v in ask.query.items() if k not in {"cursor", "limit", "from"})
    return " ".join(f"{name}={value[:200]}" for name, value in told)
