"""Appending to the log: in order per source, each event exactly once, or not at all.

`take` runs in one transaction: the leaves, how far the source is, what makes them findable
and the Merkle state over all of them change together. A source that does not continue
where it left off is stopped; what came before the fault is kept, and it is taken up again
when it continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, update

from console.model.audit import Severity
from console.model.text import now
from console.services.audit.log import event_search
from console.services.audit.log.leaf import BadLeaf, Leaf, check_leaf
from console.services.audit.state.schema import LEAVES, SOURCES, TREE
from console.services.events import event
from console.services.store import OutboxItem, OutboxPage, emit, outbox, signal
from console.services.store.upsert import insert_or_update
from console.trust.merkle import CompactRange, leaf_hashes

OWN = "audit"
TOPIC = "log"
"""What is signalled when the log has grown."""


class Place(NamedTuple):
    """How far a source is in the log, and what stopped it, if anything did."""

    last_seq: int
    stopped: str


class Taken(NamedTuple):
    """What became of a page of a source's events."""

    appended: int
    last_seq: int
    stopped: str


def place(conn: Connection, source: str) -> Place:
    """Return how far `source` is in the log."""
    row = conn.execute(select(SOURCES).where(SOURCES.c.source == source)).first()
    return Place(row.last_seq, row.stopped) if row else Place(0, "")


def places(conn: Connection) -> dict[str, Place]:
    """Return how far every source is."""
    rows = conn.execute(select(SOURCES))
    return {row.source: Place(row.last_seq, row.stopped) for row in rows}


def tree(conn: Connection) -> CompactRange:
    """Return the Merkle state over all leaves."""
    state = conn.execute(select(TREE.c.state)).scalar()
    return CompactRange() if state is None else CompactRange.from_bytes(state)


def take(conn: Connection, source: str, offered: OutboxPage) -> Taken:
    """Append what continues `source`, and stop it where it does not continue."""
    before = place(conn, source)
    fresh, stopped = _continuing(conn, source, before.last_seq, offered)
    stopped = stopped or _known_ids(conn, fresh)
    last = before.last_seq + len(fresh)
    if fresh:
        append(conn, fresh)
    if (last, stopped) != before:
        _remember(conn, source, last, stopped)
    if stopped != before.stopped:
        _tell(conn, source, last, stopped or before.stopped, stops=bool(stopped))
    return Taken(len(fresh), last, stopped)


def take_own(conn: Connection, most: int = 500) -> int:
    """Append audit's own outbox, which lies in the same store. Return how many."""
    last = place(conn, OWN).last_seq
    rows = conn.execute(
        select(outbox.OUTBOX.c.seq, outbox.OUTBOX.c.event_id, outbox.OUTBOX.c.body)
        .where(outbox.OUTBOX.c.seq > last)
        .order_by(outbox.OUTBOX.c.seq)
        .limit(most)
    ).all()
    if not rows:
        return 0
    items = [OutboxItem(row.seq, row.event_id, row.body.decode()) for row in rows]
    return take(conn, OWN, OutboxPage(items, items[-1].seq)).appended


def own_waiting(conn: Connection) -> bool | None:
    """Tell whether audit's own outbox holds more than the log does; None if not."""
    newest = conn.execute(select(func.max(outbox.OUTBOX.c.seq))).scalar() or 0
    return newest > place(conn, OWN).last_seq or None


def row(idx: int, leaf: Leaf) -> dict[str, Any]:
    """Return what is stored of a leaf at an index."""
    return {
        "idx": idx,
        "event_id": leaf.event_id,
        "source": leaf.source,
        "sequence": leaf.sequence,
        "at": leaf.at,
        "actor": leaf.actor,
        "action": leaf.action,
        "kind": leaf.kind,
        "target": leaf.target,
        "partner": leaf.partner,
        "outcome": leaf.outcome,
        "reason": leaf.reason,
        "request_id": leaf.request_id,
        "contains": leaf.contains,
        "body": leaf.body,
    }


def append(conn: Connection, leaves: Sequence[Leaf]) -> None:
    """Put checked leaves at the end of the log."""
    state = tree(conn)
    first = state.size
    numbered = list(enumerate(leaves, first))
    conn.execute(LEAVES.insert(), [row(idx, leaf) for idx, leaf in numbered])
    event_search.index(conn, numbered)
    state.extend(leaf_hashes(leaf.body for leaf in leaves))
    conn.execute(update(TREE).values(state=state.to_bytes()))
    signal(conn, TOPIC)


def _continuing(
    conn: Connection, source: str, last: int, offered: OutboxPage
) -> tuple[list[Leaf], str]:
    """Return the leaves that come next, and why the rest is refused, if it is."""
    fresh: list[Leaf] = []
    if offered.head < last:
        return fresh, f"it went back: it ends at {offered.head}, and {last} are in the log"
    ids: set[str] = set()
    for item in offered.items:
        awaited = last + len(fresh) + 1
        if item.seq > awaited:
            return fresh, f"it skips from {awaited - 1} to {item.seq}"
        if item.seq < awaited:
            # Told again is harmless; told otherwise is not.
            there: bytes | None
            if item.seq > last:
                there = fresh[item.seq - last - 1].body
            else:
                there = _logged(conn, source, item.seq)
            if there != item.body.encode("utf-8", "surrogatepass"):
                return fresh, f"event {item.seq} is not the one that it gave before"
            continue
        try:
            leaf = check_leaf(source, item.seq, item.event_id, item.body)
        except BadLeaf as bad:
            return fresh, f"event {item.seq} cannot be logged: {bad}"
        if leaf.event_id in ids:
            return fresh, f"event {item.seq} has an id that was used before"
        ids.add(leaf.event_id)
        fresh.append(leaf)
    return fresh, ""


def _logged(conn: Connection, source: str, sequence: int) -> bytes | None:
    if sequence < 1:
        return None
    query = select(LEAVES.c.body).where(LEAVES.c.source == source, LEAVES.c.sequence == sequence)
    found: bytes | None = conn.execute(query).scalar()
    return found


def _known_ids(conn: Connection, fresh: list[Leaf]) -> str:
    """Cut `fresh` before the first event whose id the log already has, and say so."""
    known: set[str] = set()
    for start in range(0, len(fresh), 500):
        some = [leaf.event_id for leaf in fresh[start : start + 500]]
        known |= set(
            conn.execute(select(LEAVES.c.event_id).where(LEAVES.c.event_id.in_(some))).scalars()
        )
    if not known:
        return ""
    at = next(at for at, leaf in enumerate(fresh) if leaf.event_id in known)
    sequence = fresh[at].sequence
    del fresh[at:]
    return f"event {sequence} has an id that is in the log already"


def _remember(conn: Connection, source: str, last: int, stopped: str) -> None:
    told = {"source": source, "last_seq": last, "stopped": stopped}
    insert_or_update(conn, SOURCES, told, changed=("last_seq", "stopped"))


def _tell(conn: Connection, source: str, last: int, why: str, *, stops: bool) -> None:
    """Record in the log itself that a source was stopped, or has been taken up again."""
    emit(
        conn,
        event(
            "source.stop" if stops else "source.resume",
            service=OWN,
            actor="system",
            kind="source",
            target=source,
            outcome="failure" if stops else "success",
            reason=why,
            at=now(),
            severity=Severity.CRITICAL if stops else Severity.INFORMATIONAL,
            facts={"last_sequence": last},
        ),
    )
