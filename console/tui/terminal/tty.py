"""The terminal behind redirected streams: a screen can be drawn while stdout is a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from console.errors import ExitCode, PilotError

STREAMS = (0, 1, 2)


@contextmanager
def own_terminal() -> Iterator[None]:
    """Have standard input, output and error be the terminal for a while, whatever they are.

    Raises `PilotError` (exit 2) where the process has none.
    """
    away = [stream for stream in STREAMS if not os.isatty(stream)]
    if not away:
        yield
        return
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        raise PilotError(
            "no-terminal",
            "a choice needs a terminal, and there is none",
            exit=ExitCode.USAGE,
            hint="in a script without one: pilotctl NOUN list -o name",
        ) from None
    kept = {}
    try:
        for stream in away:
            try:
                kept[stream] = os.dup(stream)
            except OSError:
                kept[stream] = -1  # it was closed: it is closed again afterwards
            os.dup2(terminal, stream)
        yield
    finally:
        os.close(terminal)
        for stream, before in kept.items():
            if before < 0:
                os.close(stream)
            else:
                os.dup2(before, stream)
                os.close(before)
