"""A heat map of a week: hours to the right, weekdays down, told by shape and by numbers.

The darkness of a cell is a character, so it reads on paper and without colour; `digits`
puts the rank itself (1 to 9) where shades are hard to tell apart, or to be read aloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from console.present.amounts import amount
from console.present.cells import fit

_SHADES = "·░▒▓█"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Heat(NamedTuple):
    """A heat map as lines: the hours, a row for each weekday, and what the shades mean."""

    head: str
    rows: tuple[tuple[str, str, str], ...]
    """The weekday, its cells, and what the day comes to."""
    legend: str


def weekly(values: Iterable[tuple[datetime, float]]) -> list[list[float]]:
    """Return what each hour of each weekday comes to: seven rows of 24."""
    out = [[0.0] * 24 for _ in DAYS]
    for moment, value in values:
        out[moment.weekday()][moment.hour] += value
    return out


def heat(week: Sequence[Sequence[float]], cells: int, *, digits: bool = False) -> Heat:
    """Return a week's hours in `cells` characters: an hour takes one, two or three of them."""
    most = max((value for day in week for value in day), default=0.0)
    lead, tail = 4, 8
    size = max(1, min(3, (cells - lead - tail) // 24))
    every = 6 if size == 1 else 3
    head = "".join(
        f"{hour:02d}".ljust(size * every) if hour % every == 0 else "" for hour in range(24)
    )
    rows = tuple(
        (
            fit(name, lead),
            "".join(_cell(value, most, size, digits=digits) for value in day),
            fit(amount(sum(day)), tail, "right"),
        )
        for name, day in zip(DAYS, week, strict=True)
    )
    if digits:
        legend = f"9 = {amount(most)}  blank = none" if most else "nothing"
    else:
        legend = " ".join(_SHADES) + f" = up to {amount(most)}  blank = none" if most else "nothing"
    return Heat(" " * lead + head, rows, " " * lead + legend)


def _cell(value: float, most: float, size: int, *, digits: bool) -> str:
    if value <= 0 or most <= 0:
        return " " * size
    rank = min(1.0, value / most)
    if digits:
        mark = str(max(1, min(9, round(rank * 9))))
        return mark.rjust(size) if size > 1 else mark
    return _SHADES[min(len(_SHADES) - 1, int(rank * len(_SHADES)))] * size
