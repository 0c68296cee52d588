"""The only way that text gets onto the screen: made safe, styled, cut to its room.

No widget of Textual's that takes text is used anywhere in the console, because each of
them draws control characters and reads markup out of what it is given. Widgets here
draw lines; a line is made of `ink`. A test holds that no other module makes a Segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from console.present.cells import clip, width
from console.present.safe import safe
from console.tui.terminal.coded_text import coded


class Ink(NamedTuple):
    """Some text in the style of some tokens, before a palette is known."""

    text: str
    token: str = ""


Line = list[Ink]
"""One line of a reading: what a detail, a plan, a receipt or the help is made of."""


def quoted(said: str) -> Line:
    """Return a sentence of our own with what it puts between backticks as keys are drawn."""
    parts = said.split("`")
    return [Ink(part, "key" if at % 2 else "") for at, part in enumerate(parts) if part]


def text(content: str) -> str:
    """Return `content` fit to be drawn on one line."""
    return safe(content)


class WholeLine(Strip):
    """A line of the screen that does not refer to itself.

    Textual's own remembers itself as its only part when it is divided at its end. Every line
    that was drawn would then wait for the collector, with all that it remembers.
    """

    def divide(self, cuts: Iterable[int]) -> Sequence[Strip]:
        """Return the strip in parts that end at `cuts`."""
        ends = [cut for cut in cuts if cut <= self.cell_length]
        return [self] if ends == [self.cell_length] else super().divide(ends)


def whole_line(line: Strip) -> WholeLine:
    """Return `line` as one that goes when nobody holds it any more."""
    return WholeLine(line, line.cell_length)


def strip(parts: Iterable[tuple[str, Style]], cells: int, ground: Style) -> Strip:
    """Return `parts` as one line of exactly `cells`, the rest of it in `ground`."""
    segments: list[Segment] = []
    left = cells
    for content, style in parts:
        if left <= 0:
            break
        shown = safe(content)
        taken = width(shown)
        if taken > left:
            shown = clip(shown, left)
            taken = width(shown)
        if shown:
            segments.append(Segment(coded(shown), style))
            left -= taken
    if left > 0:
        segments.append(Segment(" " * left, ground))
    return Strip(segments, cells)


def stretches(lines: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending line numbers as the first and the count of each unbroken stretch."""
    found: list[tuple[int, int]] = []
    for y in lines:
        if found and sum(found[-1]) == y:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((y, 1))
    return found
