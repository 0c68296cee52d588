"""Running rules over what was seen, in order: each group's state goes in, what fired comes out.

The states are kept by whoever calls: the service in its store, a trial over history in
memory. Nothing else is remembered, so both find the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from console.services.audit.rules import counting, norms, prior_approval, usual_hours
from console.services.audit.rules.rule import Finding, Fired, Rule, Seen, States


class Kind(NamedTuple):
    """What a kind of rule remembers of a group, and what it makes of what comes."""

    state: type[Any]
    advance: Callable[[Rule, Any, Sequence[Seen]], tuple[Any, Fired | None]]


KINDS: dict[str, Kind] = {
    "count": Kind(counting.CountState, counting.count),
    "distinct": Kind(counting.DistinctState, counting.distinct),
    "norm": Kind(norms.NormState, norms.norm),
    "ratio": Kind(norms.NormState, norms.ratio),
    "hours": Kind(usual_hours.HoursState, usual_hours.off_hours),
}
"""By the word in a rule's file. Beside these there is `unbacked`, which has two sides."""

NAMES = (*KINDS, "unbacked")


class InMemory:
    """States that last as long as this."""

    def __init__(self) -> None:
        self._held: dict[str, Any] = {}

    def load(self, rule: Rule, fingerprints: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002 - as `States`
        """Return the states there are."""
        return {each: self._held[each] for each in fingerprints if each in self._held}

    def save(self, rule: Rule, states: Mapping[str, Any], at: datetime) -> None:  # noqa: ARG002 - as `States`
        """Keep them."""
        self._held.update(states)


def judge(rule: Rule, seen: Sequence[Seen], states: States) -> Iterator[Finding]:
    """Run one rule over what was seen and yield what it adds to each alert."""
    if rule.kind == "unbacked":
        yield from prior_approval.unbacked(rule, seen, states)
        return
    groups = rule.grouped(rule.wanted(seen))
    if not groups:
        return
    kind = KINDS[rule.kind]
    named = {group: rule.fingerprint(group) for group in groups}
    held = states.load(rule, list(named.values()))
    moved = {}
    for group, theirs in groups.items():
        fingerprint = named[group]
        state, fired = kind.advance(rule, held.get(fingerprint) or kind.state(), theirs)
        moved[fingerprint] = state
        if fired is not None:
            values = dict(zip(rule.group_by, group, strict=True))
            yield Finding(rule, values, fingerprint, fired)
    states.save(rule, moved, max(each.at for theirs in groups.values() for each in theirs))
