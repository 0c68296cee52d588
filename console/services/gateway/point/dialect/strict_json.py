"""Strict JSON: the value that is judged is the value that is sent on.

Two readers of one text can disagree about a member that is given twice, and about a number
that does not fit a float. Here the first is refused at any depth, and a number keeps the
digits that it was written with (RFC 8259, sections 4 and 6).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

MAX_VALUES = 250_000
"""Most objects, members and numbers in one text: each takes far more memory than its bytes."""
MAX_LISTS = 500_000


class NotStrictError(ValueError):
    """A text is no JSON, or one that readers can understand differently."""


def decode(raw: bytes) -> Any:
    """Return the value of a JSON text; each number is a `msgspec.Raw` of its own digits.

    Raises `NotStrictError`: for what is no JSON, a member given twice in one object, NaN and
    infinities, bytes that are no UTF-8, and nesting or values beyond a bound.
    """
    if raw.count(b"[") > MAX_LISTS:
        raise NotStrictError(f"it has more than {MAX_LISTS:,} lists")
    try:
        return _Reader().decoder.decode(raw.decode())
    except UnicodeDecodeError:
        raise NotStrictError("it is no UTF-8 text") from None
    except RecursionError:
        raise NotStrictError("it is nested too deep") from None
    except json.JSONDecodeError as error:
        raise NotStrictError(str(error)) from None


def encode(value: Any) -> msgspec.Raw:
    """Return the JSON text of a value, numbers as they were written.

    Raises `NotStrictError` where a string holds half a surrogate pair, or nesting is too deep.
    """
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except UnicodeEncodeError:
        raise NotStrictError("a string holds half a surrogate pair") from None
    except RecursionError:
        raise NotStrictError("it is nested too deep") from None


class _Reader:
    """Reads one text, and counts what it makes of it."""

    def __init__(self) -> None:
        self._left = MAX_VALUES
        self.decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._number,
            parse_int=self._number,
            parse_constant=_refuse_constant,
        )

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._count(1 + len(pairs))
        members = dict(pairs)
        if len(members) != len(pairs):
            raise NotStrictError(f"the member `{_twice(pairs)[:60]}` is given twice")
        return members

    def _number(self, digits: str) -> msgspec.Raw:
        self._count(1)
        return msgspec.Raw(digits.encode())

    def _count(self, more: int) -> None:
        self._left -= more
        if self._left < 0:
            raise NotStrictError(f"it has more than {MAX_VALUES:,} members and numbers")


def _twice(pairs: list[tuple[str, Any]]) -> str:
    """Return the first name that is there before."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    return ""


def _refuse_constant(name: str) -> Any:
    raise NotStrictError(f"{name} is no JSON number")
