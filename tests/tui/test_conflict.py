"""A write that was planned on what has changed since: the screen says who won, and what differs."""

import msgspec
from fake_pilot import FakePilot
from test_console import run

from console.errors import ExitCode, PilotError
from console.model.grant import Grant


def test_a_conflict_names_the_winner_and_shows_only_what_differs():
    pilot = FakePilot()
    draft = pilot.all[Grant][3]

    def stale(call):
        now = msgspec.structs.replace(draft, revision=5, state="active", updated_by="theirs")
        told = {name: each for name, each in msgspec.to_builtins(now).items() if name != "labels"}
        return PilotError(
            "stale", "it is now at 5, changed by theirs", exit=ExitCode.CONFLICT,
            detail={"current": told},
        )  # fmt: skip

    pilot._grant_activate = stale

    async def story(hands):
        await hands.command(f"grant activate {draft.id} reason=r")
        await hands.see("terms v4 not accepted")
        await hands.press("tab", "right", "enter")
        await hands.see("changed by theirs", 'updated_by: "kds" -> "theirs"')
        assert 'state: "draft" -> "active"' in hands.text
        assert "labels" not in hands.text

    run(pilot, story, size=(110, 40))


def test_a_refusal_under_which_nothing_changed_says_why_and_shows_no_difference():
    pilot = FakePilot()
    draft = pilot.all[Grant][3]

    def refused(call):
        return PilotError(
            "wrong-state", "it waits for its terms", exit=ExitCode.CONFLICT,
            detail={"current": msgspec.to_builtins(draft)},
        )  # fmt: skip

    pilot._grant_activate = refused

    async def story(hands):
        await hands.command(f"grant activate {draft.id} reason=r")
        await hands.see("terms v4 not accepted")
        await hands.press("tab", "right", "enter")
        await hands.see("it waits for its terms")
        await hands.press("escape")
        assert "what changed" not in hands.text

    run(pilot, story, size=(110, 40))
