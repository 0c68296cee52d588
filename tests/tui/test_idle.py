"""What a screen on which nothing happens says: a few ages that have grown, and nothing else.

The clock is put ahead a step at a time, and what the canvas would write is counted.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from still_pilot import Still, StillPilot, stop_the_clock

from console.operations.index import all_operations
from console.tui.app.console_app import Console
from console.tui.app.frame import TICK_SECONDS
from console.tui.theme.palette import load_all

PALETTES, _ = load_all()
VIEWS = ("now", "grants", "alerts", "usage", "calls", "audit", "keys", "locks", "partners")
AT_MOST = 200
"""Bytes in a minute."""
BEFORE = {"calls": timedelta(minutes=10)}
"""How long nothing has happened: a pilot with calls up to this moment is not idle."""


async def minute(app: Console, pilot, view: str) -> list[str]:
    """Return what the canvas would write in each step of a minute of `view`."""
    Still.ahead = timedelta(0)
    app.go("now")
    app.run_command(view)
    await calm(app, pilot)
    before = BEFORE.get(view, timedelta(0))
    Still.ahead = before
    app.tick()
    await calm(app, pilot)
    app._canvas.paint()
    said = []
    for step in range(1, int(60 / TICK_SECONDS) + 1):
        Still.ahead = before + timedelta(seconds=step * TICK_SECONDS)
        app.tick()
        await pilot.pause(0.03)
        said.append(app._canvas.paint())
    return said


async def calm(app: Console, pilot) -> None:
    """Wait until the screen has been read and says the same for a while."""
    end = time.monotonic() + 60
    before, same = None, 0
    while same < 4 and time.monotonic() < end:
        await pilot.pause(0.05)
        text = app._canvas.text()
        read = app.place.heard is not None and app.link.health["audit"].proven >= 0
        same = same + 1 if read and text == before else 0
        before = text


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((80, 24), id="80x24"),
        pytest.param((200, 50), id="200x50", marks=pytest.mark.long),
    ],
)
def test_an_idle_minute_of_every_main_view_costs_next_to_nothing(size, monkeypatch):
    cost = {}

    async def go() -> None:
        app = Console(StillPilot(), all_operations(), PALETTES, PALETTES["dark"])
        async with app.run_test(size=size) as pilot:
            for view in VIEWS:
                said = await minute(app, pilot, view)
                cost[view] = sum(len(each.encode()) for each in said), [s for s in said if s]

    monkeypatch.setattr(Still, "ahead", timedelta(0))
    stop_the_clock(monkeypatch)
    asyncio.run(go())
    for view, (bytes_said, said) in cost.items():
        print(f"{size[0]}x{size[1]} {view:<9} {bytes_said:4} B in {len(said)} writes")
    over = {view: each for view, each in cost.items() if each[0] > AT_MOST}
    assert not over, over
