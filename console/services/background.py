"""What a service does beside answering: each task is watched, and started again if it fails.

A fault of a moment (no free descriptor, a full disk) must not take the switch away, and a
task that has ended must not go unseen: so whatever ends a task is logged by its kind, shown
in the service's status, and the task begins again after a pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from console.services.failures import FailureLog

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 15.0
"""Before a task begins again: doubled each time, until it has run for `STEADY_SECONDS`."""
STEADY_SECONDS = 60.0


class Trouble(NamedTuple):
    """How a task ended last, and when."""

    why: str
    at: float
    times: int


class EndServiceError(Exception):
    """Raised by a task that means the whole service to end; its cause is what is reported."""


class BackgroundTasks:
    """The tasks of one service."""

    def __init__(self, log: FailureLog) -> None:
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, Trouble] = {}
        self._ended: asyncio.Future[None] | None = None

    def add(self, name: str, work: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Do `work(*args)` from now on; it is meant never to end. `name` is for people."""
        task = asyncio.create_task(self._keep(name, work, args), name=name)
        self._tasks[name] = task

    async def until(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set. Raises the error of a task that ends the service."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = ended
        waiting = asyncio.create_task(_wait(stop))
        try:
            for task in self._tasks.values():
                self._look(task)
            await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
        finally:
            waiting.cancel()
            ended.cancel()
            self._ended = None

    async def stop(self) -> None:
        """End every task. May be called twice."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def notes(self) -> list[str]:
        """Say which tasks failed a moment ago, and how."""
        now = time.monotonic()
        return [
            f"{name} failed ({each.why}), {each.times} times: it is tried again"
            for name, each in list(self._troubles.items())
            if now - each.at < STEADY_SECONDS
        ]

    async def _keep(
        self, name: str, work: Callable[..., Awaitable[Any]], args: tuple[Any, ...]
    ) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                await work(*args)
                why = "it ended"
                self._log.line(f"{name}: ended, and begins again")
            except EndServiceError as error:
                self._end(error.__cause__ or error)
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                why = "cancelled"
                self._log.line(f"{name}: was cancelled, and begins again")
            except Exception as error:
                why = type(error).__name__
                self._log.failure(f"{name}: failed, and begins again:", error)
            now = time.monotonic()
            if now - began >= STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
                self._troubles.pop(name, None)
            before = self._troubles.get(name)
            self._troubles[name] = Trouble(why, now, before.times + 1 if before else 1)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)

    def _end(self, error: BaseException) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)
            return
        raise error

    def _look(self, task: asyncio.Task[None]) -> None:
        """Take up what a task said before anybody waited."""
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            self._end(error)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
