"""What a detection is: which things it reads, which of them match, how many make an alert.

A rule is data. This module is its whole meaning: `Rule.matches` tests one thing,
`Rule.fingerprint` says which alert it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple, TypeAlias

from console.model.audit import Evidence, Severity
from console.trust.canonical import canonical

Value: TypeAlias = str | int | float | bool


class Condition(NamedTuple):
    """One test of one field: `operator` is `any`, `not`, `starts`, `at_least` or `at_most`."""

    field: str
    operator: str
    values: tuple[Value, ...]

    def holds(self, found: Value) -> bool:
        """Tell whether the field's value `found` passes."""
        match self.operator:
            case "any":
                return found in self.values
            case "not":
                return found not in self.values
            case "starts":
                return isinstance(found, str) and found.startswith(_texts(self.values))
            case "at_least":
                return all(found >= each for each in self.values)  # type: ignore[operator] # the loader lets numbers only
            case _:
                return all(found <= each for each in self.values)  # type: ignore[operator] # as above


class Seen(NamedTuple):
    """One call or event as the rules see it."""

    evidence: Evidence
    fields: Mapping[str, Value]


class Rule(NamedTuple):
    """A detection: `threshold` matches with the same `group_by` values within `window`."""

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

    def matches(self, fields: Mapping[str, Value]) -> bool:
        """Tell whether a thing with these fields is what the rule looks for."""
        return all(each.holds(fields[each.field]) for each in self.match)

    def group(self, fields: Mapping[str, Value]) -> tuple[Value, ...]:
        """Return the values that tell its alerts apart."""
        return tuple(fields[name] for name in self.group_by)

    def fingerprint(self, group: Sequence[Value]) -> str:
        """Return the SHA-256 (hex) that names the alert of this rule for `group`."""
        named = dict(zip(self.group_by, group, strict=True))
        return sha256(canonical({"rule": self.id, "group": named})).hexdigest()

    def asks(self, field: str) -> bool:
        """Tell whether a condition looks at `field`."""
        return any(each.field == field for each in self.match)


class Window(NamedTuple):
    """The newest matches of one fingerprint, and how many of them no alert has counted yet."""

    recent: tuple[Evidence, ...] = ()
    pending: int = 0


class Fired(NamedTuple):
    """What a batch adds to an alert: how many matches, between when, and the newest of them."""

    matches: int
    first: datetime
    last: datetime
    evidence: tuple[Evidence, ...]


def advance(
    rule: Rule, window: Window, matched: Sequence[Evidence], *, newest: int
) -> tuple[Window, Fired | None]:
    """Move the window over `matched` and say what fired.

    A match counts once `threshold` matches lie within the rule's window; those that led up
    to it count with it. At most `newest` pieces of evidence are kept.
    """
    recent = list(window.recent)
    pending = window.pending
    counted = 0
    fired: list[Evidence] = []
    first: datetime | None = None
    for each in sorted(matched, key=lambda one: one.at):
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
        first = first or recent[-pending].at
        counted += pending
        fired += recent[-pending:]
        pending = 0
        if len(fired) > 2 * newest:
            del fired[:-newest]
    after = Window(tuple(recent), pending)
    if first is None:
        return after, None
    return after, Fired(counted, first, fired[-1].at, tuple(fired[-newest:]))


def _texts(values: tuple[Value, ...]) -> tuple[str, ...]:
    return tuple(str(each) for each in values)
