"""The rows of the store, read so that nothing that was done to one keeps the others from sight.

Text is read as bytes and a number as none where it is another type: a value that cannot be
read makes its row differ from the log's entry, and raises nothing. How many entries the log
has is never taken from the rows: one that somebody wrote behind its end is not part of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Integer,
    LargeBinary,
    Row,
    and_,
    case,
    cast,
    func,
    select,
    text,
    type_coerce,
)
from sqlalchemy.sql.elements import ColumnElement

from console.errors import PilotError
from console.model.audit import Event
from console.services.audit.log.leaf import BadLeaf, Leaf, ends_access, read_leaf
from console.services.audit.state.schema import LEAVES, TREE
from console.services.store import rfc3339
from console.trust.merkle import CompactRange

UNREAD = "a column cannot be read"
"""`fault` of an event of which the store holds something that no entry can be."""
MAX_LISTED = 1000
"""Entries without a row that are named, and not only counted."""
MIN_SHARED = 100_000
"""Entries from which on rows are not counted at each question."""
_SHARE = 30
"""Then they are counted again after this many times what counting took."""
_NO_TIME = datetime.fromtimestamp(0, UTC)

_TEXTS = (
    "event_id", "source", "at", "actor", "action", "kind", "target", "partner", "outcome",
    "reason", "request_id", "body",
)  # fmt: skip


_TYPES = {**dict.fromkeys(_TEXTS, "text"), "body": "blob"}
_TYPES |= {"sequence": "integer", "contains": "integer"}


def _number(name: str) -> ColumnElement[Any]:
    column = LEAVES.c[name]
    kept = type_coerce(column, Integer)
    return case((func.typeof(column) == "integer", kept), else_=-1).label(name)


BODY = cast(LEAVES.c.body, LargeBinary).label("body")
"""The bytes of a row's entry, of whatever type they are stored."""

COLUMNS: tuple[ColumnElement[Any], ...] = (
    LEAVES.c.idx,
    *(cast(LEAVES.c[name], LargeBinary).label(name) for name in _TEXTS),
    _number("sequence"),
    _number("contains"),
    and_(*(func.typeof(LEAVES.c[name]) == kind for name, kind in _TYPES.items())).label("typed"),
)
"""What is selected of a row of `LEAVES`."""


def listed(row: Row[Any]) -> Event:
    """Return what is listed of a row (`COLUMNS`), whatever was done to it."""
    told = {name: (getattr(row, name) or b"").decode(errors="replace") for name in _TEXTS}
    at = _moment(told.pop("at"))
    sound = row.typed and at is not None
    sound = sound and row.contains == ends_access(told["action"], told["outcome"])
    return Event(
        index=row.idx,
        id=told.pop("event_id"),
        sequence=row.sequence,
        at=at or _NO_TIME,
        fault="" if sound else UNREAD,
        **told,
    )


def leaf_of(body: bytes | None) -> Leaf | None:
    """Return the leaf that stored bytes say; None where they are no event."""
    with suppress(BadLeaf, TypeError):
        return read_leaf(body)  # type: ignore[arg-type]
    return None


def _moment(stored: str) -> datetime | None:
    """Return the moment that was stored in the one form that sorts; None for any other text."""
    with suppress(ValueError):
        moment = datetime.fromisoformat(stored)
        if rfc3339(moment) == stored:
            return moment
    return None


def counted(conn: Connection) -> int:
    """Return how many entries the store's Merkle state counts; 0 where it cannot be read."""
    state = conn.execute(select(cast(TREE.c.state, LargeBinary))).scalar()
    with suppress(PilotError):
        return CompactRange.from_bytes(state or b"").size
    return 0


def extent(conn: Connection, published: int) -> int:
    """Return how many entries the log has by this snapshot, of which `published` are signed.

    Entries that are not published yet continue those that are, without a gap. Where the
    Merkle state counts fewer than are signed, the snapshot is older than the head, or the
    state was changed: then the signed ones go as far as rows do.
    """
    size = counted(conn)
    if size >= published:
        beyond = select(func.count()).where(LEAVES.c.idx >= published, LEAVES.c.idx < size)
        return size if conn.execute(beyond).scalar() == size - published else published
    newest = conn.execute(select(func.max(LEAVES.c.idx)).where(LEAVES.c.idx < published)).scalar()
    return max(size, 0 if newest is None else newest + 1)


def outside(conn: Connection, size: int, most: int) -> list[int]:
    """Return the indices of rows that no log of `size` entries has, `most` at most."""
    found: list[int] = []
    for part in (LEAVES.c.idx < 0, LEAVES.c.idx >= size):
        query = select(LEAVES.c.idx).where(part).order_by(LEAVES.c.idx).limit(most - len(found))
        found += conn.execute(query).scalars()
    return found


def _missing(conn: Connection, size: int) -> int:
    """Return how many of the log's `size` entries have no row."""
    beyond = 0
    for part in (LEAVES.c.idx < 0, LEAVES.c.idx >= size):
        beyond += conn.execute(select(func.count()).where(part)).scalar_one()
    # without a condition SQLite counts in its smallest index
    rows: int = conn.execute(text("SELECT count(*) FROM leaves")).scalar_one()
    return size - (rows - beyond)


_GAPS = text("""
SELECT 0 AS first, (SELECT min(idx) FROM leaves WHERE idx >= 0) AS following
 WHERE NOT EXISTS (SELECT 1 FROM leaves WHERE idx = 0)
UNION ALL
SELECT row.idx + 1, (SELECT min(idx) FROM leaves WHERE idx > row.idx)
  FROM leaves AS row
 WHERE row.idx >= 0 AND row.idx + 1 < :size
   AND NOT EXISTS (SELECT 1 FROM leaves WHERE idx = row.idx + 1)
""")


def _gaps(conn: Connection, size: int) -> Iterator[int]:
    """Yield the indices of the log's `size` entries that have no row."""
    for first, following in conn.execute(_GAPS, {"size": size}):
        yield from range(first, size if following is None else min(size, following))


class Lost(NamedTuple):
    """Entries without a row: how many, and the first of them."""

    number: int
    indices: Sequence[int]


class Gaps:
    """The entries without a row, counted at each question; in a big log, at a share of time."""

    def __init__(self) -> None:
        self._next = 0.0
        self._lost = Lost(0, ())

    def of(self, conn: Connection, size: int) -> Lost:
        """Return which of the log's `size` entries have no row."""
        began = time.monotonic()
        if size >= MIN_SHARED and began < self._next:
            return self._lost
        number = _missing(conn, size)
        lost = Lost(number, tuple(islice(_gaps(conn, size), MAX_LISTED)) if number else ())
        self._lost = lost
        self._next = time.monotonic() + _SHARE * (time.monotonic() - began)
        return lost
