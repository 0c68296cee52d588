"""Every verb of an alert, by its key in the list of alerts."""

from __future__ import annotations

import pytest
from fake_pilot import FakePilot
from test_console import OPERATIONS, run

from console.model.audit import Alert
from console.operations.spec import Effect

VERBS = {op.id: op for op in OPERATIONS if op.subject == "alert" and op.effect is Effect.CHANGE}


def test_each_verb_of_an_alert_has_a_key_of_its_own():
    assert set(VERBS) == {
        "alert.acknowledge", "alert.assign", "alert.snooze", "alert.escalate", "alert.comment",
        "alert.close", "alert.reopen",
    }  # fmt: skip
    assert all(op.key for op in VERBS.values())
    assert len({op.key for op in VERBS.values()}) == len(VERBS)


@pytest.mark.parametrize(
    ("verb", "typed", "member", "value"),
    [
        ("alert.assign", ["ada"], "assignee", "ada"),
        ("alert.snooze", ["4h", "a known job"], "state", "snoozed"),
        ("alert.escalate", ["nobody answers"], "level", 2),
        ("alert.comment", ["asked their contact"], "comments", None),
        ("alert.reopen", ["it was not theirs"], "state", "reopened"),
    ],
)
def test_a_verb_is_done_by_its_key(verb, typed, member, value):
    pilot = FakePilot()

    async def story(hands):
        await hands.command("alerts")
        await hands.until(lambda: hands.app.table.total == 3)
        await hands.press(VERBS[verb].key)
        await hands.see(VERBS[verb].title.split()[0] + " ", "same as")
        for nth, text in enumerate(typed):
            if nth:
                await hands.press("tab")
            await hands.type(text)
        await hands.press("tab", "tab", "enter")
        await hands.see(f"{VERBS[verb].title}: DONE")
        found = getattr(pilot.all[Alert][0], member)
        assert found == value if value is not None else found[0].text == typed[0]

    run(pilot, story)


def test_silences_rules_who_is_on_call_and_what_was_delivered_are_views():
    async def story(hands):
        await hands.command("silences")
        await hands.see("rule=egress-*", "active", "41", "mhr")
        await hands.command("rules")
        await hands.see("denial-burst", "off-hours-use", "off", "Burst of refused")
        await hands.command("oncall")
        await hands.see("night", "it answered 503")
        await hands.command("deliveries")
        await hands.see("night", "failed", "12")
        await hands.command("alerts")
        await hands.until(lambda: hands.app.table.total == 3)

    run(FakePilot(), story)
