"""Every main screen as a picture, from a pilot that stands still.

`PILOTCTL_UPDATE_SNAPSHOTS=1` writes the pictures anew; look at them before they are kept.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

import pytest
from still_pilot import NOW, StillPilot, an_id, stop_the_clock

from console.operations.index import all_operations
from console.tui.steer import Console
from console.tui.theme import load_all

FOLDER = Path(__file__).parents[1] / "snapshots"
UPDATE = os.environ.get("PILOTCTL_UPDATE_SNAPSHOTS") == "1"
PALETTES, _ = load_all()

NARROW = {
    "now": "now", "alerts": "alerts", "alert": f"alert {an_id('alr', 0)}",
    "partner": "partner acme", "usage": "usage", "usage-hours": "usage by=hour since=24h",
    "calls": "calls", "audit": "audit", "event": f"event {an_id('evt', 60)}",
    "receipt": f"receipt {an_id('rcp', 1)}", "unverified": f"receipt {an_id('rcp', 2)}",
    "policy": "policy", "pilot": "pilot aurora", "empty": "calls nobody",
    "grants": "grants", "locks": "locks",
}  # fmt: skip
WIDE = {
    "now": "now", "alerts": "alerts", "audit": "audit", "usage": "usage", "keys": "keys",
    "usage-week": "usage by=hour since=7d",
}  # fmt: skip


def plain(svg: str) -> str:
    """Return a picture without what differs from run to run, and without what it would fetch."""
    for at, found in enumerate(dict.fromkeys(re.findall(r"terminal-[0-9]+", svg))):
        svg = svg.replace(found, f"screen{at}")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


async def settled(app: Console, pilot) -> None:
    """Wait until what is in front has been read, and nothing on it changes any more."""
    end = time.monotonic() + 60
    before: list[str] = []
    calm = 0
    while calm < 4:
        assert time.monotonic() < end, "\n".join(before)
        await pilot.pause(0.05)
        text = app._canvas.text()
        place = app.place
        read = place.local is not None or place.heard is not None or place.stale
        read = read and app.link.health["audit"].proven >= 0
        calm = calm + 1 if read and text == before and "…" not in text[0] else 0
        before = text


def pictures(patch, size: tuple[int, int], wanted: dict[str, str]) -> dict[str, str]:
    stop_the_clock(patch)
    patch.setenv("TZ", "UTC")
    time.tzset()
    out = {}

    async def go() -> None:
        app = Console(StillPilot(), all_operations(), PALETTES, PALETTES["dark"])
        async with app.run_test(size=size) as pilot:
            for name, command in wanted.items():
                app.go("now")
                app.run_command(command)
                assert not app.message, app.message
                await settled(app, pilot)
                out[name] = plain(app.export_screenshot(title="pilotctl"))

    try:
        asyncio.run(go())
    finally:
        patch.undo()
        time.tzset()
    return out


@pytest.mark.parametrize(
    ("size", "wanted", "mark"),
    [
        pytest.param((80, 24), NARROW, "", id="80x24"),
        pytest.param((120, 40), WIDE, "-wide", id="120x40"),
    ],
)
def test_the_screens_are_the_ones_that_were_looked_at(size, wanted, mark, monkeypatch):
    drawn = pictures(monkeypatch, size, wanted)
    wrong = []
    for name, svg in drawn.items():
        path = FOLDER / f"{name}{mark}.svg"
        if UPDATE:
            path.parent.mkdir(exist_ok=True)
            path.write_text(svg)
        elif not path.is_file() or path.read_text() != svg:
            wrong.append(path.name)
    assert not wrong, f"not as they were: {wrong}; PILOTCTL_UPDATE_SNAPSHOTS=1 writes them anew"
    assert NOW.year == 2026
