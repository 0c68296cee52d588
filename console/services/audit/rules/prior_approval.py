"""Rules about what must have come before: an opening, and the approval that it used.

What names the backing (`approval`) leads from the one to the other. A backing is good for
one target, however often that target is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from console.services.audit.rules.rule import Finding, Rule, Seen, States, Tally, Value


class BackedState(msgspec.Struct):
    """Whether this backing has come, and what has used it."""

    came: bool = False
    used_by: str = ""


def unbacked(rule: Rule, seen: Sequence[Seen], states: States) -> Iterator[Finding]:
    """Yield each match that names no backing, one that did not come before, or another's."""
    wanted = rule.wanted(seen)
    if not wanted:
        return
    keys = {each.fields[rule.field]: _key(rule, each.fields[rule.field]) for each in wanted}
    held = states.load(rule, list(keys.values()))
    moved: dict[str, BackedState] = {}
    tallies: dict[tuple[Value, ...], Tally] = {}
    for each in wanted:  # in the order of the log: the clocks of two services may differ
        key = keys[each.fields[rule.field]]
        state = moved.setdefault(key, held.get(key) or BackedState())
        target = str(each.fields["target"])
        if rule.backs(each.fields):
            state.came = True
        elif each.fields[rule.field] and state.came and state.used_by in {"", target}:
            state.used_by = target
        else:
            tallies.setdefault(rule.group(each.fields), Tally()).add(1, each.at, each.at, [each])
    states.save(rule, moved, max(each.at for each in wanted))
    for group, tally in tallies.items():
        if (fired := tally.fired()) is not None:
            named = dict(zip(rule.group_by, group, strict=True))
            yield Finding(rule, named, rule.fingerprint(group), fired)


def _key(rule: Rule, value: Value) -> str:
    return f"{rule.id}/{value}"
