"""Who is told of alerts, how, and whether it reached them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.audit import Severity
from console.model.stored import Request, Stored
from console.model.text import Note, Reason, Slug

LEVELS = 9
"""The highest on-call level."""

MAX_AFTER_SECONDS = 7 * 86_400
"""The longest that an alert may wait before somebody is told of it."""


class DeliveryState(StrEnum):
    """What became of one page to one target."""

    WAITING = "waiting"
    """Not due: it goes out at `next_at`, unless the alert is taken on before."""
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up: nobody was told this way."""
    CANCELLED = "cancelled"
    """Not sent: the alert was taken on, or quiet, before it was due. `error` says how."""


class TargetState(StrEnum):
    """Whether pages go to a target."""

    ACTIVE = "active"
    REMOVED = "removed"


class OncallTarget(Stored, kw_only=True, frozen=True):
    """Where pages go at one level: a signed webhook, or a command on the service's machine."""

    slug: str
    kind: str
    """`webhook` or `command`."""
    url: str = ""
    argv: list[str] = []
    """The program, which lies in the state folder's `paging`, and its arguments."""
    level: int = 1
    severities: list[str]
    hours: str = ""
    """When it is on call, like `mon-fri 08:00-18:00 Europe/Berlin`; empty is always."""
    after_seconds: int = 0
    """It is told only of what is open and unacknowledged so long after the alert was made, or
    last escalated; 0 is at once."""
    timeout_seconds: int = 10
    state: Annotated[str, TargetState] = TargetState.ACTIVE.value
    delivered_at: datetime | None = None
    """When a page last reached it."""
    failing: str = ""
    """Why the last attempt did not reach it; empty after one that did."""


class NewOncall(Request, kw_only=True, frozen=True):
    """What `oncall add` sends: `url` with `secret`, or `argv`."""

    name: Slug
    url: Annotated[str, Meta(max_length=500)] = ""
    secret: Annotated[str, Meta(max_length=200)] = ""
    """Standard-webhooks: `whsec_` and base64 of 24 to 64 bytes."""
    argv: Annotated[
        list[Annotated[str, Meta(max_length=1000, pattern="^[^\x00]*$")]], Meta(max_length=32)
    ] = []
    level: Annotated[int, Meta(ge=1, le=LEVELS)] = 1
    severities: Annotated[list[Severity], Meta(min_length=1, max_length=5)] = msgspec.field(
        default_factory=lambda: [Severity.HIGH, Severity.CRITICAL]
    )
    hours: Note = ""
    after_seconds: Annotated[int, Meta(ge=0, le=MAX_AFTER_SECONDS)] = 0
    timeout_seconds: Annotated[int, Meta(ge=1, le=60)] = 10
    reason: Reason


class RemoveOncall(Request, kw_only=True, frozen=True):
    """What `oncall remove` sends. What still waits for it is given up, and shown so."""

    reason: Reason


class TryOncall(Request, kw_only=True, frozen=True):
    """What `oncall test` sends: one page that says it is a test."""

    reason: Reason


class Delivery(msgspec.Struct, kw_only=True, frozen=True):
    """One page to one target. `id` is its `webhook-id`: the same at each attempt."""

    id: str
    target: str
    """The target's name."""
    alert_id: str
    title: str
    severity: str
    why: str
    """`created`, `reopened`, `woken`, `escalated`, `unsilenced` or `test`."""
    after_seconds: int = 0
    """How long it waited for somebody to take the alert on; 0 is none."""
    state: str
    attempts: int = 0
    created_at: datetime
    next_at: datetime | None = None
    """When it is tried again; when it goes out, where it still waits."""
    ended_at: datetime | None = None
    also: int = 0
    """Further alerts that it stands for: when many come at once, one page tells of them."""
    error: str = ""
    """Why the last attempt failed, or why it was not sent."""
