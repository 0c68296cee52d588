"""The only writer of standard error: errors, notes, progress and questions, for people.

Under `-o json` an error is one JSON object, and nothing else is written here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress

from console.cli.terminal import Terminal
from console.errors import PilotError
from console.present.safe import json_escaped, safe

_RED, _DIM, _END = "\x1b[31m", "\x1b[2m", "\x1b[0m"


class Stderr:
    """Standard error, in the manner that the output format asks for."""

    def __init__(self, terminal: Terminal, *, as_json: bool = False, quiet: bool = False) -> None:
        self._terminal = terminal
        self.as_json = as_json
        self._quiet = quiet

    def error(self, error: PilotError) -> None:
        """Say what went wrong, what to do next, and what the API calls the request."""
        if self.as_json:
            self._write(json_escaped(json.dumps(error.as_json(), ensure_ascii=False)) + "\n")
            return
        code = self._dim(f"({safe(error.code)})")
        lines = [f"{self._red('error:')} {safe(error.message, multiline=True)} {code}"]
        changed = error.detail.get("difference")
        if isinstance(changed, list):
            lines += [f"  {safe(str(line))}" for line in changed]
        if error.hint:
            lines.append(f"  {safe(error.hint, multiline=True)}")
        if error.request_id:
            where = f" at {safe(error.source)}" if error.source else ""
            lines.append(self._dim(f"  request {safe(error.request_id)}{where}"))
        self._write("\n".join(lines) + "\n")

    def note(self, text: str) -> None:
        """Say something that is good to know. Text is escaped here."""
        if not self.as_json and not self._quiet:
            self._write(self._dim(safe(text)) + "\n")

    def lines(self, lines: Sequence[str]) -> None:
        """Write lines that are escaped already: a plan, a receipt."""
        if not self.as_json and lines:
            self._write("\n".join(lines) + "\n")

    def progress(self, text: str) -> None:
        """Say a step as it happens."""
        if not self.as_json and not self._quiet:
            self._write(self._dim(f"… {safe(text)}") + "\n")

    def ask(self, question: str) -> str | None:
        """Ask, and return the answer without its newline; None at the end of input."""
        self._write(safe(question) + " ")
        answer = sys.stdin.readline()
        return answer.rstrip("\r\n") if answer else None

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):
            # so that data and words keep their order where both go to one place
            sys.stdout.flush()
        try:
            sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace"))
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            # nobody listens: the exit code still tells (see `settle_streams`)
            return

    def _red(self, text: str) -> str:
        return f"{_RED}{text}{_END}" if self._terminal.color else text

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_END}" if self._terminal.color else text
