"""The roster and the marks of one service, as its store keeps them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from console.services.operators.roster import Mark, Roster
from console.services.operators.tables import MARKS, ROSTER
from console.services.store import signal
from console.services.store.upsert import insert_missing, insert_or_update

TOPIC = "operators"
"""Signalled when the roster or a mark changed."""

_ONLY = 1

# Plain statements: they run in every transaction of every request.
_RAW_ROSTER = f"SELECT body FROM {ROSTER.name} WHERE id = {_ONLY}"  # noqa: S608 - our own names
_MARK_KEYS = f"SELECT name, generation, kind FROM {MARKS.name}"  # noqa: S608 - as above


def roster(conn: Connection) -> Roster:
    """Return the newest roster that was kept; an empty one before the first."""
    found: Roster | None = conn.execute(
        select(ROSTER.c.body).where(ROSTER.c.id == _ONLY)
    ).scalar_one_or_none()
    return found or Roster(sequence=0, entries=[])


def marks(conn: Connection) -> list[Mark]:
    """Return everything that is so for ever."""
    return [
        Mark(name=row.name, generation=row.generation, kind=row.kind, at=row.at, by=row.by,
             reason=row.reason)
        for row in conn.execute(select(MARKS).order_by(MARKS.c.at))
    ]  # fmt: skip


def keep(conn: Connection, told: Roster) -> bool:
    """Keep a roster unless a newer one is kept, and every mark it tells; whether any was new."""
    newer = told.sequence > roster(conn).sequence
    if newer:
        row = {"id": _ONLY, "body": Roster(sequence=told.sequence, entries=told.entries)}
        insert_or_update(conn, ROSTER, row, changed=("body",))
    marked = add(conn, told.marks)
    if newer or marked:
        signal(conn, TOPIC)
    return newer or marked


def add(conn: Connection, new: Iterable[Mark], event_id: str = "") -> bool:
    """Keep marks; tell whether any was new.

    One that is kept already stays as it was, but gets the event that it was without.
    """
    added = False
    for each in new:
        row = {
            "name": each.name, "generation": each.generation, "kind": each.kind, "at": each.at,
            "by": each.by, "reason": each.reason, "event_id": event_id,
        }  # fmt: skip
        added |= (
            insert_or_update(conn, MARKS, row, changed=("event_id",), where=MARKS.c.event_id == "")
            if event_id
            else insert_missing(conn, MARKS, row)
        ) > 0
    if added:
        signal(conn, TOPIC)
    return added


def has(conn: Connection, kind: str, name: str, generation: int) -> bool:
    """Tell whether a mark is kept."""
    where = (MARKS.c.kind == kind, MARKS.c.name == name, MARKS.c.generation == generation)
    return conn.execute(select(MARKS.c.name).where(*where)).first() is not None


def add_all(conn: Connection, new: Iterable[Mark]) -> None:
    """Keep marks, and nothing else of them."""
    add(conn, new)


def version(conn: Connection) -> tuple[object, ...]:
    """Return what is another value after each change of the roster or the marks."""
    raw = conn.exec_driver_sql(_RAW_ROSTER).scalar_one_or_none()
    return raw, [tuple(row) for row in conn.exec_driver_sql(_MARK_KEYS)]
