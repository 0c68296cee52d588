"""What a process was started with: standard streams that are closed, or fail, Ctrl-C, the umask.

Imports nothing of ours: it is the first thing that runs.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

_is_our_process = False


def hold_streams() -> None:
    """Put something in the place of each standard stream that the caller closed.

    Otherwise the next file or socket that is opened gets its number, and what is meant for
    people ends there. Input is at its end, output cannot be written (that is told as a closed
    pipe), and what is said on standard error is heard by nobody.
    """
    global _is_our_process  # noqa: PLW0603  # a process has one answer
    _is_our_process = True
    ways = {"stdin": os.O_RDONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}
    for number, (name, way) in enumerate(ways.items()):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, way)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)
        stream = open(number, "r" if name == "stdin" else "w", closefd=False)  # noqa: SIM115  # for the life of the process
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


_LOOKS_EVERY_SECONDS = 0.2


def read_stdin(most: int = sys.maxsize) -> bytes:
    """Read standard input to its end, or `most` bytes of it; Ctrl-C ends that within a moment.

    An interrupt that comes just before a read begins is only seen when the read has ended:
    one that waits for somebody would keep it.
    """
    try:
        number = sys.stdin.fileno()
    except (OSError, ValueError):  # it is no file of the system
        return sys.stdin.read().encode()[:most]
    import select  # noqa: PLC0415  # `pilotctl --version` needs none

    parts, left = [], most
    while left:
        if not select.select([number], [], [], _LOOKS_EVERY_SECONDS)[0]:
            continue
        part = os.read(number, min(left, 65536))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


CLOSED_PIPE = 141
"""The exit code where nobody reads what is printed (`errors.ExitCode.CLOSED_PIPE`)."""


def say(text: str) -> int:
    """Print plain text without what results need; return the exit code."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        return closed_pipe()
    return 0


def closed_pipe() -> int:
    """Return the exit code for an output that nobody reads, and keep the end quiet."""
    _drop(sys.stdout)
    return CLOSED_PIPE


def settle_streams() -> None:
    """Write what the streams still hold, and drop what cannot be written.

    The interpreter would try once more at its end, and replace the exit code by its own (120).
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop(stream)
        except (ValueError, AttributeError):
            continue  # it is closed: the interpreter leaves it alone as well


MIN_UMASK = 0o022


def restrict_umask() -> None:
    """Let no file or folder that this process makes be one that others may write."""
    os.umask(os.umask(MIN_UMASK) | MIN_UMASK)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C from now on: the outcome is known, and is being told.

    A second Ctrl-C would replace it by a traceback. SIGTERM and SIGQUIT still end the process.
    Does nothing where `hold_streams` was not called: signals belong to who owns the process.
    """
    if _is_our_process:
        import signal  # noqa: PLC0415  # `pilotctl --version` needs none

        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _drop(stream: TextIO) -> None:
    """Let what `stream` still holds, and all that follows, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
