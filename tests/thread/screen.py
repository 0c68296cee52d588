"""The console on a pseudo-terminal of its own: keys go in, what it draws is read back."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Self

import pyte

from tests.thread.pilot_rig import ROOT

QUERIES = re.compile(rb"\x1b\[\?[0-9;]*\$p|\x1b\[[><][0-9]*u")
"""What the console asks a terminal; the emulator would print some of it."""

OWN = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'console', *sys.argv[1:]])"
)
"""Makes the terminal the session's own, as a login does, and becomes the program."""

ENTER, TAB, ESCAPE, RIGHT, DOWN = "\r", "\t", "\x1b", "\x1b[C", "\x1b[B"


class Screen:
    """`pilotctl WORDS` on a terminal of 80 columns and 24 lines."""

    def __init__(self, environ: Mapping[str, str], words: Sequence[str] = ()) -> None:
        self.raw = b""
        self._screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self._screen)
        self._main, replica = pty.openpty()
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.settings = termios.tcgetattr(self._main)
        dropped = {"COLUMNS", "LINES", "NO_COLOR", "LC_ALL"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", OWN, *words],
            stdin=replica,
            stdout=replica,
            stderr=replica,
            cwd=ROOT,
            env={
                **{name: value for name, value in environ.items() if name not in dropped},
                "TERM": "xterm-256color",
                "COLORTERM": "truecolor",
                "LANG": "C.UTF-8",
            },
            start_new_session=True,
        )
        self._replica = replica
        """Held open, so that what the terminal is set to can be read when the program is gone."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._main)
        os.close(self._replica)

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    def read(self, seconds: float = 0.05) -> None:
        """Read what comes within `seconds`."""
        if not select.select([self._main], [], [], seconds)[0]:
            return
        data = os.read(self._main, 65536)
        self.raw += data
        self._stream.feed(QUERIES.sub(b"", data))

    def see(self, *wanted: str, gone: str = "", seconds: float = 60.0) -> Screen:
        """Wait until all of `wanted` is on the screen, and `gone` is not."""
        end = time.monotonic() + seconds
        while True:
            text = self.text
            if all(each in text for each in wanted) and not (gone and gone in text):
                return self
            before = len(self.raw)
            while len(self.raw) == before:
                assert time.monotonic() < end, f"not {wanted} without {gone!r}:\n{text}"
                assert self._process.poll() is None, f"it ended\n{text}"
                self.read()

    def keys(self, text: str) -> Screen:
        """Press keys."""
        os.write(self._main, text.encode())
        return self

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        self._process.send_signal(number)

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for the end of the program; return its exit code."""
        end = time.monotonic() + seconds
        while self._process.poll() is None:
            assert time.monotonic() < end, f"still running\n{self.text}"
            self.read()
        while select.select([self._main], [], [], 0.1)[0]:
            self.read()
        return int(self._process.returncode)

    def as_found(self) -> bool:
        """Tell whether the terminal's settings are what they were before."""
        return termios.tcgetattr(self._main) == self.settings
