"""What partners sent and got, where their pilot keeps it sealed for a time."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from console.model.stored import Request
from console.model.text import Reason


class ContentState(StrEnum):
    """`kept` can be read; what was `redacted` or has `expired` is gone for ever."""

    KEPT = "kept"
    REDACTED = "redacted"
    EXPIRED = "expired"


class CallContent(msgspec.Struct, kw_only=True, frozen=True):
    """The content of one call. Reading it is an event; a replayed answer has none."""

    call: str
    pilot: str
    partner: str
    state: str
    stored_at: datetime
    expires_at: datetime
    request: str | None = None
    """The request as it was sent on: its user by its hash. Hostile text."""
    answer: str | None = None
    """What the caller was sent: JSON, or server-sent events. Hostile text."""
    truncated: bool = False
    """Only the first mebibyte of each was kept."""
    gone_at: datetime | None = None
    gone_by: str = ""
    gone_why: str = ""
    replayed: bool = False

    def redacted(self) -> CallContent:
        """Return the answer as it may be kept and told again: without what was said."""
        return msgspec.structs.replace(self, request=None, answer=None, replayed=True)


class ReadContent(Request, kw_only=True, frozen=True):
    """What `call content` sends."""

    reason: Reason


class RedactContent(Request, kw_only=True, frozen=True):
    """What `call redact` sends."""

    reason: Reason
