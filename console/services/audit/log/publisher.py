"""The published form of the log: tiles, entry bundles and a signed checkpoint in a folder.

The store is the truth and the folder follows it: files are written after the commit, and
the head that operators are given is always one whose files are on the disk. What a crash
left undone is done at the next start. A folder that holds more than the store, or another
tree under our own signature, is never overwritten: that would be a split view. When the
store says that another key signs, the publisher follows; the files of a log that ended are
put aside whole, in `log.ended/`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection, LargeBinary, cast, select, update

from console.api.problems import refusal
from console.errors import ExitCode, PilotError
from console.model.text import now
from console.services.audit.log import handover, ledger
from console.services.audit.state.schema import LEAVES, TREE
from console.services.store import Store
from console.services.store.upsert import insert_missing
from console.trust.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from console.trust.kept_checkpoints import folder_history
from console.trust.merkle import HASH_SIZE, CompactRange, leaf_hashes
from console.trust.note import SignerKey, VerifierKey
from console.trust.tiles import CHECKPOINT, WIDTH, bundles_of, tiles_of
from console.trust.writer import TileWriter

REFRESH_SECONDS = 2.0
"""A checkpoint is signed anew at least this often."""

_CHUNK = 20 * WIDTH

Follow: TypeAlias = Callable[[str], SignerKey | None]
"""Finds the signing key of that verifier key, and makes it the one in force."""


class Head(NamedTuple):
    """The log's newest published head."""

    size: int
    root: bytes
    note: bytes
    signed_at: datetime
    signer: SignerKey
    """What signed it: another key may be about to follow."""

    @property
    def key(self) -> VerifierKey:
        """The key of the signature."""
        return self.signer.verifier


class Publisher:
    """The one writer of the log's folder. Build it with `open`, which repairs the folder."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        signer: SignerKey,
        writer: TileWriter,
        follow: Follow | None = None,
    ) -> None:
        self._follow = follow
        self.folder = folder
        self.signer = signer
        self.fault = ""
        """Why the folder cannot be written now, in words."""
        self._store = store
        self._writer = writer
        self._lock = threading.Lock()
        self._moving = False
        """Whether the files of a log that ended make way for a new log's."""
        self._head = self._sign()

    @classmethod
    def open(
        cls, store: Store, folder: Path, signer: SignerKey, follow: Follow | None = None
    ) -> Publisher:
        """Make the folder say what the store says. `follow` finds the key that follows another.

        Raises `PilotError`: `log-key-changed` where the store's log was signed with another
        key, `log-rolled-back` where the folder shows more than the store has, and
        `log-split` where it shows something else.
        """
        known = store.read_now(lambda conn: conn.execute(select(TREE.c.key)).scalar())
        if known and known != str(signer.verifier) and follow is not None:
            signer = follow(known) or signer
        state = store.write_now(lambda conn: claimed(conn, str(signer.verifier)))
        name = signer.verifier.name
        before, ended = store.read_now(
            lambda conn: (handover.keys_before(conn, name), handover.ended_keys(conn, name))
        )
        _put_aside(folder, [signer.verifier, *before], ended)
        for key in before:
            _put_notes_aside(folder, key)
        published = _published(folder, [signer.verifier, *before])
        size = published.size if published else 0
        if size > state.size:
            raise PilotError(
                "log-rolled-back",
                f"the log in {folder} has {size} entries and the store only {state.size}",
                exit=ExitCode.LOG_FAILED,
                hint="the store was restored from an old copy: put the newer one back",
            )
        writer = _intact(folder, size)
        if writer is None or (published and writer.root != published.root):
            writer = _rebuilt(store, folder, state.size, published)
        made = cls(store, folder, signer, writer, follow)
        made.publish()
        return made

    @property
    def head(self) -> Head:
        """The newest head whose files are on the disk."""
        return self._head

    def head_in(self, conn: Connection) -> Head:
        """Return the newest head, of the log that this snapshot of the store is of.

        Raises the problem `unavailable` where a log has ended and the one that takes its place
        is not published yet: the store numbers the entries as the new log does.
        """
        head = self._head
        if names_other_log(conn, head):
            raise not_yet()
        return head

    def settle(self, head: Head) -> None:
        """Raise the problem `unavailable` if files read for `head` may be another log's."""
        if self._moving or self._head.key.name != head.key.name:
            raise not_yet()

    def is_current(self, head: Head) -> bool:
        """Tell whether the log of `head` is still the one that is published, once settled."""
        with self._lock:
            return self._head.key == head.key

    def publish(self) -> Head:
        """Write what the store has and the folder has not, sign, and put the head in place.

        Blocks. Raises OSError where the disk refuses: the head stays what it was.
        """
        with self._lock:
            state, key = self._store.read_now(_state)
            if key != str(self.signer.verifier):
                self._adopt(key)
            while self._writer.size < state.size:
                start, end = self._writer.size, min(self._writer.size + _CHUNK, state.size)
                self._writer.append(_bodies(self._store, start, end))
            if self._writer.root != state.root:
                raise PilotError(
                    "log-split",
                    "the tiles in the folder do not belong to the store's entries",
                    exit=ExitCode.LOG_FAILED,
                    hint="restart audit: it writes them again from the store",
                )
            head = self._sign()
            if head.note != _noted(self.folder):
                self._writer.publish(head.note)
            self._head = head
            self._moving = False
            return head

    async def run(self) -> None:
        """Publish whenever the log has grown, and at least every `REFRESH_SECONDS`."""
        pause = 0.0
        while True:
            if pause:
                await asyncio.sleep(pause)
            await self._store.until(ledger.TOPIC, self._grown, REFRESH_SECONDS)
            try:
                await asyncio.to_thread(self.publish)
            except (OSError, PilotError) as error:
                self.fault = f"the log cannot be published: {error}"
                pause = min(5.0, pause * 2 or 0.2)
            else:
                self.fault, pause = "", 0.0

    def _adopt(self, key: str) -> None:
        """Go on with the key that the store calls for; in an empty folder if it is a new log."""
        signer = self._follow(key) if self._follow else None
        if signer is None:
            raise PilotError(
                "log-key-changed",
                "the store says that another key signs, and it is not in keys/",
                exit=ExitCode.LOG_FAILED,
            )
        if signer.verifier.name != self.signer.verifier.name:
            self._moving = True
            _put_aside(self.folder, [], [self.signer.verifier])
            self._writer = TileWriter(self.folder, 0)
        else:
            _put_notes_aside(self.folder, self.signer.verifier)
        self.signer = signer

    def _grown(self, conn: Connection) -> bool | None:
        state, key = _state(conn)
        return state.size > self._head.size or key != str(self.signer.verifier) or None

    def _sign(self) -> Head:
        state = self._writer.state
        checkpoint = Checkpoint(self.signer.verifier.name, state.size, state.root)
        note = sign_checkpoint(checkpoint, self.signer)
        return Head(state.size, state.root, note, now(), self.signer)


def names_other_log(conn: Connection, head: Head) -> bool:
    """Tell whether this snapshot of the store is of another log than that of `head`.

    A key that is none names no log: whoever wrote it keeps nothing from being compared.
    """
    key = conn.execute(select(cast(TREE.c.key, LargeBinary))).scalar()
    with suppress(PilotError, UnicodeDecodeError):
        return VerifierKey.parse((key or b"").decode()).name != head.key.name
    return False


def not_yet() -> PilotError:
    """Return the problem of an answer that would be about half of one log and half of another."""
    return refusal(
        "unavailable",
        "the log has ended, and the one that takes its place is not published yet",
        mend="ask again in a moment",
    )


def claimed(conn: Connection, key: str) -> CompactRange:
    """Return the tree, new or of the log that this key signs."""
    insert_missing(conn, TREE, {"log": 1, "state": CompactRange().to_bytes(), "key": key})
    state = ledger.tree(conn)
    if conn.execute(select(TREE.c.key)).scalar_one() != key:
        if state.size:
            raise PilotError(
                "log-key-changed",
                "the log was signed with another key than the one in keys/log.key",
                exit=ExitCode.LOG_FAILED,
                hint="put the log's own key back: whoever pinned it trusts no other",
            )
        conn.execute(update(TREE).values(key=key))
    return state


def _state(conn: Connection) -> tuple[CompactRange, str]:
    return ledger.tree(conn), str(conn.execute(select(TREE.c.key)).scalar_one())


def _published(folder: Path, keys: list[VerifierKey]) -> Checkpoint | None:
    """Return the folder's checkpoint if we signed it; None where there is nothing to go by."""
    for key in keys:
        with suppress(OSError, PilotError):
            return open_checkpoint((folder / CHECKPOINT).read_bytes(), key).checkpoint
    return None


def _put_notes_aside(folder: Path, key: VerifierKey) -> None:
    """Move the earlier checkpoints that a former key signed out of the way: they stay true."""
    place = folder.with_name(f"{folder.name}.ended") / f"notes-{key.id.hex()}"
    for name, note in folder_history(folder):
        with suppress(PilotError):
            open_checkpoint(note, key)
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            (folder / name).replace(place / name)


def _put_aside(folder: Path, ours: list[VerifierKey], ended: list[VerifierKey]) -> None:
    """Move the files of a log that ended out of the way, whole: they stay verifiable."""
    if _published(folder, ours) is not None or (old := _published(folder, ended)) is None:
        return
    mark = sha256(old.origin.encode()).hexdigest()[:8]
    place = folder.with_name(f"{folder.name}.ended") / f"{mark}-{old.size}"
    place.parent.mkdir(mode=0o755, exist_ok=True)
    for number in count():
        there = place.with_name(f"{place.name}-{number}") if number else place
        if not there.exists():
            break
    folder.rename(there)
    folder.mkdir(mode=0o755)


def _noted(folder: Path) -> bytes:
    with suppress(OSError):
        return (folder / CHECKPOINT).read_bytes()
    return b""


def _intact(folder: Path, size: int) -> TileWriter | None:
    """Return a writer at `size` if every file that the size needs is there and as long as it is.

    What the files hold is not read, but for the right edge: the root shows whether it fits.
    """
    if size:
        for tile in tiles_of(size):
            if _length(folder / tile.path) != tile.width * HASH_SIZE:
                return None
        if any(_length(folder / bundle.path) <= 0 for bundle in bundles_of(size)):
            return None
    with suppress(OSError, PilotError):
        return TileWriter(folder, size)
    return None


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _rebuilt(store: Store, folder: Path, size: int, published: Checkpoint | None) -> TileWriter:
    """Write all files again from the store, once it is sure that they continue the old head."""
    if published is not None:
        state = CompactRange()
        for start in range(0, published.size, _CHUNK):
            state.extend(leaf_hashes(_bodies(store, start, min(start + _CHUNK, published.size))))
        if state.root != published.root:
            raise PilotError(
                "log-split",
                f"the store's first {published.size} entries are not those that were signed",
                exit=ExitCode.LOG_FAILED,
                hint="the store was changed or exchanged: put the log's own store back",
            )
    # Flushing each of many files is slow: one flush of everything does as well here.
    writer = TileWriter(folder, 0, durable=False)
    for start in range(0, size, _CHUNK):
        writer.append(_bodies(store, start, min(start + _CHUNK, size)))
    os.sync()
    return TileWriter(folder, size)


def _bodies(store: Store, start: int, end: int) -> list[bytes]:
    query = (
        select(LEAVES.c.body)
        .where(LEAVES.c.idx >= start, LEAVES.c.idx < end)
        .order_by(LEAVES.c.idx)
    )
    return store.read_now(lambda conn: list(conn.execute(query).scalars()))
