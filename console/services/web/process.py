"""The main function of a service's process."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from console.errors import ExitCode, PilotError
from console.services import settings
from console.services.settings import Settings

SUPERVISOR = "PILOTCTL_SUPERVISOR"
"""The environment variable by which the supervisor gives its children its process id."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Serve: TypeAlias = Callable[[Settings, argparse.Namespace, asyncio.Event], Awaitable[None]]


def run(
    name: str,
    serve: Serve,
    *,
    options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> int:
    """Run the service `name` until a signal asks it to stop; return its exit code.

    `serve` gets the settings of `--home`, the parsed options and the event that
    SIGTERM, SIGINT and SIGHUP set. A `PilotError` becomes one JSON line on stderr,
    which the supervisor reads.
    """
    parser = argparse.ArgumentParser(prog=f"python -m console.services.{name}")
    parser.add_argument("--home", type=Path, required=True, help="the pilot's state folder")
    if options is not None:
        options(parser)
    args = parser.parse_args()
    try:
        _end_with_supervisor()
        asyncio.run(_until_told(serve, settings.load(args.home), args))
    except PilotError as error:
        line = msgspec.json.encode({"service": name, **error.as_json()}).decode()
        sys.stderr.write(line + "\n")
        return int(error.exit)
    return int(ExitCode.DONE)


def _end_with_supervisor() -> None:
    """Ask the kernel to kill this process when the supervisor dies: it leaves no orphans."""
    supervisor = os.environ.pop(SUPERVISOR, "")
    if not supervisor or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(supervisor):
        # It died before we could ask.
        raise PilotError("unavailable", "the supervisor has ended", exit=ExitCode.UNAVAILABLE)


async def _until_told(serve: Serve, read: Settings, args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(each, stop.set)
    await serve(read, args, stop)
