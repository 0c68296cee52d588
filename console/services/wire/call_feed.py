"""What gateway control tells audit: every call, for detections."""

from __future__ import annotations

import msgspec


class CallRow(msgspec.Struct, kw_only=True, frozen=True):
    """A call record with its place in control's own order."""

    seq: int
    call: msgspec.Raw
    """A `CallRecord`, as its point wrote it."""


class CallFeed(msgspec.Struct, kw_only=True, frozen=True):
    """Call records after a row, for detections."""

    items: list[CallRow]
    head: int
    events: int = 0
    """The newest event of the gateway: the calls were admitted under no later change."""
