"""Sealed content at control: taken from the points, read, redacted, and gone when it is due."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from console.api.problems import refusal
from console.model.access import ContentKeeping
from console.model.content import CallContent, ContentState, RedactContent
from console.services.events import SYSTEM, event
from console.services.gateway.control.calls import call_store
from console.services.gateway.control.state.schema import CONTENTS
from console.services.gateway.decision.content_crypto import (
    ContentKeys,
    UnsealableError,
    day_of,
    unseal,
)
from console.services.store import Store, emit
from console.services.web import Ask
from console.services.wire.points import CallAck, ContentBatch, KeptContent, Said

LOOKS_EVERY_SECONDS = 5.0
_MAX_AT_ONCE = 500
_MAX_NAMED = 100


class Contents:
    """The routes about content, and the clock that ends it."""

    def __init__(self, store: Store, keys: ContentKeys) -> None:
        self._store = store
        self._keys = keys
        self._scrubs: set[asyncio.Task[None]] = set()

    async def take(self, ask: Ask) -> CallAck:
        """Take what a point has sealed; what is held, or was redacted before, is passed over."""
        batch: ContentBatch = ask.body

        def keep(conn: Connection) -> CallAck:
            for item in batch.items:
                _keep(conn, item, ask.now)
            return CallAck(acknowledged=len(batch.items))

        return await self._store.write(keep)

    def read(self, conn: Connection, ask: Ask) -> CallContent:
        """Answer `call.content`: what was said, and the event that it was read."""
        row = _found(conn, ask.path["call"])
        told = _told(row)
        if row.sealed is not None:
            private = self._keys.private(day_of(row.expires_at))
            if private is None:
                raise refusal("state", f"the content of {row.call} expired: its key is gone")
            try:
                said = msgspec.msgpack.decode(unseal(private, row.call, row.sealed), type=Said)
            except (UnsealableError, msgspec.MsgspecError) as error:
                raise refusal("state", f"the content of {row.call}: {error}") from None
            told = msgspec.structs.replace(
                told, request=_text(said.request), answer=_text(said.answer)
            )
        emit(conn, _event("content.read", row, ask))
        return told

    def redact(self, conn: Connection, ask: Ask) -> CallContent:
        """Answer `call.redact`: what was said is deleted; that it was is an event."""
        body: RedactContent = ask.body
        row = _found(conn, ask.path["call"])
        if row.sealed is None and row.gone:
            raise refusal("state", f"the content of {row.call} was {row.gone} already")
        end(
            conn, row.call, gone=ContentState.REDACTED.value, gone_at=ask.now,
            gone_by=ask.operator.name, gone_why=body.reason,
        )  # fmt: skip
        emit(conn, _event("content.redact", row, ask))
        ask.after(self._scrub_soon)
        return _told(_found(conn, row.call))

    def expire(self, conn: Connection, at: datetime) -> int:
        """Delete what is due at `at`. Returns how much that was."""
        rows = conn.execute(
            select(CONTENTS.c.call)
            .where(CONTENTS.c.sealed.is_not(None), CONTENTS.c.expires_at <= at)
            .order_by(CONTENTS.c.expires_at)
            .limit(_MAX_AT_ONCE)
        ).scalars()
        due = list(rows)
        for call in due:
            end(conn, call, gone=ContentState.EXPIRED.value, gone_at=at, gone_by=SYSTEM)
        if due:
            emit(
                conn,
                event(
                    "content.expire",
                    service="gateway",
                    actor=SYSTEM,
                    kind="content",
                    target=due[0],
                    facts={"count": len(due), "calls": due[:_MAX_NAMED]},
                    at=at,
                ),
            )
        return len(due)

    async def sweep(self, at: datetime) -> int:
        """Delete what is due, from the file too, and the keys of days that are over."""
        count = 0
        if await self._store.read(partial(_is_due, at=at)):
            while more := await self._store.write(partial(self.expire, at=at)):
                count += more
            await asyncio.to_thread(self._scrub)
        await asyncio.to_thread(self._keys.delete_before, day_of(at))
        return count

    async def expire_regularly(self) -> None:
        """Delete content as its time comes. Runs until cancelled."""
        while True:
            await self.sweep(datetime.now(UTC))
            await asyncio.sleep(LOOKS_EVERY_SECONDS)

    def _scrub_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(self._scrub))
        self._scrubs.add(task)
        task.add_done_callback(self._scrubs.discard)

    def _scrub(self) -> None:
        """Fold the write-ahead log into the file and empty it: no copy is left there."""
        conn = sqlite3.connect(self._store.path, timeout=5.0, isolation_level=None)
        try:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            conn.close()


def _keep(conn: Connection, item: KeptContent, at: datetime) -> None:
    known = conn.execute(select(CONTENTS.c.call).where(CONTENTS.c.call == item.call)).first()
    if known is not None:
        return
    due = item.expires_at <= at
    conn.execute(
        CONTENTS.insert().values(
            call=item.call,
            pilot=item.pilot,
            partner=item.partner,
            stored_at=item.stored_at,
            expires_at=item.expires_at,
            truncated=int(item.truncated),
            sealed=None if due else item.sealed,
            gone=ContentState.EXPIRED.value if due else "",
            gone_at=at if due else None,
            gone_by=SYSTEM if due else "",
            gone_why="",
        )
    )


def _found(conn: Connection, call: str) -> Row[Any]:
    """Return what is held of a call's content. Raises `not-found`, with why there is none."""
    row = conn.execute(select(CONTENTS).where(CONTENTS.c.call == call)).first()
    if row is not None:
        return row
    record = call_store.find(conn, call)
    if record.content == ContentKeeping.HASHED:
        raise refusal("not-found", f"of {call} only hashes are kept: they are in its record")
    if record.content == ContentKeeping.SEALED:
        raise refusal("not-found", f"the content of {call} has not come from {record.point} yet")
    raise refusal("not-found", f"nothing of what {call} said is kept", mend="pilotctl pilot show")


def end(conn: Connection, call: str, **gone: Any) -> None:
    """Delete what was said in a call; `gone` are the columns that tell of it."""
    # What is overwritten is filled with zeros, and not only marked as free.
    conn.exec_driver_sql("PRAGMA secure_delete = on")
    conn.execute(CONTENTS.update().where(CONTENTS.c.call == call).values(sealed=None, **gone))


def _told(row: Row[Any]) -> CallContent:
    return CallContent(
        call=row.call,
        pilot=row.pilot,
        partner=row.partner,
        state=row.gone or ContentState.KEPT.value,
        stored_at=row.stored_at,
        expires_at=row.expires_at,
        truncated=bool(row.truncated),
        gone_at=row.gone_at,
        gone_by=row.gone_by,
        gone_why=row.gone_why,
    )


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")


def _is_due(conn: Connection, at: datetime) -> bool:
    asked = select(CONTENTS.c.call).where(
        CONTENTS.c.sealed.is_not(None), CONTENTS.c.expires_at <= at
    )
    return conn.execute(asked.limit(1)).first() is not None


def _event(action: str, row: Row[Any], ask: Ask) -> dict[str, Any]:
    return event(
        action,
        service="gateway",
        actor=ask.operator.name,
        kind="call",
        target=row.call,
        partner=row.partner,
        reason=ask.body.reason,
        request_id=ask.request_id,
        at=ask.now,
    )
