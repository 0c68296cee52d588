"""Silences: what mutes alerts for a while, by whom, and how much it has muted."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.stored import Request, Stored
from console.model.text import Reason, Time

MAX_SILENCE_SECONDS = 86_400
"""No silence lasts longer."""

MATCHABLE = (
    "rule",
    "partner",
    "severity",
    "grant",
    "credential",
    "principal",
    "network",
    "capability",
    "model",
    "point",
    "code",
    "target",
)
"""What a matcher can look at. What an alert is not about matches the empty text only."""


class SilenceState(StrEnum):
    """A silence mutes until it has ended."""

    ACTIVE = "active"
    ENDED = "ended"


class Matcher(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One test of an alert: the field's value is this text, in which `*` and `?` are wild."""

    field: Annotated[str, Meta(max_length=32)]
    pattern: Annotated[str, Meta(min_length=1, max_length=200)]


class Silence(Stored, kw_only=True, frozen=True):
    """Mutes the alerts that every matcher holds for; never a critical one or a required rule's."""

    matchers: list[Matcher]
    owner: str
    reason: str
    ends_at: datetime
    state: Annotated[str, SilenceState]
    ended_at: datetime | None = None
    ended_by: str = ""
    ended_why: str = ""
    hits: int = 0
    """Matches that came while it held: what was counted and told nobody."""
    alerts: int = 0
    """How many alerts it has muted."""
    last_hit_at: datetime | None = None


class NewSilence(Request, kw_only=True, frozen=True):
    """What `silence add` sends."""

    matchers: Annotated[list[Matcher], Meta(max_length=12)]
    ends_at: Time
    reason: Reason


class EndSilence(Request, kw_only=True, frozen=True):
    """What `silence end` sends."""

    reason: Reason
