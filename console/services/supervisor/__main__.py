"""The supervisor's process. It detaches itself where it is given a pipe to report to."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from console.errors import ExitCode, PilotError
from console.services import settings
from console.services.settings import Home
from console.services.supervisor.bounded_log import BoundedLog
from console.services.supervisor.launch import LOG, Plan, run, stamped
from console.services.supervisor.processes import processes
from console.services.supervisor.report import Reply
from console.streams import restrict_umask


def main(plan: Plan = processes) -> int:
    """Supervise the pilot of `--home` until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m console.services.supervisor")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, default=-1, help="report there, and detach")
    args = parser.parse_args()
    restrict_umask()
    detaches = args.ready_fd >= 0
    if detaches:
        if os.fork():
            # Not sys.exit: the first process must run nothing of the second's.
            os._exit(0)
        os.setsid()
        os.set_inheritable(args.ready_fd, False)
    tell = _teller(args.ready_fd) if detaches else lambda _reply: None
    try:
        read = settings.load(args.home)
        say = _writer(read.home) if detaches else None
        run(read, plan(read), ready=lambda status: tell(Reply(status=status)), say=say)
    except PilotError as error:
        said = error.as_json()
        tell(Reply(error=msgspec.convert(said["error"], dict[str, object])))
        sys.stderr.write(msgspec.json.encode(said).decode() + "\n")
        return int(error.exit)
    return int(ExitCode.DONE)


def _writer(home: Home) -> Callable[[str], None]:
    """Return what writes events to the supervisor's log, which stays bounded."""
    log = BoundedLog(home.logs / LOG)
    return lambda line: log.write(stamped(line).encode())


def _teller(descriptor: int) -> Callable[[Reply], None]:
    def tell(reply: Reply) -> None:
        os.write(descriptor, msgspec.json.encode(reply) + b"\n")
        os.close(descriptor)

    return tell


if __name__ == "__main__":
    sys.exit(main())
