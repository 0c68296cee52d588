"""The end of a dialogue: what is typed ahead of the plan neither cancels nor sends."""

from console.tui.theme.palette import load_all
from console.tui.widgets.buttons import Buttons

PALETTES, _ = load_all()


def buttons():
    return Buttons(lambda: PALETTES["dark"], "lock")


def test_the_verb_that_was_gone_to_before_its_plan_is_chosen_when_the_plan_is_there():
    end = buttons()
    end.hold("the plan is not there yet", passing=True)
    assert end.choose("tab")
    assert (end.yes, end.meant) == (False, True)
    end.hold("")
    assert (end.yes, end.meant) == (True, False)


def test_a_plan_that_asks_for_more_leaves_it_on_cancel():
    end = buttons()
    end.hold("the plan is not there yet", passing=True)
    end.choose("tab")
    end.hold("type acme first")
    end.hold("")
    assert (end.yes, end.meant) == (False, False)


def test_what_is_missing_cannot_be_gone_past_by_waiting():
    end = buttons()
    end.hold("reason is missing")
    assert not end.choose("tab")
    assert not end.meant
    assert end.choose("right")
    assert not end.yes


def test_back_to_cancel_is_meant_too():
    end = buttons()
    end.hold("the plan is not there yet", passing=True)
    end.choose("tab")
    end.choose("left")
    end.hold("")
    assert not end.yes
