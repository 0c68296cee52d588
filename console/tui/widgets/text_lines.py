"""Lines of ink: the widget behind the bars, the plans, the receipts and the readings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from console.present.cells import clip, width
from console.tui.theme.palette import Palette
from console.tui.widgets.cached_lines import Drawn
from console.tui.widgets.strips import Ink, Line, stretches, strip


class Subject(NamedTuple):
    """What can be acted on: a noun of the model, its id (or slug), and the object if known."""

    noun: str
    id: str
    value: object = None


class ReadLine(NamedTuple):
    """A line of a reading. With a subject, the cursor stops at it."""

    inks: Line
    subject: Subject | None = None


def wrap(text: str, room: int, indent: str = "") -> list[str]:
    """Return `text` in lines of at most `room` cells, broken at spaces where there are any."""
    out: list[str] = []
    left = text
    first = True
    while left:
        lead = "" if first else indent
        space = max(8, room - width(lead))
        if width(left) <= space:
            out.append(lead + left)
            break
        head = clip(left, space, mark="")
        at = head.rfind(" ")
        if at > space // 3 and left[len(head) : len(head) + 1] != " ":
            head = head[:at]
        out.append(lead + head.rstrip())
        left = left[max(1, len(head)) :].lstrip()
        first = False
    return out or [""]


class Lines(Drawn):
    """Some lines, from the top, cut at the width. `ground` is the token behind them."""

    def __init__(
        self, palette: Callable[[], Palette], ground: str = "", *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._palette = palette
        self.ground = ground
        self.lines: Sequence[Line] = ()

    def set(self, lines: Sequence[Line]) -> None:
        """Show other lines; only those are drawn that are not the same."""
        before, self.lines = self.lines, list(lines)
        pairs = list(zip_longest(before, self.lines))
        other = [y for y, (old, new) in enumerate(pairs) if old != new]
        if other:
            self.refresh(*(Region(0, y, self.size.width, count) for y, count in stretches(other)))

    def render_line(self, y: int) -> Strip:
        """Draw line `y`."""
        palette = self._palette()
        inks = self.lines[y] if y < len(self.lines) else []
        return strip(
            [(ink.text, palette.style(self.ground, ink.token)) for ink in inks],
            self.size.width,
            palette.style(self.ground),
        )


class Reading(Drawn, can_focus=True):
    """Lines to read through, some of which can be acted on."""

    class Moved(Message):
        """The cursor is on another line."""

    def __init__(self, palette: Callable[[], Palette], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._palette = palette
        self.lines: Sequence[ReadLine] = ()
        self.top = 0
        self.at = -1

    def show(self, lines: Sequence[ReadLine], top: int, at: int) -> None:
        """Show `lines` from line `top` on, with the cursor on line `at` (-1: nowhere)."""
        self.lines, self.at = lines, at if at < len(lines) else -1
        self.top = max(0, min(top, len(lines) - self.size.height))
        self.refresh()

    @property
    def subject(self) -> Subject | None:
        """What the line under the cursor is about."""
        return self.lines[self.at].subject if 0 <= self.at < len(self.lines) else None

    def move(self, by: int) -> None:
        """Go to the next line that can be acted on, or scroll towards it."""
        step = 1 if by > 0 else -1
        height = max(1, self.size.height)
        at = self.at
        if not self.top <= at < self.top + height:
            at = self.top - 1 if by > 0 else self.top + height
        while True:
            at += step
            if not self.top <= at < self.top + height or not 0 <= at < len(self.lines):
                self._scroll(step)
                return
            if self.lines[at].subject is not None:
                self.at = at
                self.refresh()
                self.post_message(self.Moved())
                return

    def page(self, by: int) -> None:
        """Scroll by screens."""
        self._scroll(by * max(1, self.size.height - 1))

    def go(self, index: int) -> None:
        """Scroll so that line `index` can be seen."""
        self._scroll(index - self.top)

    def _scroll(self, by: int) -> None:
        self.top = max(0, min(self.top + by, len(self.lines) - self.size.height))
        self.refresh()
        self.post_message(self.Moved())

    def render_line(self, y: int) -> Strip:
        """Draw one line; the one under the cursor on the cursor's ground."""
        palette = self._palette()
        place = self.top + y
        if place >= len(self.lines):
            return strip([], self.size.width, palette.style())
        over = "cursor" if place == self.at and self.lines[place].subject else ""
        return strip(
            [
                (" ", palette.style(over)),
                *((ink.text, palette.style(ink.token, over)) for ink in self.lines[place].inks),
            ],
            self.size.width,
            palette.style(over),
        )


def plain(*lines: str, token: str = "") -> list[Line]:
    """Return each text as a line in one style."""
    return [[Ink(line, token)] for line in lines]
