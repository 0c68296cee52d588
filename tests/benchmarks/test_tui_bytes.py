"""Bytes to the terminal: our console beside stock Textual with a DataTable, in the same run.

Both show the same words over the same feed. Bytes are counted as they leave the program,
so a busy machine does not change them. What each may cost at most is in `AIMS`.
"""

from __future__ import annotations

import json
import re
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.tui.pty_rig import Pty, surroundings

pytestmark = pytest.mark.benchmark

SIZES = [(80, 24), (200, 50)]
START_AT_MOST = 6 * 1024
"""At 80x24; a larger screen has more to say."""
CELL_TIMES_FEWER = 100
IDLE_AT_MOST = 200
"""In a minute."""
FEED = {"alerts": 300, "latency": 0.03}
CHIPS = ("gw ok", "policy ok", "audit ok")
DOWN, PAGE_DOWN = "\x1b[B", "\x1b[6~"


class Pair:
    """Our console and the stock twin over the same feed, side by side."""

    def __init__(self, state: Path, size: tuple[int, int], *, rate: float = 0.0) -> None:
        environ = surroundings(state, BENCH_FEED=json.dumps({**FEED, "rate": rate}))
        self.size = size
        self.stack = ExitStack()
        self.ours, self.stock = (
            self.stack.enter_context(
                Pty([sys.executable, "-m", f"tests.benchmarks.{name}", word], environ, size=size)
            )
            for name, word in (("tui_console", ":alerts"), ("tui_stock", "alerts"))
        )
        self.ours.see(" 7000 ", *CHIPS)
        self.stock.see(" 7000 ")
        for each in (self.ours, self.stock):
            each.settle(0.6)
        self.start = self.ours.total, self.stock.total

    def said(self, what: str, ours: float, stock: float, aim: str = "") -> None:
        times = f"{stock / ours:8.1f}x" if ours else "       -"
        print(
            f"{self.size[0]:>4}x{self.size[1]:<3} {what:<32} ours {ours:>9,.0f} B  "
            f"stock {stock:>10,.0f} B {times}  {aim}"
        )

    def both(self, act: Callable[[Pty], object], quiet: float = 0.25) -> tuple[int, int]:
        """Return the bytes that follow on `act` in each."""
        found = []
        for each in (self.ours, self.stock):
            each.settle(0.1)
            act(each)
            found.append(each.settle(quiet))
        return found[0], found[1]

    def median(self, *keys: str, times: int = 4) -> tuple[float, float]:
        """Return the median bytes for each of `keys`, typed in turn."""
        found = [self.both(lambda on, key=key: on.keys(key)) for _ in range(times) for key in keys]  # type: ignore[misc]  # a lambda's default
        return statistics.median(o for o, _ in found), statistics.median(s for _, s in found)


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, request.param)
    with made.stack:
        yield made


def test_start_moves_pages_and_help_cost_a_fraction_of_stock(pair: Pair) -> None:
    pair.said("start", *pair.start, f"aim: <= {START_AT_MOST} B at 80x24")
    pair.both(lambda on: on.keys(DOWN))
    down = pair.median(DOWN)
    pair.said("cursor down", *down)
    pair.both(lambda on: on.keys(PAGE_DOWN))
    page = pair.median(PAGE_DOWN, times=2)
    pair.said("page", *page)
    # stock's palette beside the two things that do its work here
    opened = pair.both(lambda on: on.keys(":" if on is pair.ours else "\x10"), 0.8)
    pair.said("palette open (ours: the : bar)", *opened)
    typed = pair.both(lambda on: on.keys("l"), 0.8)
    pair.said("one letter in it", *typed)
    pair.both(lambda on: on.keys("\x1b"), 0.8)
    helped = pair.both(lambda on: on.keys("?" if on is pair.ours else "\x10"), 0.8)
    pair.said("palette open (ours: ? help)", *helped)
    pair.both(lambda on: on.keys("\x1b"), 0.8)
    ours, stock = down
    if pair.size == (80, 24):  # a wide screen shows what the row is about beside it: stock does not
        assert ours * 2 < stock
        assert page[0] * 2 < page[1]
    assert opened[0] * 20 < opened[1]
    assert helped[0] * 3 < helped[1]
    if pair.size == (80, 24):
        assert pair.start[0] <= START_AT_MOST
    assert pair.start[0] * 2 < pair.start[1]


def test_one_changed_cell_costs_a_hundredth_of_stock(pair: Pair) -> None:
    found = []
    for number in range(7001, 7004):
        costs = []
        for each in (pair.ours, pair.stock):
            asked = time.monotonic()
            each.signal(signal.SIGUSR1)
            each.see(f" {number} ")
            each.settle(0.2)
            shown = str(number).encode()[-1:]
            costs.append(next(len(b.data) for b in each.bursts(asked) if shown in _words(b.data)))
            each.pump(2.6)
            costs.append(sum(len(burst.data) for burst in each.bursts(asked)))
        found.append(costs)
    ours, ours_after, stock, stock_after = (
        statistics.median(each) for each in zip(*found, strict=True)
    )
    pair.said("one cell changed", ours, stock, f"aim: {CELL_TIMES_FEWER}x fewer")
    pair.said("... and its mark taken off", ours_after, stock_after)
    assert ours * CELL_TIMES_FEWER <= stock


def test_an_idle_minute_says_only_what_has_changed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pairs = [Pair(tmp_path, size) for size in SIZES]
        for pair in pairs:
            stack.enter_context(pair.stack)
            pair.ours.settle(3.0, 12)
        began = time.monotonic()
        before = {pair.size: pair.ours.text for pair in pairs}
        needless = {pair.size: 0 for pair in pairs}
        while time.monotonic() < began + 60:
            for pair in pairs:
                if pair.ours.pump(0.05):
                    pair.ours.settle(0.1)
                    needless[pair.size] += pair.ours.text == before[pair.size]
                    before[pair.size] = pair.ours.text
                pair.stock.pump(0.05)
        for pair in pairs:
            ours, stock = (
                sum(len(burst.data) for burst in each.bursts(began))
                for each in (pair.ours, pair.stock)
            )
            bursts = len(pair.ours.bursts(began))
            pair.said("idle, a minute", ours, stock, f"aim: <= {IDLE_AT_MOST} B; {bursts} writes")
            for burst in pair.ours.bursts(began):
                print(f"       {burst.at - began:5.1f} s {_words(burst.data)!r}")
        for pair in pairs:
            assert needless[pair.size] == 0, "bytes that change nothing"
            assert sum(len(burst.data) for burst in pair.ours.bursts(began)) <= IDLE_AT_MOST


def _words(data: bytes) -> bytes:
    """Return what is drawn, without where and how."""
    return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b" ", data).strip()


def test_a_minute_of_live_alerts_at_five_a_second(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pairs = [Pair(tmp_path, size, rate=5.0) for size in SIZES]
        for pair in pairs:
            stack.enter_context(pair.stack)
        before = {id(on): on.total for pair in pairs for on in (pair.ours, pair.stock)}
        began = time.monotonic()
        while time.monotonic() < began + 60:
            for pair in pairs:
                pair.ours.pump(0.05)
                pair.stock.pump(0.05)
        for pair in pairs:
            ours, stock = (on.total - before[id(on)] for on in (pair.ours, pair.stock))
            pair.said("a minute of alerts at 5 a second", ours, stock, "real time")
            assert ours * 2 < stock
