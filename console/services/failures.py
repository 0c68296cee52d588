"""What a service writes to its log: a bounded number of lines, and never a value.

Strangers decide what fails and how often. So a line names the kind of a failure and the
place in the code, not the text of an exception (which may quote a header with a key), and
lines of one minute are bounded: what is over is counted, and the count is a line itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_LINES = 30
"""Lines that one process writes in `WINDOW_SECONDS`."""
WINDOW_SECONDS = 60.0


class FailureLog:
    """Writes lines on stderr, which the supervisor keeps, at most `most` a window."""

    def __init__(
        self,
        name: str,
        *,
        most: int = MAX_LINES,
        write: Callable[[str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.left_out = 0
        """Lines of this window that were only counted."""
        self._most = most
        self._write = write or _to_stderr
        self._clock = clock
        self._written = 0
        self._began = clock()

    def line(self, text: str) -> None:
        """Write one line, or count it where the window is full."""
        self._roll()
        if self._written >= self._most:
            self.left_out += 1
            return
        self._written += 1
        self._write(f"{self.name} {text}\n")

    def failure(self, what: str, error: BaseException) -> None:
        """Write what failed: the kind of the error and where it was raised."""
        self.line(f"{what} {type(error).__name__} {place_of(error)}".rstrip())

    def _roll(self) -> None:
        now = self._clock()
        if now - self._began < WINDOW_SECONDS:
            return
        self._began, self._written = now, 0
        if self.left_out:
            count, self.left_out = self.left_out, 0
            self._write(f"{self.name} {count} more lines like these were left out\n")


def place_of(error: BaseException) -> str:
    """Return the innermost places of an error's traceback, without any value."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)
    )


class SafeHandler(logging.Handler):
    """Writes what libraries log as a line of ours: the logger, and the kind of the error.

    The message itself is left out: it may quote what a stranger sent.
    """

    def __init__(self, log: FailureLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's origin and the kind of its error."""
        ours = record.name.startswith("console.")
        what = f"{record.name}: {record.getMessage() if ours else f'line {record.lineno}'}"
        if record.exc_info and record.exc_info[1] is not None:
            self._log.failure(what, record.exc_info[1])
        else:
            self._log.line(what)


def report_unhandled(log: FailureLog) -> Callable[[asyncio.AbstractEventLoop, Any], None]:
    """Return an event loop's exception handler that writes to `log`."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = str(context.get("message", "unhandled")).partition("\n")[0][:100]
        if isinstance(error, BaseException):
            log.failure(f"event loop: {what}:", error)
        else:
            log.line(f"event loop: {what}")

    return handle


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
