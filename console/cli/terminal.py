"""What the terminal is, as a value: asked once, handed to whoever needs to know."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from console.model.number import whole_number


class Terminal(NamedTuple):
    """Facts about the process's three streams."""

    stdin_tty: bool = False
    stdout_tty: bool = False
    stderr_tty: bool = False
    columns: int = 80
    """Cells in a line of the terminal behind standard output."""
    color: bool = False
    """Whether standard error may be coloured."""
    dumb: bool = False
    """It cannot move a cursor: no alternate screen."""

    @property
    def can_ask(self) -> bool:
        """Whether a question reaches a person who can answer it."""
        return self.stdin_tty and self.stderr_tty

    @property
    def can_show_screen(self) -> bool:
        """Whether the console can be opened here."""
        return self.stdin_tty and self.stdout_tty and self.stderr_tty and not self.dumb

    @classmethod
    def of_process(cls, environ: Mapping[str, str]) -> Terminal:
        """Return the facts about this process."""
        stdout, stderr = _is_tty(sys.stdout), _is_tty(sys.stderr)
        dumb = environ.get("TERM", "") in {"", "dumb"}
        return cls(
            stdin_tty=_is_tty(sys.stdin),
            stdout_tty=stdout,
            stderr_tty=stderr,
            columns=columns(environ),
            color=stderr and not dumb and not environ.get("NO_COLOR"),
            dumb=dumb,
        )


def _is_tty(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]  # None where it is closed
    except (AttributeError, ValueError):
        return False


def columns(environ: Mapping[str, str]) -> int:
    """Return the cells in a line: what COLUMNS says, else the terminal's own, else 80."""
    if said := whole_number(environ.get("COLUMNS", ""), 6):
        return max(20, said)
    for descriptor in (1, 2, 0):
        try:
            return max(20, os.get_terminal_size(descriptor).columns or 80)
        except OSError:
            continue
    return 80
