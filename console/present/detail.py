"""One object as lines: each member by name, nested ones indented, long text as it was.

What is empty is left out, but a scope: an empty one means everything. Lengths and amounts
are in the words that they are typed in, and what every stored object has comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from console.model.access import Stage
from console.model.grant import Grant
from console.model.limits import Limits
from console.model.rule import DetectionRule
from console.model.scope import shown_networks
from console.present.amounts import money
from console.present.columns import text_of
from console.present.safe import safe
from console.present.times import duration, local_and_utc

_SCOPES = frozenset({"networks", "models", "capabilities", "principals"})
"""Lists that mean everything where they are empty: displayed as ALL, never as nothing. A grant's
networks mean what its partner declares, from tier 2 up."""


_KEPT = frozenset(
    {"revision", "created_at", "created_by", "updated_at", "updated_by", "labels", "fingerprint",
     "rule_revision"}
)  # fmt: skip
"""What every stored object has, or is for programs."""

_WORDS = {"_seconds": duration, "_micros": money}
"""The unit at the end of a number's name to the words for it."""

_SHORT = 60
"""Characters up to which an item of a list is one line."""


class Line(NamedTuple):
    """A line of an object: `name` may be empty where the line goes on with the one above."""

    depth: int
    name: str
    value: str


def detail(value: Any, *, depth: int = 0) -> list[Line]:
    """Return the members of `value`, a struct or plain data, as escaped lines."""
    return list(_members(value, depth))


def detail_lines(value: Any) -> list[str]:
    """Return `detail` as text, the values in one column for each depth."""
    lines = detail(value)
    out = []
    for line in lines:
        room = max((len(each.name) for each in lines if each.depth == line.depth), default=0)
        out.append(f"{'  ' * line.depth}{line.name:<{room}}  {line.value}".rstrip())
    return out


def _members(value: Any, depth: int) -> Iterator[Line]:
    if isinstance(value, msgspec.Struct):
        names = sorted(value.__struct_fields__, key=_KEPT.__contains__)
        pairs = [(name, getattr(value, name)) for name in names]
        if isinstance(value, DetectionRule) and value.spends:
            pairs = list(_in_money(value, pairs))
        elif isinstance(value, Grant):
            given = shown_networks(value.networks, value.tier)
            pairs = [(name, given if name == "networks" else member) for name, member in pairs]
    elif isinstance(value, dict):
        pairs = [(safe(str(name)), member) for name, member in value.items()]
    else:
        yield Line(depth, "", text_of(value))
        return
    for name, member in pairs:
        yield from _member(name, member, depth)


def _member(name: str, value: Any, depth: int) -> Iterator[Line]:
    if isinstance(value, datetime):
        yield Line(depth, name, local_and_utc(value))
    elif isinstance(value, Limits):
        yield from _limits(name, value, depth)
    elif unit := _unit(name, value):
        yield Line(depth, name.removesuffix(unit), _WORDS[unit](value))
    elif isinstance(value, (msgspec.Struct, dict)):
        if value:
            yield Line(depth, name, "")
            yield from _members(value, depth + 1)
    elif isinstance(value, (list, tuple)) and value and _is_nested(value[0]):
        yield from _items(name, value, depth)
    elif isinstance(value, (list, tuple)) and not value:
        if name in _SCOPES:
            yield Line(depth, name, "ALL")
    elif isinstance(value, str) and "\n" in value:
        first, *rest = safe(value, multiline=True).split("\n")
        yield Line(depth, name, first)
        for line in rest:
            yield Line(depth, "", line)
    elif text := text_of(value):
        yield Line(depth, name, text)


def _in_money(rule: DetectionRule, pairs: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """A rule about spend: its threshold is money, and so is one that was set in its place."""
    for name, value in pairs:
        if name == "threshold":
            yield "threshold_micros", value
        elif name == "tuning":
            tuning = rule.tuning
            set_to = {} if tuning.threshold is None else {"threshold_micros": tuning.threshold}
            rest = msgspec.structs.replace(tuning, threshold=None)
            yield name, {**set_to, **msgspec.to_builtins(rest)}
        else:
            yield name, value


def _unit(name: str, value: Any) -> str:
    """Return the unit that ends the name of a number, where there are words for it."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return next((unit for unit in _WORDS if number and name.endswith(unit)), "")


def _limits(name: str, limits: Limits, depth: int) -> Iterator[Line]:
    """Only the limits that bind; a period is told with its budget."""
    if limits.binds():
        yield Line(depth, name, "")
        for line in _members(limits, depth + 1):
            if line.name != "budget_period" or limits.budget_micros is not None:
                yield line


def _stage(stage: Stage) -> str:
    """Return a stage's bounds in words: its length in days, as it is set."""
    partners = f"{stage.most_partners} partner{'' if stage.most_partners == 1 else 's'}"
    days, rest = divmod(stage.longest_grant_seconds, 86_400)
    longest = f"{days} days" if not rest else f"{stage.longest_grant_seconds} s"
    return safe(f"{stage.key}: at most {partners}, grants of {longest}")


def _items(name: str, items: Sequence[Any], depth: int) -> Iterator[Line]:
    """Items that are all small take a line each, others a heading and their members."""
    stages = [one for one in items if isinstance(one, Stage)]
    for at, stage in enumerate(stages, 1):
        yield Line(depth, f"{name} {at}", _stage(stage))
        for member in _members(stage, depth + 1):
            if member.name not in {"key", "most_partners", "longest_grant"}:
                yield member
    told = [list(_members(one, depth + 1)) for one in items[len(stages) :]]
    small = all(_is_small(members, depth + 1) for members in told)
    for at, members in enumerate(told, 1):
        if small:
            yield Line(depth, f"{name} {at}", "  ".join(member.value for member in members))
        else:
            yield Line(depth, f"{name} {at}", "")
            yield from members


def _is_small(members: Sequence[Line], depth: int) -> bool:
    short = "  ".join(member.value for member in members)
    return len(short) <= _SHORT and all(member.depth == depth for member in members)


def _is_nested(value: Any) -> bool:
    return isinstance(value, (msgspec.Struct, dict))
