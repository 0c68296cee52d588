"""What was read and drawn goes when it is left: nothing of it waits for the garbage collector.

What waits for it makes a console larger for good: the memory of its largest moment is kept.
"""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator

import pytest
from textual.app import App
from textual.strip import Strip

from console.tui.theme.palette import load_all
from console.tui.widgets.background import begin
from console.tui.widgets.strips import Ink
from console.tui.widgets.text_lines import Lines

PALETTES, _ = load_all()


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Read:
    """Something that was read."""


class Shown(App[None]):
    """Some lines."""

    def compose(self):
        yield Lines(lambda: PALETTES["dark"], id="lines")


async def until(app, pilot, holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        await pilot.pause(0.02)


@pytest.mark.parametrize("ending", ["it ends", "another takes its place"])
def test_what_a_background_read_holds_goes_with_it(ending):
    async def go():
        app = Shown()
        async with app.run_test() as pilot:
            held, over = [], asyncio.Event()

            async def work():
                read = Read()
                held.append(weakref.ref(read))
                await over.wait()

            begin(app, work, "read")
            await until(app, pilot, lambda: held)
            assert held[0]() is not None
            if ending == "another takes its place":
                begin(app, asyncio.Event().wait, "read")
            else:
                over.set()
            await until(app, pilot, lambda: held[0]() is None)

    asyncio.run(go())


def test_a_line_that_was_drawn_anew_goes_at_once():
    def lines():
        return sum(isinstance(each, Strip) for each in gc.get_objects())

    async def go():
        app = Shown()
        async with app.run_test(size=(80, 24)) as pilot:
            shown = app.query_one("#lines", Lines)

            async def draw(number):
                shown.set([[Ink(f"{number} of {at}", "key")] for at in range(20)])
                said = f"{number} of 19"
                await until(app, pilot, lambda: any(said in each.text for each in kept()))
                await pilot.pause()

            def kept():
                return shown._kept.values()

            await draw(0)
            before = lines()
            for number in range(1, 40):
                await draw(number)
            assert lines() < before + 100

    asyncio.run(go())
