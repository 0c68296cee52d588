"""Rows as a plain table: no borders, so that it is read aloud and cut up equally well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from console.present.cells import fit, width
from console.present.columns import Column, cell

_GAP = "  "


def table_lines(
    rows: Sequence[Any], columns: Sequence[Column], now: datetime, room: int | None
) -> tuple[list[str], str]:
    """Return the table, and in words what was cut so that it fits `room` cells.

    Without `room` nothing is cut. Columns of the least priority go first; then the widest
    are narrowed.
    """
    texts = [[cell(column, row, now) for column in columns] for row in rows]
    widths = [
        max([width(column.name), *(width(line[at]) for line in texts)])
        for at, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    hidden: list[str] = []
    narrowed: list[str] = []
    if room is not None:
        for at, column in enumerate(columns):
            if widths[at] > column.most:
                widths[at] = column.most
                narrowed.append(column.name)
        least = [min(widths[at], max(columns[at].width, width(columns[at].name))) for at in shown]
        while len(shown) > 1 and _total(least, shown) > room:
            worst = max(shown, key=lambda at: (columns[at].priority, at))
            shown.remove(worst)
            hidden.append(columns[worst].name)
        while _total(widths, shown) > room:
            widest = max(shown, key=lambda at: widths[at] - least[at])
            if widths[widest] <= least[widest]:
                widest = max(shown, key=lambda at: widths[at])
                if widths[widest] <= 1:
                    break
            if columns[widest].name not in narrowed:
                narrowed.append(columns[widest].name)
            widths[widest] -= 1
    lines = [_line([column.name.upper() for column in columns], columns, widths, shown)]
    lines += [_line(line, columns, widths, shown) for line in texts]
    said = []
    if hidden:
        said.append(f"columns {', '.join(reversed(hidden))} left out")
    if narrowed:
        said.append(f"{', '.join(narrowed)} shortened")
    return lines, "; ".join(said)


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + len(_GAP) * (len(shown) - 1)


def _line(
    texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int]
) -> str:
    return _GAP.join(fit(texts[at], widths[at], columns[at].align) for at in shown).rstrip()
