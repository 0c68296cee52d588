"""The one way of running a service as a process: policy, gateway, audit, a point, demo traffic.

It fails loudly: whatever ends a service before it was told to is one JSON line on stderr,
which the supervisor reads, and an exit code that is not zero.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from console.errors import ExitCode, PilotError
from console.services import settings
from console.services.descriptor_limit import raise_descriptor_limit
from console.services.failures import FailureLog, SafeHandler, place_of, report_unhandled
from console.services.settings import Settings
from console.streams import restrict_umask

Serve: TypeAlias = Callable[[Settings, argparse.Namespace, asyncio.Event], Awaitable[None]]
"""What a service does: with its settings, its options, and the event that ends it."""


def run(
    name: str,
    serve: Serve,
    *,
    options: Callable[[argparse.ArgumentParser], None] | None = None,
    instance: Callable[[argparse.Namespace], str] = lambda _args: "",
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Run the service `name` until a signal asks it to stop; return its exit code.

    `serve` gets the settings of `--home`, the parsed options and the event that
    SIGTERM, SIGINT and SIGHUP set. `instance` names one process of several of a kind.
    """
    parser = argparse.ArgumentParser(prog=f"python -m console.services.{name}")
    parser.add_argument("--home", type=Path, required=True, help="the pilot's state folder")
    if options is not None:
        options(parser)
    args = parser.parse_args()
    name = instance(args) or name
    restrict_umask()
    raise_descriptor_limit()
    log = FailureLog(name)
    logging.basicConfig(handlers=[SafeHandler(log)], force=True)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_until_told(serve, settings.load(args.home), args, log))
    except PilotError as error:
        return _failed(name, error)
    except Exception as error:
        return _failed(name, unexpected(error))
    return int(ExitCode.DONE)


def unexpected(error: BaseException) -> PilotError:
    """Return the error for what no part of a service foresaw: its kind and place, no value."""
    found = cause_of(error)
    if isinstance(found, PilotError):
        return found
    return PilotError(
        "service-failed",
        f"it ended by {type(found).__name__}: {place_of(found)}",
        exit=ExitCode.FAILED,
        hint="this is a fault of ours; the lines before it in this log may say more",
    )


def cause_of(error: BaseException) -> BaseException:
    """Return the error in a group that a person should read: a `PilotError` if there is one."""
    if isinstance(error, BaseExceptionGroup):
        error = error.subgroup(PilotError) or error
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _failed(name: str, error: PilotError) -> int:
    sys.stderr.write(msgspec.json.encode({"service": name, **error.as_json()}).decode() + "\n")
    sys.stderr.flush()
    return int(error.exit)


async def _until_told(
    serve: Serve, read: Settings, args: argparse.Namespace, log: FailureLog
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report_unhandled(log))
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(each, stop.set)
    await serve(read, args, stop)
