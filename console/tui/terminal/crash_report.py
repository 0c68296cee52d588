"""What is left behind when the console itself fails: a report without a single value.

Names of files, lines and functions and the type of the error; never locals, never the
error's own words (they may quote a key or a partner's text). The file is 0600.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import console
from console.private_files import make_private_folder

MAX_IN_A_SECOND = 20
"""Reports of one second; what goes on failing says no more in another."""


def report(error: BaseException) -> str:
    """Return the redacted report of `error` and what caused it."""
    lines = [
        f"pilotctl {console.__version__} crashed at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
    ]
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        lines.append(f"\n{type(at).__module__}.{type(at).__qualname__} (its message is left out)")
        for frame in traceback.extract_tb(at.__traceback__):
            place = Path(frame.filename)
            lines.append(f"  {place.parent.name}/{place.name}:{frame.lineno} in {frame.name}")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\n".join(lines) + "\n"


def write(error: BaseException, folder: Path) -> Path | None:
    """Write the report into `folder` (made 0700) and return its path; None if it cannot be."""
    name = f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    try:
        make_private_folder(folder)
        path, descriptor = _new_file(folder, name)
    except OSError:
        return None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(report(error))
    return path


def _new_file(folder: Path, name: str) -> tuple[Path, int]:
    """Open a file that nobody has yet: a second report of the same second is numbered."""
    for number in range(1, MAX_IN_A_SECOND + 1):
        path = folder / (f"{name}.txt" if number == 1 else f"{name}-{number}.txt")
        with contextlib.suppress(FileExistsError):
            return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    raise FileExistsError(f"{name}: too many reports of one second")


def last_words(error: BaseException, path: Path | None) -> str:
    """Return the one line that the operator reads."""
    where = f"; report: {path}" if path else "; the report could not be written"
    return f"pilotctl: a bug stopped the console ({type(error).__name__}){where}"


class BugReports:
    """Reports of the bugs that the console survives, each with a line in the command log."""

    def __init__(self, folder: Path | None, log: Callable[[str, str], None]) -> None:
        self._folder = folder
        self._log = log

    def note(self, error: Exception) -> str:
        """Write the report of `error`, log where it is, and return a few words about it."""
        path = write(error, self._folder) if self._folder else None
        self._log(last_words(error, path), "bad")
        return f"a bug of the console ({type(error).__name__})"


def tell(line: str) -> None:
    """Write one line to the terminal's stderr, whatever state it is in."""
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, (line + "\n").encode())
    except OSError:
        return
