"""Shapes of judged values: which members an object may hold, each listed by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


class NotOfferedError(ValueError):
    """A request asks for what is not offered, or is none. `code` is one of the table's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


Check: TypeAlias = Callable[[Any], None]
"""Raises `NotOfferedError` for a value that is not let through."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object whose members are listed: each with what it may be."""

    what: str
    members: dict[str, Check]

    def __call__(self, value: Any) -> None:
        """Check one object. Members that are null hold nothing, and pass."""
        if not isinstance(value, dict):
            raise invalid(f"{self.what} must be an object.")
        for name, inner in value.items():
            if inner is None:
                continue
            check = self.members.get(name)
            if check is None:
                raise unoffered(f"`{name[:60]}` in {self.what}")
            check(inner)


@dataclass(frozen=True, slots=True)
class OneOf:
    """An object whose `type` says which of several it is; `usual` is that of one without."""

    what: str
    kinds: dict[str, Object]
    usual: str = ""

    def __call__(self, value: Any) -> None:
        """Check one object."""
        if not isinstance(value, dict):
            raise invalid(f"{self.what} must be an object.")
        kind = value.get("type")
        if kind is None:
            kind = self.usual
        found = self.kinds.get(kind) if isinstance(kind, str) else None
        if found is None:
            raise unoffered(f"{self.what} of type `{str(kind or 'none')[:60]}`")
        found(value)


def anything(_value: Any) -> None:
    """Pass what is only text or settings: nothing in it is resolved."""


def text(value: Any) -> None:
    """Check text."""
    if not isinstance(value, str):
        raise invalid("Text must be a string.")


def flag(value: Any) -> None:
    """Check what is true or false."""
    if not isinstance(value, bool):
        raise invalid("A setting must be true or false.")


def each(check: Check, what: str) -> Check:
    """Return the check of a list whose items pass `check`."""

    def listed(value: Any) -> None:
        if not isinstance(value, list):
            raise invalid(f"{what} must be a list.")
        for item in value:
            check(item)

    return listed


def text_or(check: Check, what: str) -> Check:
    """Return the check of what is either a string, or a list whose items pass `check`."""
    listed = each(check, what)

    def either(value: Any) -> None:
        if not isinstance(value, str):
            listed(value)

    return either


def invalid(message: str) -> NotOfferedError:
    """Return the error for what is no request."""
    return NotOfferedError("request_invalid", message)


def unoffered(what: str) -> NotOfferedError:
    """Return the error for what is not offered."""
    return NotOfferedError("feature_unknown", f"{what} is not offered here.")
