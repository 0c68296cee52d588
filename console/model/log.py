"""How a log passes from one key, or from one log, to the next."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from console.model.stored import Request
from console.model.text import Reason


class HandoverKind(StrEnum):
    """A rotation keeps the tree; a restart begins a new log that names the old one's head."""

    ROTATION = "rotation"
    RESTART = "restart"


class LogHandover(msgspec.Struct, kw_only=True, frozen=True):
    """One passing on of the log, recorded by an event in it."""

    kind: str
    old_key: str
    """The verifier key (C2SP vkey) in force before."""
    new_key: str
    old_head: str
    """Rotation: the checkpoint, signed by the old key, of the tree that holds the event.
    Restart: the old log's last head that is known."""
    event_id: str
    index: int
    """The event's place: in the tree that goes on, or 0, the new log's first leaf."""
    carried: int = 0
    """Restart: entries of the old log that the new one holds after its first."""
    by: str
    reason: str
    at: datetime


class RotateLogKey(Request, kw_only=True, frozen=True):
    """What `log rotate-key` sends."""

    reason: Reason


class RestartLog(Request, kw_only=True, frozen=True):
    """What `log restart` sends."""

    reason: Reason


class LogSuccession(msgspec.Struct, kw_only=True, frozen=True):
    """What this console can check of a log that took the place of the one it pinned."""

    pinned_origin: str
    pinned_size: int
    origin: str
    key: str
    size: int
    """Entries of the new log, all of which were read."""
    named_size: int
    """The size of the old head that the new log's first leaf names."""
    carried: int
    missing: int
    """Entries that this console had seen and the new log does not hold."""
    same: bool
    """Whether what it carries begins with exactly the entries of the pinned head."""
    by: str
    reason: str
    at: datetime
    repinned: bool = False
    """Whether this console now holds the new log as its own."""
