"""The standard streams as the process finds them: closed ones are filled, plain text is printed.

Imports nothing of ours: it is the first thing that runs.
"""

from __future__ import annotations

import os
import sys


def hold_streams() -> None:
    """Put something in the place of each standard stream that the caller closed.

    Otherwise the next file or socket that is opened gets its number, and what is meant for
    people ends there. Input is at its end, output cannot be written (that is told as a closed
    pipe), and what is said on standard error is heard by nobody.
    """
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
    # what it still holds would fail again when the interpreter flushes at the end
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return CLOSED_PIPE
