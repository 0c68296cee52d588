"""Rows that moved: a list that scrolls is moved by the terminal, not drawn again.

A terminal's scrolling region (DECSTBM, VT100) moves whole rows in some twenty bytes;
drawing twenty rows that differ in a few cells each costs six hundred, which is most of a
second at 9,600 bit/s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

Row = TypeVar("Row", bound=Sequence[object])

FARTHEST = 8
"""Rows that a list is looked for up or down from where it was."""
MIN_CHANGED_ROWS = 5
"""Changed rows below which nothing is worth moving."""
COST = 24
"""Bytes of a move."""
JUMP = 8
"""Bytes to go to a cell and set how it is drawn."""


class Scroll(NamedTuple):
    """The rows `top` to `bottom` (both within) go up by `by`, down where it is negative."""

    top: int
    bottom: int
    by: int

    @property
    def bytes(self) -> str:
        """What makes the terminal do it. Leaves no region behind; the cursor is anywhere."""
        region = f"\x1b[{self.top + 1};{self.bottom + 1}r"
        if self.by > 0:
            return f"{region}\x1b[{self.bottom + 1}H" + "\n" * self.by + "\x1b[r"
        return f"{region}\x1b[{self.top + 1}H" + "\x1bM" * -self.by + "\x1b[r"

    @property
    def bare(self) -> range:
        """The rows that come in: what they hold must be drawn."""
        if self.by > 0:
            return range(self.bottom - self.by + 1, self.bottom + 1)
        return range(self.top, self.top - self.by)


def moved(want: Sequence[Row], shown: Sequence[Row], dirty: Sequence[int]) -> Scroll | None:
    """Return the move after which less is left to draw; None where none helps enough."""
    changed = [y for y in sorted(dirty) if want[y] != shown[y]]
    if len(changed) < MIN_CHANGED_ROWS:
        return None
    top, bottom = changed[0], changed[-1]
    best, most = 0, MIN_CHANGED_ROWS - 1
    for by in (step * sign for step in range(1, FARTHEST + 1) for sign in (1, -1)):
        same = sum(
            top <= y + by <= bottom and want[y] == shown[y + by] != shown[y] for y in changed
        )
        if same > most:
            best, most = by, same
    if not best:
        return None
    scroll = Scroll(top, bottom, best)
    now = sum(_bytes(want[y], shown[y]) for y in changed)
    then = sum(
        len(want[y]) if y in scroll.bare else _bytes(want[y], shown[y + best])
        for y in range(top, bottom + 1)
    )
    return scroll if then + COST < now else None


def _bytes(one: Row, other: Row) -> int:
    """Return about how many bytes draw `one` over `other`: each cell, each stretch of them."""
    if one == other:
        return 0
    cells, last = 0, -2
    for at, (a, b) in enumerate(zip(one, other, strict=True)):
        if a != b:
            cells += 1 if at - last == 1 else 1 + JUMP
            last = at
    return cells
