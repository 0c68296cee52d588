"""What `pilotctl up`, `down` and `status` call: they talk to the supervisor's process."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from console.errors import ExitCode, PilotError
from console.model.enforcement import Point
from console.model.text import now, rfc3339
from console.programs import module_command, module_environment
from console.services import demo_mark, settings
from console.services.backup.swap import finish
from console.services.home_lock import Lock, lock_file
from console.services.listening.sockets import refuse_long_path
from console.services.settings import DataPlane, Home, Settings
from console.services.supervisor.admins import refuse_without_admin
from console.services.supervisor.child import STOP_SECONDS, as_error
from console.services.supervisor.keeper import START_SECONDS, Keeper, control_socket
from console.services.supervisor.processes import Spec, points_of, processes, refuse_taken_ports
from console.services.supervisor.report import Order, Reply, Status

PROGRAM = module_command("console.services.supervisor")
"""The supervisor's own process; it takes `--home` and `--ready-fd`."""

LOG = "supervisor.log"

Plan = Callable[[Settings], list[Spec]]


def start(
    home: Path,
    *,
    foreground: bool = False,
    demo: bool = False,
    program: Sequence[str] = PROGRAM,
    plan: Plan = processes,
) -> Status:
    """Start the pilot of the state folder `home`, and return once everything serves.

    Only a `demo` may hold a demo's operators: any other start of such a home is refused.

    Where it runs already, nothing is changed and `already` is set. In the foreground it
    returns when a signal or `stop` has ended it. Raises `PilotError` with the reason
    where something cannot start; then nothing is left running.
    """
    refuse_long_path(control_socket(Home(home.absolute())))
    if not demo:
        demo_mark.refuse(home.absolute())
    finish(Home(home.absolute()))
    read = settings.load(home)
    lock = Lock(read.home)
    try:
        if found := _present(read.home, lock):
            return msgspec.structs.replace(found, already=True)
        try:
            refuse_without_admin(read)
            refuse_taken_ports(read)
            if foreground:
                return run(read, plan(read), lock=lock)
            return _detached(read.home, program, lock)
        except PilotError as error:
            # Another `up` may have been a moment faster; then its pilot is the answer.
            if error.code in {"already-running", "port-in-use"} and (
                found := _present(read.home, lock)
            ):
                return msgspec.structs.replace(found, already=True)
            raise
    finally:
        lock.close()


def drain_seconds(home: Path) -> float:
    """Return how long calls in flight may go on, by the settings of `home`."""
    try:
        return float(settings.load(home).data_plane.drain_seconds)
    except PilotError:
        return float(DataPlane().drain_seconds)


def stop(
    home: Path, drain: float | None = None, *, told: Callable[[Status | None], object] = bool
) -> bool:
    """Stop the pilot; return False where nothing was running.

    Calls in flight may go on for `drain` seconds, or as long as the settings say; new ones are
    refused meanwhile. `told` is called once the order was given, before its end is waited for:
    with what was running then, its points counted, or None where no supervisor answered.
    """
    place = Home(home.absolute())
    if not _was_started(place):
        return False
    lock = Lock(place)
    try:
        pid = lock.holder()
        if not pid:
            return False
        found: Status | None = None
        with suppress(PilotError):
            found = _order(place, Order(do="stop", drain_seconds=drain), seconds=5.0)
        told(found)
        drained = drain_seconds(home) if drain is None else drain
        if not _gone(lock, drained + 2 * STOP_SECONDS + 3.0):
            # It hangs. Its children are tied to its life and end with it.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if not _gone(lock, 5.0):
                raise PilotError("not-stopped", f"the supervisor, pid {pid}, does not end")
        return True
    finally:
        lock.close()


def status(home: Path) -> Status:
    """Say what is running for the state folder `home`."""
    place = Home(home.absolute())
    if not _was_started(place):
        return Status(home=str(place.path))
    lock = Lock(place)
    try:
        return _present(place, lock, settled=False) or Status(home=str(place.path))
    finally:
        lock.close()


def points(home: Path) -> list[Point] | None:
    """Ask gateway control for its points; None where it does not answer."""
    return asyncio.run(points_of(Home(home.absolute()), seconds=2))


def stop_one(home: Path, name: str) -> None:
    """Stop one process, and keep it stopped until `start_one`."""
    _order(
        Home(home.absolute()),
        Order(do="stop_one", name=name),
        seconds=drain_seconds(home) + STOP_SECONDS + 5,
    )


def start_one(home: Path, name: str) -> None:
    """Start one process that was stopped, and return once it serves."""
    _order(Home(home.absolute()), Order(do="start_one", name=name), seconds=START_SECONDS)


def run(
    read: Settings,
    specs: Sequence[Spec],
    *,
    ready: Callable[[Status], object] = bool,
    lock: Lock | None = None,
    say: Callable[[str], None] | None = None,
) -> Status:
    """Be the supervisor in this process, until told to stop.

    `say` gets one line for each event; they go to stderr otherwise.
    """
    held = lock or Lock(read.home)
    if not held.take():
        raise PilotError(
            "already-running",
            f"another supervisor holds {held.path}",
            exit=ExitCode.CONFLICT,
            hint="run `pilotctl down` first",
        )
    # Our own lock is never let go: the kernel does it when this process has ended.
    asyncio.run(_run(Keeper(read.home, specs, say or _say), ready))
    return Status(home=str(read.home.path))


async def _run(keeper: Keeper, ready: Callable[[Status], object]) -> None:
    await keeper.run(ready)


def stamped(line: str) -> str:
    """Return an event's line as it is written: with its time, and its end."""
    return f"{rfc3339(now())} {line}\n"


def _say(line: str) -> None:
    with suppress(OSError):  # the terminal may have gone
        sys.stderr.write(stamped(line))
        sys.stderr.flush()


def _detached(home: Home, program: Sequence[str], lock: Lock) -> Status:
    """Start the supervisor apart from this terminal, and hear from it how it went."""
    readable, writable = os.pipe()
    log = home.logs / LOG
    told = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        try:
            # The program forks and ends its first process at once: nothing is left to wait for.
            subprocess.run(  # noqa: S603 - our own program
                [*program, "--home", str(home.path), "--ready-fd", str(writable)],
                stdin=subprocess.DEVNULL, stdout=told, stderr=told,
                pass_fds=(writable,), check=False, env=module_environment(),
            )  # fmt: skip
        finally:
            os.close(told)
            os.close(writable)
        line = _line_of(readable, START_SECONDS + STOP_SECONDS + 5)
    finally:
        os.close(readable)
    try:
        reply = msgspec.json.decode(line, type=Reply)
        if reply.error and reply.error.get("code") != "already-running":
            _gone(lock, STOP_SECONDS)  # so that nothing is left running when we say that it failed
        return _told(reply)
    except msgspec.MsgspecError as error:
        raise PilotError(
            "not-started", "the supervisor ended before anything served", hint=f"see {log}"
        ) from error


def _was_started(home: Home) -> bool:
    """Tell whether a pilot ever ran there: asking makes no folder."""
    try:
        return lock_file(home).exists()
    except OSError:
        return True  # not ours to look at: opening the lock says why


def _present(home: Home, lock: Lock, *, settled: bool = True) -> Status | None:
    """Ask the supervisor that holds the lock; None where none does, or the last one went.

    One that is starting or stopping may not hear yet, or no more. With `settled` its
    answer counts only once it has started everything.
    """
    end = time.monotonic() + (START_SECONDS if settled else STOP_SECONDS + 3.0)
    while lock.holder():
        try:
            found = _order(home, Order(do="status"), seconds=5.0)
        except PilotError:
            if time.monotonic() > end:
                raise
        else:
            states = {each.state for each in found.processes}
            if not settled or (states <= {"running", "stopped"} and not found.stopping):
                return found
            if time.monotonic() > end:
                return found
        time.sleep(0.03)
    return None


def _order(home: Home, order: Order, *, seconds: float) -> Status:
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(seconds)
            sock.connect(str(control_socket(home)))
            sock.sendall(msgspec.json.encode(order) + b"\n")
            with sock.makefile("rb") as answer:
                line = answer.readline()
        return _told(msgspec.json.decode(line, type=Reply))
    except (OSError, msgspec.MsgspecError) as error:
        raise PilotError(
            "unavailable",
            f"no supervisor answers for {home.path}",
            exit=ExitCode.UNAVAILABLE,
            hint="run `pilotctl up`",
        ) from error


def _told(reply: Reply) -> Status:
    if reply.error is not None:
        raise as_error(reply.error)
    assert reply.status is not None
    return reply.status


def _gone(lock: Lock, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while lock.holder():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _line_of(descriptor: int, seconds: float) -> bytes:
    """Read until the line or the pipe ends, at most `seconds`."""
    read, end = b"", time.monotonic() + seconds
    while not read.endswith(b"\n") and (left := end - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            if not (part := os.read(descriptor, 65536)):
                break
            read += part
    return read
