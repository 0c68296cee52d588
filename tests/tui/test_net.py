"""What the screen costs its link, and how its APIs answer, can be looked at."""

from fake_pilot import FakePilot
from test_console import run


def test_net_tells_bytes_frames_those_held_back_and_each_api_s_latency():
    pilot = FakePilot()

    async def story(hands):
        await hands.command("net")
        await hands.see("sent", "bytes", "frames", "held back", "gateway", "policy", "audit")
        await hands.see("heard 5s ago")
        await hands.press("escape")
        pilot.down = {"audit"}
        await hands.see("audit DOWN", seconds=60)
        await hands.command("net")
        await hands.see("down: the audit API is not running")

    run(pilot, story)


def test_the_command_log_has_the_command_and_every_call_of_what_was_done():
    async def story(hands):
        await hands.command("alerts")
        await hands.until(lambda: hands.app.table.total == 3)
        await hands.press("a")
        await hands.see("[ Cancel ]")
        await hands.press("tab", "enter")
        await hands.see("DONE")
        await hands.press("enter", "at")
        await hands.see("$ pilotctl alert acknowledge", "POST /v1/alerts", "200", "ms", "rid_")

    run(FakePilot(), story, size=(160, 30))
