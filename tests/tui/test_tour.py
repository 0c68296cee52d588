"""The tour: it points at keys, goes on when they were pressed, and can be left."""

import asyncio
from pathlib import Path

from fake_pilot import FakePilot
from test_console import Hands

from console.config.bindings import Binding
from console.operations.index import all_operations
from console.tui.app.console_app import Console
from console.tui.app.tour import STEPS
from console.tui.theme.palette import load_all

PALETTES, _ = load_all()

PRESSED = {
    "down": ("down",), "enter": ("enter",), "esc": ("escape",), "?": ("question_mark",),
    "L": ("L",), "b": ("b",), "@": ("at",),
}  # fmt: skip


def touring(story, size=(80, 24), **options):
    async def main():
        app = Console(
            FakePilot(tier="development"), all_operations(), PALETTES, PALETTES["dark"], **options
        )
        async with app.run_test(size=size) as pilot:
            hands = Hands(app, pilot)
            await hands.see("gw ok", "CRIT")
            await hands.command("tour")
            await story(app, hands)

    asyncio.run(main())


def test_the_tour_is_walked_by_pressing_what_it_says():
    async def story(app, hands):
        for number, step in enumerate(app.tour.steps, 1):
            await hands.see(f"tour {number}/{len(STEPS)}", f"press {step.press}")
            if step.press in PRESSED:
                await hands.press(*PRESSED[step.press])
            else:
                await hands.type(step.press.removesuffix(" enter"))
                await hands.press("enter")
            if step.press in {"L", ":theme enter"}:
                await hands.until(lambda: len(app.screen_stack) > 1)
                await hands.press("escape")
        await hands.see("tour over", "That was the tour")
        await hands.command("tour")
        assert app.tour is None
        assert "tour" not in hands.text

    touring(story)


def test_the_tour_stays_where_it_is_until_what_it_asks_for_happens_and_is_left_at_any_time():
    async def story(app, hands):
        await hands.see("tour 1/")
        await hands.press("question_mark")
        await hands.press("escape")
        await hands.see("tour 1/")
        await hands.press("down")
        await hands.see("tour 2/")
        await hands.command("tour")
        await hands.until(lambda: "tour 2/" not in hands.text)
        assert app.query_one("#tour").display is False

    touring(story)


def test_every_step_of_the_tour_fits_a_small_terminal():
    async def story(app, hands):
        for number in range(len(STEPS)):
            app.tour.at = number
            app.tour._draw()
            await hands._pilot.pause()
            lines = app._canvas.text()[-4:-1]
            said = " ".join(" ".join(lines[1:]).split())
            assert said == " ".join(app.tour.steps[number].what.replace("`", "").split()), said

    touring(story)


def test_the_tour_says_the_key_that_the_lock_has_here():
    async def story(app, hands):
        app.tour.at = next(at for at, step in enumerate(STEPS) if "{lock.add}" in step.press)
        app.tour._draw()
        await hands.see("press b ", "b locks whatever is under the cursor")
        assert not any("{" in each.press + each.what for each in app.tour.steps)
        await hands.press("b")
        await hands.until(lambda: len(app.screen_stack) > 1)
        await hands.press("escape")
        await hands.see("press :locks")

    touring(story, bindings=[Binding("keys", "lock.add", "b", Path("config.toml"), 3, "keys")])


def test_the_tour_names_the_command_of_a_lock_that_has_no_key():
    async def story(app, hands):
        presses = [step.press for step in app.tour.steps]
        assert ":lock add enter" in presses

    touring(story, bindings=[Binding("keys", "lock.add", "", Path("config.toml"), 3, "keys")])
