"""One object as lines: each member by name, nested ones indented, long text as it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from console.present.columns import text_of
from console.present.safe import safe
from console.present.times import local_and_utc

_SCOPES = frozenset({"networks", "models", "capabilities"})
"""Lists that mean everything where they are empty: displayed as ALL, never as nothing."""


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
    if value is None:
        yield Line(depth, name, "-")
    elif isinstance(value, datetime):
        yield Line(depth, name, local_and_utc(value))
    elif isinstance(value, (msgspec.Struct, dict)):
        yield Line(depth, name, "" if value else "-")
        yield from _members(value, depth + 1)
    elif isinstance(value, (list, tuple)) and value and _is_nested(value[0]):
        for at, one in enumerate(value, 1):
            yield Line(depth, f"{name} {at}", "")
            yield from _members(one, depth + 1)
    elif isinstance(value, (list, tuple)) and not value:
        yield Line(depth, name, "ALL" if name in _SCOPES else "-")
    elif isinstance(value, str) and "\n" in value:
        first, *rest = safe(value, multiline=True).split("\n")
        yield Line(depth, name, first)
        for line in rest:
            yield Line(depth, "", line)
    else:
        yield Line(depth, name, text_of(value) or "-")


def _is_nested(value: Any) -> bool:
    return isinstance(value, (msgspec.Struct, dict))
