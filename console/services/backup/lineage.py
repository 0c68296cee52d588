"""Whether what is left in a state folder continues a backup: only then it tells what ended since.

A file that is there proves nothing. It may be another pilot's, or a copy older than the backup.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from console.trust.checkpoint import Checkpoint
from console.trust.merkle import CompactRange, leaf_hashes

_MAX_RESTARTS = 100
_NEWEST = "SELECT seq, event_id FROM outbox ORDER BY seq DESC LIMIT 1"


def continues_log(conn: sqlite3.Connection, heads: Mapping[int, bytes]) -> bool:
    """Tell whether an audit store holds a log with these heads (size, root), or a successor of it.

    A log that was restarted holds the entries of the one before it after its first.
    """
    wanted = {size: root for size, root in heads.items() if size}
    return bool(wanted) and any(
        roots_at(conn, set(wanted), skipped) == wanted for skipped in range(_restarts(conn) + 1)
    )


def _restarts(conn: sqlite3.Connection) -> int:
    """Return how often the log of an audit store was restarted."""
    begun = conn.execute(
        "SELECT action FROM leaves WHERE idx < ? ORDER BY idx", (_MAX_RESTARTS,)
    ).fetchall()
    return next(
        (place for place, (action,) in enumerate(begun) if action != "log.restart"), len(begun)
    )


def parted_before(path: Path, last: Checkpoint, head: Checkpoint) -> bool | None:
    """Tell whether `head` is of no log that an audit store holds up to `last`, a later head of it.

    None where the store does not hold the log up to `last`. Raises `sqlite3.Error`.
    """
    with _reading(path) as conn:
        for skipped in range(_restarts(conn) + 1):
            found = roots_at(conn, {last.size, head.size}, skipped)
            if found.get(last.size) == last.root:
                return bool(head.size) and found.get(head.size) != head.root
    return None


def roots_at(conn: sqlite3.Connection, sizes: set[int], skipped: int = 0) -> dict[int, bytes]:
    """Return the roots over the first entries of an audit store, those `skipped` left out."""
    state, found = CompactRange(), {}
    rows = conn.execute(
        "SELECT body FROM leaves WHERE idx >= ? ORDER BY idx LIMIT ?", (skipped, max(sizes))
    )
    for (body,) in rows:
        state.extend(leaf_hashes([body]))
        if state.size in sizes:
            found[state.size] = state.root
    return found


def tree_of(path: Path) -> tuple[int, bytes]:
    """Return the size and the root of the log in an audit store. Raises `sqlite3.Error`."""
    with _reading(path) as conn:
        (raw,) = conn.execute("SELECT state FROM tree").fetchone()
    state = CompactRange.from_bytes(raw)
    return state.size, state.root


class Reach(NamedTuple):
    """How far a store that is left goes beyond the same store in the backup."""

    backup: int
    """The number of the newest event in the backup."""
    left: int

    def is_newest(self, logged: int) -> bool:
        """Tell whether it is newer than the backup, and has all that the log has of it."""
        return self.left > self.backup and self.left >= logged


def reach(left: Path, backup: Path) -> Reach | None:
    """Return how far a store that is left goes beyond the same store in the backup.

    None unless it holds the newest event of the same store in the backup, under its number:
    then it is another pilot's store, an older one, or one that parted from the backup's.
    """
    if not left.exists() or not backup.exists():
        return None
    with suppress(sqlite3.Error), _reading(left) as there, _reading(backup) as kept:
        last = kept.execute(_NEWEST).fetchone()
        if last is None:
            return None
        seq, event_id = last
        asked = "SELECT 1 FROM outbox WHERE seq = ? AND event_id = ?"
        if there.execute(asked, (seq, event_id)).fetchone() is not None:
            return Reach(seq, there.execute(_NEWEST).fetchone()[0])
    return None


def _reading(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=5))
