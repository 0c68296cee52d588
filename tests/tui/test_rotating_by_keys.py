"""Rotating keys by keys: each new one shown once, marked ones in turn, and who uses the old."""

from fake_pilot import SECRET, FakePilot
from test_console import run

from console.tui.dialogs.write_progress import SecretShown


async def rotate(hands, grace=""):
    await hands.see("Rotate crd_", "Reason")
    await hands.type("yearly")
    if grace:
        await hands.press("ctrl+t")
        await hands.see("Grace")
        await hands.type(grace)
        await hands.press("tab")
        await hands.see("ends at once")
    await hands.press("tab", "tab", "enter")
    await hands.until(lambda: isinstance(hands.app.screen, SecretShown), seconds=60)
    await hands.see(SECRET)
    await hands.press("ctrl+x")
    await hands.until(lambda: SECRET not in hands.text)


def test_marked_keys_are_rotated_in_turn_and_the_list_shows_the_old_version():
    pilot = FakePilot()

    async def story(hands):
        await hands.command("keys")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("space", "space")
        await hands.press("v")
        await hands.see("(1 of 2 marked)")
        await rotate(hands)
        await hands.see("(2 of 2 marked)")
        await hands.press("escape")
        await hands.see("cancelled")
        assert [call.body.grace_seconds for call in pilot.sent] == [86400]
        await hands.see("rotating", "no calls since")

    run(pilot, story)


def test_without_grace_the_new_key_is_shown_once_the_old_one_is_proven_dead():
    pilot = FakePilot()

    async def story(hands):
        await hands.command("keys")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("v")
        await rotate(hands, "0s")
        assert len(pilot.receipts) == 1
        assert len(pilot.sent) == 1
        assert pilot.sent[0].body.grace_seconds == 0

    run(pilot, story)
