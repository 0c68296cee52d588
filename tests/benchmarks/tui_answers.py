"""When each key was answered: keys typed at moments of their own, found in the pictures after.

Typing waits for nothing, so a key may come while a poll is being worked on, and one that
has to queue behind another counts its whole wait. What came is put through a terminal
emulator only when the typing is over: a key is answered by the first bytes that leave the
cursor on the row that it leads to. Bytes of a poll or of a clock are no answer.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyte

from tests.tui.pty_rig import Pty

DOWN, UP = "\x1b[B", "\x1b[A"
FIRST_ROW, AFTER_ROWS = 3, 1
"""Lines over the rows, and under them, in both programs."""
RUN = 15
"""Moves in one direction before the cursor turns round."""
_HINT = re.compile(r"…(\d{4})\b")
_NOISE = re.compile(rb"\x1b\[\?[0-9;]*\$p|\x1b\[[><=][0-9]*u|\x1b\[>[0-9;]*[mq]|\x1bP.*?\x1b\\")


class Typed(NamedTuple):
    """A key: when, by the program's own clock too, and the number of the row it leads to."""

    at: float
    used: float
    """Seconds of processor that the program had used."""
    row: int


class Answer(NamedTuple):
    """What a key waited: by the clock on the wall, and of it what the program worked.

    The second is the same on a busy machine; it holds the work that the key had to wait for.
    """

    wall: float
    work: float


class Watched(Pty):
    """A program whose use of the processor is noted with all that it writes."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], **more: Any) -> None:
        super().__init__(argv, environ, emulate=False, **more)
        self.used_at: list[float] = []
        """For each chunk, the seconds of processor used when it had come."""

    def used(self) -> float:
        """Return the seconds of processor that the program has used."""
        # clock_getcpuclockid(3): the processor clock of another process
        return time.clock_gettime((~self.pid << 3) | 2)

    def _read(self) -> bool:
        more = super()._read()
        self.used_at += [self.used()] * (len(self.chunks) - len(self.used_at)) if more else []
        return more


class Picture:
    """What a program's chunks have drawn so far."""

    def __init__(self, on: Pty) -> None:
        self.screen = pyte.Screen(*on.size)
        self._stream = pyte.ByteStream(self.screen)
        self._on, self._fed = on, 0

    def feed(self, data: bytes) -> None:
        """Draw more."""
        self._stream.feed(_NOISE.sub(b"", data))

    def row(self) -> int:
        """Draw all that came, and return the row that the cursor is on."""
        for _, data in self._on.chunks[self._fed :]:
            self.feed(data)
        self._fed = len(self._on.chunks)
        return cursor_row(self.screen)


def type_at_random(on: Watched, count: int, mean: float, chance: random.Random) -> list[Typed]:
    """Move the cursor about, `mean` seconds apart on average; return what was typed.

    The cursor begins and stays between rows `RUN` and 2 * `RUN` of the list.
    """
    picture = Picture(on)
    for _ in range(100):
        if picture.row() == RUN:
            break
        on.keys(DOWN)
        on.settle(0.1, 2)
    assert picture.row() == RUN, "the cursor did not come to where the typing begins"
    on.settle(0.5, 3)
    row, typed = RUN, []
    for number in range(count):
        down = number // RUN % 2 == 0
        row += 1 if down else -1
        used = on.used()
        typed.append(Typed(on.keys(DOWN if down else UP), used, row))
        on.pump(min(1.0, chance.expovariate(1 / mean)))
    on.settle(0.5, 5)
    return typed


def answers(on: Watched, typed: list[Typed]) -> list[Answer]:
    """Return what each key waited for its answer."""
    picture = Picture(on)
    found: list[Answer] = []
    waiting: list[Typed] = []
    keys = iter(typed)
    ahead = next(keys, None)
    for (at, data), used in zip(on.chunks, on.used_at, strict=True):
        while ahead is not None and ahead.at <= at:
            waiting.append(ahead)
            ahead = next(keys, None)
        picture.feed(data)
        if waiting:
            row = cursor_row(picture.screen)
            done = max((n for n, each in enumerate(waiting) if each.row == row), default=-1)
            found += [Answer(at - each.at, used - each.used) for each in waiting[: done + 1]]
            del waiting[: done + 1]
    assert not waiting, f"{len(waiting)} of {len(typed)} keys were never answered"
    return found


def cursor_row(screen: pyte.Screen) -> int:
    """Return the number of the row that the cursor is on; -1 where it is on none."""
    lines = range(FIRST_ROW, screen.lines - AFTER_ROWS)
    grounds = Counter(_ground(screen, y) for y in lines)
    for y in lines:
        if grounds[_ground(screen, y)] == 1 and (hint := _HINT.search(screen.display[y])):
            return int(hint[1])
    return -1


def _ground(screen: pyte.Screen, y: int) -> tuple[str, bool]:
    cell = screen.buffer[y][1]
    return cell.bg, cell.reverse


def floor(on: Pty, count: int, mean: float, chance: random.Random) -> list[float]:
    """Return the same of a program that only echoes: what the rig and the machine cost."""
    found = []
    for _ in range(count):
        found.append(on.first_byte("x", 20))
        on.pump(min(1.0, chance.expovariate(1 / mean)))
    return found
