"""A dialogue that closes while something of it is still to come never ends the console."""

from __future__ import annotations

import ast
import inspect

import pytest
from fake_pilot import FakePilot
from test_console import run
from textual.screen import ModalScreen
from textual.widget import Widget

from console.tui.dialogs.bulk_form import Bulk
from console.tui.dialogs.dialog import Dialogue
from console.tui.dialogs.operation_form import Act

PLAN = [[]]


async def one_form(hands):
    await hands.command("grant create")
    await hands.until(lambda: isinstance(hands.app.screen, Act))


async def several_marked(hands):
    await hands.command("grants")
    await hands.until(lambda: hands.app.table.total == 5)
    await hands.press("space", "space", "R")
    await hands.until(lambda: isinstance(hands.app.screen, Bulk))


LATE = {
    "the focus is looked at": (one_form, lambda form: form._see_focus()),
    "the keys are shown": (one_form, lambda form: form._show_keys()),
    "a plan came": (one_form, lambda form: form._show_plan(PLAN)),
    "a name is asked for": (one_form, lambda form: form._ask_name("acme")),
    "choices came": (one_form, lambda form: form._refresh_texts()),
    "another field has the focus": (one_form, lambda form: form.on_descendant_focus()),
    "it is laid out again": (one_form, lambda form: form.on_resize(None)),
    "a plan is wanted": (one_form, lambda form: form._replan()),
    "plans of several came": (several_marked, lambda form: form._put("sum", PLAN)),
    "several are drawn": (several_marked, lambda form: form._draw()),
    "several are held": (several_marked, lambda form: form._hold()),
    "a count is asked for": (several_marked, lambda form: form._replan()),
}
"""What comes at a moment of its own: a worker, or what waits for the next drawing."""


@pytest.mark.parametrize("what", LATE)
def test_what_comes_after_a_dialogue_has_gone_finds_it_and_does_no_harm(what):
    opened, late = LATE[what]

    async def story(hands):
        await opened(hands)
        form = hands.app.screen
        await hands.press("escape")
        await hands.until(lambda: hands.app.screen is not form and not list(form.query(Widget)))
        late(form)
        await hands.command("grants")
        await hands.see("grants")

    run(FakePilot(), story)


def test_every_dialogue_of_the_console_keeps_hold_of_its_parts():
    """None looks for a widget in the tree, which is empty when the dialogue has closed."""
    kinds = Dialogue.__subclasses__()
    assert {Act, Bulk} < set(kinds)
    ours = [each for each in ModalScreen.__subclasses__() if each.__module__.startswith("console")]
    assert ours == [Dialogue]
    for kind in kinds:
        names = {
            node.attr
            for node in ast.walk(ast.parse(inspect.getsource(kind)))
            if isinstance(node, ast.Attribute)
        }
        assert "query_one" not in names, kind.__name__
