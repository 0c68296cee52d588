"""Which numbers a request may hold, and between which bounds.

Counts are whole numbers that fit every store and sum; a fraction, a negative count, NaN, an
infinity and a number in quotes are refused here, before anything calculates with them.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from console.model.access import RouteName

MAX_TOKENS = 10_000_000
"""Most tokens that a request may name, as `price set` takes them."""
MAX_CHOICES = 128
_MAX_DIGITS = 40


class InvalidNumberError(ValueError):
    """A member that must be a number between bounds is not."""


class Bounds(NamedTuple):
    """What a number may be. `whole` takes no fraction."""

    low: int
    high: int
    whole: bool = True

    def check(self, name: str, value: Any) -> int | None:
        """Return the number where it is a whole one; None for null and for fractions.

        Raises `InvalidNumberError`. `value` is as `strict_json.decode` returns it.
        """
        if value is None:
            return None
        number = _number(value)
        if number is None or not self.low <= number <= self.high:
            kind = "a whole number" if self.whole else "a number"
            raise InvalidNumberError(f"`{name}` must be {kind} from {self.low} to {self.high}.")
        if number != number.to_integral_value():
            if self.whole:
                raise InvalidNumberError(f"`{name}` must be a whole number.")
            return None
        return int(number)


_TOKENS = Bounds(0, MAX_TOKENS)
_SHARE = Bounds(0, 1, whole=False)
_TEMPERATURE = Bounds(0, 2, whole=False)
_PENALTY = Bounds(-2, 2, whole=False)
_BIAS = Bounds(-100, 100, whole=False)
_RANK = Bounds(0, 1000)

NUMBERS: dict[RouteName, dict[str, Bounds]] = {
    RouteName.CHAT: {
        "max_tokens": _TOKENS,
        "max_completion_tokens": _TOKENS,
        "n": Bounds(1, MAX_CHOICES),
        "seed": Bounds(-(2**63), 2**63 - 1),
        "temperature": _TEMPERATURE,
        "top_p": _SHARE,
        "top_logprobs": _RANK,
        "presence_penalty": _PENALTY,
        "frequency_penalty": _PENALTY,
        "logit_bias.*": _BIAS,
    },
    RouteName.MESSAGES: {
        "max_tokens": _TOKENS,
        "temperature": _TEMPERATURE,
        "top_p": _SHARE,
        "top_k": Bounds(0, MAX_TOKENS),
        "thinking.budget_tokens": _TOKENS,
    },
    RouteName.RESPONSES: {
        "max_output_tokens": _TOKENS,
        "temperature": _TEMPERATURE,
        "top_p": _SHARE,
        "top_logprobs": _RANK,
    },
}
"""Every number member of each route by its path; `.*` stands for each member of an object."""


def check_numbers(route: RouteName, members: dict[str, Any]) -> dict[str, int]:
    """Return the whole numbers that a request names, by their paths.

    Raises `InvalidNumberError`.
    """
    found: dict[str, int] = {}
    for path, bounds in NUMBERS[route].items():
        name, _, inner = path.partition(".")
        value = members.get(name)
        if not inner:
            inside = {name: value}
        elif value is None:
            continue
        elif not isinstance(value, dict):
            raise InvalidNumberError(f"`{name}` must be an object.")
        else:
            inside = value if inner == "*" else {inner: value.get(inner)}
        for each, said in inside.items():
            shown = each[:60] if not inner else f"{name}.{each[:60]}"
            number = bounds.check(shown, said)
            if number is not None:
                found[shown] = number
    return found


def _number(value: Any) -> Decimal | None:
    """Return a JSON number's value; None where it is none, or has absurdly many digits."""
    if not isinstance(value, msgspec.Raw):
        return None
    digits = bytes(value)
    if len(digits) > _MAX_DIGITS:
        return None
    try:
        return Decimal(digits.decode())
    except InvalidOperation:
        return None
