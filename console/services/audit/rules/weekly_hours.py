"""Weekly hours in a zone, as people write them: `mon-fri 08:00-18:00 Europe/Berlin`.

Several are separated by `;`. The days may be left out (every day), and so may the zone
(UTC). Hours that end before they begin go past midnight, and belong to the day they began.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:[-,][a-z]{3})*)\s+)?"
    r"(?P<from>\d\d):(?P<from_m>\d\d)-(?P<to>\d\d):(?P<to_m>\d\d)"
    r"(?:\s+(?P<zone>[A-Za-z][A-Za-z0-9_+\-/]*))?",
    re.ASCII,
)
_DAY = 24 * 60


class Span(NamedTuple):
    """Minutes of some days: `end` may lie past the day's own end."""

    days: frozenset[int]
    start: int
    end: int
    zone: tzinfo

    def holds(self, at: datetime) -> bool:
        """Tell whether `at` lies within."""
        local = at.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        if local.weekday() in self.days and self.start <= minute < self.end:
            return True
        before = (local - timedelta(days=1)).weekday()
        return before in self.days and self.start <= minute + _DAY < self.end


class Schedule(NamedTuple):
    """When somebody is there. No span at all is always."""

    spans: tuple[Span, ...]

    def holds(self, at: datetime) -> bool:
        """Tell whether `at` lies within any of its hours."""
        return not self.spans or any(each.holds(at) for each in self.spans)


def schedule(text: str) -> Schedule:
    """Read hours. Raises ValueError saying what is wrong with which part."""
    parts = [each.strip() for each in text.split(";") if each.strip()]
    return Schedule(tuple(_span(each) for each in parts))


def _span(text: str) -> Span:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!a} is not like 'mon-fri 08:00-18:00 Europe/Berlin'")
    start = _minute(found["from"], found["from_m"])
    end = _minute(found["to"], found["to_m"])
    if start == end:
        raise ValueError(f"{text[:80]!a} begins when it ends")
    return Span(
        _days(found["days"] or "mon-sun"),
        start,
        end if end > start else end + _DAY,
        _zone(found["zone"] or "UTC"),
    )


def _minute(hour: str, minute: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > _DAY:
        raise ValueError(f"{hour}:{minute} is no time of day")
    return total


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        for name in (first, last) if dash else (first,):
            if name not in _DAYS:
                raise ValueError(f"{name!a} is no day; it takes {', '.join(_DAYS)}")
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        found |= {each % 7 for each in range(start, end + 1 if end >= start else end + 8)}
    return frozenset(found)


def _zone(name: str) -> tzinfo:
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"there is no time zone {name[:60]!a}") from error
    except KeyError as error:
        raise ValueError(f"there is no time zone {name[:60]!a}") from error
