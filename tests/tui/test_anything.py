"""The palette: everything that can be done, by a few letters, with why not."""

from fake_pilot import FakePilot
from hypothesis import given
from hypothesis import strategies as st
from test_console import OPERATIONS, run

from console.tui.dialogs.command_palette import Anything, Choice, closeness, found
from console.tui.dialogs.operation_form import Act


def choice(name, what=""):
    return Choice(name, what, "", "", lambda: None)


def test_letters_in_order_find_and_the_closest_comes_first():
    names = [choice(each) for each in ("grant create", "alert close", "grant revoke", ":grants")]
    assert found("grev", names)[0].command == "grant revoke"
    assert found("alc", names)[0].command == "alert close"
    assert found("zzz", names) == []
    assert found("", names) == names


@given(st.text(max_size=30), st.text(max_size=8))
def test_what_is_found_holds_the_letters_in_order(text, typed):
    if closeness(typed, text) is not None:
        rest = iter(text.casefold())
        assert all(letter in rest for letter in typed.casefold().replace(" ", ""))


def test_the_palette_has_every_operation_and_view_and_runs_them():
    async def story(hands):
        await hands.press("ctrl+p")
        await hands.until(lambda: isinstance(hands.app.screen, Anything))
        names = {each.command for each in hands.app.screen._choices}
        assert {f"{op.noun} {op.verb}" for op in OPERATIONS} <= names
        assert {f":{name}" for name in hands.app.views} <= names
        await hands.type(":loc")
        await hands.see("> :locks")
        await hands.press("enter")
        await hands.until(lambda: hands.app.place.name == "locks")
        await hands.press("ctrl+p")
        await hands.type("grant rev")
        await hands.see("> grant revoke")
        await hands.press("enter")
        await hands.until(lambda: isinstance(hands.app.screen, Act))

    run(FakePilot(), story)


def test_what_cannot_be_done_says_why_and_stays():
    pilot = FakePilot(roles=("viewer",))

    async def story(hands):
        await hands.press("ctrl+p")
        await hands.type("grant create")
        await hands.see("> grant create", "needs the role")
        await hands.press("enter")
        await hands.see("grant create: needs the role")
        assert isinstance(hands.app.screen, Anything)
        await hands.press("escape")
        await hands.until(lambda: not isinstance(hands.app.screen, Anything))

    run(pilot, story)
