"""One supervised process: started, watched, started again, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import msgspec

from console.errors import ExitCode, PilotError
from console.model.text import now
from console.programs import module_command, module_environment
from console.services.supervisor.bounded_log import BoundedLog
from console.services.supervisor.processes import Spec
from console.services.supervisor.report import SUPERVISOR, Process

LEASH = "console.services.supervisor.leash"

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 5.0
"""Seconds before a process that died is started again: doubled each time it dies young."""
GROWN_UP = 10.0
"""A process that ran this many seconds starts with the first pause again."""
MAX_STILLBIRTHS = 3
"""So many deaths before it served say that it cannot start."""
STOP_SECONDS = 5.0
"""Seconds from SIGTERM to SIGKILL."""
ASK_SECONDS = 0.05
"""How often a starting process is asked whether it serves."""


class Child:
    """Keeps one process alive until told otherwise."""

    def __init__(self, spec: Spec, log: BoundedLog, say: Callable[[str], None]) -> None:
        self.spec = spec
        self.refusal: PilotError | None = None
        """Why it refused to start, where it said so in its last line."""
        self.deaths = 0
        self.stillbirths = 0
        """Deaths since it last served."""
        self.settled = asyncio.Event()
        """Set while it serves, and once it is known that it cannot."""
        self._log = log
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._told_to_stop = asyncio.Event()
        self._state, self._since = "stopped", now()
        self._why = ""

    def report(self) -> Process:
        """Say how it is."""
        process = self._process
        return Process(
            name=self.spec.name,
            pid=process.pid if process and process.returncode is None else 0,
            state=self._state,
            restarts=self.deaths,
            since=self._since,
            why=self._why,
        )

    def start(self) -> None:
        """Start it, and keep it started. Nothing happens where it is already."""
        if self._keeper is None or self._keeper.done():
            self._told_to_stop.clear()
            self.settled.clear()
            self.refusal, self.stillbirths = None, 0
            self._keeper = asyncio.create_task(self._keep())

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Stop it: SIGTERM, and SIGKILL where it does not heed it.

        What drains has that long beforehand: its own setting, or `drain_seconds`.
        """
        drains = self.spec.drain_seconds
        patience = STOP_SECONDS
        if drains is not None:
            patience += drains if drain_seconds is None else drain_seconds
        self._told_to_stop.set()
        process, keeper = self._process, self._keeper
        if keeper is None:
            return
        if process is None or process.returncode is not None:
            keeper.cancel()  # it is between two lives
        else:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(patience):
                    await asyncio.shield(keeper)
            except TimeoutError:
                self._say(f"{self.spec.name} did not stop in {patience:.0f} s: killed")
                with suppress(ProcessLookupError):
                    process.kill()
        with suppress(asyncio.CancelledError):
            await keeper
        self._keeper = None
        self._become("stopped")

    async def _until_it_serves(self) -> None:
        """Ask it until it serves."""
        while not await self._serves():  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(ASK_SECONDS)
        self.refusal, self.stillbirths = None, 0
        self._become("running")
        self.settled.set()

    async def _serves(self) -> bool:
        """Tell whether it serves; a question that fails here is asked again."""
        try:
            return await self.spec.serves()
        except Exception as error:
            self._why = f"it cannot be asked whether it serves: {type(error).__name__}"
            return False

    def _become(self, state: str) -> None:
        if state != self._state:
            self._state, self._since = state, now()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._told_to_stop.is_set():
            started: datetime = now()
            self._become("starting")
            try:
                code, last = await self._live()
                why = _ending(code)
            except OSError as error:  # no process or file is free: it is tried again
                last, why = b"", f"it cannot be started: {error.strerror}"
            if self._told_to_stop.is_set():
                self._say(f"{self.spec.name} stopped")
                return
            self.deaths += 1
            self.stillbirths += 1
            self.refusal = _refusal_in(last)
            self.settled.clear()
            if self.refusal or self.stillbirths >= MAX_STILLBIRTHS:
                self.settled.set()
            self._why = self.refusal.message if self.refusal else why
            if (now() - started).total_seconds() >= GROWN_UP:
                pause = FIRST_PAUSE_SECONDS
            self._become("waiting")
            self._say(f"{self.spec.name} ended: {self._why}; starts again in {pause:.2f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def _live(self) -> tuple[int, bytes]:
        """Run it once; return its exit code and the last line it wrote."""
        process = await asyncio.create_subprocess_exec(
            *module_command(LEASH, *self.spec.argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**module_environment(), SUPERVISOR: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
        )
        self._process = process
        self._say(f"{self.spec.name} started, pid {process.pid}")
        if self._told_to_stop.is_set():  # told to stop while it was being started
            with suppress(ProcessLookupError):
                process.terminate()
        watch = asyncio.create_task(self._until_it_serves())
        tail = b""
        assert process.stdout is not None
        try:
            while data := await process.stdout.read(65536):
                self._log.write(data)
                tail = (tail + data)[-65536:]
            return await process.wait(), tail.rstrip().rpartition(b"\n")[2]
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch


def _refusal_in(line: bytes) -> PilotError | None:
    """Read the error that a service gives as its last line, if it is one."""
    try:
        said = msgspec.json.decode(line, type=dict[str, object])
        error = msgspec.convert(said["error"], dict[str, object])
        return as_error(error)
    except (msgspec.MsgspecError, KeyError, ValueError):
        return None


def as_error(said: dict[str, object]) -> PilotError:
    """Return the `PilotError` whose JSON form this is."""
    detail = said.get("detail")
    return PilotError(
        str(said["code"]),
        str(said["message"]),
        exit=ExitCode(msgspec.convert(said["exit"], int)),
        hint=str(said.get("hint", "")),
        detail=detail if isinstance(detail, dict) else None,
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
