"""Times for people: local and UTC, ages in coarse steps, durations.

What people type is read by `operations.values`, which both fronts share.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_YEAR = 365.25 * 86400
_AGES = (10, 30, 60, 120, 300, 600, 1200, 1800)
"""Seconds below an hour at which an age says something else."""


def duration(length: timedelta | float) -> str:
    """Return a length (or seconds) as people type one: `1d12h`; below a second, `0.25s`."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    sign = "-" if seconds < 0 else ""
    seconds = abs(seconds)
    if seconds < 1:
        return f"{sign}{seconds:.3f}".rstrip("0").rstrip(".") + "s" if seconds else "0s"
    left = round(seconds)
    parts = []
    for unit, size in _UNITS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)


def age(moment: datetime | None, now: datetime) -> str:
    """Return how long ago `moment` was, in steps so coarse that an idle screen is silent.

    `now` below ten seconds, then the last of 10s, 30s, 1m, 2m, 5m, 10m, 20m and 30m that
    has passed, hours from one hour on, days from two days on, years from two years on. Empty
    for None; a future moment reads as `until` does.
    """
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    if seconds < -10:
        return until(moment, now)
    if seconds < _AGES[0]:
        return "now"
    passed = max(step for step in _AGES if step <= seconds)
    return _coarse(passed if seconds < 3600 else seconds)


def ago(moment: datetime | None, now: datetime) -> str:
    """Return `age` in words that stand alone: `3h ago`, `now`, `never` for None."""
    said = age(moment, now)
    return "never" if not said else said if said == "now" else f"{said} ago"


def until(moment: datetime | None, now: datetime) -> str:
    """Return how far ahead `moment` is: `in 3d`, or `3d ago` where it has passed."""
    if moment is None:
        return ""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 10:
        return "now"
    return f"in {_coarse(seconds)}" if seconds > 0 else f"{_coarse(-seconds)} ago"


def utc(moment: datetime, *, precise: bool = False) -> str:
    """Return `moment` as `2027-02-01 09:30:00Z`, with milliseconds where `precise`."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{moment.microsecond // 1000:03d}Z" if precise else f"{text}Z"


def local_and_utc(moment: datetime) -> str:
    """Return `moment` in the operator's zone and in UTC; once where they are the same."""
    here = moment.astimezone()
    if not here.utcoffset():
        return utc(moment)
    there = moment.astimezone(UTC)
    day = "" if here.date() == there.date() else there.strftime("%Y-%m-%d ")
    return f"{here:%Y-%m-%d %H:%M:%S} {here:%Z} ({day}{there:%H:%M:%S}Z)"


def _coarse(seconds: float) -> str:
    if seconds < 60:
        return f"{int(seconds) // 10 * 10}s"
    if seconds < 3600:
        return f"{int(seconds) // 60}m"
    if seconds < 2 * 86400:
        return f"{int(seconds) // 3600}h"
    if seconds < 2 * _YEAR:
        return f"{int(seconds) // 86400}d"
    return f"{int(seconds / _YEAR)}y"
