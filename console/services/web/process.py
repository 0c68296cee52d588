"""The main function of a service's process."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from console.errors import ExitCode, PilotError
from console.services import settings
from console.services.settings import Settings

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
        asyncio.run(_until_told(serve, settings.load(args.home), args))
    except PilotError as error:
        line = msgspec.json.encode({"service": name, **error.as_json()}).decode()
        sys.stderr.write(line + "\n")
        return int(error.exit)
    return int(ExitCode.DONE)


async def _until_told(serve: Serve, read: Settings, args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(each, stop.set)
    await serve(read, args, stop)
