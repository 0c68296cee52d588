"""The screen as cells: what should be shown, what is shown, and the bytes between them.

No toolkit here. A cell is a character and the SGR parameters it is drawn with; the right
half of a wide character is an empty string. `put` changes what should be shown, `paint`
returns the shortest useful bytes that make it so. Every character passes `guard`, so
nothing that came from an API can reach the terminal as control.

A stretch of characters on whose width terminals disagree is drawn over blanks, whole, and what
follows it is drawn again with a cursor address of its own: whatever cells a terminal gives
them, every other cell shows what is wanted (`console.tui.terminal.unsure_widths`).
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from console.present.cells import char_width
from console.tui.terminal.scroll import moved
from console.tui.terminal.unsure_widths import STAND_IN, Cell, Stretch, blanked, unsure

BLANK: Cell = (" ", "")
UNKNOWN: Cell = ("\0", "")
"""On the screen where it is not known what there is: never wanted, so always drawn over."""
BRIDGE = 6
"""Unchanged cells are redrawn rather than jumped over up to this gap: a move costs as much."""
MAX_MARKS = 4
"""Combining characters kept on one cell; more are a stack meant to overrun its neighbours."""

_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_known: dict[str, tuple[str, int]] = {}
_ASCII = {
    **dict.fromkeys("─━═╌┄┈╶╴┬┴┼├┤", "-"), **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘╭╮╰╯┏┓┗┛", "+"), **dict.fromkeys("▁▂", "."),
    **dict.fromkeys("▃▄", ":"), **dict.fromkeys("▅▆", "+"), **dict.fromkeys("▇█▌▋▉▊▍▎▏", "#"),
    "…": "~", "›": ">", "‹": "<", "·": ".", "•": "*", "▸": ">", "▾": "v", "↑": "^", "↓": "v",
    "→": ">", "←": "<", "–": "-", "—": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "×": "x",
    "≤": "<", "≥": ">",
}  # fmt: skip


def guard(character: str) -> tuple[str, int]:
    """Return what may be drawn for one character of content, and the cells it takes.

    Controls, format and bidirectional characters, private use, surrogates, unassigned
    code points and line separators become U+FFFD. Variation selectors are dropped (their
    effect on width differs between terminals). Zero cells means: joins the cell before.
    """
    known = _known.get(character)
    if known is None:
        if unicodedata.category(character) in _REFUSED:
            known = (STAND_IN, 1)
        elif "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
            known = ("", 0)
        else:
            known = (character, char_width(character))
        if len(_known) > 20_000:
            _known.clear()
        _known[character] = known
    return known


@lru_cache(512)
def cells(text: str, sgr: str) -> Sequence[Cell]:
    """Return `text` as guarded cells, all drawn with `sgr`."""
    if text.isascii() and text.isprintable():
        return [(character, sgr) for character in text]
    out: list[Cell] = []
    for character in text:
        drawn, width = guard(character)
        if width:
            out.append((drawn, sgr))
            if width == 2:
                out.append(("", sgr))
        elif drawn and out:
            place = -2 if out[-1][0] == "" and len(out) > 1 else -1
            base = out[place][0]
            if base and len(base) <= MAX_MARKS:
                out[place] = (base + drawn, sgr)
    return out


class Count(NamedTuple):
    """What the display has cost so far."""

    frames: int
    dropped: int
    sent: int
    """Bytes, UTF-8."""


class Canvas:
    """The wanted and the shown screen. `ascii_only` maps what a C locale cannot draw."""

    def __init__(self, width: int, height: int, *, ascii_only: bool = False) -> None:
        self.ascii_only = ascii_only
        self.frames = self.dropped = self.sent = 0
        self._resize(width, height)

    def _resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._want: list[list[Cell]] = [[BLANK] * width for _ in range(height)]
        self._shown: list[list[Cell]] | None = None
        self._dirty: set[int] = set(range(height))
        self._cursor: tuple[int, int] | None = None

    def fit(self, width: int, height: int) -> None:
        """Take the terminal's size. A new size forgets everything."""
        if (width, height) != (self.width, self.height):
            self._resize(width, height)

    def forget(self) -> None:
        """The terminal shows something unknown: the next paint clears it and draws all."""
        self._shown = None
        self._dirty = set(range(self.height))

    def put(self, x: int, y: int, line: list[Cell]) -> None:
        """Want `line` at column `x` of row `y`; what does not fit is cut."""
        if not 0 <= y < self.height or x >= self.width:
            return
        if x < 0:
            line, x = line[-x:], 0
        line = line[: self.width - x]
        if not line:
            return
        row = self._want[y]
        end = x + len(line)
        if x and row[x][0] == "":
            row[x - 1] = (" ", row[x - 1][1])
        if end < self.width and row[end][0] == "":
            row[end] = (" ", row[end][1])
        row[x:end] = line
        if row[x][0] == "":
            row[x] = (" ", row[x][1])
        if end == self.width or row[end][0] != "":
            last = row[end - 1]
            if last[0] and guard(last[0][0])[1] == 2:
                row[end - 1] = (" ", last[1])
        self._dirty.add(y)

    @property
    def count(self) -> Count:
        """Frames painted and dropped, and bytes sent."""
        return Count(self.frames, self.dropped, self.sent)

    def paint(self, cursor: tuple[int, int] | None = None) -> str:
        """Return the bytes that turn what is shown into what is wanted; empty if nothing.

        `cursor` is where the terminal's own (hidden) cursor rests afterwards, for input
        methods and braille displays.
        """
        out: list[str] = []
        if self._shown is None:
            out.append("\x1b[0m\x1b[H\x1b[2J")
            self._shown = [[BLANK] * self.width for _ in range(self.height)]
            self._dirty = set(range(self.height))
            self._cursor = None
        else:
            out.append(self._scrolled(self._shown))
        pen = _Pen(self._drawn)
        for y in sorted(self._dirty):
            want, shown = self._want[y], self._shown[y]
            if want == shown:
                continue
            found = () if self.ascii_only else unsure(want)
            for start, end in _runs(want, shown, found, () if self.ascii_only else unsure(shown)):
                pen.row(y, start, end, want, found)
            shown[:] = want
        self._dirty.clear()
        data = "".join(out) + pen.lifted()
        if cursor is not None and (data or cursor != self._cursor):
            data += f"\x1b[{cursor[1] + 1};{cursor[0] + 1}H"
            self._cursor = cursor
        if data:
            self.frames += 1
            self.sent += len(data.encode("utf-8", "replace"))
        return data

    def _scrolled(self, shown: list[list[Cell]]) -> str:
        """Return the bytes that move what only moved, and take it as moved."""
        scroll = moved(self._want, shown, sorted(self._dirty))
        if scroll is None:
            return ""
        top, after = scroll.top, scroll.bottom + 1
        rows = shown[top:after]
        blank = [[UNKNOWN] * self.width for _ in scroll.bare]
        kept = rows[scroll.by :] + blank if scroll.by > 0 else blank + rows[: scroll.by]
        shown[top:after] = kept
        self._dirty.update(range(top, after))
        return scroll.bytes

    def _drawn(self, character: str) -> str:
        if not self.ascii_only or character.isascii():
            return character
        wide = guard(character[0])[1] == 2
        return _ASCII.get(character[0], "?") + (" " if wide else "")

    def text(self) -> list[str]:
        """Return the wanted screen as plain lines."""
        return ["".join(character for character, _ in row) for row in self._want]


class _Pen:
    """Writes cells: where the terminal's cursor is, what style it has, and the bytes so far."""

    def __init__(self, drawn: Callable[[str], str]) -> None:
        self._drawn = drawn
        self._out: list[str] = []
        self._sgr = ""
        self._at: tuple[int, int] | None = None

    def row(
        self, y: int, start: int, end: int, line: Sequence[Cell], found: Sequence[Stretch]
    ) -> None:
        """Draw the cells `start` to `end` of row `y`; `found` is what is unsure in the row."""
        self._go(start, y)
        x = start
        for stretch in found:
            if start <= stretch.start < end:
                self._cells(line[x : stretch.start])
                if stretch.loose:
                    self._cells(blanked(line[stretch.start : stretch.end]))
                    self._at = None
                    self._go(stretch.start, y)
                self._cells(stretch.cells(line))
                x, self._at = stretch.end, None
                if x < end:
                    self._go(x, y)
                elif x == len(line) and stretch.start == x - 1 and x > 1:
                    # a terminal that makes it wide makes room for it on its left
                    before = stretch.start - (2 if not line[stretch.start - 1][0] else 1)
                    self._go(before, y)
                    self._cells(line[before : stretch.start])
                    self._at = None
        self._cells(line[x:end])
        if x < end:
            self._at = (end, y) if end < len(line) else None

    def lifted(self) -> str:
        """Return all bytes, with the style given back."""
        return "".join(self._out) + ("\x1b[m" if self._sgr else "")

    def _go(self, x: int, y: int) -> None:
        at, self._at = self._at, (x, y)
        if at == (x, y):
            return
        if at is not None and at[1] == y and x > at[0]:
            gap = x - at[0]
            self._out.append("\x1b[C" if gap == 1 else f"\x1b[{gap}C")
        else:
            self._out.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H")

    def _cells(self, line: Iterable[Cell]) -> None:
        for character, style in line:
            if not character:
                continue
            if style != self._sgr:
                if character == " " and _same_ground(self._sgr, style):
                    self._out.append(character)
                    continue
                self._out.append(turn(self._sgr, style))
                self._sgr = style
            self._out.append(self._drawn(character))


class Look(NamedTuple):
    """SGR parameters taken apart. `lines`: something is drawn where a blank is, or reversed."""

    flags: frozenset[str]
    fore: str
    back: str
    lines: bool


_LINED = frozenset({"4", "5", "7", "8", "9", "21", "51", "52", "53"})


@lru_cache(4096)
def look(sgr: str) -> Look:
    """Return the parts of what `Strip.render_ansi` wrote: flags, then the colours."""
    parts = deque(sgr.split(";") if sgr else ())
    flags, fore, back = set(), "", ""
    while parts:
        one = parts.popleft()
        if one in {"38", "48"}:
            more = 4 if parts and parts[0] == "2" else 2
            whole = ";".join([one, *(parts.popleft() for _ in range(min(more, len(parts))))])
            fore, back = (whole, back) if one == "38" else (fore, whole)
        elif one[:1] in {"3", "9"} and len(one) == 2:
            fore = one
        elif (one[:1] == "4" and len(one) == 2) or (one[:2] == "10" and len(one) == 3):
            back = one
        else:
            flags.add(one)
    return Look(frozenset(flags), fore, back, not flags.isdisjoint(_LINED))


@lru_cache(4096)
def turn(before: str, after: str) -> str:
    """Return the shortest sequence from one drawing style to another.

    What is only added or changed is said alone. What ends is ended by a reset, because
    old terminals do not know how to end one thing (39, 49, 22).
    """
    if not after:
        return "\x1b[m"
    whole = f"\x1b[0;{after}m"
    old, new = look(before), look(after)
    if (
        not before
        or old.flags - new.flags
        or (old.fore and not new.fore)
        or (old.back and not new.back)
    ):
        return whole
    said = sorted(new.flags - old.flags)
    said += [now for was, now in ((old.fore, new.fore), (old.back, new.back)) if was != now]
    return f"\x1b[{';'.join(said)}m"


@lru_cache(4096)
def _same_ground(one: str, other: str) -> bool:
    """Whether a blank looks the same in both: a foreground colour and weight do not show."""
    first, second = look(one), look(other)
    return not first.lines and not second.lines and first.back == second.back


def _alike(one: Cell, other: Cell) -> bool:
    """Whether two cells look the same on the screen."""
    return one == other or (one[0] == other[0] == " " and _same_ground(one[1], other[1]))


def _runs(
    want: list[Cell], shown: list[Cell], wanted: Sequence[Stretch], drawn: Sequence[Stretch]
) -> Iterable[tuple[int, int]]:
    """Yield the stretches of a row to draw again, never starting inside a wide character.

    `wanted` and `drawn` are what is unsure in either.
    """
    width = len(want)
    other = [not _alike(one, two) for one, two in zip(want, shown, strict=True)]
    for each in drawn:
        if any(other[each.start : each.end]):
            # nobody knows which of its cells hold what
            other[each.start : each.end] = [True] * (each.end - each.start)
    for each in wanted:
        if any(other[each.start : each.end]):
            reach = min(width, each.reach)
            other[each.start : reach] = [True] * (reach - each.start)
    # what is unsure and stays is not drawn again to save a move: it would need more moves
    closed = {x for each in wanted if not other[each.start] for x in range(each.start, each.end)}
    x = 0
    while x < width:
        if not other[x]:
            x += 1
            continue
        start = x
        if want[start][0] == "" and start:
            start -= 1
        end = last = x + 1
        while end < width and end - last < BRIDGE and end not in closed:
            if other[end]:
                last = end + 1
            end += 1
        while last < width and want[last][0] == "":
            last += 1
        yield start, last
        x = last
