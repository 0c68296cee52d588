"""A terminal with a width table of its own, as each terminal has: it may join, widen or lose."""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1bM|\r|\n|[^\x1b]")


class OddTerminal:
    """A screen on which a character takes the cells that `taken` gives it: 0, 1 or 2.

    One of none joins the cell before the cursor. Writing over half of a wide character leaves
    its other half blank. Lines are not wrapped.
    """

    def __init__(self, width: int, height: int, taken: Callable[[str], int]) -> None:
        self.width, self.height, self._taken = width, height, taken
        self.cells = [[(" ", "")] * width for _ in range(height)]
        self._x = self._y = 0
        self._sgr = ""
        self._top, self._bottom = 0, height - 1

    def feed(self, data: str) -> None:
        """Take what a program writes."""
        for found in _TOKEN.finditer(data):
            match found[0], found[2]:
                case "\r", _:
                    self._x = 0
                case "\n", _:
                    self._scroll_or_move(1)
                case "\x1bM", _:
                    self._scroll_or_move(-1)
                case _, None:
                    self._draw(found[0])
                case _:
                    self._control(found[1], found[2])

    def _control(self, said: str, final: str) -> None:
        numbers = [int(each or 0) for each in said.split(";")] if "?" not in said else []
        if final == "H":
            self._y, self._x = max(1, numbers[0]) - 1, max(1, (*numbers, 1)[1]) - 1
        elif final == "G":
            self._x = min(self.width, max(1, numbers[0])) - 1
        elif final == "C":
            self._x = min(self.width - 1, self._x + max(1, numbers[0]))
        elif final == "m":
            self._style(said)
        elif final == "K":
            row = self.cells[self._y]
            self._halve(row, self._x)
            row[self._x :] = [(" ", "")] * (self.width - self._x)
        elif final == "J":
            self.cells = [[(" ", "")] * self.width for _ in range(self.height)]
        elif final == "r":
            self._top, self._bottom = ((numbers[0] - 1, numbers[1] - 1) if said
                                       else (0, self.height - 1))  # fmt: skip
            self._x = self._y = 0

    def _style(self, said: str) -> None:
        # the styles of the tests are one parameter each, or a colour: a new one is whole
        parts = said.split(";")
        self._sgr = ";".join(parts[1:]) if parts[0] in {"", "0"} else said

    def _scroll_or_move(self, by: int) -> None:
        edge = self._bottom if by > 0 else self._top
        if self._y != edge:
            self._y += by
            return
        rows = self.cells[self._top : self._bottom + 1]
        blank = [[(" ", "")] * self.width]
        rows = rows[1:] + blank if by > 0 else blank + rows[:-1]
        self.cells[self._top : self._bottom + 1] = rows

    def _draw(self, char: str) -> None:
        taken, row = self._taken(char), self.cells[self._y]
        if taken == 0:
            at = self._x - 1
            if at > 0 and row[at][0] == "":
                at -= 1
            if at >= 0:
                row[at] = (row[at][0] + char, row[at][1])
            return
        at = min(self._x, self.width - taken)
        for place in range(at, at + taken):
            self._halve(row, place)
        row[at : at + taken] = [(char, self._sgr), ("", self._sgr)][:taken]
        self._x = at + taken

    def _halve(self, row: list[tuple[str, str]], at: int) -> None:
        if row[at][0] == "" and at:
            row[at - 1] = (" ", row[at - 1][1])
        if at + 1 < self.width and row[at + 1][0] == "":
            row[at + 1] = (" ", row[at + 1][1])
