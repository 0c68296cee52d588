"""Times for people: local and UTC, ages in coarse steps, durations, `when` and `since`.

A date or time that is typed without a zone is UTC: a script means the same wherever it
runs.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from console.errors import ExitCode, PilotError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,3})?[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])", re.ASCII)
_SIGNED_DURATION = re.compile(r"[+]?(.+)")
LONGEST = timedelta(days=366 * 100)
"""No length of time that an operator types is longer."""


def parse_duration(text: str) -> timedelta:
    """Return the length that `90d`, `2h`, `1d12h` or `1.5h` says. Raises `PilotError`."""
    stripped = text.strip().lower()
    if not _DURATION.fullmatch(stripped):
        raise _bad(text, "a length of time", "90d, 72h, 1d12h, 30m or 45s")
    length = (
        timedelta(
            seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(stripped))
        )
        if len(stripped) < 60
        else LONGEST * 2
    )
    if length > LONGEST:
        raise _bad(text, "a length of time of at most a hundred years", "90d or 72h")
    return length


def duration(length: timedelta | float) -> str:
    """Return a length (or seconds) in the form that `parse_duration` reads: `1d12h`."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    sign = "-" if seconds < 0 else ""
    seconds = abs(seconds)
    if seconds < 1:
        return f"{sign}{seconds:.3f}".rstrip("0").rstrip(".") + "s" if seconds else "0s"
    left = round(seconds)
    parts = []
    for unit in "dhms":
        count, left = divmod(left, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)


def when(text: str, now: datetime) -> datetime:
    """Return the moment that `text` names: a time, a date (its midnight UTC), `now`, or a
    distance ahead (`90d`). Raises `PilotError`.
    """
    return _moment(text, now, +1)


def since(text: str, now: datetime) -> datetime:
    """Return the moment that `text` names: a time, a date (its midnight UTC), `now`, or a
    distance back (`2h`). Raises `PilotError`.
    """
    return _moment(text, now, -1)


def age(moment: datetime | None, now: datetime) -> str:
    """Return how long ago `moment` was, in steps so coarse that an idle screen is silent.

    `now` below ten seconds, then tens of seconds, minutes, hours from one hour on, days
    from two days on. Empty for None; a future moment reads as `until` does.
    """
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    if seconds < -10:
        return until(moment, now)
    return "now" if seconds < 10 else _coarse(seconds)


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
    return f"{int(seconds) // 86400}d"


def _moment(text: str, now: datetime, sign: int) -> datetime:
    stripped = text.strip()
    if stripped.lower() == "now":
        return now
    if re.fullmatch(r"[+]?\d+(\.\d+)?[smhdw].*", stripped.lower(), re.ASCII):
        return now + sign * parse_duration(stripped.removeprefix("+"))
    try:
        moment = datetime.fromisoformat(stripped.upper())
    except ValueError as error:
        example = "90d, 2027-02-01 or 2027-02-01T09:30Z"
        if sign < 0:
            example = "2h, 2026-02-01 or 2026-02-01T09:30Z"
        raise _bad(text, "a time", example) from error
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise _bad(text, "a time that can be", "2027-02-01") from error


def _bad(text: str, kind: str, example: str) -> PilotError:
    return PilotError(
        "bad-value",
        f"{text[:60]!r} is not {kind}",
        exit=ExitCode.USAGE,
        hint=f"for example {example}",
    )
