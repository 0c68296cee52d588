"""The event loop of a point: nothing it had buffered leaves it after its lease has lapsed.

A process that was stopped wakes inside `select`. Before any ready socket is served, the
guard runs: it sees that the lease lapsed meanwhile and drops the connections of calls in
flight together with what was still buffered for them.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable


class GuardedSelector(selectors.DefaultSelector):
    """A selector that runs `guard` each time it wakes, before what is ready is handled."""

    guard: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as the base does, then let the guard look."""
        ready = super().select(timeout)
        if self.guard is not None:
            self.guard()
        return ready


def guarded_loop() -> tuple[asyncio.AbstractEventLoop, GuardedSelector]:
    """Return a new event loop and the selector whose guard may be set."""
    selector = GuardedSelector()
    return asyncio.SelectorEventLoop(selector), selector
