"""What a detection is: which things it reads, which of them match, how many make an alert.

A rule is data. This module says what it looks at; what its kind makes of that is in
`counting`, `norms`, `hours` and `backing`. All of it is a pure function of the things seen,
in order: a history gives the same alerts as the live feed did, whatever its batches were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

from console.model.audit import Evidence, Severity
from console.services.audit.rules.weekly_hours import Schedule
from console.trust.canonical import canonical

Value: TypeAlias = str | int | float | bool

EVIDENCE = 20
"""Pieces of evidence that an alert keeps: the newest."""


class Condition(NamedTuple):
    """One test of one field: `operator` is `any`, `not`, `starts`, `at_least` or `at_most`."""

    field: str
    operator: str
    values: tuple[Value, ...]

    def holds(self, found: Value) -> bool:
        """Tell whether the field's value `found` passes."""
        return self.test()(found)

    def test(self) -> Callable[[Any], bool]:
        """Return the test itself, to be asked of many values."""
        values = self.values
        match self.operator:
            case "any":
                return values.__contains__
            case "not":
                return lambda found: found not in values
            case "starts":
                texts = tuple(str(each) for each in values)
                return lambda found: isinstance(found, str) and found.startswith(texts)
            case "at_least":
                return lambda found: all(found >= each for each in values)
            case _:
                return lambda found: all(found <= each for each in values)


class Seen:
    """One call or event as the rules see it. Its evidence is written when it is asked for."""

    __slots__ = ("_evidence", "_tell", "at", "fields")

    def __init__(
        self, at: datetime, fields: Mapping[str, Value], tell: Callable[[], Evidence]
    ) -> None:
        self.at = at
        self.fields = fields
        self._tell = tell
        self._evidence: Evidence | None = None

    @property
    def evidence(self) -> Evidence:
        """What an alert shows of it."""
        if self._evidence is None:
            self._evidence = self._tell()
        return self._evidence


class Rule(NamedTuple):
    """A detection. What `threshold` and `factor` count is its kind's affair."""

    id: str
    title: str
    severity: Severity
    reads: str
    """`calls` or `events`."""
    match: tuple[Condition, ...]
    window: timedelta
    threshold: int
    group_by: tuple[str, ...]
    description: str
    runbook: str
    containment: bool
    """Whether its alerts are about access, so that a true positive needs a containment."""
    revision: str
    """SHA-256 of the file, hex."""
    kind: str = "count"
    field: str = ""
    """distinct: whose values are counted. unbacked: what names the backing."""
    measure: str = "calls"
    """norm: `calls`, `tokens` or `cost_micros`."""
    factor: float = 0.0
    """norm and ratio: how many times the norm is far from it."""
    history: int = 0
    """norm, ratio: busy windows that make a norm; hours: busy days."""
    most_per_minute: int = 0
    """ratio: of one group, more matches a minute are left to the rules about bursts."""
    among: tuple[Condition, ...] = ()
    """ratio: what the share is of."""
    backing: tuple[Condition, ...] = ()
    """unbacked: the events that must have come before."""
    hours: Mapping[str, Schedule] = {}
    """hours: the declared hours of some groups, by the first value that they group by."""
    required: bool = False
    """Guards an invariant: it cannot be switched off."""

    def matches(self, fields: Mapping[str, Value]) -> bool:
        """Tell whether a thing with these fields is what the rule looks for."""
        return all(each.holds(fields[each.field]) for each in self.match)

    def wanted(self, seen: Sequence[Seen]) -> list[Seen]:
        """Return what the rule must see of it, be it what it looks for or not."""
        if self.kind == "unbacked":
            return [each for each in seen if self.matches(each.fields) or self.backs(each.fields)]
        conditions = self.among if self.kind == "ratio" else self.match
        tests = [(each.field, each.test()) for each in conditions]
        found = []
        for each in seen:
            fields = each.fields
            for name, test in tests:
                if not test(fields[name]):
                    break
            else:
                found.append(each)
        return found

    def backs(self, fields: Mapping[str, Value]) -> bool:
        """Tell whether it is what makes a later match right."""
        return all(each.holds(fields[each.field]) for each in self.backing)

    def group(self, fields: Mapping[str, Value]) -> tuple[Value, ...]:
        """Return the values that tell its alerts apart."""
        return tuple(fields[name] for name in self.group_by)

    def grouped(self, seen: Iterable[Seen]) -> dict[tuple[Value, ...], list[Seen]]:
        """Return what was seen by the values that tell its alerts apart."""
        groups: dict[tuple[Value, ...], list[Seen]] = {}
        if len(self.group_by) == 1:
            (only,) = self.group_by
            for each in seen:
                groups.setdefault((each.fields[only],), []).append(each)
            return groups
        several = itemgetter(*self.group_by)
        for each in seen:
            groups.setdefault(several(each.fields), []).append(each)
        return groups

    def fingerprint(self, group: Sequence[Value]) -> str:
        """Return the SHA-256 (hex) that names the alert of this rule for `group`."""
        named = dict(zip(self.group_by, group, strict=True))
        return sha256(canonical({"rule": self.id, "group": named})).hexdigest()

    def asks(self, field: str) -> bool:
        """Tell whether a condition looks at `field`."""
        return any(each.field == field for each in self.match)


class Fired(NamedTuple):
    """What a batch adds to an alert: how many matches, between when, and the newest of them."""

    matches: int
    first: datetime
    last: datetime
    evidence: tuple[Evidence, ...]


Told: TypeAlias = "Evidence | Seen"
"""Evidence that is written already, or that can be."""


def told(each: Told) -> Evidence:
    """Return the evidence, written."""
    return each.evidence if isinstance(each, Seen) else each


class Recent:
    """The newest pieces of evidence of something that has not fired yet."""

    def __init__(self, kept: Sequence[Told] = ()) -> None:
        self._held: deque[Told] = deque(kept, maxlen=EVIDENCE)

    def add(self, each: Seen) -> None:
        """Keep it, and let the oldest go."""
        self._held.append(each)

    def take(self) -> list[Told]:
        """Return what is held, and hold nothing."""
        held = list(self._held)
        self._held.clear()
        return held

    def kept(self) -> list[Evidence]:
        """Return what is held, written, to be stored."""
        return [told(each) for each in self._held]


class Tally:
    """Gathers what one group fires in one batch."""

    def __init__(self) -> None:
        self.matches = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._evidence: list[Told] = []

    def add(self, count: int, first: datetime, last: datetime, shown: Sequence[Told]) -> None:
        """Count `count` matches between `first` and `last`."""
        self.matches += count
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)
        self._evidence += shown
        if len(self._evidence) > 4 * EVIDENCE:
            del self._evidence[:-EVIDENCE]

    def fired(self) -> Fired | None:
        """Return what fired; None if nothing did."""
        if self.first is None or self.last is None:
            return None
        newest = sorted(self._evidence, key=lambda each: each.at)[-EVIDENCE:]
        return Fired(self.matches, self.first, self.last, tuple(told(each) for each in newest))


class Finding(NamedTuple):
    """What one batch adds to one alert."""

    rule: Rule
    group: Mapping[str, Value]
    fingerprint: str
    fired: Fired


class States(Protocol):
    """Where what a rule remembers is kept, by fingerprint."""

    def load(self, rule: Rule, fingerprints: Sequence[str]) -> dict[str, Any]:
        """Return the states there are, of the rule's kind."""
        ...

    def save(self, rule: Rule, states: Mapping[str, Any], at: datetime) -> None:
        """Keep them; `at` is the time of the newest thing that the rule saw."""
        ...
