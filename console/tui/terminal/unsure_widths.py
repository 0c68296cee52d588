"""The stretches of a row on whose width terminals disagree, and how to draw them harmlessly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from console.present.cells import Certainty, certainty, is_joining

Cell: TypeAlias = tuple[str, str]

STAND_IN = "\N{REPLACEMENT CHARACTER}"
MAX_CELLS = 2
"""Cells that one character takes at most, in any terminal."""


class Stretch(NamedTuple):
    """Neighbouring cells whose characters may take other cells than theirs."""

    start: int
    end: int
    reach: int
    """The column before which the terminal's cursor stands after it, whatever it takes."""
    loose: bool
    """It may take fewer cells too, so that what was there would be left in between."""
    homeless: frozenset[int]
    """The columns of signs that would join what stands before them: another's text."""

    def cells(self, line: Sequence[Cell]) -> Sequence[Cell]:
        """Return its cells of `line` as they are drawn."""
        own = line[self.start : self.end]
        if not self.homeless:
            return own
        return [(STAND_IN if x in self.homeless else text, style)
                for x, (text, style) in enumerate(own, self.start)]  # fmt: skip


def unsure(line: Sequence[Cell]) -> Sequence[Stretch]:
    """Return the stretches of `line` that are not sure to take their cells, in order."""
    if "".join([text for text, _ in line]).isascii():
        return ()
    found: list[Stretch] = []
    end = 0
    for x, (text, _) in enumerate(line):
        if x >= end and not text.isascii() and certainty(text) is not Certainty.SURE:
            found.append(_stretch(line, x))
            end = found[-1].end
    return found


def _stretch(line: Sequence[Cell], start: int) -> Stretch:
    """Return the stretch that begins at column `start`, with the letter that it joins."""
    loose, most, homeless = False, 0, set()
    joined = _base(line, start) if is_joining(line[start][0][0]) else None
    has_base = joined is not None
    end = start
    while end < len(line):
        text = line[end][0]
        if text:
            kind = certainty(text)
            if kind is Certainty.SURE:
                break
            if is_joining(text[0]) and not has_base:
                homeless.add(end)
            has_base = kind is Certainty.LOOSE or text.isalnum()
            loose = loose or kind is Certainty.LOOSE
            most += MAX_CELLS * len(text)
        end += 1
    if joined is not None:
        start, most = joined, most + MAX_CELLS
    return Stretch(start, end, max(end, start + most), loose, frozenset(homeless))


def _base(line: Sequence[Cell], at: int) -> int | None:
    """Return where the letter before column `at` stands, which a sign there joins."""
    if not at:
        return None
    base = at - 2 if line[at - 1][0] == "" and at > 1 else at - 1
    return base if line[base][0].isalnum() else None


def blanked(line: Sequence[Cell]) -> Iterable[Cell]:
    """Return blanks on the ground of each cell."""
    return ((" ", style) for _, style in line)
