"""The cell difference shows what stock Textual would, frame by frame."""

import asyncio
import random

import pyte
import pytest
from fake_pilot import FakePilot

from console.operations.index import all_operations
from console.tui.app.console_app import Console
from console.tui.terminal.canvas import Canvas
from console.tui.terminal.display import absorb, display_status
from console.tui.theme.palette import load_all

PALETTES, _ = load_all()
KEYS = ["down", "up", "pagedown", "pageup", "home", "end", "enter", "escape", "space", "s", "S",
        "L", "x", "tab", "question_mark", "at", "slash", "colon", "a", "c", "m", "e", "left",
        "right", "backspace", "ctrl+l", "alt+left"]  # fmt: skip


class Compared(Console):
    """Every update goes to two emulators: as stock draws it, and as the difference."""

    def both(self, width: int, height: int) -> None:
        self.stock, self.diff = pyte.Screen(width, height), pyte.Screen(width, height)
        self.streams = pyte.Stream(self.stock), pyte.Stream(self.diff)
        self.mirror = Canvas(width, height)
        self.frames = 0
        self.stock_bytes = self.diff_bytes = 0

    def _display(self, screen, renderable):
        if renderable is not None and hasattr(self, "mirror") and not self._batch_count:
            assert absorb(self.mirror, renderable, self._inks)
            stock = renderable.render_segments(self.console)
            # stock draws with line wrap off, where a newline below the last row does not matter
            self.streams[0].feed("\x1b[?7l" + stock)
            diff = self.mirror.paint()
            self.streams[1].feed("\x1b[?7l" + diff)
            self.stock_bytes += len(stock.encode())
            self.diff_bytes += len(diff.encode())
            self.frames += 1
            self.compare()
        super()._display(screen, renderable)

    def compare(self):
        for y in range(self.stock.lines):
            for x in range(self.stock.columns):
                ours, theirs = self.diff.buffer[y][x], self.stock.buffer[y][x]
                assert ours == theirs or (not theirs.data.strip() and _blank(ours, theirs)), (x, y)


def _blank(ours, theirs):
    return ours.data.strip() == "" and (ours.bg, ours.reverse) == (theirs.bg, theirs.reverse)


async def steer(theme, size, seed, presses):
    pilot = FakePilot(partners=60)
    app = Compared(
        pilot, all_operations(), PALETTES, PALETTES[theme],
        ansi_color=True if PALETTES[theme].ansi else None,
    )  # fmt: skip
    app.both(*size)
    chance = random.Random(seed)
    async with app.run_test(size=size) as hands:  # an assertion in a frame ends the run
        await hands.pause(0.1)
        for _ in range(presses):
            await hands.press(chance.choice(KEYS))
        await hands.pause()
    return app


@pytest.mark.parametrize(
    ("theme", "size", "seed"),
    [("dark", (80, 24), 1), ("ansi16", (80, 24), 2), ("light", (120, 40), 3)],
)
def test_the_difference_shows_what_stock_drawing_shows(theme, size, seed):
    app = asyncio.run(steer(theme, size, seed, 30))
    assert app.frames > 15
    assert app.diff_bytes * 5 < app.stock_bytes


def test_this_textual_has_what_the_difference_stands_on():
    assert display_status().diff


def test_stock_drawing_can_be_asked_for_and_is_said(monkeypatch):
    monkeypatch.setenv("PILOTCTL_STOCK_DISPLAY", "1")
    assert display_status() == (False, "PILOTCTL_STOCK_DISPLAY=1 asks for stock drawing")


def test_a_textual_without_the_private_method_falls_back_and_says_so(monkeypatch):
    from console.tui.terminal import display

    monkeypatch.setattr(display.App, "_display", lambda self, other: None)
    status = display_status()
    assert not status.diff
    assert "App._display" in status.why
