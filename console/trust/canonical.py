"""RFC 8785 canonical JSON: the one spelling of a value whose bytes are hashed and signed."""

from __future__ import annotations

import json
import math
from typing import cast

import rfc8785

from console.errors import PilotError

MAX_INTEGER = (1 << 53) - 1
"""Beyond this, readers that keep numbers as doubles would see another value."""


def canonical(value: object) -> bytes:
    """Return the RFC 8785 bytes of a JSON value.

    Raises `PilotError` (`json-not-canonical`), naming the place, for an integer beyond
    ±(2^53 - 1), NaN or an infinity, a lone surrogate, a key that is not text, a value that
    JSON does not have, or nesting too deep to walk.
    """
    try:
        # rfc8785 checks each value itself; its parameter type only spells out JSON.
        return rfc8785.dumps(cast("str", value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        where, why = _fault(value, "$") or ("$", "cannot be written as canonical JSON")
    except RecursionError:
        where, why = "$", "is nested too deeply"
    raise PilotError("json-not-canonical", f"{where} {why}", detail={"where": where})


def _fault(value: object, where: str) -> tuple[str, str] | None:
    """Find the first part of `value` that has no canonical form, and say why."""
    match value:
        case bool() | None:
            return None
        case str():
            return None if _is_unicode(value) else (where, "holds a lone surrogate")
        case int():
            fits = -MAX_INTEGER <= value <= MAX_INTEGER
            return None if fits else (where, "is an integer beyond 2^53 - 1")
        case float():
            return None if math.isfinite(value) else (where, "is not a finite number")
        case list() | tuple():
            found = (_fault(each, f"{where}[{at}]") for at, each in enumerate(value))
            return next(filter(None, found), None)
        case dict():
            return next(filter(None, (_member(*each, where) for each in value.items())), None)
        case _:
            return where, f"is a {type(value).__name__}, which JSON does not have"


def _member(key: object, value: object, where: str) -> tuple[str, str] | None:
    if not isinstance(key, str):
        return where, "has a key that is not text"
    # Escaped: keys can come from a stranger, and this goes into a message.
    named = key if key.isascii() and key.isidentifier() else json.dumps(key)
    if not _is_unicode(key):
        return f"{where}.{named}", "is a key that holds a lone surrogate"
    return _fault(value, f"{where}.{named}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
