"""The clock that leases are counted by, in gateway control and in its points."""

from __future__ import annotations

import time


def boottime() -> float:
    """Return seconds since boot, counting those in which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
