"""Reading a whole log once: every entry hashed, beside what its leaf tiles say.

Memory is bounded by 64 bytes for each bundle of 256 entries, plus what differs (up to
`MAX_KEPT` bundles). Damage within one bundle is named here; which side of a disagreement
is right takes the whole tree and is decided in `diagnosis`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from console.trust.damage import DamageKind, Findings, span
from console.trust.merkle import HASH_SIZE, peaks_of, root_of, root_of_peaks
from console.trust.tiles import WIDTH, Read, Tile, bundle_hashes, read_tile, split_hashes, tile_at

MAX_KEPT = 256
"""Differing bundles whose hashes are kept, to name each entry."""
GIVE_UP = 16
"""Absent bundles in a row after which the rest of the log counts as missing."""

Progress = Callable[[int, int], None]
"""`progress(entries done, entries in all)`."""


class Mismatch(NamedTuple):
    """A bundle whose entries do not hash to its leaf tile."""

    number: int
    computed: list[bytes]
    stored: list[bytes]


class View(NamedTuple):
    """The tree as one side tells it: the root of each full bundle, and peaks of the rest."""

    bundles: list[bytes]
    tail: list[bytes]
    """The complete subtrees within the partial bundle at the end, largest first."""

    @property
    def root(self) -> bytes:
        """The root of this tree."""
        return root_of_peaks([*peaks_of(self.bundles), *self.tail])


class Scan:
    """One pass over the bundles and leaf tiles of a log of `size` entries.

    `cuts` are smaller sizes whose roots will be asked for.
    """

    def __init__(
        self,
        read: Read,
        size: int,
        found: Findings,
        *,
        cuts: Iterable[int] = (),
        progress: Progress | None = None,
    ) -> None:
        self.size = size
        self.read = read
        self.found = found
        self.by_entries = View([], [])
        """What the entries hash to; where one cannot be read, what its tile says instead."""
        self.by_tiles = View([], [])
        """What the leaf tiles say; where one cannot be read, what the entries hash to."""
        self.mismatches: list[Mismatch] = []
        self.hashed = 0
        self.unknown: int | None = None
        """The first entry of which neither the bytes nor the hash could be read."""
        self.cut_tails: dict[int, tuple[list[bytes], list[bytes]]] = {}
        """For each cut, the peaks of its partial bundle by entries, and by tile."""
        self._cuts: dict[int, list[int]] = {}
        for cut in cuts:
            self._cuts.setdefault(cut // WIDTH, []).append(cut)
        self._progress = progress
        self._absent: list[int] = []
        self._unkept = 0

    def run(self, roots: Iterator[bytes | None]) -> None:
        """Read everything.

        `roots` gives the bundles' roots, in order, as far as entries and leaf tiles have been
        read and found to agree already; None where there is more to say, or none was read.
        """
        for number in range(-(-self.size // WIDTH)):
            root = next(roots, None)
            if root is None or number in self._cuts:
                self._bundle(number, min(self.size - number * WIDTH, WIDTH))
            else:
                self._end_of_absent()
                self.hashed += WIDTH
                self.by_entries.bundles.append(root)
                self.by_tiles.bundles.append(root)
            if self._progress:
                self._progress(min((number + 1) * WIDTH, self.size), self.size)
            if len(self._absent) == GIVE_UP:
                break
        self._end_of_absent(whole_rest=len(self._absent) == GIVE_UP)
        if self._unkept:
            self.found.add(
                DamageKind.TILES_DISAGREE,
                "tile/entries",
                f"{self._unkept} more bundles do not hash to their leaf tiles",
            )

    def _bundle(self, number: int, width: int) -> None:
        tile = tile_at(0, number, self.size)
        bundle = Tile(None, number, width)
        raw = fetch(self.read, bundle, self.found)
        held = fetch(self.read, tile, self.found)
        if held is None and raw is None:
            self._absent.append(number)
            self._take(number, width, [], [])
            return
        self._end_of_absent()
        told = None
        if held is None:
            self.found.add(DamageKind.TILE_MISSING, tile.path, "the hash tile is not there")
        else:
            told = tile_bytes(tile, *held, self.found)
        if raw is None:
            self.found.add(
                DamageKind.ENTRIES_MISSING,
                span(number * WIDTH, number * WIDTH + width),
                f"{bundle.path} is not there",
            )
            self._take(number, width, [], split_hashes(told or b""))
            return
        hashes, end = bundle_hashes(raw[0], width)
        # Comparing the bytes first spares cutting up a tile that agrees.
        agrees = told is not None and b"".join(hashes) == told
        stored = hashes if agrees else split_hashes(told or b"")
        over = 0 if raw[1] else len(raw[0]) - end
        if over or len(hashes) < width:
            hashes = self._sound(bundle, len(raw[0]), over, hashes, stored)
        self.hashed += len(hashes)
        self._take(number, width, hashes, stored)

    def _sound(
        self, bundle: Tile, length: int, over: int, hashes: list[bytes], stored: list[bytes]
    ) -> list[bytes]:
        """Name what is wrong with a bundle that does not hold just its entries.

        Returns the hashes of those before the point where it stops making sense.
        """
        short, first = len(hashes) < bundle.width, bundle.number * WIDTH
        pairs = enumerate(zip(hashes, stored, strict=False))
        wrong = [at for at, (computed, told) in pairs if computed != told]
        # One changed length shifts all that follows: from there on, nothing agrees.
        if wrong and len(wrong) == len(hashes) - wrong[0] and (short or len(wrong) > 1):
            self.found.add(
                DamageKind.BUNDLE_GARBLED,
                bundle.path,
                f"its entries make no sense from entry {first + wrong[0]} on",
            )
            return hashes[: wrong[0]]
        if short:
            self.found.add(
                DamageKind.BUNDLE_TRUNCATED,
                bundle.path,
                f"it ends at byte {length}, before entry {first + len(hashes)} is complete",
            )
        else:
            self.found.add(
                DamageKind.BUNDLE_TRAILING, bundle.path, f"{over} bytes follow its last entry"
            )
        return hashes

    def _take(self, number: int, width: int, hashes: list[bytes], stored: list[bytes]) -> None:
        """Add a bundle to both views, and keep it if they differ."""
        if hashes is stored:
            computed = told = hashes
        elif hashes != stored:
            known = max(len(hashes), len(stored))
            if known < width and self.unknown is None:
                self.unknown = number * WIDTH + known
            computed = hashes + stored[len(hashes) :]
            told = stored or hashes
        elif hashes:
            computed = told = hashes
        else:
            computed = told = []
            self.unknown = number * WIDTH if self.unknown is None else self.unknown
        if computed != told:
            if len(self.mismatches) < MAX_KEPT:
                self.mismatches.append(Mismatch(number, computed, told))
            else:
                self._unkept += 1
        self._cut(number, computed, told)
        if width == WIDTH:
            root = root_of(computed)
            self.by_entries.bundles.append(root)
            self.by_tiles.bundles.append(root if told is computed else root_of(told))
        else:
            self.by_entries.tail.extend(peaks_of(computed))
            self.by_tiles.tail.extend(peaks_of(told))

    def _cut(self, number: int, computed: list[bytes], told: list[bytes]) -> None:
        for cut in self._cuts.get(number, ()):
            width = cut % WIDTH
            self.cut_tails[cut] = (peaks_of(computed[:width]), peaks_of(told[:width]))

    def _end_of_absent(self, *, whole_rest: bool = False) -> None:
        if self._absent:
            first = self._absent[0] * WIDTH
            end = self.size if whole_rest else min((self._absent[-1] + 1) * WIDTH, self.size)
            self.found.add(
                DamageKind.ENTRIES_MISSING,
                span(first, end),
                f"the checkpoint counts {self.size} entries; these and their hashes are not there",
            )
            self._absent.clear()


def fetch(read: Read, tile: Tile, found: Findings) -> tuple[bytes, bool] | None:
    """Read a tile or bundle as `read_tile` does; None if it is not there.

    Any other failure to read it is noted as damage.
    """
    try:
        return read_tile(read, tile)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        why = error.strerror or type(error).__name__
        found.add(DamageKind.UNREADABLE, tile.path, f"it cannot be read: {why}")
        return None


def tile_bytes(tile: Tile, raw: bytes, whole: bool, found: Findings) -> bytes | None:
    """Return the bytes of a tile's hashes; None, with the damage noted, if it is too short."""
    expected = (WIDTH if whole else tile.width) * HASH_SIZE
    if len(raw) < expected:
        found.add(
            DamageKind.TILE_TRUNCATED,
            tile.path,
            f"it has {len(raw)} bytes of {expected}",
        )
        return None
    if len(raw) > expected:
        found.add(
            DamageKind.TILE_TRAILING,
            tile.path,
            f"{len(raw) - expected} bytes follow its last hash",
        )
    return raw[: tile.width * HASH_SIZE]
