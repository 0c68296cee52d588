"""One object as lines: each member by name, nested ones indented, long text as it was.

What is empty is left out, but a scope: an empty one means everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from console.model.access import Stage
from console.model.limits import Limits
from console.present.columns import text_of
from console.present.safe import safe
from console.present.times import local_and_utc

_SCOPES = frozenset({"networks", "models", "capabilities", "principals"})
"""Lists that mean everything where they are empty: displayed as ALL, never as nothing."""


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
        pairs = [(name, getattr(value, name)) for name in value.__struct_fields__]
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
    """Small items take a line each, others a heading and their members."""
    for at, one in enumerate(items, 1):
        if isinstance(one, Stage):
            yield Line(depth, f"{name} {at}", _stage(one))
            for member in _members(one, depth + 1):
                if member.name not in {"key", "most_partners", "longest_grant_seconds"}:
                    yield member
            continue
        members = list(_members(one, depth + 1))
        short = "  ".join(member.value for member in members)
        if len(short) <= _SHORT and all(member.depth == depth + 1 for member in members):
            yield Line(depth, f"{name} {at}", short)
        else:
            yield Line(depth, f"{name} {at}", "")
            yield from members


def _is_nested(value: Any) -> bool:
    return isinstance(value, (msgspec.Struct, dict))
