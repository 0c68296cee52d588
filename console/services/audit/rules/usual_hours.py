"""Rules about hours: use at a time of day at which the group was never seen to work.

The hours are declared in the rule's file, or learned: an hour is usual where the group
was active then, or in the hour before or after, on two earlier days of the last fourteen of
the same sort (working day or weekend).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from console.model.audit import Evidence
from console.services.audit.rules.rule import Fired, Recent, Rule, Seen, Tally

REMEMBERED = 14
"""Days that are learned from."""
OFTEN = 2
"""Earlier days on which an hour must have been used to be usual."""


class HoursState(msgspec.Struct):
    """On which days (since 1970) each hour of the day, UTC, was used; and the hour now."""

    used: dict[int, list[int]] = {}
    now: int = -1
    odd: bool = False
    told: bool = False
    pending: int = 0
    first: datetime | None = None
    recent: list[Evidence] = []


def off_hours(
    rule: Rule, state: HoursState, seen: Sequence[Seen]
) -> tuple[HoursState, Fired | None]:
    """Fire for what comes in an unusual hour, once `threshold` came in it."""
    tally, recent = Tally(), Recent(state.recent)
    for each in sorted(seen, key=lambda one: one.at):
        number = int(each.at.timestamp()) // 3600
        if number > state.now:
            state.now, state.told, state.pending, state.first = number, False, 0, None
            recent.take()
            state.odd = _odd(rule, state, each)
            _note(state, number)
        elif number < state.now:
            _note(state, number)
            continue  # a straggler of an hour that was judged
        if not state.odd:
            continue
        state.pending += 1
        state.first = state.first or each.at
        recent.add(each)
        if state.told or state.pending >= rule.threshold:
            tally.add(state.pending, state.first, each.at, recent.take())
            state.told, state.pending, state.first = True, 0, None
    state.recent = recent.kept()
    return state, tally.fired()


def _odd(rule: Rule, state: HoursState, each: Seen) -> bool:
    declared = rule.hours.get(str(each.fields[rule.group_by[0]]))
    if declared is not None:
        return not declared.holds(each.at)
    today = state.now // 24
    days = {day for used in state.used.values() for day in used if today - day <= REMEMBERED}
    days.discard(today)
    if len(days) < rule.history or today - min(days) < 7:
        return False
    near: set[int] = set()
    for number in (state.now - 1, state.now, state.now + 1):
        shift = number // 24 - today
        near |= {
            day - shift
            for day in state.used.get(number % 24, ())
            if today - day <= REMEMBERED and _sort(day) == _sort(today)
        }
    near.discard(today)
    return len(near) < OFTEN


def _note(state: HoursState, number: int) -> None:
    day, hour = divmod(number, 24)
    days = state.used.setdefault(hour, [])
    if day not in days:
        state.used[hour] = sorted(each for each in [*days, day] if day - each <= REMEMBERED)


def _sort(day: int) -> bool:
    """Tell whether a day since 1970 lies on a weekend. 1970-01-01 was a Thursday."""
    return (day + 3) % 7 >= 5
