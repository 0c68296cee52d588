"""Two consoles in terminals, one by cell difference, one by stock drawing: the same screens.

`test_display` holds this for each frame inside one process; here it is what really arrives,
for each depth of colour, at several sizes, along a random script of keys. A failing script
is run again with PILOTCTL_TEST_SEED.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.tui.pty_rig import ROOT, Pty, surroundings

HERE = ROOT / "tests" / "tui"
MODES = {
    "truecolor": {},
    "256": {"COLORTERM": ""},
    "16": {"TERM": "linux", "COLORTERM": ""},
    "no-color": {"NO_COLOR": "1"},
}
SIZES = [(80, 24), (120, 40), (40, 15), (200, 50)]
KEYS = {
    "down": "\x1b[B", "up": "\x1b[A", "page down": "\x1b[6~", "page up": "\x1b[5~",
    "home": "\x1b[H", "end": "\x1b[F", "enter": "\r", "escape": "\x1b", "mark": " ",
    "sort": "s", "turn": "S", "lock": "L", "tab": "\t", "help": "?", "filter": "/ac\r",
    "grants": ":grants\r", "alerts": ":alerts\r", "audit": ":audit\r", "calls": ":calls\r",
    "keys": ":keys\r", "partners": ":partners\r", "now": ":now\r", "command": ":gr",
    "back": "\x1b[1;3D", "redraw": "\x0c",
}  # fmt: skip
AGREE_SECONDS = 60.0
"""Both read the pilot and tick at moments of their own: they have so long to agree."""


def cells(terminal: Pty) -> list[list[Any]]:
    """Return the screen below the status line; what a blank does not show is left out."""
    screen = terminal.screen
    assert screen is not None
    return [
        [
            _blank(cell) if not cell.data.strip() and not cell.underscore else cell
            for cell in (screen.buffer[y][x] for x in range(screen.columns))
        ]
        for y in range(1, screen.lines)
    ]


def _blank(cell: Any) -> Any:
    """Return the cell with only its ground: reversed, the ground is the foreground colour."""
    ground = cell.fg if cell.reverse else cell.bg
    return (cell.reverse, ground)


def difference(one: Pty, other: Pty) -> str:
    """Return where two screens differ first; empty where they do not."""
    for y, (ours, theirs) in enumerate(zip(cells(one), cells(other), strict=True), 1):
        for x, pair in enumerate(zip(ours, theirs, strict=True)):
            if pair[0] != pair[1]:
                return f"row {y} column {x}: {pair[0]} is not {pair[1]}"
    return ""


def agree(one: Pty, other: Pty, done: list[str], seed: int) -> None:
    end = time.monotonic() + AGREE_SECONDS
    while True:
        for each in (one, other):
            each.settle(0.06, 1.0)
        found = difference(one, other)
        if not found:
            return
        assert time.monotonic() < end, (
            f"seed {seed}, after {done}: {found}\n{one.text}\n--- stock\n{other.text}"
        )


@pytest.mark.parametrize(
    ("mode", "size", "presses"),
    [
        ("16", (80, 24), 12),
        *(
            pytest.param(mode, size, 150, marks=pytest.mark.long)
            for mode in MODES
            for size in SIZES
        ),
    ],
    ids=str,
)
def test_both_ways_of_drawing_show_the_same_screen(
    tmp_path: Path, mode: str, size: tuple[int, int], presses: int
) -> None:
    seed = int(os.environ.get("PILOTCTL_TEST_SEED") or time.time_ns() % 10**6)
    print(f"\nseed {seed}")
    chance = random.Random(seed)
    long_ago = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    environ = surroundings(tmp_path, PYTHONPATH=f"{ROOT}:{HERE}", LONG_AGO=long_ago)
    program = [sys.executable, str(Path(__file__).resolve())]
    with ExitStack() as stack:
        ours, stock = (
            stack.enter_context(Pty(program, {**environ, **MODES[mode], **more}, size=size))
            for more in ({}, {"PILOTCTL_STOCK_DISPLAY": "1"})
        )
        for each in (ours, stock):
            each.see("CRIT", "ok", seconds=40)
        done: list[str] = []
        for _ in range(presses):
            done.append(chance.choice(list(KEYS)))
            for each in (ours, stock):
                each.keys(KEYS[done[-1]])
                each.pump(0.12)
            agree(ours, stock, done, seed)
        assert ours.total < stock.total


def main() -> int:
    """Show a pilot whose every time is long ago, so that no age grows while two are compared."""
    from fake_pilot import FakePilot

    from console.tui.start import run

    class Still(FakePilot):
        now = property(lambda _: datetime.fromisoformat(os.environ["LONG_AGO"]), lambda *_: None)  # type: ignore[assignment]  # kept from moving

    return run(Still(partners=60), sys.argv[1:])  # type: ignore[arg-type]  # a session in memory


if __name__ == "__main__":
    sys.exit(main())
