"""A row of numbers as bars over two axes, in characters: the words beside it carry the units.

Time runs to the right. Nothing here knows colours: a bar is told from the ground by its
shape, and a chosen one by a mark under it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from console.present.amounts import amount
from console.present.cells import fit, width

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LABEL_GAP = 2
_STEPS = {1: (1, 2, 4, 5, 10), 2: (1, 2, 4, 8), 3: (1, 3, 6), 5: (1, 2, 5, 10), 8: (1, 2, 4, 8)}
"""By the scale's leading digit: the heights that leave round numbers on it."""


class Bar(NamedTuple):
    """One bar: what it is called on the axis, and its height."""

    label: str
    value: float


class Plot(NamedTuple):
    """A plot as lines: the rows of bars with their scale, the axis, and its labels."""

    rows: tuple[tuple[str, str], ...]
    """The scale's text and the bars, from the top."""
    axis: str
    labels: str


def plot(bars: Sequence[Bar], cells: int, height: int, *, chosen: int | None = None) -> Plot:
    """Return `bars` in `cells` x at most `height` characters, the axis and its labels below.

    Bars are as wide as there is room for, at most eight cells. Where there are more bars than
    cells, neighbours share one, and the largest of them is drawn. `chosen` is the index of a
    bar to mark on the axis.
    """
    top = nice(max((bar.value for bar in bars), default=0.0))
    height = max((each for each in _STEPS[_lead(top)] if each <= height), default=1)
    scale = [amount_of(top * (height - at) / height, top) for at in range(height)] + ["0"]
    lead = max(map(width, scale))
    room = max(1, cells - lead - 2)
    shown = _shared(bars, room)
    size = max(1, min(8, room // max(1, len(shown))))
    drawn = 1 if size == 1 else size - (1 if size > 2 else 0)
    rows = []
    for level in range(height, 0, -1):
        line = "".join(
            _piece(bar.value, top, level, height) * drawn + " " * (size - drawn) for bar in shown
        )
        rows.append((f"{fit(scale[height - level], lead, 'right')} ┤", line.rstrip()))
    per = len(bars) / max(1, len(shown))
    mark = None if chosen is None else int(chosen / per) * size
    axis, labels = _axis(shown, size, mark)
    return Plot(tuple(rows), f"{fit('0', lead, 'right')} ┼{axis}", " " * (lead + 2) + labels)


def _lead(top: float) -> int:
    return round(top / 10.0 ** math.floor(math.log10(top) + 1e-9))


def amount_of(value: float, top: float) -> str:
    """Return a scale's number, with as many digits as its top needs."""
    if top < 10 and value != int(value):
        return f"{value:.1f}"
    # one unit for the whole scale
    return f"{value / 1000:g} k" if 10_000 <= top < 1_000_000 else amount(value)


def nice(top: float) -> float:
    """Return the least round number (1, 2, 3, 5 or 8 times a power of ten) not below `top`."""
    if top < 1e-9:
        return 1.0
    power = 10.0 ** math.floor(math.log10(top))
    for step in (1, 2, 3, 5, 8):
        if top <= step * power * (1 + 1e-9):
            return step * power
    return 10 * power


def hours_between(first: datetime, last: datetime) -> list[datetime]:
    """Return every full hour from the one that holds `first` to the one that holds `last`."""
    start = first.replace(minute=0, second=0, microsecond=0)
    count = max(0, int((last - start).total_seconds() // 3600))
    return [start + timedelta(hours=each) for each in range(count + 1)]


def _shared(bars: Sequence[Bar], room: int) -> list[Bar]:
    if len(bars) <= room:
        return list(bars)
    out = []
    for at in range(room):
        group = bars[len(bars) * at // room : max(len(bars) * at // room + 1,
                                                  len(bars) * (at + 1) // room)]  # fmt: skip
        label = next((bar.label for bar in group if bar.label), "")
        out.append(Bar(label, max(bar.value for bar in group)))
    return out


def _piece(value: float, top: float, level: int, height: int) -> str:
    eighths = value / top * height * 8 - (level - 1) * 8
    if value > 0 and level == 1:
        eighths = max(eighths, 1)  # something is never drawn as nothing
    return _EIGHTHS[max(0, min(8, round(eighths)))]


def _axis(bars: Sequence[Bar], size: int, mark: int | None) -> tuple[str, str]:
    axis = ["─"] * (len(bars) * size)
    labels: list[str] = []
    used = 0
    for at, bar in enumerate(bars):
        place = at * size
        if bar.label and place >= used and place + width(bar.label) <= max(len(axis), 12):
            labels.append(" " * (place - sum(map(width, labels))) + bar.label)
            used = place + width(bar.label) + _LABEL_GAP
            axis[place] = "┬"
    if mark is not None and mark < len(axis):
        axis[mark] = "▲"
    return "".join(axis), "".join(labels)
