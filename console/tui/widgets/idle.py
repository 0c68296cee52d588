"""Work that can wait goes where no key is: long work in slices, and the collecting of garbage.

A list of a hundred thousand rows makes every collection look at each of them: milliseconds
for the youngest generation, a tenth of a second for all. Left to itself that happens while
a key is being answered. Here it happens between keys, or when it has waited too long.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")

SLICE = 0.003
"""Seconds of work after which keys are looked at."""
AFTER_KEY = 0.025
"""Seconds after a key that are its answer's."""
MAX_TURNS = 4
"""Keys that one slice of work gives way to, when they come all the time."""
SWEEP_EVERY = 1.0
YOUNG = 5_000
"""Objects made since the last collection, from which on one is due."""
REST = 1.5
"""Seconds without a key that are taken for a pause of the operator."""
WHOLE_EVERY = 8.0
"""Seconds after a collection of everything in which a pause is not used for another."""
WHOLE_AT_LATEST = 30.0
"""Seconds after which everything is collected between two keys: some operators make no pause."""
WHOLE_SHARE = 1 / 200
"""Of the time, what collecting everything may take: where it is quick, it is done more often."""


class Quiet:
    """When the last key was, and what waits for a moment without one."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sweep_every: float = SWEEP_EVERY
    ) -> None:
        self._key = 0.0
        self._clock = clock
        self._every = sweep_every

    def key(self) -> None:
        """Note that a key came."""
        self._key = self._clock()

    def since_key(self) -> float:
        """Return the seconds since the last key."""
        return self._clock() - self._key

    async def turn(self) -> None:
        """Let others work, and a key be answered that came just now."""
        await asyncio.sleep(SLICE / 2)
        for _ in range(MAX_TURNS):
            left = AFTER_KEY - self.since_key()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def in_slices(self, steps: Generator[None, None, T]) -> T:
        """Run `steps` to its end, never for long at a time; return what it returns."""
        end = time.perf_counter() + SLICE
        while True:
            try:
                next(steps)
            except StopIteration as done:
                found: T = done.value
                return found
            if time.perf_counter() > end:
                await self.turn()
                end = time.perf_counter() + SLICE

    async def sweep(self) -> None:
        """Collect garbage between keys, for ever; collect as it was before when cancelled.

        What was made lately is looked at often; everything in a pause of the operator, and
        where none comes in time, between two keys.
        """
        was = gc.isenabled()
        gc.disable()
        whole, took = self._clock(), 0.0
        frozen = False
        try:
            while True:
                await asyncio.sleep(self._every)
                if _whole_is_due(self._clock() - whole, self.since_key(), took):
                    await self.turn()
                    began = time.thread_time()
                    gc.collect()
                    whole, took = self._clock(), time.thread_time() - began
                    if not frozen:
                        gc.freeze()  # the program itself: it is there for good
                        frozen = True
                    continue
                if gc.get_count()[0] > YOUNG:
                    await self.turn()
                    gc.collect(1)
        finally:
            gc.unfreeze()
            if was:
                gc.enable()


def _whole_is_due(since_whole: float, since_key: float, took: float) -> bool:
    """Tell whether everything is to be collected now.

    `took` is the processor time of the last one; all are seconds.
    """
    latest = min(WHOLE_AT_LATEST, max(WHOLE_EVERY, took / WHOLE_SHARE))
    return since_whole > latest or (since_whole > WHOLE_EVERY and since_key > REST)


def at_once(steps: Generator[None, None, T]) -> T:
    """Run `steps` to its end without a break."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: T = done.value
            return found
