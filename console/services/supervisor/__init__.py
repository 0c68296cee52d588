"""The processes of `pilotctl up`: started together, restarted when they die, stopped together."""

from console.services.supervisor.launch import (
    drain_seconds,
    points,
    start,
    start_one,
    status,
    stop,
    stop_one,
)
from console.services.supervisor.report import Process, Status

__all__ = [
    "Process", "Status", "drain_seconds", "points", "start", "start_one", "status", "stop",
    "stop_one",
]  # fmt: skip
