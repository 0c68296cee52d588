"""What gateway control tells audit: every call, for detections."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import msgspec

R = TypeVar("R")
"""A call record: its point's own bytes where it is told on, a `CallRecord` where it is read."""


class CallRow(msgspec.Struct, Generic[R], kw_only=True, frozen=True):
    """A call record with its place in control's own order."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    call: R


class CallFeed(msgspec.Struct, Generic[R], kw_only=True, frozen=True):
    """Call records after a row, in the order in which control got them, and the newest row."""

    items: list[CallRow[R]]
    head: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    events: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    """Control's newest event as the calls were read: what lifted a closing came before it."""
