"""The console over a link of 9,600 bit/s with 300 ms each way: no key is lost, it catches up.

The link carries 960 bytes a second (a start and a stop bit with each byte) and its pty
blocks the console when it is behind.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.pty_rig import ROOT, Pty, percentile, surroundings

BYTES_A_SECOND = 960.0
DELAY = 0.3
MOVE_AT_MOST = 1.0
DOWN, UP = "\x1b[B", "\x1b[A"
PARTNERS = 200
STILL_SECONDS = 60.0
"""A cursor that has not moved for so long is where it stays."""
PROGRAM = [sys.executable, str(ROOT / "tests" / "tui" / "screen_program.py")]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Pty]:
    """The console's partners over the slow link, as over SSH."""
    environ = surroundings(
        tmp_path, FAKE_PILOT=json.dumps({"partners": PARTNERS}), SSH_TTY="/dev/pts/0",
        PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'tui'}",
    )  # fmt: skip
    with Pty([*PROGRAM, ":partners"], environ) as terminal:
        # what is drawn first comes whole, however slow: the link slows down behind it
        terminal.see("acme", "tern-labs", "audit ok", "? all")
        terminal.settle(0.3)
        terminal.rate, terminal.delay = BYTES_A_SECOND, DELAY
        yield terminal


def cursor_row(terminal: Pty) -> str:
    """Return the words of the row on the cursor's ground."""
    assert terminal.screen is not None
    lines = terminal.screen.display
    grounds = [
        (terminal.screen.buffer[y][2].bg, terminal.screen.buffer[y][2].reverse)
        for y in range(3, 23)
    ]
    odd = [y for y, ground in enumerate(grounds, 3) if grounds.count(ground) == 1]
    return lines[odd[0]].strip() if len(odd) == 1 else ""


def slug(n: int) -> str:
    known = ("acme", "northwind", "halcyon", "tern-labs", "quillfeather")
    return known[n] if n < 5 else f"partner-{n:03d}"


def moves(terminal: Pty, count: int, seed: int) -> list[float]:
    """Move the cursor as a person who waits for it does; return the seconds of link each took.

    They are counted in bytes and turned into seconds: what else the machine does is no fault
    of a cursor move.
    """
    chance, at, took = random.Random(seed), 0, []
    for _ in range(count):
        step = -1 if at and chance.random() < 0.3 else 1
        at += step
        took.append(_typed_and_seen(terminal, DOWN if step > 0 else UP, slug(at)))
        terminal.pump(chance.uniform(0.1, 0.5))
    return took


def _typed_and_seen(terminal: Pty, key: str, words: str) -> float:
    before = terminal.total
    terminal.keys(key)
    comes_to(terminal, words)
    return 2 * DELAY + (terminal.total - before) / BYTES_A_SECOND


def comes_to(terminal: Pty, words: str) -> None:
    """Carry on until the cursor is on the row of `words`; fail when nothing moves any more."""
    pattern = re.compile(rf"^{words}\b")
    row, came, since = cursor_row(terminal), terminal.total, time.monotonic()
    while not pattern.match(row):
        still = time.monotonic() - since
        assert still < STILL_SECONDS, f"not on {words} but on {row!r}\n{terminal.text}"
        terminal.pump(0.05)
        if terminal.total != came:
            before, row, came = row, cursor_row(terminal), terminal.total
            since = since if row == before else time.monotonic()


def burst(terminal: Pty, keys: list[str], gap: float) -> None:
    """Type faster than the link can show."""
    for key in keys:
        terminal.keys(key)
        terminal.pump(gap)


@pytest.mark.parametrize(
    "count", [4, pytest.param(12, marks=pytest.mark.long)], ids="{}-moves".format
)
def test_a_cursor_move_shows_within_a_second_and_no_key_is_lost(slow: Pty, count: int) -> None:
    took = moves(slow, count, 1)
    print(f"\na cursor move at 9,600 bit/s and 300 ms: p95 {percentile(took, 0.95):.2f} s")
    assert percentile(took, 0.95) < MOVE_AT_MOST
    burst(slow, ["\x1b[H", *[DOWN] * 40], 0.02)
    comes_to(slow, slug(40))


@pytest.mark.long
def test_minutes_of_typing_over_the_slow_link_lose_nothing(slow: Pty) -> None:
    took = moves(slow, 100, 2)
    print(f"\na hundred moves: p50 {percentile(took, 0.5):.2f}, p95 {percentile(took, 0.95):.2f} s")
    assert percentile(took, 0.95) < MOVE_AT_MOST
    chance = random.Random(3)
    for _ in range(6):
        down = chance.randrange(30, 120)
        up = chance.randrange(down)
        burst(slow, ["\x1b[H", *[DOWN] * down, *[UP] * up], 0.01)
        comes_to(slow, slug(down - up))
    for view, words in (("calls", "grant_revoked"), ("audit", "lock.add"), ("partners", "acme")):
        slow.keys(f":{view}\r")
        slow.see(words, seconds=60)
    # what the emulator shows after all that is what a fresh drawing shows
    slow.settle(1.2, 30)
    before = slow.text
    slow.keys("\x0c")
    slow.pump(1)
    slow.settle(1.2, 30)
    assert _steady(slow.text) == _steady(before)


def _steady(text: str) -> list[str]:
    """Return the screen without the status line, whose ages move on."""
    return text.splitlines()[1:]
