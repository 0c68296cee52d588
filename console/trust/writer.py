"""Appending to a tiled log in a folder, so that a crash at any point leaves a log that reads.

Every file is written beside its place, flushed, and renamed; the checkpoint comes last, so
what a published checkpoint needs is on the disk before it. A batch that was written but never
published is written again, to the same bytes, when it is appended again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

from console.errors import ExitCode, PilotError
from console.trust.checkpoint import parse_checkpoint
from console.trust.kept_checkpoints import thin
from console.trust.merkle import (
    HASH_SIZE,
    CompactRange,
    NodeReader,
    leaf_hashes,
    peaks_of,
    root_of,
)
from console.trust.note import split_note
from console.trust.tiles import (
    CHECKPOINT,
    WIDTH,
    Tile,
    TileReader,
    check_entries,
    folder_reader,
    pack_entries,
    tile_at,
)


class TileWriter:
    """The one writer of a log folder, at a known size.

    `size` is what the caller knows to be appended: 0 for a new log, the size of its newest
    checkpoint (or of its own record) for an old one. Files beyond it are ignored and will be
    overwritten. Raises `PilotError` (exit 11) if the tiles at the right edge are damaged,
    and FileNotFoundError if they are not there.
    """

    def __init__(
        self, folder: Path, size: int = 0, *, durable: bool = True, mode: int = 0o600
    ) -> None:
        self.folder = folder
        self.size = size
        self._durable = durable
        self._mode = mode
        self._synced: set[Path] = set()
        reader = TileReader(folder_reader(folder), size)
        self._edge: list[list[bytes]] = []
        """Level by level, the hashes of the rightmost tile while it is partial."""
        while size >> 8 * len(self._edge):
            level = len(self._edge)
            row = size >> 8 * level
            tile = tile_at(level, row // WIDTH, size)
            self._edge.append(reader.hashes(tile) if row % WIDTH else [])
        self._open = list(reader.entries(size - size % WIDTH, size))
        """The entries of the last, partial bundle."""

    @property
    def state(self) -> CompactRange:
        """The tree as appended so far; its `root` goes into the next checkpoint."""
        return CompactRange(
            self.size, [peak for row in reversed(self._edge) for peak in peaks_of(row)]
        )

    @property
    def root(self) -> bytes:
        """The root over everything appended so far."""
        return self.state.root

    @property
    def nodes(self) -> NodeReader:
        """Stored nodes of the tree as it is now, for proofs up to its present size."""
        return TileReader(folder_reader(self.folder), self.size).nodes

    def append(self, entries: Sequence[bytes]) -> range:
        """Add entries at the end and write every tile and bundle that this completes or widens.

        Returns the indices that they got. When it raises, nothing has been appended:
        `PilotError` (`log-entry-too-long`) or the OSError of the disk.
        """
        check_entries(entries)
        if not entries:
            return range(self.size, self.size)
        edge, pending = [list(row) for row in self._edge], [*self._open, *entries]
        hashes = (edge[0] if edge else []) + leaf_hashes(entries)
        first = self.size // WIDTH
        whole = len(pending) // WIDTH
        for at in range(whole):
            bundle = pending[at * WIDTH : (at + 1) * WIDTH]
            self._write(Tile(None, first + at), pack_entries(bundle))
        pending = pending[whole * WIDTH :]
        if pending:
            self._write(Tile(None, first + whole, len(pending)), pack_entries(pending))
        size = self.size + len(entries)
        self._grow(edge, hashes, size)
        self._edge, self._open = edge, pending
        start, self.size = self.size, size
        return range(start, size)

    def publish(self, note: bytes) -> None:
        """Make a signed checkpoint the log's newest, and keep it as `checkpoint.<size>` too.

        Of the older ones that lie there, those not worth keeping are removed (`history`).
        It must be of this writer's size and root (`PilotError`, `log-not-appended`).
        """
        head = parse_checkpoint(split_note(note)[0])
        if (head.size, head.root) != (self.size, self.root):
            raise PilotError(
                "log-not-appended",
                f"the checkpoint of {head.size} is not of the {self.size} entries written",
                exit=ExitCode.FAILED,
            )
        # In this order a reader never meets a history that is ahead of the head.
        self._replace(self.folder / CHECKPOINT, note)
        self._replace(self.folder / f"{CHECKPOINT}.{head.size}", note)
        thin(self.folder)

    def _grow(self, edge: list[list[bytes]], row: list[bytes], size: int) -> None:
        """Write `row`, the open hashes of each level in turn, and what follows from it above."""
        level = 0
        while row:
            if level == len(edge):
                edge.append([])
            end = size >> 8 * level
            number = (end - len(row)) // WIDTH
            roots = []
            while len(row) >= WIDTH:
                full, row = row[:WIDTH], row[WIDTH:]
                self._write(Tile(level, number), b"".join(full))
                roots.append(root_of(full))
                number += 1
            if row:
                self._write(Tile(level, number, len(row)), b"".join(row))
            edge[level] = row
            level += 1
            row = (edge[level] if level < len(edge) else []) + roots if roots else []

    def _write(self, tile: Tile, content: bytes) -> None:
        assert tile.level is None or len(content) == tile.width * HASH_SIZE
        path = self.folder / tile.path
        self._replace(path, content)
        if tile.width == WIDTH:
            # The full tile is safe on the disk: its partial forms are no longer needed.
            shutil.rmtree(f"{path}.p", ignore_errors=True)

    def _replace(self, path: Path, content: bytes) -> None:
        self._make_folder(path.parent)
        replace_file(path, content, mode=self._mode, durable=self._durable)

    def _make_folder(self, folder: Path) -> None:
        if folder in self._synced and folder.is_dir():
            return
        if not folder.is_dir():
            self._make_folder(folder.parent)
            with suppress(FileExistsError):
                folder.mkdir(mode=self._mode | (self._mode & 0o444) >> 2)
            if self._durable:
                sync_folder(folder.parent)
        self._synced.add(folder)


def replace_file(path: Path, content: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Put `content` at `path` so that a reader, or a crash, meets the old file or the new one.

    `durable` flushes the file and then its folder before returning.
    """
    handle, name = mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries: a rename is not durable before that."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
