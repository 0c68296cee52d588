"""Usage as a picture in lines: over time, by group, and by the hour of the week."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from console.present.amounts import amount, bar, change, counted, money, percent
from console.present.cells import fit, width
from console.present.heat import heat, weekly
from console.present.plot import Bar, hours_between, plot
from console.present.safe import safe
from console.present.sparkline import sparkline

_MAX_BARS = 20
_NAME = 30
_AMOUNTS = 36
"""Cells of the numbers beside a bar, with the gaps before them."""


def picture_lines(picture: Any, room: int, *, plain: bool = False) -> list[str]:
    """Return a `UsagePicture` in lines of at most `room` cells.

    `plain` draws with letters and digits alone, for what cannot show or say blocks.
    """
    hours = _hours(picture)
    lines = [_head(picture), "", *_over_time(hours, room, plain=plain), ""]
    lines += [f"by {safe(picture.by)}", *_by_group(picture, room, plain=plain)]
    if len(hours) > 48:
        lines += ["", "by the hour of the week", *_week(hours, room, plain=plain)]
    return lines


def _hours(picture: Any) -> list[tuple[datetime, float]]:
    """Return the tokens of every hour of the period, in local time, empty ones too."""
    known: dict[datetime, float] = {}
    for row in picture.hours:
        try:
            moment = datetime.fromisoformat(row.group).astimezone(UTC)
        except ValueError:
            continue  # an API that names no hour: its tokens are in the groups all the same
        known[moment] = known.get(moment, 0.0) + row.tokens
    between = hours_between(picture.since.astimezone(UTC), picture.until.astimezone(UTC))
    return [(hour.astimezone(), known.get(hour, 0.0)) for hour in between]


def _head(picture: Any) -> str:
    rows = picture.groups
    calls = sum(row.calls for row in rows)
    refused = sum(row.denied + row.blocked for row in rows)
    return "  ".join(
        (
            f"{amount(sum(row.tokens for row in rows))} tokens",
            counted(calls, "call"),
            f"refused {percent(refused, calls) or '0'}",
            f"cost {money(sum(row.cost_micros for row in rows))}",
        )
    )


def _over_time(hours: Sequence[tuple[datetime, float]], room: int, *, plain: bool) -> list[str]:
    days = len(hours) > 72
    every = 24 if days else 12 if len(hours) > 40 else 4 if len(hours) > 8 else 1
    zone = hours[0][0].tzname() if hours else "UTC"
    title = f"tokens an hour, {zone}"
    if plain:
        line = sparkline([value for _, value in hours], room, ascii_only=True)
        most = max((value for _, value in hours), default=0.0)
        return [title, line, f"{len(hours)} hours, the most {amount(most)}"]
    bars = [
        Bar(
            "" if hour.hour % every else f"{hour:%b %d}" if days else f"{hour:%H:%M}",
            value,
        )
        for hour, value in hours
    ]
    drawn = plot(bars, room, 6)
    rows = [scale + line for scale, line in drawn.rows]
    return [title, *rows, drawn.axis, drawn.labels]


def _by_group(picture: Any, room: int, *, plain: bool) -> list[str]:
    rows = sorted(picture.groups, key=lambda row: (-row.tokens, -row.calls, row.group))
    most = max((row.tokens for row in rows), default=0)
    whole = sum(row.tokens for row in rows)
    names = [safe(row.group) or "(none)" for row in rows]
    lead = min(_NAME, max(8, room - _AMOUNTS - 5), max(map(width, names), default=4))
    cells = max(4, min(40, room - lead - _AMOUNTS - 1))
    out = []
    for name, row in list(zip(names, rows, strict=True))[:_MAX_BARS]:
        drawn = bar(row.tokens, most, cells)
        if plain:
            drawn = "#" * (max(1, round(cells * row.tokens / most)) if row.tokens else 0)
        beside = "" if row.norm_tokens is None else change(row.tokens, row.norm_tokens)
        out.append(
            f"{fit(name, lead)} {fit(drawn, cells)} {fit(amount(row.tokens), 7, 'right')} "
            f"{fit(percent(row.tokens, whole), 7, 'right')} "
            f"{fit(money(row.cost_micros), 10, 'right')} {fit(beside, 8, 'right')}".rstrip()
        )
    if len(rows) > _MAX_BARS:
        out.append(f"and {len(rows) - _MAX_BARS} more: pilotctl usage show --by {picture.by}")
    return out or ["nothing was used"]


def _week(hours: Sequence[tuple[datetime, float]], room: int, *, plain: bool) -> list[str]:
    drawn = heat(weekly(hours), room, digits=plain)
    rows = [f"{day}{cells}{total}" for day, cells, total in drawn.rows]
    return [drawn.head.rstrip(), *rows, drawn.legend]
