"""The outbox: a change and the exact bytes of its event are committed together.

Sequence numbers have no gaps: a transaction that is undone gives its numbers back.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    insert,
    select,
)

from console.api.problems import refusal
from console.model.text import now
from console.services.store.columns import Instant
from console.services.store.database import signal
from console.trust.canonical import canonical
from console.trust.tiles import MAX_ENTRY

TOPIC = "outbox"
"""What `emit` signals."""

OUTBOX = Table(
    "outbox",
    MetaData(),
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    sqlite_autoincrement=True,
)

_INSERT = insert(OUTBOX)
_NEXT = select(func.coalesce(func.max(OUTBOX.c.seq), 0) + 1)


class OutboxItem(msgspec.Struct, frozen=True):
    """One event as it was committed. `body` is its RFC 8785 text: UTF-8 of it is the leaf."""

    seq: int
    event_id: str
    body: str


class OutboxPage(msgspec.Struct, frozen=True):
    """Some events in order, and the newest sequence number there is."""

    items: list[OutboxItem]
    head: int


def emit(conn: Connection, event: dict[str, Any]) -> str:
    """Put `event` into the outbox of this transaction and return its id.

    `metadata.sequence` becomes the row's number. Raises `PilotError`
    (`json-not-canonical`) for an event that RFC 8785 cannot spell, and `too-large` for one
    that no log can hold: then the change it records is not made.
    """
    seq = int(conn.execute(_NEXT).scalar_one())
    metadata = {**event["metadata"], "sequence": seq}
    event_id = str(metadata["uid"])
    body = canonical({**event, "metadata": metadata})
    if len(body) > MAX_ENTRY:
        raise refusal(
            "too-large",
            f"the event of this change would have {len(body)} bytes, and a log takes {MAX_ENTRY}",
            mend="say it in fewer words",
        )
    conn.execute(_INSERT, {"seq": seq, "event_id": event_id, "body": body, "created_at": now()})
    signal(conn, TOPIC)
    return event_id


def after(conn: Connection, seq: int, limit: int) -> OutboxPage:
    """Return at most `limit` events after number `seq`, oldest first."""
    rows = conn.execute(
        select(OUTBOX.c.seq, OUTBOX.c.event_id, OUTBOX.c.body)
        .where(OUTBOX.c.seq > seq)
        .order_by(OUTBOX.c.seq)
        .limit(limit)
    )
    items = [OutboxItem(row.seq, row.event_id, row.body.decode()) for row in rows]
    return OutboxPage(items, head(conn))


def head(conn: Connection) -> int:
    """Return the newest sequence number that there is, 0 before the first event."""
    return int(conn.execute(select(func.coalesce(func.max(OUTBOX.c.seq), 0))).scalar_one())
