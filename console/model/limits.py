"""Limits: how much a grant, or one principal under it, may use at a time and in a period.

A limit that is None does not bind. Money is in micro-units of the pilot's currency, so that
sums are exact: 1_000_000 is one unit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=10**12)]


class Period(StrEnum):
    """Over which calendar period, in UTC, a budget counts; `grant` is its whole life."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    GRANT = "grant"


class Limits(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is allowed at most. All of them hold at once, over all enforcement points."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    """Input and output tokens, the output's maximum reserved when a call begins."""
    parallel: Count | None = None
    """Calls in flight at once."""
    budget_micros: Count | None = None
    """Spend over `budget_period`, the maximum of each call reserved and then settled."""
    budget_period: Period = Period.MONTH

    def binds(self) -> bool:
        """Tell whether any limit is set."""
        return any(
            each is not None
            for each in (
                self.requests_per_minute,
                self.tokens_per_minute,
                self.parallel,
                self.budget_micros,
            )
        )


UNLIMITED = Limits()
