"""Whether a changed rule is at least as strict: every history that alerted still alerts.

The comparison is decided from the two rules alone. Where it cannot be shown that the new one
is at least as strict, it is weaker: a change that only might be one counts as weaker. Histories
are taken in the order of their times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from console.model.audit import SEVERITY_ID
from console.services.audit.rules.rule import Condition, Rule

_SAME = ("reads", "kind", "field", "measure", "group_by", "most_per_minute", "hours")
"""Members that must stay as they are: what is counted, and which of it belongs together."""

_LOOSENED = frozenset({"count", "distinct"})
"""The kinds that count every match: there, what more matches can only add to an alert."""

_BY_WINDOWS = frozenset({"norm", "ratio"})
"""The kinds that cut time into windows: another length makes other windows of all of them."""


def weaker(before: Rule, after: Rule) -> list[str]:
    """Return, in words, each way in which `after` may miss what `before` alerts on."""
    return list(_weaker(before, after))


def _weaker(before: Rule, after: Rule) -> Iterator[str]:
    for name in _SAME:
        if getattr(before, name) != getattr(after, name):
            yield f"another {name.replace('_', ' ')}"
    if SEVERITY_ID[after.severity] < SEVERITY_ID[before.severity]:
        yield f"severity {after.severity}, not {before.severity}"
    if before.required and not after.required:
        yield "it is not required any more"
    if before.containment and not after.containment:
        yield "a true positive needs no containment any more"
    yield from _wider_numbers(before, after)
    yield from _narrower_conditions(before, after)


def _wider_numbers(before: Rule, after: Rule) -> Iterator[str]:
    if before.kind == "norm":
        # What was odd counts towards the norm up to the limit: another limit makes another norm.
        for name in ("threshold", "factor", "history"):
            if getattr(before, name) != getattr(after, name):
                yield f"another {name}: what a norm with it misses cannot be told"
    else:
        for name in ("threshold", "factor", "history"):
            old, new = getattr(before, name), getattr(after, name)
            if new > old:
                yield f"{name} {new:g}, not {old:g}"
    old, new = before.window.total_seconds(), after.window.total_seconds()
    if new < old:
        yield f"window {new:g} s, not {old:g} s"
    elif new > old and before.kind in _BY_WINDOWS:
        yield f"window {new:g} s, not {old:g} s: what it misses cannot be told"


def _narrower_conditions(before: Rule, after: Rule) -> Iterator[str]:
    if before.kind in _LOOSENED:
        for each in after.match:
            held = [one for one in before.match if one.field == each.field]
            if not any(_implies(one, each) for one in held):
                yield f"it matches less: {each.field}"
    elif set(before.match) != set(after.match):
        yield "it matches something else"
    if set(before.among) != set(after.among):
        yield "its share is of something else"
    if set(before.backing) != set(after.backing):
        yield "something else backs a match"


def _implies(old: Condition, new: Condition) -> bool:
    """Tell whether every value that passes `old` passes `new`."""
    if old.operator == "any":
        return all(new.holds(each) for each in old.values)
    bounds: tuple[list[Any], list[Any]] = (list(old.values), list(new.values))
    match old.operator, new.operator:
        case "not", "not":
            return set(new.values) <= set(old.values)
        case "starts", "starts":
            return _all_start(old.values, new.values)
        case "at_least", "at_least":
            return bool(max(bounds[0]) >= max(bounds[1]))
        case "at_most", "at_most":
            return bool(min(bounds[0]) <= min(bounds[1]))
        case _:
            return False


def _all_start(old: Sequence[object], new: Sequence[object]) -> bool:
    return all(any(str(one).startswith(str(each)) for each in new) for one in old)
