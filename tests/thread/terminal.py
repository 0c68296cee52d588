"""A command on a pseudo-terminal: wait for words, type, look at what was written."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from tests.thread.pilot_rig import ROOT


class Terminal:
    """`pilotctl WORDS` with a terminal of its own as its standard streams."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        self.seen = b""
        self._main, replica = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "console", *words],
            stdin=replica,
            stdout=replica,
            stderr=replica,
            cwd=ROOT,
            env={**environ, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(replica)

    @property
    def text(self) -> str:
        """Return what was written, as text."""
        return self.seen.decode()

    def expect(self, words: str, seconds: float = 60.0) -> None:
        """Wait until `words` have been written."""
        end = time.monotonic() + seconds
        while words not in self.text:
            assert self._read(end), f"{words!r} not in {self.text!r}"

    def type(self, text: str) -> None:
        """Type as a person does."""
        os.write(self._main, text.encode())

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for its end and return the exit code."""
        end = time.monotonic() + seconds
        while self._read(end):
            pass
        os.close(self._main)
        return self._process.wait(max(1.0, end - time.monotonic()))

    def _read(self, end: float) -> bool:
        left = end - time.monotonic()
        if left <= 0 or not select.select([self._main], [], [], left)[0]:
            return False
        try:
            data = os.read(self._main, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)
