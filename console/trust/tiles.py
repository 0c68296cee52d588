"""C2SP tiled logs: where hashes and entries lie, and reading them (c2sp.org/tlog-tiles).

A tile holds up to 256 hashes of one height (level L: 8L levels above the leaves), a bundle
up to 256 entries. A full one never changes; the rightmost of each level is partial, and its
path says how wide. The log is read through a `Read`: a folder, or HTTP, the caller's choice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from console.errors import ExitCode, PilotError
from console.model.number import whole_number
from console.trust.merkle import HASH_SIZE, NodeReader, leaf_hashes, new_leaf, root_of

WIDTH = 256
"""Hashes in a full tile, entries in a full bundle."""
MAX_ENTRY = 65_535
"""Bytes of the longest entry: its length is written as a uint16."""
CHECKPOINT = "checkpoint"
"""Path of the newest signed checkpoint."""

Read = Callable[[str], bytes]
"""`read(path)` gives a resource of the log, or raises FileNotFoundError when it has none."""


class Tile(NamedTuple):
    """The place of a hash tile (`level` 0 and up) or of an entry bundle (`level` None)."""

    level: int | None
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Path below the log's prefix: `tile/0/x001/067`, `tile/entries/067.p/8`."""
        level = "entries" if self.level is None else str(self.level)
        groups, rest = [f"{self.number % 1000:03}"], self.number // 1000
        while rest:
            groups.append(f"x{rest % 1000:03}")
            rest //= 1000
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"

    @property
    def full(self) -> Tile:
        """The same tile once it has grown to 256."""
        return self._replace(width=WIDTH)


def parse_tile_path(path: str) -> Tile:
    """Read a tile's path; `PilotError` (`log-path-malformed`) unless it is the one spelling."""
    named = path.removeprefix("tile/")
    named, _, width = named.partition(".p/")
    level, _, number = named.partition("/")
    digits = number.replace("/", "").replace("x", "")
    height = None if level == "entries" else whole_number(level, 2)
    index = whole_number(digits, 24)
    leaves = whole_number(width, 4) if width else WIDTH
    if (level == "entries" or height is not None) and index is not None and leaves is not None:
        tile = Tile(height, index, leaves)
        # Writing it again is the strictest check of zeroes, `x`, and partial widths.
        if tile.path == path and 1 <= tile.width <= WIDTH and (tile.level or 0) <= 63:
            return tile
    raise PilotError("log-path-malformed", f"{path[:200]!a} is not the path of a tile")


def tile_at(level: int, number: int, size: int) -> Tile:
    """Return the tile with that place in a log of `size` entries, as wide as it is there."""
    return Tile(level, number, min((size >> 8 * level) - number * WIDTH, WIDTH))


def tiles_of(size: int) -> Iterator[Tile]:
    """Yield the hash tiles that make up a log of `size` entries, level by level."""
    level = 0
    while size >> 8 * level:
        for number in range(-(-(size >> 8 * level) // WIDTH)):
            yield tile_at(level, number, size)
        level += 1


def bundles_of(size: int) -> Iterator[Tile]:
    """Yield the entry bundles of a log of `size` entries, in order."""
    for number in range(-(-size // WIDTH)):
        yield Tile(None, number, min(size - number * WIDTH, WIDTH))


def check_entries(entries: Iterable[bytes]) -> None:
    """Raise `PilotError` (`log-entry-too-long`) if an entry cannot be written to a bundle."""
    for at, entry in enumerate(entries):
        if len(entry) > MAX_ENTRY:
            raise PilotError(
                "log-entry-too-long",
                f"entry {at} of the batch has {len(entry)} bytes; a log takes {MAX_ENTRY}",
                exit=ExitCode.REFUSED,
            )


def pack_entries(entries: Iterable[bytes]) -> bytes:
    """Write a bundle: each entry after its length as a big-endian uint16."""
    listed = list(entries)
    check_entries(listed)
    return b"".join(part for each in listed for part in (len(each).to_bytes(2, "big"), each))


def unpack_entries(raw: bytes) -> list[bytes]:
    """Read a whole bundle; `PilotError` (`log-bundle-damaged`, exit 11) if it does not end well."""
    entries: list[bytes] = []
    at = 0
    while at + 2 <= len(raw):
        start = at + 2
        at = start + (raw[at] << 8 | raw[at + 1])
        entries.append(raw[start:at])
    if at != len(raw):
        raise _damaged("log-bundle-damaged", "the entry bundle ends inside an entry")
    return entries


def bundle_hashes(raw: bytes, limit: int = WIDTH) -> tuple[list[bytes], int]:
    """Hash the first `limit` entries of a bundle, straight from its bytes.

    Returns the leaf hashes of the entries that are whole, and the offset where reading
    stopped: the end of the bytes when the bundle holds just these entries.
    """
    hashes: list[bytes] = []
    keep, new, at, end = hashes.append, new_leaf, 0, len(raw)
    # This is the loop that verifying a log spends its time in: a bundle that holds what it
    # should is read without asking at each entry; any other is read again, asking.
    try:
        while at < end:
            start = at + 2
            at = start + (raw[at] << 8 | raw[at + 1])
            state = new()
            state.update(raw[start:at])
            keep(state.digest())
    except IndexError:
        at = end + 1
    if at == end and len(hashes) <= limit:
        return hashes, end
    entries: list[bytes] = []
    at = 0
    while len(entries) < limit and at + 2 <= end:
        start = at + 2
        after = start + (raw[at] << 8 | raw[at + 1])
        if after > end:
            break
        entries.append(raw[start:after])
        at = after
    return leaf_hashes(entries), at


def split_hashes(raw: bytes) -> list[bytes]:
    """Cut a tile's bytes into its hashes."""
    return [raw[start:end] for start, end in pairwise(range(0, len(raw) + 1, HASH_SIZE))]


def folder_reader(folder: Path) -> Read:
    """Read a log from a folder that holds its files under the same paths."""

    def read(path: str) -> bytes:
        return (folder / path).read_bytes()

    return read


class TileReader:
    """A log of `size` entries as its tiles tell it: nodes for proofs, and entries.

    Nothing here is verified: a proof made of its nodes is, against a signed root. A tile or
    bundle of the wrong length raises `PilotError` (`log-tile-damaged`, `log-bundle-damaged`,
    exit 11); one that is not there, whatever the `read` given raises.
    """

    def __init__(self, read: Read, size: int, *, cached: int = 64) -> None:
        self.size = size
        self._read = read
        self._cached = cached
        self._cache: OrderedDict[Tile, bytes] = OrderedDict()

    @property
    def nodes(self) -> NodeReader:
        """What `merkle.inclusion_proof` and `merkle.consistency_proof` ask for."""
        return self.node

    def node(self, level: int, index: int) -> bytes:
        """Return the root of the complete subtree `index` of height `level`."""
        if not 0 <= index < self.size >> level:
            raise PilotError(
                "log-proof-range", f"no node {index} at level {level} in a tree of {self.size}"
            )
        tier, inside = divmod(level, 8)
        number, offset = divmod(index << inside, WIDTH)
        hashes = self.hashes(tile_at(tier, number, self.size))
        return root_of(hashes[offset : offset + (1 << inside)])

    def hashes(self, tile: Tile) -> list[bytes]:
        """Return the hashes of a tile, from the full one if the log no longer has the partial."""
        raw = self._fetch(tile)
        if len(raw) < tile.width * HASH_SIZE or len(raw) % HASH_SIZE:
            raise _damaged("log-tile-damaged", f"{tile.path} has {len(raw)} bytes")
        return split_hashes(raw)[: tile.width]

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the entries `start` to `end` (exclusive, at most the size)."""
        at = start
        while at < min(end, self.size):
            bundle = Tile(None, at // WIDTH, min(self.size - at // WIDTH * WIDTH, WIDTH))
            entries = unpack_entries(self._fetch(bundle))
            if len(entries) < bundle.width:
                raise _damaged(
                    "log-bundle-damaged", f"{bundle.path} holds only {len(entries)} entries"
                )
            first = at % WIDTH
            chosen = entries[first : min(bundle.width, first + end - at)]
            yield from chosen
            at += len(chosen)

    def entry(self, index: int) -> bytes:
        """Return one entry's bytes."""
        if not 0 <= index < self.size:
            raise PilotError("log-proof-range", f"no entry {index} in a log of {self.size}")
        return next(self.entries(index, index + 1))

    def _fetch(self, tile: Tile) -> bytes:
        if (raw := self._cache.get(tile)) is not None:
            self._cache.move_to_end(tile)
            return raw
        raw = read_tile(self._read, tile)[0]
        self._cache[tile] = raw
        if len(self._cache) > self._cached:
            self._cache.popitem(last=False)
        return raw


def read_tile(read: Read, tile: Tile) -> tuple[bytes, bool]:
    """Read a tile's bytes; True if they are the full tile's, in place of the partial one's.

    A log may delete a partial tile once it has the full one, which begins with it.
    """
    try:
        return read(tile.path), False
    except FileNotFoundError:
        if tile.width == WIDTH:
            raise
    try:
        return read(tile.full.path), True
    except FileNotFoundError:
        raise FileNotFoundError(tile.path) from None


def _damaged(code: str, message: str) -> PilotError:
    return PilotError(code, message, exit=ExitCode.LOG_FAILED)
