"""Prices of models by the day they begin on, and what is left of what may be spent.

Money is in micro-units of the pilot's currency: 1_000_000 is one unit, so a price of
3_000_000 is 3.00 for a million tokens. A price never changes what was used before it began.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.stored import Request, Stored
from console.model.text import Reason, Slug

MICROS = 1_000_000
TOKENS_PRICED = 1_000_000
"""A price is for so many tokens."""
USUAL_OUTPUT = 4096
"""Most output tokens of a model that says nothing else."""
USUAL_CONTEXT = 200_000
"""Most tokens that a model reads at once, where it says nothing else."""

PerMillion = Annotated[int, Meta(ge=0, le=10**12, description="micro-units for a million tokens")]
Output = Annotated[int, Meta(ge=1, le=10_000_000)]


class Price(Stored, kw_only=True, frozen=True):
    """What a model's tokens cost from a day on (UTC), until a later price begins.

    On its first day it holds from 00:00, or from the moment at which it was set, if later.
    """

    model: str
    starts_on: date
    input_micros: int
    """For a million input tokens."""
    output_micros: int
    """For a million output tokens."""
    max_output_tokens: int = USUAL_OUTPUT
    """What is reserved, and asked for, where a limited caller names no maximum."""
    context_tokens: int = USUAL_CONTEXT
    """What is reserved as input of a call that goes on from an earlier answer."""

    @property
    def slug(self) -> str:
        """What people type to mean it: its model."""
        return self.model

    def cost(self, input_tokens: int, output_tokens: int) -> int:
        """Return what tokens cost in micro-units, rounded up: never too little."""
        whole = input_tokens * self.input_micros + output_tokens * self.output_micros
        return -(-whole // TOKENS_PRICED)


class SetPrice(Request, kw_only=True, frozen=True):
    """What `price set` sends."""

    model: Slug
    starts_on: date | None = None
    """The first day (UTC) it holds; None for today, where no price holds today."""
    input_micros: PerMillion
    output_micros: PerMillion
    max_output_tokens: Output = USUAL_OUTPUT
    context_tokens: Output = USUAL_CONTEXT
    reason: Reason


class BudgetState(msgspec.Struct, kw_only=True, frozen=True):
    """How much of a grant's budget is used, for the grant or for one of its principals."""

    grant_id: str
    pilot: str
    partner: str
    scope: str = "grant"
    """`grant` for the grant as a whole, `principal` for one of its principals."""
    principal: str = ""
    """Salted hash of the principal; empty for the callers who name nobody."""
    period: str
    starts_at: datetime
    """When the period began."""
    ends_at: datetime | None = None
    """When the next begins; None where the grant's whole life is one."""
    budget_micros: int
    spent_micros: int
    reserved_micros: int
    """Most that the calls in flight may still cost, and that calls which ended without their
    upstream's figures may have cost beyond what is spent.
    """
    left_micros: int
    """Negative where more was spent before the budget was lowered."""


class Forecast(msgspec.Struct, kw_only=True, frozen=True):
    """When a pool or a budget runs out, by the rate of the last seven days."""

    kind: str
    """`pilot` for a credit pool, `grant` or `principal` for a budget."""
    name: str
    partner: str = ""
    limit_micros: int
    spent_micros: int
    left_micros: int
    used: float
    """Share of the limit that is spent, 0 to 1 and above."""
    daily_micros: int
    """Spend a day, over the last seven."""
    ends_at: datetime | None = None
    """When the budget's period is over and it is whole again."""
    runs_out_at: datetime | None = None
    """When nothing is left at this rate; None where it holds, or nothing is spent."""


def price_of(prices: Iterable[Price], day: date) -> Price | None:
    """Return the price that holds on a day: the last that began on or before it."""
    held = [price for price in prices if price.starts_on <= day]
    return max(held, key=lambda price: price.starts_on, default=None)
