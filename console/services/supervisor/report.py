"""What the supervisor says of itself and of its processes, over its control socket."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from console.model.enforcement import Point

SUPERVISOR = "PILOTCTL_SUPERVISOR"
"""The environment variable by which a process is told the supervisor's process id."""


class Process(msgspec.Struct, kw_only=True, frozen=True):
    """One process of the pilot."""

    name: str
    """`policy`, `gateway`, `audit`, or a point: `gw-1`."""
    pid: int = 0
    state: str
    """`starting`, `running`, `stopped` (by a verb), or `waiting` to be started again."""
    restarts: int = 0
    since: datetime
    """When it came into this state."""
    why: str = ""
    """How it ended last time, where it did not end by a verb."""


class Status(msgspec.Struct, kw_only=True, frozen=True):
    """The pilot on this machine."""

    home: str
    running: bool = False
    already: bool = False
    """`start` found it running, and changed nothing."""
    stopping: bool = False
    """It has been told to stop, and is about to be gone."""
    pid: int = 0
    processes: list[Process] = []
    points: list[Point] | None = None
    """The points and the upstreams behind them, as gateway control has them; None: not asked, or
    it did not answer."""


class Order(msgspec.Struct, kw_only=True, frozen=True):
    """What the control socket is told: one JSON line."""

    do: str
    """`status`, `stop`, `stop_one` or `start_one`."""
    name: str = ""
    drain_seconds: float | None = None
    """`stop`: how long calls in flight may go on; None: as the settings have it."""


class Reply(msgspec.Struct, kw_only=True, frozen=True):
    """What the control socket answers, and what a start reports: one JSON line."""

    status: Status | None = None
    error: dict[str, Any] | None = None
    """A `PilotError`, as its JSON form has it."""
