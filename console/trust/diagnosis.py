"""Deciding, from a scan and a signed root, what exactly is wrong with a log.

Hashes are the judge. Whichever side of a disagreement (entries, leaf tiles, or a higher
tile) leads to the signed root is right, and the other was changed. Where the signed root
settles nothing, the tile above does; where that settles nothing either, the report says so.
"""

from __future__ import annotations

from itertools import groupby

from console.trust.checkpoint import Checkpoint
from console.trust.damage import DamageKind, Findings, span
from console.trust.merkle import peaks_of, root_of, root_of_peaks
from console.trust.scan import Mismatch, Scan, View, fetch, tile_bytes
from console.trust.tiles import WIDTH, split_hashes, tile_at


class Diagnosis:
    """What the log's resources, taken together, say about each other and about `head`."""

    def __init__(self, scan: Scan, head: Checkpoint, found: Findings) -> None:
        self.scan = scan
        self.head = head
        self.found = found
        self.complete = scan.unknown is None
        self.rows = self._stored_rows()
        self.tile_right: dict[int, bool | None] = {}
        """For each differing bundle: True if its tile is right, False if its entries are."""
        self.tiles_right = False
        """The same for the differing bundles that were not kept."""
        self.truth = self._settle()
        self.settled = self.complete and self.truth.root == head.root
        """Whether `truth` is the tree that was signed."""

    def report(self) -> None:
        """Name every damage that the pass over the entries could not name by itself."""
        self._name_mismatches()
        self._name_rows()
        if self.complete and (root := self.scan.by_entries.root) != self.head.root:
            self.found.add(
                DamageKind.ROOT_MISMATCH,
                f"checkpoint {self.head.size}",
                f"its root is {self.head.root.hex()}, its entries make {root.hex()}",
            )

    def prefix_matches(self, older: Checkpoint) -> bool:
        """Say whether the first `older.size` entries give `older.root`.

        Only the signed tree answers when it is known; otherwise any side's view may.
        """
        whole, scan = older.size // WIDTH, self.scan
        tails = scan.cut_tails.get(older.size, ([], []))
        if self.settled:
            chosen = tails[1 if self.tile_right.get(whole, self.tiles_right) else 0]
            views = [View(self.truth.bundles[:whole], chosen)]
        else:
            rows = [self.truth.bundles, scan.by_entries.bundles, scan.by_tiles.bundles]
            rows += self.rows[:1]
            views = [View(row[:whole], tail) for row in rows for tail in tails]
        return any(view.root == older.root for view in views)

    def _stored_rows(self) -> list[list[bytes]]:
        """Read the tiles of level 1 and up: one list of hashes for each level.

        A tile that cannot be read is noted, and stands as the level below makes it.
        """
        rows: list[list[bytes]] = []
        known = self.scan.size if self.scan.unknown is None else self.scan.unknown
        below = self.scan.by_entries.bundles[: known // WIDTH]
        level = 1
        while below:
            row: list[bytes] = []
            for number in range(-(-len(below) // WIDTH)):
                tile = tile_at(level, number, self.scan.size)
                made = below[number * WIDTH : (number + 1) * WIDTH]
                if len(made) < tile.width:  # it covers entries that are missing
                    row += made
                    continue
                held = fetch(self.scan.read, tile, self.found)
                if held is None:
                    self.found.add(DamageKind.TILE_MISSING, tile.path, "the hash tile is not there")
                told = tile_bytes(tile, *held, self.found) if held else None
                row += split_hashes(told) if told else made
            rows.append(row)
            below = raised(below)
            level += 1
        return rows

    def _settle(self) -> View:
        """Choose, bundle by bundle, between entries and leaf tile."""
        entries, tiles = self.scan.by_entries, self.scan.by_tiles
        for view, right in ((entries, False), (tiles, True)):
            if self.complete and view.root == self.head.root:
                self.tile_right = dict.fromkeys((m.number for m in self.scan.mismatches), right)
                self.tiles_right = right
                return view
        bundles = list(entries.bundles)
        parents = self.rows[0] if self.rows else []
        for mismatch in self.scan.mismatches:
            number = mismatch.number
            self.tile_right[number] = None
            if number < min(len(parents), len(bundles)):
                told = tiles.bundles[number]
                if parents[number] == told:
                    self.tile_right[number], bundles[number] = True, told
                elif parents[number] == bundles[number]:
                    self.tile_right[number] = False
        last = self.scan.size // WIDTH
        for tail, right in ((entries.tail, False), (tiles.tail, True)):
            view = View(bundles, tail)
            if self.complete and view.root == self.head.root:
                if last in self.tile_right:
                    self.tile_right[last] = right
                return view
        return View(bundles, entries.tail)

    def _name_mismatches(self) -> None:
        altered: list[Mismatch] = []
        for each in self.scan.mismatches:
            path = tile_at(0, each.number, self.scan.size).path
            right = self.tile_right.get(each.number)
            if right:
                altered.append(each)
                continue
            for start, end in differing(each.computed, each.stored):
                entries = span(each.number * WIDTH + start, each.number * WIDTH + end)
                if right is None:
                    self.found.add(
                        DamageKind.TILES_DISAGREE,
                        entries,
                        f"the entries and {path} disagree, and nothing signed settles it",
                    )
                else:
                    self.found.add(DamageKind.TILE_ALTERED, path, f"it is wrong about {entries}")
        self._name_entries(altered)

    def _name_entries(self, altered: list[Mismatch]) -> None:
        """Tell entries that were moved from entries that were changed."""
        belongs = {
            stored: each.number * WIDTH + at
            for each in altered
            for at, (computed, stored) in enumerate(zip(each.computed, each.stored, strict=True))
            if computed != stored
        }
        for each in altered:
            first = each.number * WIDTH
            changed: list[int] = []
            for at, (computed, stored) in enumerate(zip(each.computed, each.stored, strict=True)):
                if computed == stored:
                    continue
                if (place := belongs.get(computed)) is None:
                    changed.append(at)
                else:
                    self.found.add(
                        DamageKind.ENTRIES_REORDERED,
                        f"entry {first + at}",
                        f"entry {place} stands in its place",
                    )
            for start, end in runs(changed):
                self.found.add(
                    DamageKind.ENTRY_ALTERED,
                    span(first + start, first + end),
                    "the bytes are not those that were signed for",
                )

    def _name_rows(self) -> None:
        """Compare the tiles of level 1 and up with what lies below them."""
        made, signed = self.truth.bundles, self.settled
        for level, row in enumerate(self.rows, start=1):
            made = made[: len(row)]
            wrong = differing(made, row)
            if wrong and not signed and self._leads_to_root(level):
                for start, end in wrong:
                    step = WIDTH**level
                    self.found.add(
                        DamageKind.ENTRIES_REWRITTEN,
                        span(start * step, end * step),
                        f"level {level} still holds what was signed; all below it was changed",
                    )
                made, signed = row, True
            elif wrong:
                kind = DamageKind.TILE_ALTERED if signed else DamageKind.TILES_DISAGREE
                for start, end in wrong:
                    self._name_tile(kind, level, start, end)
                if not signed:
                    made = row
            made = raised(made)

    def _name_tile(self, kind: DamageKind, level: int, start: int, end: int) -> None:
        first, last = start // WIDTH, (end - 1) // WIDTH
        for number in range(first, last + 1):
            self.found.add(
                kind,
                tile_at(level, number, self.scan.size).path,
                f"its hashes {max(start, number * WIDTH) % WIDTH}"
                f"-{(min(end, (number + 1) * WIDTH) - 1) % WIDTH} are not those of the level below",
            )

    def _leads_to_root(self, level: int) -> bool:
        """Say whether the stored row of `level`, with the edges below it, gives the root."""
        if not self.complete:
            return False
        edges: list[bytes] = []
        for row in reversed(self.rows[: level - 1]):
            edges += peaks_of(row[len(row) // WIDTH * WIDTH :])
        top = peaks_of(self.rows[level - 1])
        tails = (self.scan.by_entries.tail, self.scan.by_tiles.tail)
        return any(root_of_peaks([*top, *edges, *tail]) == self.head.root for tail in tails)


def raised(row: list[bytes]) -> list[bytes]:
    """Return the row of the next tile level: the root of each 256 hashes."""
    return [root_of(row[at : at + WIDTH]) for at in range(0, len(row) - WIDTH + 1, WIDTH)]


def differing(left: list[bytes], right: list[bytes]) -> list[tuple[int, int]]:
    """Return the ranges (start, end) of places where two rows differ."""
    pairs = enumerate(zip(left, right, strict=False))
    return runs([at for at, (one, other) in pairs if one != other])


def runs(places: list[int]) -> list[tuple[int, int]]:
    """Join ascending numbers into ranges (start, end) without gaps."""
    ranges = []
    for _, run in groupby(enumerate(places), lambda each: each[1] - each[0]):
        found = [at for _, at in run]
        ranges.append((found[0], found[-1] + 1))
    return ranges
