"""What the state that is there knows and the backup does not: the log, and what was ended.

Nothing here is needed: what cannot be read, or does not fit, is said and left. What is read
is held to the log's own signatures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.sqlite import insert

from console.errors import PilotError
from console.model.enforcement import Lock, Tombstone, TombstoneKind
from console.services.audit import ledger
from console.services.audit.leaf import Leaf, read_leaf
from console.services.audit.schema import LEAVES, SOURCES
from console.services.backup.take import copy_store
from console.services.gateway import changes, keys
from console.services.gateway.exchange import (
    LockChange,
    LockFact,
    TombstoneChange,
    TombstoneFact,
)
from console.services.gateway.schema import CREDENTIALS, LOCKS, TOMBSTONES
from console.services.settings import Home
from console.services.store import Store, outbox
from console.trust.checkpoint import Checkpoint, open_checkpoint
from console.trust.merkle import CompactRange, leaf_hashes
from console.trust.note import VerifierKey
from console.trust.tiles import CHECKPOINT, TileReader, folder_reader
from console.trust.verify import verify_folder

_CHUNK = 5000


class Ended(NamedTuple):
    """A revocation: its tombstone, and the event that recorded it."""

    mark: Tombstone
    event_id: str


def whole_log(home: Home, copy: Path, known: Sequence[Checkpoint]) -> str:
    """Copy the audit store that is there to `copy`, if it is whole and holds what is `known`.

    Returns why not, or an empty string.
    """
    if not home.store("audit").exists():
        return "there is no audit store"
    try:
        copy_store(home.store("audit"), copy)
        with closing(sqlite3.connect(copy)) as conn:
            if (found := conn.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                return f"the audit store is damaged: {found}"
            why = _tree_of(conn, known)
    except (PilotError, sqlite3.Error, ValueError) as error:
        why = f"the audit store cannot be read: {error}"
    if why:
        copy.unlink(missing_ok=True)
    return why


def _tree_of(conn: sqlite3.Connection, known: Sequence[Checkpoint]) -> str:
    """Add the leaves up and compare; return what is wrong."""
    raw, key = conn.execute("SELECT state, key FROM tree").fetchone()
    wanted = CompactRange.from_bytes(raw)
    name = VerifierKey.parse(key).name
    heads = {head.size: head.root for head in known if head.origin == name and head.size}
    state = CompactRange()
    for (body,) in conn.execute("SELECT body FROM leaves ORDER BY idx"):
        state.extend(leaf_hashes([body]))
        if heads.get(state.size, state.root) != state.root:
            return f"its first {state.size} entries are not those that were signed"
    if (state.size, state.root) != (wanted.size, wanted.root):
        return "its entries are not those of its tree"
    if any(size > state.size for size in heads):
        return f"it holds {state.size} entries, and more were signed"
    return ""


def replay_tiles(home: Home, audit: Store, key: VerifierKey) -> tuple[int, str]:
    """Append what the published log has and the restored store lacks; say why not, if so."""
    folder = home.log
    if not (folder / CHECKPOINT).exists():
        return 0, "there is no published log"
    try:
        head = open_checkpoint((folder / CHECKPOINT).read_bytes(), key).checkpoint
        report = verify_folder(folder, key)
        if not report.ok:
            return 0, f"the published log is damaged: {report.damage[0].message}"
        before = audit.read_now(ledger.tree)
        entries = TileReader(folder_reader(folder), head.size).entries
        if head.size < before.size:
            return 0, "the published log is older than the backup"
        state = CompactRange()
        for start in range(0, before.size, _CHUNK):
            state.extend(leaf_hashes(entries(start, min(start + _CHUNK, before.size))))
        if state.root != before.root:
            return 0, "the published log is another one than the backup's"
        for start in range(before.size, head.size, _CHUNK):
            leaves = [read_leaf(each) for each in entries(start, min(start + _CHUNK, head.size))]
            audit.write_now(lambda conn, leaves=leaves: _append(conn, leaves))  # type: ignore[misc]
    except (PilotError, OSError, ValueError) as error:
        return 0, f"the published log cannot be read: {error}"
    return head.size - before.size, ""


def _append(conn: Connection, leaves: list[Leaf]) -> None:
    ledger.append(conn, leaves)
    for leaf in leaves:
        upsert = insert(SOURCES).values(source=leaf.source, last_seq=leaf.sequence, stopped="")
        conn.execute(
            upsert.on_conflict_do_update(
                index_elements=[SOURCES.c.source],
                set_={"last_seq": func.max(SOURCES.c.last_seq, upsert.excluded.last_seq)},
            )
        )


def head_there(home: Home, key: VerifierKey) -> bytes | None:
    """Return the published checkpoint, if the log's key signed it."""
    with suppress(OSError, PilotError):
        note = (home.log / CHECKPOINT).read_bytes()
        open_checkpoint(note, key)
        return note
    return None


def fill_outbox(store: Store, source: str, audit: Store, present: Path) -> int:
    """Give a restored outbox the events that it made since: from the log, and from its own store.

    Without them a source would use numbers again that the log has. Returns how many.
    """
    own = store.read_now(lambda conn: outbox.after(conn, 0, 1).head)
    query = (
        select(LEAVES.c.sequence, LEAVES.c.event_id, LEAVES.c.body, LEAVES.c.at)
        .where(LEAVES.c.source == source, LEAVES.c.sequence > own)
        .order_by(LEAVES.c.sequence)
    )
    rows = [
        {"seq": row.sequence, "event_id": row.event_id, "body": row.body, "created_at": row.at}
        for row in audit.read_now(lambda conn: conn.execute(query).all())
    ]
    reached = rows[-1]["seq"] if rows else own
    logged = audit.read_now(lambda conn: ledger.place(conn, source).last_seq)
    if reached >= logged:
        rows += list(_outbox_of(present, reached))
    if rows:
        store.write_now(lambda conn: conn.execute(outbox.OUTBOX.insert(), rows))
    return len(rows)


def _outbox_of(path: Path, after: int) -> Iterator[dict[str, object]]:
    """Yield what a store that is there recorded after a number, while it has no gap."""
    with suppress(sqlite3.Error):
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=5)) as conn:
            found = conn.execute(
                "SELECT seq, event_id, body FROM outbox WHERE seq > ? ORDER BY seq", (after,)
            ).fetchall()
        for place, (seq, event_id, body) in enumerate(found, start=after + 1):
            if seq != place:
                return
            yield {"seq": seq, "event_id": event_id, "body": body, "created_at": read_leaf(body).at}


def ended_there(home: Home) -> list[Ended] | None:
    """Return the tombstones of the gateway store that is there; None if it cannot be read."""
    if not home.store("gateway").exists():
        return None
    decode = msgspec.json.Decoder(Tombstone).decode
    try:
        path = f"file:{home.store('gateway')}?mode=rw"
        with closing(sqlite3.connect(path, uri=True, timeout=5)) as conn:
            if conn.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                return None
            rows = conn.execute("SELECT event_id, body FROM tombstones ORDER BY seq").fetchall()
        return [Ended(decode(body), event_id) for event_id, body in rows]
    except (sqlite3.Error, msgspec.MsgspecError):
        return None


def ended_in_log(audit: Store) -> Iterator[Ended]:
    """Yield the revocations that the log tells of."""
    query = select(LEAVES.c.body).where(
        LEAVES.c.action.in_(("grant.revoke", "key.revoke")), LEAVES.c.source == "gateway"
    )
    for body in audit.read_now(lambda conn: list(conn.execute(query).scalars())):
        leaf = read_leaf(body)
        try:
            mark = msgspec.convert(leaf.after, Tombstone, strict=False)
        except msgspec.ValidationError:
            continue
        yield Ended(mark, leaf.event_id)
        facts = msgspec.json.decode(body)["unmapped"].get("facts") or {}
        for each in facts.get("credentials") or ():
            kind = TombstoneKind.CREDENTIAL.value
            yield Ended(msgspec.structs.replace(mark, kind=kind, id=str(each)), leaf.event_id)


def bury(conn: Connection, ended: Sequence[Ended]) -> int:
    """Put tombstones that are not there into the gateway's store. Returns how many."""
    there = {(row.kind, row.id) for row in conn.execute(select(TOMBSTONES.c.kind, TOMBSTONES.c.id))}
    made = 0
    for mark, event_id in ended:
        if (str(mark.kind), mark.id) in there:
            continue
        there.add((str(mark.kind), mark.id))
        fact = TombstoneFact(kind=TombstoneKind(mark.kind).value, id=mark.id)
        changes.append(conn, TombstoneChange(ends=[fact]))
        conn.execute(
            TOMBSTONES.insert().values(
                kind=mark.kind, id=mark.id, partner=mark.partner, event_id=event_id, body=mark
            )
        )
        held = conn.execute(
            select(CREDENTIALS.c.body).where(CREDENTIALS.c.id == mark.id)
        ).scalar_one_or_none()
        if held is not None:
            keys.store(
                conn,
                msgspec.structs.replace(held, state="revoked", revision=held.revision + 1),
            )
        made += 1
    return made


def keep_locks(home: Home, conn: Connection) -> int:
    """Put the locks that are active in the store that is there into the restored one."""
    with suppress(sqlite3.Error, msgspec.MsgspecError):
        path = f"file:{home.store('gateway')}?mode=rw"
        with closing(sqlite3.connect(path, uri=True, timeout=5)) as there:
            bodies = there.execute("SELECT body FROM locks WHERE state = 'active'").fetchall()
        held = {
            (row.kind, row.target)
            for row in conn.execute(
                select(LOCKS.c.kind, LOCKS.c.target).where(LOCKS.c.state == "active")
            )
        }
        ids = set(conn.execute(select(LOCKS.c.id)).scalars())
        made = 0
        for (body,) in bodies:
            lock = msgspec.json.decode(body, type=Lock)
            if (lock.kind, lock.target) in held or lock.id in ids:
                continue
            fact = LockFact(id=lock.id, kind=lock.kind, target=lock.target, message=lock.message)
            changes.append(conn, LockChange(lock=fact))
            conn.execute(
                LOCKS.insert().values(
                    id=lock.id,
                    kind=lock.kind,
                    target=lock.target,
                    state=lock.state,
                    created_at=lock.created_at,
                    body=lock,
                )
            )
            made += 1
        return made
    return 0
