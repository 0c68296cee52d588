"""Rules that count: so many matches within a time, or so many different values of a field."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from console.model.audit import Evidence
from console.services.audit.rules.rule import EVIDENCE, Fired, Rule, Seen, Tally, Told, told

MAX_IN_WINDOW = 1000
"""The greatest threshold: so many matches are remembered for each fingerprint."""


class CountState(msgspec.Struct):
    """The newest matches of one fingerprint, and how many of them no alert has counted yet."""

    recent: list[Evidence] = []
    pending: int = 0


def count(rule: Rule, state: CountState, seen: Sequence[Seen]) -> tuple[CountState, Fired | None]:
    """Move the window over `seen` and say what fired.

    A match counts once `threshold` matches lie within the rule's window; those that led up
    to it count with it.
    """
    recent: list[Told] = list(state.recent)
    pending = state.pending
    counted = 0
    fired: list[Told] = []
    first: datetime | None = None
    last: datetime | None = None
    for each in sorted(seen, key=lambda one: one.at):
        place = len(recent)
        while place and recent[place - 1].at > each.at:
            place -= 1
        recent.insert(place, each)
        edge = recent[-1].at - rule.window
        start = max(len(recent) - rule.threshold, 0)
        while recent[start].at < edge:
            start += 1
        if start:
            del recent[:start]
        pending = min(pending + 1, len(recent))
        if len(recent) < rule.threshold:
            continue
        begun = recent[-pending].at
        first = begun if first is None else min(first, begun)
        last = recent[-1].at if last is None else max(last, recent[-1].at)
        counted += pending
        fired += recent[-pending:]
        pending = 0
        if len(fired) > 2 * EVIDENCE:
            del fired[:-EVIDENCE]
    after = CountState([told(each) for each in recent], pending)
    if first is None or last is None:
        return after, None
    return after, Fired(counted, first, last, tuple(told(each) for each in fired[-EVIDENCE:]))


class ValueSeen(msgspec.Struct):
    """One value of the counted field: when it was seen, and what no alert has counted yet."""

    first: datetime
    last: datetime
    pending: int
    newest: Evidence


class DistinctState(msgspec.Struct):
    """The values seen within the window, by value."""

    values: dict[str, ValueSeen] = {}


def distinct(
    rule: Rule, state: DistinctState, seen: Sequence[Seen]
) -> tuple[DistinctState, Fired | None]:
    """Fire while `threshold` different values of the rule's field lie within its window.

    Four times as many values as that are remembered: those that go are counted already.
    """
    values: dict[str, _Value] = {
        name: _Value(each.first, each.last, each.pending, each.newest)
        for name, each in state.values.items()
    }
    tally = Tally()
    newest = max((each.last for each in values.values()), default=None)
    for each in sorted(seen, key=lambda one: one.at):
        at = each.at
        newest = at if newest is None or at > newest else newest
        held = values.get(str(each.fields[rule.field]))
        if held is None or held.last < at - rule.window:
            values[str(each.fields[rule.field])] = _Value(at, at, 1, each)
        else:
            held.pending += 1
            if at >= held.last:
                held.last, held.newest = at, each
        if len(values) < rule.threshold:
            continue
        edge = newest - rule.window
        for name in [name for name, one in values.items() if one.last < edge]:
            del values[name]
        while len(values) > max(4 * rule.threshold, 64):
            del values[min(values, key=lambda name: values[name].last)]
        if len(values) < rule.threshold:
            continue
        for one in values.values():
            if one.pending:
                tally.add(one.pending, one.first, one.last, [one.newest])
                one.first, one.pending = one.last, 0
    kept = {
        name: ValueSeen(each.first, each.last, each.pending, told(each.newest))
        for name, each in values.items()
    }
    return DistinctState(kept), tally.fired()


class _Value:
    """`ValueSeen` while a batch is counted."""

    __slots__ = ("first", "last", "newest", "pending")

    def __init__(self, first: datetime, last: datetime, pending: int, newest: Told) -> None:
        self.first = first
        self.last = last
        self.pending = pending
        self.newest = newest
