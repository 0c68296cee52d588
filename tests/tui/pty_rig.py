"""A program in a pseudo-terminal whose link can be slow: what it writes, when, and what it shows.

Times are seconds of the monotonic clock, sizes are bytes as they left the program.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyte

ROOT = Path(__file__).resolve().parents[2]

_QUERIES = re.compile(rb"\x1b\[\?[0-9;]*\$p|\x1b\[[><=][0-9]*u|\x1b\[>[0-9;]*[mq]|\x1bP.*?\x1b\\")
"""What programs ask a terminal and set in it; the emulator would print some of it."""

LOOK = 0.01
"""How often a slow link is looked at."""

STILL_LOOK = 0.25
"""How often a screen is looked at that does not change."""


class Chunk(NamedTuple):
    """What one read of the terminal gave."""

    at: float
    data: bytes


class Burst(NamedTuple):
    """Chunks that came close together: a frame, or frames of one cause."""

    at: float
    data: bytes


def surroundings(state: Path, **more: str) -> dict[str, str]:
    """Return the environment of a program under test: a known terminal, a home of its own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(state),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "XDG_STATE_HOME": str(state / "state"),
        "XDG_CONFIG_HOME": str(state / "config"),
        "PYTHONPATH": str(ROOT),
        **more,
    }


class Pty:
    """A program in a terminal of `size` (columns, rows).

    `rate` is the link's bytes a second towards us, `delay` its seconds each way. The
    program's writes block when the link is behind, as they do on a serial line.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        size: tuple[int, int] = (80, 24),
        rate: float = math.inf,
        delay: float = 0.0,
        emulate: bool = True,
    ) -> None:
        self.size, self.rate, self.delay = size, rate, delay
        self.chunks: list[Chunk] = []
        self.total = 0
        self.status: int | None = None
        self.screen = pyte.Screen(*size) if emulate else None
        self._stream = pyte.ByteStream(self.screen) if self.screen else None
        self._down: deque[Chunk] = deque()
        self._up: deque[Chunk] = deque()
        self._allowance, self._looked = 0.0, time.monotonic()
        self.started = time.monotonic()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            window = struct.pack("HHHH", size[1], size[0], 0, 0)
            fcntl.ioctl(0, termios.TIOCSWINSZ, window)
            os.chdir(ROOT)
            os.execve(argv[0], list(argv), dict(environ))

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGKILL
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # the link

    def pump(self, seconds: float = 0.05) -> int:
        """Carry what there is both ways for so long; return the bytes that arrived here."""
        before, end = self.total, time.monotonic() + seconds
        slow = self.rate != math.inf or self.delay > 0
        while True:
            now = time.monotonic()
            left = end - now
            self._send_due(now)
            self._arrive_due(now)
            if left <= 0:
                return self.total - before
            self._allow(now)
            readable = self.fd >= 0 and self._allowance >= 1
            wait = min(left, LOOK) if slow else left
            ready = select.select([self.fd] if readable else [], [], [], max(0.0, wait))[0]
            if ready and not self._read():
                return self.total - before

    def _allow(self, now: float) -> None:
        if self.rate == math.inf:
            self._allowance = 65536
        else:
            # A link has no memory: what it did not carry is not saved up.
            passed = (now - self._looked) * self.rate
            self._allowance = min(self._allowance + passed, self.rate * LOOK * 5)
        self._looked = now

    def _read(self) -> bool:
        try:
            data = os.read(self.fd, int(self._allowance))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            return False
        self._allowance -= len(data)
        self._down.append(Chunk(time.monotonic() + self.delay, data))
        self._arrive_due(time.monotonic())
        return True

    def _arrive_due(self, now: float) -> None:
        while self._down and self._down[0].at <= now:
            chunk = self._down.popleft()
            self.chunks.append(chunk)
            self.total += len(chunk.data)
            if self._stream is not None:
                self._stream.feed(_QUERIES.sub(b"", chunk.data))

    def _send_due(self, now: float) -> None:
        while self._up and self._up[0].at <= now:
            os.write(self.fd, self._up.popleft().data)

    def keys(self, data: str | bytes) -> float:
        """Type; return when."""
        raw = data.encode() if isinstance(data, str) else data
        now = time.monotonic()
        if self.delay:
            self._up.append(Chunk(now + self.delay, raw))
        else:
            os.write(self.fd, raw)
        return now

    # what is seen

    @property
    def text(self) -> str:
        """Return the screen as text."""
        assert self.screen is not None
        return "\n".join(line.rstrip() for line in self.screen.display)

    def until(self, look: Callable[[], object], seconds: float = 60.0, what: str = "") -> float:
        """Carry on until `look` is true; return the seconds that took."""
        began = time.monotonic()
        while not look():
            assert time.monotonic() - began < seconds, (
                f"not within {seconds} s: {what}\n{self.text}"
            )
            # Reading an emulated screen costs more than drawing it: look where it has changed.
            again = time.monotonic() + STILL_LOOK
            while not self.pump(0.005 if self.delay == 0 else LOOK):
                if time.monotonic() > again:
                    break
        return time.monotonic() - began

    def see(self, *wanted: str, seconds: float = 60.0) -> float:
        """Carry on until all of `wanted` are on the screen; return the seconds that took."""

        def there() -> bool:
            text = self.text
            return all(each in text for each in wanted)

        return self.until(there, seconds, f"seen {wanted}")

    def hear(self, wanted: bytes, seconds: float = 60.0) -> float:
        """Carry on until `wanted` has come; return when, by the monotonic clock."""
        end, tail, seen = time.monotonic() + seconds, b"", 0
        while True:
            for at, data in self.chunks[seen:]:
                tail = (tail + data)[-65536 - len(wanted) :]
                if wanted in tail:
                    return at
            seen = len(self.chunks)
            assert time.monotonic() < end, f"not within {seconds} s: {wanted!r} {tail[-300:]!r}"
            self.pump(0.005)

    def settle(self, quiet: float = 0.3, most: float = 10.0) -> int:
        """Carry on until nothing has come for `quiet` seconds; return the bytes that came."""
        before, end = self.total, time.monotonic() + most
        while self.pump(quiet) and time.monotonic() < end:
            pass
        return self.total - before

    def bursts(self, since: float = 0.0, gap: float = 0.06) -> list[Burst]:
        """Return what came after `since`, together where less than `gap` lies between."""
        out: list[Burst] = []
        last = -math.inf
        for at, data in self.chunks:
            if at < since:
                continue
            if out and at - last < gap:
                out[-1] = Burst(out[-1].at, out[-1].data + data)
            else:
                out.append(Burst(at, data))
            last = at
        return out

    def first_byte(self, key: str | bytes, seconds: float = 10.0) -> float:
        """Type `key`; return the seconds until the first byte that came after it."""
        self.pump(0)
        before = len(self.chunks)
        typed = self.keys(key)
        while len(self.chunks) == before:
            assert time.monotonic() - typed < seconds, f"no byte after {key!r}\n"
            self.pump(0.001)
        return self.chunks[before].at - typed

    # the process

    def signal(self, number: int) -> None:
        """Send a signal to the program."""
        os.kill(self.pid, number)

    def resident(self) -> int:
        """Return the bytes of memory that are the program's own."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return sum(
            int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private")
        )

    def cpu(self) -> float:
        """Return the seconds of processor that the program has used."""
        parts = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def alive(self) -> bool:
        """Whether the program runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for its end; return the exit code, or minus the signal that ended it."""
        end = time.monotonic() + seconds
        while self.alive():
            assert time.monotonic() < end, f"still running\n{self.text if self.screen else ''}"
            with contextlib.suppress(OSError):
                self.pump(0.02)
        assert self.status is not None
        return self.status


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which `part` (0 to 1) of them are: nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, math.ceil(part * len(ranked)) - 1))]
