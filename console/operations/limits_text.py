"""Limits as a person writes them: `requests=60,tokens=100000,parallel=4,budget=250,per=month`."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from console.errors import ExitCode, PilotError
from console.model.limits import UNLIMITED, Limits, Period
from console.model.number import whole_number
from console.parsing.suggest import suggest

NONE = "none"
"""The text of no limit at all."""

MICROS = 1_000_000

_EXAMPLE = "requests=60,tokens=100000,parallel=4,budget=250,per=month"
_COUNTS = {
    "requests": "requests_per_minute",
    "tokens": "tokens_per_minute",
    "parallel": "parallel",
}
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?|\.[0-9]{1,6}")
_NAMES = (*_COUNTS, "budget", "per")


def read(text: str) -> Limits:
    """Return the limits that `text` describes; `none` is no limit. Raises exit 2."""
    if text.strip().lower() == NONE:
        return UNLIMITED
    given = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
    unknown = sorted(set(given) - set(_NAMES))
    if unknown:
        near = suggest(unknown[0], _NAMES)
        raise _bad(
            f"there is no limit {unknown[0][:40]!r}", f"did you mean {near}? " if near else ""
        )
    if not given:
        raise _bad(f"{text[:80]!r} names no limit")
    members: dict[str, object] = {}
    for name, value in given.items():
        if name in _COUNTS:
            members[_COUNTS[name]] = _count(name, value)
        elif name == "budget":
            members["budget_micros"] = money(value)
        else:
            members["budget_period"] = value.strip().lower()
    if "budget_period" in members and "budget_micros" not in members:
        raise _bad("a period is one of a budget: budget=250,per=month")
    try:
        return msgspec.convert(members, Limits)
    except msgspec.ValidationError as error:
        periods = ", ".join(Period)
        raise _bad(f"{text[:80]!r} is out of bounds ({error}); per takes {periods}") from error


def write(limits: Limits) -> str:
    """Return limits as `read` reads them back."""
    parts = [
        f"{name}={value}"
        for name, member in _COUNTS.items()
        if (value := getattr(limits, member)) is not None
    ]
    if limits.budget_micros is not None:
        parts += [f"budget={shown_money(limits.budget_micros)}", f"per={limits.budget_period}"]
    return ",".join(parts) or NONE


def money(text: str) -> int:
    """Return an amount in micro-units: `250` or `0.5`. Raises exit 2."""
    found = _AMOUNT.fullmatch(text.strip())
    micros = int(Decimal(found[0]) * MICROS) if found else 0
    if not 0 < micros <= 10**15:
        raise _bad(f"{text[:40]!r} is no amount")
    return micros


def shown_money(micros: int) -> str:
    """Return micro-units as an amount, without zeros that say nothing."""
    whole, rest = divmod(micros, MICROS)
    return f"{whole}" if not rest else f"{whole}.{rest:06d}".rstrip("0")


def amount(micros: int) -> str:
    """Return micro-units as an amount with two decimals, and more only where it has them."""
    whole, rest = divmod(micros, MICROS)
    return f"{whole}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"


def _count(name: str, value: str) -> int:
    found = whole_number(value.strip())
    if found is None:
        raise _bad(f"{name}={value[:40]!r} is not a whole number")
    return found


def _bad(message: str, hint: str = "") -> PilotError:
    return PilotError(
        "bad-value", message, exit=ExitCode.USAGE, hint=f"{hint}for example {_EXAMPLE}, or none"
    )
