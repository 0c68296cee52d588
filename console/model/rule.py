"""Detection rules as operators see them: what runs, how it is tuned, what it would have found."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.audit import Severity
from console.model.stored import Request, Stored
from console.model.text import Reason

SPEND = "cost_micros"
"""The measure of rules about spend."""


class RuleState(StrEnum):
    """Whether a rule looks. The file of a `broken` one cannot be read: what it last said holds."""

    ON = "on"
    OFF = "off"
    BROKEN = "broken"


class Tuning(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What an operator has set in place of the file's own values; None leaves the file's."""

    threshold: int | None = None
    window_seconds: int | None = None
    factor: float | None = None
    severity: str | None = None


class DetectionRule(Stored, kw_only=True, frozen=True):
    """One rule: the file's values, with the operator's tuning in their place."""

    title: str
    kind: str
    """`count`, `distinct`, `norm`, `ratio`, `hours` or `unbacked`."""
    reads: str
    """`calls` or `events`."""
    severity: str
    threshold: int
    """Of a rule about spend in micro-units."""
    window_seconds: int
    measure: str = ""
    """What a norm is of: `calls`, `tokens` or `cost_micros`. Empty for other kinds."""
    factor: float = 0.0
    """How many times the norm is far from it; 0 where the kind has none."""
    group_by: list[str] = []
    origin: str
    """`shipped`, or `own` from the state folder's `rules`."""
    state: Annotated[str, RuleState]
    enabled: bool = True
    """What an operator wants, whatever its file is like now."""
    required: bool = False
    """It guards an invariant, so it cannot be switched off, and only be made stricter."""
    tuning: Tuning = Tuning()
    description: str = ""
    runbook: str = ""
    sha256: str = ""
    """Of the file."""
    error: str = ""
    """Why its file cannot be read: file, line and what is nearest."""
    weaker: list[str] = []
    """In the answer to `rule tune`: each way in which it may miss what alerted before."""

    @property
    def spends(self) -> bool:
        """Whether its threshold is money."""
        return self.measure == SPEND


class ChangeRule(Request, kw_only=True, frozen=True):
    """What `rule enable`, `rule disable` and `rule remove` send."""

    reason: Reason


class TuneRule(Request, kw_only=True, frozen=True):
    """What `rule tune` sends: what is left out goes back to the file's value."""

    threshold: Annotated[int, Meta(ge=1, le=10**15)] | None = None
    window_seconds: Annotated[int, Meta(ge=1, le=604_800)] | None = None
    factor: Annotated[float, Meta(gt=1, le=1000)] | None = None
    severity: Severity | None = None
    reason: Reason


class AddRule(Request, kw_only=True, frozen=True):
    """What `rule add` sends: the text of a rule file. Its `id` names the file."""

    text: Annotated[str, Meta(min_length=1, max_length=60_000)]
    enabled: bool = True
    reason: Reason


class Found(msgspec.Struct, kw_only=True, frozen=True):
    """One alert that a rule would have made."""

    about: dict[str, str]
    count: int
    first_seen_at: datetime
    last_seen_at: datetime


class RuleTrial(msgspec.Struct, kw_only=True, frozen=True):
    """What a rule would have found in the history. Nothing was alerted."""

    rule: str
    since: datetime
    until: datetime
    read: int
    """Calls or events that were looked at."""
    matches: int
    """What the alerts' counts add up to."""
    alerts: int
    found: list[Found]
    """The hundred with the most matches."""
    partial: bool = False
    """The history is longer than what could be read in time: it begins later than asked."""
    warnings: list[str] = []
