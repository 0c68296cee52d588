"""The columns of a table, and which of them fit how widely into the room there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from console.present.cells import Align

GAP = 2
"""Cells between two columns."""
EASY = 18
"""Cells of a cell that are read without guessing the rest."""


class TableColumn(NamedTuple):
    """One column. `token` says how a row's cell is drawn, `key` what it is sorted by."""

    name: str
    text: Callable[[Any, datetime], str]
    token: Callable[[Any], str]
    key: Callable[[Any], Any]
    priority: int = 1
    """0 is always shown; the highest goes first when room is short."""
    least: int = 4
    most: int = 60
    align: Align = "left"
    moves: bool = False
    """Changes by itself as time passes: never marked as changed."""


def arrange(columns: Sequence[TableColumn], natural: Sequence[int], room: int) -> dict[int, int]:
    """Return the index and width of each column to show, in `room` cells.

    Columns go by priority until the least widths fit; then the widest are cut.
    """
    chosen = list(range(len(columns)))

    def least(index: int) -> int:
        wanted = min(columns[index].least, columns[index].most)
        return max(1, len(columns[index].name), min(wanted, max(natural[index], 1)))

    def total() -> int:
        return sum(least(index) + GAP for index in chosen) - GAP

    def readable(priority: int) -> int:
        def easy(index: int) -> int:
            # what is beside the point leaves whole what the row is about
            whole = priority > 2 and columns[index].priority == 0
            return min(natural[index], columns[index].most if whole else EASY)

        return sum(max(least(index), easy(index)) + GAP for index in chosen) - GAP

    while len(chosen) > 1:
        drop = max(chosen, key=lambda index: (columns[index].priority, index))
        priority = columns[drop].priority
        # what matters less must not squeeze what matters more
        if priority == 0 or (readable(priority) if priority > 1 else total()) <= room:
            break
        chosen.remove(drop)
    widths = {
        index: max(least(index), min(natural[index], columns[index].most)) for index in chosen
    }
    over = sum(widths.values()) + GAP * (len(widths) - 1) - room
    while over > 0:
        # the widest gives way first, so that short cells stay whole
        wide = [index for index in widths if widths[index] > least(index)]
        widest = max(wide or widths, key=lambda index: widths[index])
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
        over -= 1
    return widths
