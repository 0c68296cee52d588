"""Calls that were let through, kept while the proof of a closing before them may still come.

The gateway logs a closing as it makes it, and its proof later, with the time at which every
point enforced it. Calls after that time may be read before the proof is: those since the oldest
closing without a proof are kept, and judged again when proofs arrive. How many are kept is
bounded; beyond that the oldest of the most frequent kind of call go first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from console.model.traffic import CallRecord
from console.services.audit.log.leaf import Leaf, read_leaf
from console.services.audit.rules.closings import COVERS, VERIFIED
from console.services.audit.state.schema import ADMITTED_CALLS, LEAVES, UNPROVEN
from console.services.store.upsert import insert_missing

ANNOUNCING = frozenset(
    {
        "lock.add", "grant.revoke", "key.revoke", "key.retire", "partner.offboard",
        "pilot.close", "grant.suspend", "partner.suspend", "point.deregister",
    }
)  # fmt: skip
"""The gateway's events that make a closing, each with a receipt that is to be proven."""

SKEW = timedelta(seconds=60)
"""How much earlier than the newest call one may be and still count as just made."""

MAX_CALLS = 10_000
"""Calls kept at most. Some hundred fewer are left when it is passed, so that it is rare."""


def follow_proofs(conn: Connection, leaves: Iterable[Leaf]) -> None:
    """Take in which closings were made, and which of them are proven."""
    for leaf in leaves:
        if leaf.action in ANNOUNCING and leaf.source == "gateway" and leaf.outcome != "failure":
            made = {"event_id": leaf.event_id, "at": leaf.at}
            insert_missing(conn, UNPROVEN, made)
        elif leaf.action == VERIFIED and isinstance(of := leaf.told("event_id"), str):
            conn.execute(delete(UNPROVEN).where(UNPROVEN.c.event_id == of))


def follow_proofs_of_log(conn: Connection) -> None:
    """Take in the whole log, for a store that did not follow proofs yet."""
    actions = [*ANNOUNCING, VERIFIED]
    asked = select(LEAVES.c.body).where(LEAVES.c.action.in_(actions)).order_by(LEAVES.c.idx)
    follow_proofs(conn, (read_leaf(row.body) for row in conn.execute(asked)))


def keep(conn: Connection, calls: Sequence[CallRecord], *, unread: int) -> None:
    """Keep those calls that a proof may still be about.

    `unread` is the gateway's event that came before them and was not read yet; 0 if none.
    """
    edge = _edge(conn, calls)
    rows = [
        {
            "id": call.id,
            "combination": _combination(call),
            "started_at": call.started_at,
            "unread": unread,
            "call": msgspec.structs.replace(call, checks=[]),
        }
        for call in calls
        if unread or edge is None or call.started_at > edge
    ]
    if rows:
        insert_missing(conn, ADMITTED_CALLS, *rows)
        _bound(conn)
    forget(conn)


def since(conn: Connection, verified_at: datetime | None, read: int) -> list[CallRecord]:
    """Return the kept calls to judge again once the gateway's events up to `read` were read.

    These are the calls after `verified_at`, the oldest of the proofs that came, and those that
    were read before the events that preceded them.
    """
    table = ADMITTED_CALLS.c
    caught_up = (table.unread > 0) & (table.unread <= read)
    again = caught_up
    if verified_at is not None:
        again |= (table.unread == 0) & (table.started_at > verified_at)
    asked = select(table.call).where(again).order_by(table.started_at)
    found = list(conn.execute(asked).scalars())
    conn.execute(update(ADMITTED_CALLS).where(caught_up).values(unread=0))
    return found


def forget(conn: Connection, ids: Collection[str] = ()) -> None:
    """Drop the calls with these ids, and those that no proof can be about any more."""
    table = ADMITTED_CALLS.c
    for one in ids:
        conn.execute(delete(ADMITTED_CALLS).where(table.id == one))
    if (edge := _edge(conn)) is not None:
        conn.execute(delete(ADMITTED_CALLS).where(table.unread == 0, table.started_at <= edge))


def _edge(conn: Connection, calls: Iterable[CallRecord] = ()) -> datetime | None:
    """Return the time up to which no call is needed; None where every call is."""
    held = conn.execute(
        select(ADMITTED_CALLS.c.started_at).order_by(ADMITTED_CALLS.c.started_at.desc()).limit(1)
    ).scalar()
    times = [call.started_at for call in calls]
    newest = max(times if held is None else [held, *times], default=None)
    if newest is None:
        return None
    oldest = conn.execute(select(UNPROVEN.c.at).order_by(UNPROVEN.c.at).limit(1)).scalar()
    edge: datetime = newest - SKEW
    return edge if oldest is None else min(edge, oldest)


def _combination(call: CallRecord) -> str:
    """Return what a closing can match of a call, as one short text."""
    return sha256(msgspec.json.encode([of(call) for of in COVERS.values()])).hexdigest()


def _bound(conn: Connection) -> None:
    """Drop what is too much: the oldest of the combination that has the most calls, first."""
    held = conn.execute(select(func.count()).select_from(ADMITTED_CALLS)).scalar() or 0
    if held <= MAX_CALLS:
        return
    table = ADMITTED_CALLS.c
    nth = func.row_number().over(
        partition_by=table.combination, order_by=(table.started_at.desc(), table.id)
    )
    ranked = select(table.id, table.started_at, nth.label("nth")).subquery()
    dropped = (
        select(ranked.c.id)
        .order_by(ranked.c.nth.desc(), ranked.c.started_at)
        .limit(held - MAX_CALLS + MAX_CALLS // 20)
    )
    conn.execute(delete(ADMITTED_CALLS).where(table.id.in_(dropped)))
