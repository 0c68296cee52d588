"""Reading what a call said: asked why, then read in whole, with nothing of it obeyed."""

from fake_pilot import FakePilot
from test_console import run


def test_content_is_read_for_a_reason_and_in_whole():
    pilot = FakePilot()

    async def story(hands):
        await hands.command("calls")
        await hands.until(lambda: hands.app.table.total > 0)
        await hands.command("call content")
        await hands.see("Read what req_", "goes into the log")
        await hands.type("complaint 7")
        await hands.press("tab", "tab", "enter")
        await hands.see("the first words", "^[[31m")
        await hands.see("asked_for complaint 7")
        await hands.press("end", "G")
        await hands.press(*["pagedown"] * 6)
        await hands.see("word 59")

    run(pilot, story)
