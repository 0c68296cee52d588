"""What the state that is there knows and the backup does not: the log, and each outbox.

Nothing here is needed: what cannot be read, or does not fit, is said and left. What is read
is held to the log's own signatures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from console.errors import PilotError
from console.services.audit.log import ledger
from console.services.audit.log.leaf import Leaf, read_leaf
from console.services.audit.state.schema import LEAVES, SOURCES
from console.services.backup import lineage
from console.services.backup.take import copy_store
from console.services.settings import Home
from console.services.store import Store, outbox
from console.services.store.upsert import insert_or_update
from console.trust.checkpoint import Checkpoint, open_checkpoint
from console.trust.merkle import CompactRange, leaf_hashes
from console.trust.note import VerifierKey
from console.trust.tiles import CHECKPOINT, TileReader, folder_reader
from console.trust.verify import verify_folder

_CHUNK = 5000


def whole_log(
    home: Home, copy: Path, heads: Mapping[int, bytes], notes: Sequence[bytes], key: VerifierKey
) -> str:
    """Copy the audit store that is there to `copy`, if it is whole and continues the backup.

    `heads` are those of the backup's log, by size. The store must hold them, and each entry of
    which a signed head among `notes` tells. Returns why not, or an empty string.
    """
    if not home.store("audit").exists():
        return "there is no audit store"
    try:
        copy_store(home.store("audit"), copy)
        with closing(sqlite3.connect(copy)) as conn:
            if (found := conn.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                return f"the audit store is damaged: {found}"
            why = _tree_of(conn, _signed(notes, [key, *_keys_of(conn)]))
            if not why and not lineage.continues_log(conn, heads):
                why = "the audit store is older than the backup, or of another log"
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


def _keys_of(conn: sqlite3.Connection) -> list[VerifierKey]:
    """Return the keys that sign the log of an audit store, and those that did."""
    asked = "SELECT key FROM tree UNION SELECT old_key FROM handovers"
    return [VerifierKey.parse(each) for (each,) in conn.execute(asked)]


def _signed(notes: Sequence[bytes], keys: Sequence[VerifierKey]) -> list[Checkpoint]:
    """Return the heads among `notes` that one of the keys signed."""
    found = []
    for note in notes:
        for key in keys:
            with suppress(PilotError):
                found.append(open_checkpoint(note, key).checkpoint)
                break
    return found


def newest_signed(notes: Sequence[bytes], keys: Sequence[VerifierKey], origin: str) -> int:
    """Return the size of the largest head of a log that one of the keys signed, 0 without any."""
    sizes = [head.size for head in _signed(notes, keys) if head.origin == origin]
    return max(sizes, default=0)


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
        insert_or_update(
            conn,
            SOURCES,
            {"source": leaf.source, "last_seq": leaf.sequence, "stopped": ""},
            changed=("last_seq",),
            where=SOURCES.c.last_seq < leaf.sequence,
        )


def note_there(home: Home) -> list[bytes]:
    """Return the published checkpoint, if there is one."""
    with suppress(OSError):
        return [(home.log / CHECKPOINT).read_bytes()]
    return []


def fill_outbox(store: Store, source: str, audit: Store, present: Path | None) -> list[Leaf]:
    """Give a restored outbox the events that it made since: from the log, and from its own store.

    `present` is that store as it is there, where it continues the restored one. Without these
    events, which are returned, a source would use numbers again that the log has.
    """
    own = store.read_now(lambda conn: outbox.after(conn, 0, 1).head)
    query = (
        select(LEAVES.c.sequence, LEAVES.c.event_id, LEAVES.c.body, LEAVES.c.at)
        .where(LEAVES.c.source == source, LEAVES.c.sequence > own)
        .order_by(LEAVES.c.sequence)
    )
    rows: list[dict[str, Any]] = [
        {"seq": row.sequence, "event_id": row.event_id, "body": row.body, "created_at": row.at}
        for row in audit.read_now(lambda conn: conn.execute(query).all())
    ]
    reached = rows[-1]["seq"] if rows else own
    logged = audit.read_now(lambda conn: ledger.place(conn, source).last_seq)
    if present is not None and reached >= logged:
        rows += list(_outbox_of(present, reached))
    if rows:
        store.write_now(lambda conn: conn.execute(outbox.OUTBOX.insert(), rows))
    return [read_leaf(row["body"]) for row in rows]


def _outbox_of(path: Path, after: int) -> Iterator[dict[str, Any]]:
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
