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
from typing import NamedTuple

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
    """A key: when, and the number of the row that it leads to."""

    at: float
    row: int


def type_at_random(on: Pty, count: int, mean: float, chance: random.Random) -> list[Typed]:
    """Move the cursor about, `mean` seconds apart on average; return what was typed.

    The cursor begins and stays between rows `RUN` and 2 * `RUN` of the list.
    """
    for _ in range(RUN):
        on.keys(DOWN)
        on.pump(0.05)
    on.settle(0.5, 3)
    row, typed = RUN, []
    for number in range(count):
        down = number // RUN % 2 == 0
        row += 1 if down else -1
        typed.append(Typed(on.keys(DOWN if down else UP), row))
        on.pump(min(1.0, chance.expovariate(1 / mean)))
    on.settle(0.5, 5)
    return typed


def answers(on: Pty, typed: list[Typed]) -> list[float]:
    """Return the seconds from each key to its answer."""
    screen = pyte.Screen(*on.size)
    stream = pyte.ByteStream(screen)
    found: list[float] = []
    waiting: list[Typed] = []
    keys = iter(typed)
    ahead = next(keys, None)
    for at, data in on.chunks:
        while ahead is not None and ahead.at <= at:
            waiting.append(ahead)
            ahead = next(keys, None)
        stream.feed(_NOISE.sub(b"", data))
        if waiting:
            row = cursor_row(screen)
            done = max((n for n, each in enumerate(waiting) if each.row == row), default=-1)
            found += [at - each.at for each in waiting[: done + 1]]
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
        end = time.monotonic() + min(1.0, chance.expovariate(1 / mean))
        on.pump(max(0.0, end - time.monotonic()))
    return found
