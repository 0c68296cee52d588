"""A row of numbers as a row of small bars."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*#@"


def sparkline(values: Sequence[float], cells: int, *, ascii_only: bool = False) -> str:
    """Return `values` as at most `cells` bars, the newest last; zero is a space.

    Where there are more values than cells, neighbours share a bar that shows the largest
    of them, so that a short burst is never smoothed away.
    """
    if not values or cells < 1:
        return ""
    count = min(cells, len(values))
    groups = [
        max(values[len(values) * at // count : len(values) * (at + 1) // count])
        for at in range(count)
    ]
    top = max(groups)
    bars = _ASCII_BARS if ascii_only else _BARS
    return "".join(
        " " if value <= 0 else bars[min(len(bars) - 1, int(value / top * len(bars)))]
        for value in groups
    )
