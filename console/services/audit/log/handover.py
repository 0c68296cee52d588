"""Passing the log on: to another key (rotation), or to another log (restart).

A rotation is announced by an event under the old key; the tree goes on. A restart begins a
log of another name, for when the old key is no longer trusted or entries that were signed
are lost: its first leaf names the old log's head, and the old entries follow as they were,
so that whoever pinned the old log can see which of them are there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from console.api.problems import refusal
from console.errors import PilotError
from console.model.audit import Severity
from console.model.log import HandoverKind, LogHandover
from console.model.stored import Page
from console.services.audit.log import event_search, ledger
from console.services.audit.log.leaf import Leaf, read_leaf
from console.services.audit.log.signing_keys import new_signer, shelve, successor_of
from console.services.audit.state.schema import CURSORS, HANDOVERS, LEAVES, SOURCES, TREE
from console.services.events import event
from console.services.settings import Home
from console.services.store import emit, outbox, signal
from console.services.web import Ask, page
from console.trust.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from console.trust.merkle import CompactRange, leaf_hashes
from console.trust.note import SignerKey, VerifierKey, split_note


def listing(conn: Connection, ask: Ask) -> Page[LogHandover]:
    """Answer `log.handovers`, oldest first; from a key that a console pinned, where it says."""
    query = select(HANDOVERS)
    if old := ask.query.get("old_key", ""):
        query = query.where(HANDOVERS.c.old_key == old)
    return page(conn, query, ask, keys=[HANDOVERS.c.seq], decode=_shown)


def rotate(conn: Connection, ask: Ask, home: Home, signer: SignerKey) -> LogHandover:
    """Answer `log.rotate-key`: announce a new key under the old one, and have it sign."""
    _in_force(conn, signer)
    _take_all(conn)
    old, new = signer.verifier, successor_of(signer.verifier)
    if not ask.validate_only:
        shelve(home, new)
    told = {"old_key": str(old), "new_key": str(new.verifier)}
    event_id = _record(conn, "log.rotate-key", old.name, ask, told)
    _take_all(conn)
    state = ledger.tree(conn)
    index = state.size - 1
    last = conn.execute(select(LEAVES.c.event_id).where(LEAVES.c.idx == index)).scalar()
    if last != event_id:
        raise refusal("state", "audit's own events are not taken into the log now: see its status")
    note = sign_checkpoint(Checkpoint(old.name, state.size, state.root), signer)
    made = LogHandover(
        kind=HandoverKind.ROTATION.value,
        old_key=str(old),
        new_key=str(new.verifier),
        old_head=note.decode(),
        event_id=event_id,
        index=index,
        by=ask.operator.name,
        reason=ask.body.reason,
        at=ask.now,
    )
    _pass_on(conn, made)
    return made


def restart(
    conn: Connection, ask: Ask, home: Home, signer: SignerKey, origin: str = ""
) -> LogHandover:
    """Answer `log.restart`: begin a new log with a new key, whose first leaf names this one."""
    _in_force(conn, signer)
    _take_all(conn)
    state = ledger.tree(conn)
    head = Checkpoint(signer.verifier.name, state.size, state.root)
    return begin_anew(
        conn,
        home,
        old_head=sign_checkpoint(head, signer),
        old_key=str(signer.verifier),
        origin=origin,
        by=ask.operator.name,
        reason=ask.body.reason,
        at=ask.now,
        request_id=ask.request_id,
        keep=not ask.validate_only,
    )


def begin_anew(
    conn: Connection,
    home: Home,
    *,
    old_head: bytes,
    old_key: str,
    origin: str,
    by: str,
    reason: str,
    at: datetime,
    request_id: str = "",
    keep: bool = True,
    facts: dict[str, Any] | None = None,
) -> LogHandover:
    """Make this store's log a new one: the event that names `old_head`, then what it held.

    `old_head` is the newest head of the old log that is known, signed by `old_key`; the
    store may hold fewer entries than that.
    """
    named = open_checkpoint(old_head, VerifierKey.parse(old_key)).checkpoint
    _take_all(conn)
    carried = ledger.tree(conn).size
    new = new_signer(origin, distinct=True)
    if keep:
        shelve(home, new)
    told = {
        "old_origin": named.origin,
        "old_key": old_key,
        "old_size": named.size,
        "old_root": named.root.hex(),
        "new_key": str(new.verifier),
        "carried": carried,
        **(facts or {}),
    }
    event_id = emit(
        conn,
        event(
            "log.restart",
            service=ledger.OWN,
            actor=by,
            kind="log",
            target=new.verifier.name,
            name=new.verifier.name,
            reason=reason,
            request_id=request_id,
            severity=Severity.CRITICAL,
            facts=told,
            at=at,
        ),
    )
    _renumber(conn, _own_leaf(conn, event_id))
    made = LogHandover(
        kind=HandoverKind.RESTART.value,
        old_key=old_key,
        new_key=str(new.verifier),
        old_head=old_head.decode(),
        event_id=event_id,
        index=0,
        carried=carried,
        by=by,
        reason=reason,
        at=at,
    )
    _pass_on(conn, made)
    return made


def keys_before(conn: Connection, origin: str) -> list[VerifierKey]:
    """Return the keys that signed the log of that name before the one in force, newest first."""
    rows = conn.execute(select(HANDOVERS.c.old_key).order_by(HANDOVERS.c.seq.desc())).scalars()
    keys = [VerifierKey.parse(each) for each in rows]
    return [key for key in keys if key.name == origin]


def ended_keys(conn: Connection, origin: str) -> list[VerifierKey]:
    """Return the keys of logs of other names that came before."""
    rows = conn.execute(select(HANDOVERS.c.old_key).order_by(HANDOVERS.c.seq.desc())).scalars()
    return [key for each in rows if (key := VerifierKey.parse(each)).name != origin]


def passed_on(conn: Connection, key: VerifierKey) -> LogHandover | None:
    """Return how the log passed from a key; None where it never did."""
    found: LogHandover | None = conn.execute(
        select(HANDOVERS.c.body).where(HANDOVERS.c.old_key == str(key))
    ).scalar()
    return found


def _in_force(conn: Connection, signer: SignerKey) -> None:
    if conn.execute(select(TREE.c.key)).scalar_one() != str(signer.verifier):
        raise refusal(
            "in-progress",
            "the log is being handed to another key at this moment",
            mend="look at it with: pilotctl log show",
        )


def _take_all(conn: Connection) -> None:
    while ledger.take_own(conn):
        pass


def _record(conn: Connection, action: str, name: str, ask: Ask, told: dict[str, Any]) -> str:
    return emit(
        conn,
        event(
            action,
            service=ledger.OWN,
            actor=ask.operator.name,
            kind="log",
            target=name,
            name=name,
            reason=ask.body.reason,
            request_id=ask.request_id,
            severity=Severity.HIGH,
            facts=told,
            at=ask.now,
        ),
    )


def _own_leaf(conn: Connection, event_id: str) -> Leaf:
    table = outbox.OUTBOX
    return read_leaf(
        conn.execute(select(table.c.body).where(table.c.event_id == event_id)).scalar_one()
    )


def _renumber(conn: Connection, first: Leaf) -> None:
    """Put `first` before everything else in the log, and make it all findable again."""
    size = ledger.tree(conn).size + 1
    conn.execute(update(LEAVES).values(idx=-LEAVES.c.idx - 1))
    conn.execute(update(LEAVES).values(idx=-LEAVES.c.idx))
    conn.execute(LEAVES.insert(), [ledger.row(0, first)])
    conn.execute(
        update(SOURCES).where(SOURCES.c.source == ledger.OWN).values(last_seq=first.sequence)
    )
    if ledger.place(conn, ledger.OWN).last_seq != first.sequence:
        conn.execute(
            SOURCES.insert().values(source=ledger.OWN, last_seq=first.sequence, stopped="")
        )
    conn.execute(
        update(CURSORS).where(CURSORS.c.feed == "events").values(position=CURSORS.c.position + 1)
    )
    event_search.reindex(conn, size)
    state = CompactRange()
    for rows in event_search.chunks(conn, size):
        state.extend(leaf_hashes(row.body for row in rows))
    conn.execute(update(TREE).values(state=state.to_bytes()))


def _pass_on(conn: Connection, made: LogHandover) -> None:
    conn.execute(HANDOVERS.insert().values(old_key=made.old_key, body=made))
    conn.execute(update(TREE).values(key=made.new_key))
    signal(conn, ledger.TOPIC)


def _shown(row: Row[Any]) -> LogHandover:
    found: LogHandover = row.body
    return found


def signer_of(note: bytes, keys: list[VerifierKey]) -> VerifierKey | None:
    """Return which of the keys signed a note; None where none of them did."""
    for key in keys:
        try:
            open_checkpoint(note, key)
        except PilotError:
            continue
        return key
    return None


def claims_of(note: bytes) -> str:
    """Return the origin that a note's text names, unverified; empty where it is none."""
    try:
        return split_note(note)[0].split("\n", 1)[0]
    except PilotError:
        return ""
