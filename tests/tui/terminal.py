"""A real pseudo-terminal with the console in it, and an emulator that reads what comes out."""

import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte

from tests import nursery

HERE = Path(__file__).resolve().parent
QUERIES = re.compile(rb"\x1b\[\?[0-9;]*\$p|\x1b\[[><][0-9]*u")
"""What Textual asks a terminal; this emulator would print some of it."""


def started(argv, environ, terminal):
    """Start a program as the session that a terminal controls."""
    return subprocess.Popen(
        argv, env=environ, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - as pty.fork
    )  # fmt: skip


class Terminal:
    """The console over a pilot in memory, or another program, in a pseudo-terminal.

    A program of this folder is forked from a process that has its modules, but for one with
    a locale of its own, which Python reads at its start; `argv` names any other program.
    """

    def __init__(
        self, state, size=(80, 24), pilot=None, environ=None, *,
        args=(), argv=None, program="screen_program",
    ):  # fmt: skip
        self.raw = b""
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(state),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            "XDG_STATE_HOME": str(state),
            "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}",
            "FAKE_PILOT": json.dumps(pilot or {}),
            **(environ or {}),
        }
        self.fd, terminal = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        try:
            if argv or not nursery.CAN or {"LANG", "LC_ALL"} & {*(environ or {})}:
                argv = argv or [sys.executable, str(HERE / f"{program}.py"), *args]
                self._process = started(argv, given, terminal)
            else:
                self._process = nursery.start_screen(program, args, given, terminal)
        finally:
            os.close(terminal)
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            self._process.kill()
            self.wait()
        if self.fd >= 0:
            os.close(self.fd)

    @property
    def status(self):
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._process.poll()

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def pump(self, seconds=0.05):
        """Read what comes for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self.fd], [], [], left)
            if not ready:
                return
            try:
                data = os.read(self.fd, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return
            self.raw += data
            self._stream.feed(QUERIES.sub(b"", data))

    def see(self, *wanted, seconds=60):
        end = time.monotonic() + seconds
        while True:
            text = self.text
            if all(each in text for each in wanted):
                return self
            assert time.monotonic() < end, f"not seen: {wanted}\n{text}"
            before = len(self.raw)
            while len(self.raw) == before and time.monotonic() < end:
                self.pump()

    def keys(self, text):
        os.write(self.fd, text.encode())
        return self

    def resize(self, width, height):
        self.screen.resize(height, width)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def signal(self, number):
        os.kill(self.pid, number)
        return self

    def wait(self, seconds=60):
        """Return the exit code, or minus the signal that ended it."""
        end = time.monotonic() + seconds
        while (status := self.status) is None:
            assert time.monotonic() < end, f"still running\n{self.text}"
            if self.fd >= 0:
                self.pump(0.02)
            else:
                time.sleep(0.01)
        if self.fd >= 0:
            self.pump(0.02)
        return status

    def hang_up(self):
        """Close the terminal under the console."""
        os.close(self.fd)
        self.fd = -1
