"""Calls through the data plane, and the usage they add up to.

Attribute meanings follow the OpenTelemetry GenAI names: `input_tokens` is
`gen_ai.usage.input_tokens`, `finish_reason` is `gen_ai.response.finish_reasons`,
`error_type` is `error.type`.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """What became of a call."""

    ALLOWED = "allowed"
    DENIED = "denied"
    BLOCKED = "blocked"
    FLAGGED = "flagged"
    ERROR = "error"


SERVED = frozenset({Outcome.ALLOWED, Outcome.FLAGGED})
"""What a call became whose answer its caller got."""


class Check(msgspec.Struct, kw_only=True, frozen=True):
    """One step of the decision, in order: what was asked, what was found."""

    name: str
    passed: bool
    found: str


class CallRecord(msgspec.Struct, kw_only=True, frozen=True):
    """One partner request, with its decision and its usage."""

    id: str
    """The request id that the caller was given."""
    point: str
    sequence: int
    """The point's own counter: (point, sequence) is unique and without gaps."""
    started_at: datetime
    ended_at: datetime | None = None
    pilot: str = ""
    stage: str = ""
    partner: str = ""
    grant_id: str = ""
    credential_id: str = ""
    holder: str = ""
    capability: str = ""
    tier: int = 0
    model: str = ""
    """As the caller wrote it, cut at 200 characters: hostile text."""
    route: str = ""
    stream: bool = False
    outcome: str
    code: str = ""
    """The stable reason of a refusal or error; empty when served whole."""
    status: int
    address: str = ""
    """The caller's address as the point saw it."""
    declared: bool = True
    """Whether that address lies in the partner's declared egress."""
    user_agent: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    """The upstream did not say: counted from what passed through."""
    finish_reason: str = ""
    error_type: str = ""
    upstream: str = ""
    upstream_ms: float = 0.0
    total_ms: float = 0.0
    snapshot_sequence: int = 0
    bundle_revision: str = ""
    checks: list[Check] = []
    lock_id: str = ""
    principal: str = ""
    """Salted hash of the user that the caller named, empty where it named none."""
    content: str = ""
    """What is kept of what was sent and answered: `hashed`, `sealed`, or nothing."""
    request_sha256: str = ""
    """Of the bytes that the caller sent, where content is kept."""
    answer_sha256: str = ""
    """Of the bytes that it was sent."""
    cost_micros: int = 0
    """By the price that held as it began, in micro-units of the pilot's currency."""
    held_micros: int = 0
    """What it may have cost beyond that, where its upstream did not say: it stays
    held of its budget until the budget's period is over.
    """


class CallCheck(msgspec.Struct, kw_only=True, frozen=True):
    """Whether the gateway would let a call through now, and by which of its checks.

    All but the policy bundle, which policy answers for.
    """

    allow: bool
    code: str = ""
    """The stable reason of a refusal; empty where none of the checks refuses."""
    message: str = ""
    """What the caller would be told."""
    lock_id: str = ""
    checks: list[Check] = []


class Explanation(msgspec.Struct, kw_only=True, frozen=True):
    """Why a call was let through or refused: the record, and words for it."""

    call: CallRecord
    summary: str
    mend: str
    """What would let it through, or an empty string."""


class UsageBy(StrEnum):
    """What usage can be grouped by."""

    PARTNER = "partner"
    GRANT = "grant"
    KEY = "key"
    MODEL = "model"
    CAPABILITY = "capability"
    PRINCIPAL = "principal"
    NETWORK = "network"
    """The caller's /24, or /48 of IPv6."""
    PILOT = "pilot"
    HOUR = "hour"
    DAY = "day"


class UsageRow(msgspec.Struct, kw_only=True, frozen=True):
    """What the calls of one group add up to, over the period asked for."""

    group: str
    calls: int
    allowed: int
    denied: int
    """By the decision; what a lock stopped is in `blocked`."""
    errors: int
    input_tokens: int
    output_tokens: int
    estimated_calls: int
    first_at: datetime | None = None
    last_at: datetime | None = None
    second: str = ""
    """The group within the group, where it was asked for in two dimensions."""
    blocked: int = 0
    cost_micros: int = 0
    """In micro-units of the pilot's currency: each call by the price that held as it began."""
    share: float = 0.0
    """Of the tokens of every group, 0 to 1."""
    norm_tokens: int | None = None
    """What the group's seven days before come to for a time as long; None where unknown."""

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens


class UsagePicture(msgspec.Struct, kw_only=True, frozen=True):
    """Usage over a period, to be drawn: by the hour, and by one kind of group."""

    as_of: datetime
    by: str
    since: datetime
    until: datetime
    hours: list[UsageRow]
    groups: list[UsageRow]
