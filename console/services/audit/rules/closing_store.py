"""What the audit store keeps of closings, and the calls judged by it (`closings`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, select, update

from console.model.enforcement import LockKind
from console.model.traffic import CallRecord
from console.services.audit.log.leaf import Leaf
from console.services.audit.log.stored_rows import BODY, leaf_of
from console.services.audit.rules.closings import (
    ACTIONS,
    COVERS,
    Closing,
    Known,
    Lifted,
    Named,
    fact_of,
)
from console.services.audit.state.schema import ALIASES, CLOSINGS, LEAVES
from console.services.store.upsert import insert_missing, insert_or_update

_SOME = 500


def learn(conn: Connection, leaf: Leaf) -> Closing | None:
    """Take in what an event tells of closings. Return the one that is verified by it."""
    match fact_of(leaf):
        case Closing() as closing:
            told = {name: value for name, value in closing._asdict().items() if value is not None}
            return closing if _keep(conn, told, CLOSINGS.c.verified_at.is_(None)) else None
        case Lifted(receipt="") as lifted:
            same = (CLOSINGS.c.kind == lifted.kind, CLOSINGS.c.target == lifted.target)
            _lift(conn, *same, at=lifted.at)
        case Lifted() as lifted:
            told = {
                "receipt": lifted.receipt,
                "lifted_at": lifted.at,
                "lifted_sequence": lifted.sequence,
            }
            _keep(conn, told, CLOSINGS.c.lifted_at.is_(None))
        case Named() as named if named.others:
            rows = [{"kind": named.kind, "name": named.name, "also": each} for each in named.others]
            insert_missing(conn, ALIASES, *rows)
    return None


def learn_all(conn: Connection) -> None:
    """Take in every event of the log, for a store that did not know of closings yet.

    Before there were events of it, a suspension was lifted when policy resumed its target.
    """
    for leaf in _leaves(conn, ACTIONS):
        learn(conn, leaf)
    for leaf in _leaves(conn, ("grant.resume", "partner.resume")):
        kind, _, _ = leaf.action.partition(".")
        target = leaf.partner if kind == LockKind.PARTNER else leaf.target
        suspended = (CLOSINGS.c.action == f"{kind}.suspend", CLOSINGS.c.target == target)
        _lift(conn, *suspended, at=leaf.at)


def _leaves(conn: Connection, actions: Iterable[str]) -> Iterator[Leaf]:
    asked = select(BODY).where(LEAVES.c.action.in_(list(actions))).order_by(LEAVES.c.idx)
    for row in conn.execute(asked):
        if (leaf := leaf_of(row.body)) is not None:
            yield leaf


def admitted_against(conn: Connection, served: Sequence[CallRecord]) -> set[str]:
    """Return the ids of the served calls that a closing in force forbade as they began."""
    known = _known(conn, served)
    return {call.id for call in served if known.forbade(call)}


def _known(conn: Connection, calls: Sequence[CallRecord]) -> Known:
    """Return the closings that may cover any of `calls`."""
    known = Known()
    names = {name for call in calls for of in COVERS.values() if (name := of(call))}
    others = set()
    for row in _rows(conn, select(ALIASES), ALIASES.c.name, names):
        known.name(Named(row.kind, row.name, (row.also,)))
        others.add(row.also)
    proven = select(CLOSINGS).where(CLOSINGS.c.verified_at.is_not(None))
    known.add(map(_closing, _rows(conn, proven, CLOSINGS.c.target, names | others)))
    known.add(map(_closing, conn.execute(proven.where(CLOSINGS.c.kind == LockKind.NETWORK))))
    return known


def _rows(
    conn: Connection, asked: Select[Any], column: Column[Any], names: Iterable[str]
) -> Iterator[Any]:
    """Yield the rows whose `column` is one of `names`, some hundred in a query."""
    listed = sorted(names)
    for start in range(0, len(listed), _SOME):
        yield from conn.execute(asked.where(column.in_(listed[start : start + _SOME])))


def _closing(row: Any) -> Closing:
    return Closing(*(getattr(row, name) for name in Closing._fields))


def _keep(conn: Connection, told: dict[str, Any], where: ColumnElement[bool]) -> bool:
    """Store what is told of a receipt, and tell whether that was new.

    That it is verified may come after that it was lifted.
    """
    row = {"kind": "", "target": "", "action": "", **told}
    return bool(insert_or_update(conn, CLOSINGS, row, changed=tuple(told), where=where))


def _lift(conn: Connection, *which: ColumnElement[bool], at: datetime) -> None:
    """Lift every closing that was in force at `at` and meets all of the conditions."""
    conn.execute(
        update(CLOSINGS)
        .where(*which, CLOSINGS.c.lifted_at.is_(None), CLOSINGS.c.verified_at <= at)
        .values(lifted_at=at)
    )
