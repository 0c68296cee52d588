"""What differs between two states of an object: what a conflict shows."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from console.present.safe import json_escaped

_ABSENT = "(absent)"


class Change(NamedTuple):
    """One member that differs. Values are as JSON writes them, escaped."""

    path: str
    before: str
    after: str


def difference(before: Any, after: Any) -> list[Change]:
    """Return what changed from `before` to `after`, by path, in the order of the members.

    Either may be a struct or plain data. Lists are compared as wholes: their order counts.
    """
    out: list[Change] = []
    _walk("", msgspec.to_builtins(before), msgspec.to_builtins(after), out)
    return out


def difference_lines(before: Any, after: Any) -> list[str]:
    """Return the difference as lines for a person: `state: "active" -> "revoked"`.

    Plain data is read as what `before` is, where it can be: a member that only one side
    spells out is no difference.
    """
    if isinstance(before, msgspec.Struct) and isinstance(after, dict):
        with suppress(msgspec.ValidationError):
            after = msgspec.convert(after, type(before))
    return [f"{path}: {old} -> {new}" for path, old, new in difference(before, after)]


def _walk(path: str, before: Any, after: Any, out: list[Change]) -> None:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = f"{path}.{name}" if path else str(name)
            _walk(inner, before.get(name, _Missing), after.get(name, _Missing), out)
        return
    out.append(Change(json_escaped(path), _written(before), _written(after)))


class _Missing:
    """Stands for a member that is not there, which is not the same as null."""


def _written(value: Any) -> str:
    if value is _Missing:
        return _ABSENT
    return json_escaped(json.dumps(value, ensure_ascii=False))
