"""Forms: what Tab makes of what was typed, and where the keys go."""

import asyncio

import msgspec
import pytest
from fake_pilot import FakePilot, an_id
from test_console import run

from console.model.access import Capability, Partner
from console.tui.dialogs.operation_form import Act
from console.tui.widgets.buttons import Buttons, go
from console.tui.widgets.entry import Entry

KNOWN = {
    Partner: ("acme", "northland", "land-trust"),
    Capability: ("cyber.a", "cyber.ab", "bio.c"),
}


class NamedPilot(FakePilot):
    """A pilot whose partners and capabilities have the names of `KNOWN`."""

    def __post_init__(self):
        super().__post_init__()
        for kind, names in KNOWN.items():
            first = self.all[kind][0]
            self.all[kind] = [msgspec.structs.replace(first, slug=name) for name in names]


def test_tab_completes_what_begins_one_name_and_never_makes_another_of_it():
    async def story(hands):
        app = hands.app
        await hands.command("grant create")
        await hands.until(lambda: isinstance(app.screen, Act))
        first = app.screen
        await hands.press("ctrl+t")
        await hands.until(lambda: isinstance(app.screen, Act) and app.screen is not first)
        form = app.screen
        await hands.until(lambda: list(form.query("#field-partner")))
        for field, typed, becomes in (
            ("partner", "ac", "acme"),
            ("partner", "land", "land-trust"),
            ("partner", "north", "northland"),
            ("partner", "orth", "orth"),
            ("partner", "acmee", "acmee"),
            ("partner", "", ""),
            ("capabilities", "b", "bio.c"),
            ("capabilities", "bio.c,", "bio.c,"),
            ("capabilities", "bio.c,b", "bio.c,b"),
            ("capabilities", "bio.c,cyber.a", "bio.c,cyber.a"),
            ("capabilities", "cyber.a,cyber.a", "cyber.a,cyber.a"),
            ("capabilities", "cyber.a, b", "cyber.a,bio.c"),
            ("capabilities", "cyber.ab,cyber", "cyber.ab,cyber.a"),
        ):
            entry = form.query_one(f"#field-{field}", Entry)
            form.set_focus(entry)
            # the names are asked for when their field is come to
            await hands.until(lambda entry=entry: app.focused is entry and form._known(entry))
            await hands.press("ctrl+u")
            await hands.until(lambda entry=entry: entry.value == "")
            form.take_paste(typed)
            assert entry.value == typed
            await hands.press("tab")
            await hands.until(lambda entry=entry: app.focused is not entry)
            assert entry.value == becomes, (field, typed)

    run(NamedPilot(), story, size=(100, 40))


class LatePilot(FakePilot):
    """A pilot whose gateway says what a closing verb ends when it is let."""

    def __post_init__(self):
        super().__post_init__()
        self.let = asyncio.Event()

    async def _exchange(self, call, drive):
        if call.route.id.endswith("blast"):
            await self.let.wait()
        return await super()._exchange(call, drive)


def test_a_name_that_is_asked_for_is_the_next_field_before_the_screen_is_laid_out():
    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("R")
        await hands.until(lambda: isinstance(hands.app.screen, Act))
        form = hands.app.screen
        form.query_one("#name-row").display = False
        await hands.press()
        form.set_focus(form.query_one("#field-reason", Entry))
        form.query_one("#name-row").display = True
        go(form, 1)
        assert form.focused.id == "name"
        go(form, 1)
        assert isinstance(form.focused, Buttons)
        go(form, 1)
        assert form.focused.id == "field-reason"
        go(form, -1)
        assert isinstance(form.focused, Buttons)

    run(FakePilot(), story)


def test_a_plan_that_comes_late_takes_the_keys_to_the_name_it_asks_for():
    pilot = LatePilot()

    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("R")
        await hands.until(lambda: isinstance(hands.app.screen, Act))
        form = hands.app.screen
        await hands.type("leaked")
        await hands.see("planning")
        # on to the buttons: the name is not asked for yet
        await hands.press("tab")
        await hands.until(lambda: isinstance(form.focused, Buttons))
        pilot.let.set()
        await hands.see("Type acme:")
        await hands.type("acme")
        assert form.query_one("#name", Entry).value == "acme"
        await hands.press("tab", "tab", "enter")
        await hands.see("3 of 3 points")
        assert [call.body.id for call in pilot.sent] == [an_id("grt", 0)]

    run(pilot, story)


@pytest.mark.parametrize("verb", ["narrow", "amend"])
def test_a_form_asks_for_what_its_verb_is_for(verb):
    async def story(hands):
        await hands.command(f"grant {verb} {an_id('grt', 0)}")
        await hands.until(lambda: isinstance(hands.app.screen, Act))
        form = hands.app.screen
        asked = [each.id for each in form.query(Entry) if (each.id or "").startswith("field-")]
        assert asked == ["field-limits", "field-principal_limits", "field-networks",
                         "field-principals", "field-reason"]  # fmt: skip
        await hands.until(lambda: getattr(form.focused, "id", "") == "field-limits")
        await hands.type("requests=5")
        await hands.see("--limits requests=5")
        await hands.press("escape")
        await hands.command(f"grant {verb} {an_id('grt', 0)} limits=requests=5")
        await hands.until(lambda: isinstance(hands.app.screen, Act))
        asked = [each.id for each in hands.app.screen.query(Entry) if each.id != "name"]
        assert asked == ["field-reason"]

    run(FakePilot(), story)
