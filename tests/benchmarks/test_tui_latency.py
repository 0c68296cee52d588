"""How soon it shows and answers, and what it keeps in memory, beside stock Textual.

Times are taken in turns with the baseline's, so that a busy machine slows both; the least
of several is compared. Aims in milliseconds are printed beside a floor, which is what the
same rig measures of a program that only echoes, and hold when the floor leaves room.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.tui.pty_rig import Pty, percentile, surroundings

pytestmark = pytest.mark.benchmark

DOWN, UP = "\x1b[B", "\x1b[A"
ROWS_SHOWN = b"in_use"
FIRST_PAINT_TIMES = 1.3
ANSWER_AT_MOST = 0.020
ECHO = "import os,tty; tty.setraw(0)\nwhile os.read(0, 64): os.write(1, b'.')"
MB = 1024 * 1024


def bench(state: Path, program: str, *words: str, clock: Path | None = None, **feed: float) -> Pty:
    told = {"BENCH_CLOCK": str(clock)} if clock else {}
    environ = surroundings(state, BENCH_FEED=json.dumps(feed), **told)
    argv = [sys.executable, "-m", f"tests.benchmarks.{program}", *words]
    return Pty(argv, environ, emulate=False)


def first_paint(state: Path, program: str, rows: int, seconds: float = 60.0) -> float:
    """Return the seconds from the data being there to its rows being on the terminal."""
    words = [":keys"] if program == "tui_console" else ["keys"]
    with bench(state, program, *words, clock=state / "clock", keys=rows) as terminal:
        shown = terminal.hear(ROWS_SHOWN, seconds)
        return shown - float((state / "clock").read_text())


def test_a_hundred_thousand_rows_show_as_soon_as_a_thousand(tmp_path: Path) -> None:
    few, many, stock = [], [], []
    for _ in range(5):
        few.append(first_paint(tmp_path, "tui_console", 1_000))
        many.append(first_paint(tmp_path, "tui_console", 100_000))
        stock.append(first_paint(tmp_path, "tui_stock", 1_000))
    most = first_paint(tmp_path, "tui_stock", 100_000, 300)
    ratio = min(many) / min(few)
    print(
        f"\nfirst paint, ms: ours {min(few) * 1000:.0f} at 1 k, {min(many) * 1000:.0f} at 100 k "
        f"rows ({ratio:.2f}x, aim: <= {FIRST_PAINT_TIMES}x); stock {min(stock) * 1000:.0f} "
        f"at 1 k, {most * 1000:.0f} at 100 k ({most / min(stock):.0f}x)"
    )
    assert ratio <= FIRST_PAINT_TIMES
    assert min(many) * 10 < most


def test_a_key_is_answered_at_once_over_a_hundred_thousand_live_rows(tmp_path: Path) -> None:
    chance = random.Random(5)
    with ExitStack() as stack:
        floor = stack.enter_context(
            Pty([sys.executable, "-c", ECHO], surroundings(tmp_path), emulate=False)
        )
        ours = stack.enter_context(bench(tmp_path, "tui_console", ":keys", keys=100_000, rate=5))
        stock = stack.enter_context(bench(tmp_path, "tui_stock", "keys", keys=100_000, rate=5))
        floor.first_byte("x", 20)
        ours.hear(ROWS_SHOWN)
        stock.hear(ROWS_SHOWN, 300)
        programs = {"floor": floor, "ours": ours, "stock": stock}
        for each in programs.values():
            each.settle(0.5, 3)
        times: dict[str, list[float]] = {name: [] for name in programs}
        began = {name: each.cpu() for name, each in programs.items()}
        for number in range(300):
            key = DOWN if number // 15 % 2 == 0 else UP
            for name, each in programs.items():
                times[name].append(each.first_byte(key))
                each.pump(chance.uniform(0.01, 0.05))
        print()
        for name, each in programs.items():
            p50, p99 = (1000 * percentile(times[name], part) for part in (0.5, 0.99))
            cpu = 1000 * (each.cpu() - began[name]) / len(times[name])
            print(
                f"key to first byte, ms: {name:<6} p50 {p50:7.2f}  p99 {p99:7.2f}  "
                f"most {1000 * max(times[name]):7.2f}  processor a key {cpu:6.2f}"
                + (f"  aim: p99 < {ANSWER_AT_MOST * 1000:.0f}" if name == "ours" else "")
            )
    room = percentile(times["floor"], 0.99)
    assert percentile(times["ours"], 0.5) < percentile(times["stock"], 0.5)
    # Where even an echo is kept waiting by the machine, only the difference is ours.
    assert percentile(times["ours"], 0.99) - room < ANSWER_AT_MOST


def test_showing_a_hundred_thousand_rows_takes_no_memory_beyond_them(tmp_path: Path) -> None:
    with bench(tmp_path, "tui_console", ":points", keys=100_000) as ours:
        ours.hear(b"127.0.0.1:844")
        ours.settle(1.0, 6)
        before = ours.resident()
        ours.keys(":keys\r")
        ours.hear(ROWS_SHOWN)
        ours.settle(1.0, 6)
        beyond = ours.resident() - before
    with bench(tmp_path, "tui_stock", "keys", "hold", keys=100_000) as stock:
        stock.hear(b"gw ok")
        stock.settle(1.0, 6)
        before = stock.resident()
        stock.keys("l")
        stock.hear(ROWS_SHOWN, 300)
        stock.settle(1.0, 6)
        stock_beyond = stock.resident() - before
    print(
        f"\nmemory beyond the data at 100 k rows: ours {beyond / MB:.1f} MB, "
        f"stock {stock_beyond / MB:.1f} MB"
    )
    assert beyond * 4 < stock_beyond


OTHERS = {"posting": b"posting", "harlequin": b"Data Catalog"}
"""Other programs made with Textual, and what is on the first screen that they paint."""


@pytest.fixture(scope="module")
def installed() -> dict[str, Path]:
    """Each of the others in an environment of its own, kept in the temporary folder."""
    found = {}
    for name in OTHERS:
        home = Path(tempfile.gettempdir()) / f"pilotctl-benchmark-{name}"
        program = home / "bin" / name
        if not program.exists():
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            done = subprocess.run(
                [home / "bin" / "python", "-m", "pip", "install", "-q", name],
                capture_output=True, text=True, timeout=420, check=False,
            )  # fmt: skip
            if done.returncode or not program.exists():
                shutil.rmtree(home, ignore_errors=True)
                continue
        found[name] = program
    return found


@pytest.mark.parametrize("name", OTHERS)
def test_the_console_is_there_before_others_of_its_kind(
    name: str, installed: dict[str, Path], tmp_path: Path
) -> None:
    if name not in installed:
        pytest.skip(f"{name} could not be installed from the package index")
    environ = surroundings(tmp_path)
    ours, theirs = [], []
    for _ in range(4):  # the first of each fills the machine's caches
        with bench(tmp_path, "tui_console", ":keys", keys=1_000) as terminal:
            ours.append(terminal.hear(ROWS_SHOWN) - terminal.started)
        with Pty([str(installed[name])], environ, emulate=False, size=(120, 40)) as terminal:
            theirs.append(_first_screen(terminal) - terminal.started)
    print(
        f"\nstart to first paint, ms (least and median of 3): ours {_said(ours[1:])}, "
        f"{name} {_said(theirs[1:])}"
    )
    assert min(ours[1:]) < min(theirs[1:])


def _first_screen(terminal: Pty) -> float:
    """Return when the first whole screen came: the end of the first kilobytes of it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        terminal.pump(0.02)
        if not terminal.alive():
            pytest.skip(f"it ended by itself ({terminal.status}) before it painted anything")
        for burst in terminal.bursts():
            if len(burst.data) > 2000:
                return burst.at
    pytest.skip("nothing was painted in a minute in this terminal")


def _said(times: list[float]) -> str:
    return f"{min(times) * 1000:.0f}/{statistics.median(times) * 1000:.0f}"
