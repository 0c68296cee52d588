"""The supervisor's own life: the lock, the children, the control socket, the signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from console.errors import ExitCode, PilotError
from console.model.enforcement import Point
from console.services.settings import Home
from console.services.supervisor.bounded_log import BoundedLog
from console.services.supervisor.child import MAX_STILLBIRTHS, Child
from console.services.supervisor.processes import Spec, points_of
from console.services.supervisor.report import Order, Reply, Status
from console.trust.writer import replace_file

START_SECONDS = 30.0
"""How long all processes together may take until they serve."""
COUNT_SECONDS = 0.5
"""How long an order to stop waits for gateway control to count the calls in flight."""


def control_socket(home: Home) -> Path:
    """Return where the supervisor listens to its owner."""
    return home.run / "supervisor.sock"


class Keeper:
    """Runs a pilot's processes until it is told to stop."""

    def __init__(self, home: Home, specs: Sequence[Spec], say: Callable[[str], None]) -> None:
        self._home = home
        self._say = say
        self._logs = [BoundedLog(home.logs / f"{spec.name}.log") for spec in specs]
        self._children = {
            spec.name: Child(spec, log, say) for spec, log in zip(specs, self._logs, strict=True)
        }
        self._ended = asyncio.Event()
        self._drain: float | None = None
        """How long calls in flight may go on, where the order to stop said so."""

    async def run(self, ready: Callable[[Status], object]) -> None:
        """Start everything, call `ready` once all serve, and stay until told to stop.

        Raises `PilotError` where something cannot start; then nothing is left running.
        """
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(each, self._ended.set)
        path = control_socket(self._home)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._hear, str(path))
        finally:
            os.umask(before)
        try:
            for child in self._children.values():
                child.start()
            await self._until_serving()
            if not self._ended.is_set():
                self._say("ready")
                ready(self.status())
            await self._ended.wait()
            self._say("told to stop")
        finally:
            await self._stop_all()
            server.close()
            path.unlink(missing_ok=True)
            for log in self._logs:
                log.close()
            self._say("stopped")

    async def _stop_all(self) -> None:
        """Stop what drains first: it needs the others until the last call has ended."""
        children = self._children.values()
        draining = [each for each in children if each.spec.drain_seconds is not None]
        if self._drain is not None:
            replace_file(self._home.drain, f"{self._drain}".encode(), durable=False)
        try:
            await asyncio.gather(*(each.stop(self._drain) for each in draining))
        finally:
            self._home.drain.unlink(missing_ok=True)
        await asyncio.gather(*(each.stop() for each in children))

    def status(self) -> Status:
        """Say how everything is."""
        return Status(
            home=str(self._home.path),
            running=True,
            stopping=self._ended.is_set(),
            pid=os.getpid(),
            processes=[child.report() for child in self._children.values()],
        )

    async def _until_serving(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + START_SECONDS
        while not self._ended.is_set():
            reports = [child.report() for child in self._children.values()]
            if all(each.state == "running" for each in reports):
                return
            for child in self._children.values():
                _refuse_if_hopeless(child, self._home)
            if loop.time() > end:
                late = ", ".join(each.name for each in reports if each.state != "running")
                raise PilotError(
                    "not-started",
                    f"{late} did not serve within {START_SECONDS:.0f} s",
                    exit=ExitCode.UNAVAILABLE,
                    hint=f"see the files in {self._home.logs}",
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await self._ended.wait()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one order, and only then end, so that whoever asked hears of it."""
        order = Order(do="")
        try:
            async with asyncio.timeout(START_SECONDS + 30):
                order = msgspec.json.decode(await reader.readline(), type=Order)
                writer.write(msgspec.json.encode(await self._answer(order)) + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError, msgspec.MsgspecError):
            pass  # whoever asked has gone, or was not one of us
        finally:
            writer.close()
            if order.do == "stop":
                self._drain = order.drain_seconds
                self._ended.set()

    async def _answer(self, order: Order) -> Reply:
        points: list[Point] | None = None
        try:
            if order.do in {"stop_one", "start_one"}:
                await self._obey(order)
            elif order.do == "stop":
                points = await points_of(self._home, seconds=COUNT_SECONDS)
        except PilotError as error:
            return Reply(error=msgspec.convert(error.as_json()["error"], dict[str, object]))
        return Reply(status=msgspec.structs.replace(self.status(), points=points))

    async def _obey(self, order: Order) -> None:
        child = self._children.get(order.name)
        if child is None:
            raise PilotError(
                "no-such-process",
                f"there is no process {order.name}; there are {', '.join(self._children)}",
                exit=ExitCode.NOT_FOUND,
            )
        if order.do == "stop_one":
            await child.stop()
        else:
            child.start()
            await child.settled.wait()
            _refuse_if_hopeless(child, self._home)


def _refuse_if_hopeless(child: Child, home: Home) -> None:
    """Raise what a process said when it refused to start, or that it dies again and again."""
    if child.refusal is not None:
        raise child.refusal
    if child.stillbirths >= MAX_STILLBIRTHS:
        raise PilotError(
            "not-started",
            f"{child.spec.name} does not start: {child.report().why}",
            exit=ExitCode.UNAVAILABLE,
            hint=f"see {home.logs / (child.spec.name + '.log')}",
        )
