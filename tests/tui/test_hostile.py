"""Text from an API never acts on the terminal: each payload, through every view and dialogue."""

import asyncio
import json
import re
import unicodedata

import pytest
from fake_pilot import FakePilot
from terminal import Terminal
from test_console import Hands
from vectors import vectors

from console.operations.index import all_operations
from console.tui.steer import Console
from console.tui.theme import load_all

PALETTES, _ = load_all()
PAYLOADS = {
    "OSC 52": "\x1b]52;c;cHduZWQ=\x07",
    "OSC 8": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "title": "\x1b]0;owned\x07",
    "DCS": "\x1bP$q\"p\x1b\\",
    "C1 CSI": "\x9b2J\x9b31m",
    "CSI": "\x1b[2J\x1b[31m\x1b[10;10H",
    "alternate screen": "\x1b[?1049l",
    "bidi": "\u202egnp.exe\u2066x\u2069",
    "controls": "a\rb\nc\td\x00e\x08f\x7fg",
    "markup": "[/red][@click=app.quit]x[/][bold",
    "tags": "\U000e0041\U000e0042\u200b\u00ad\ufeff",
    "marks": "Z" + "\u0301\u0322" * 30,
    "wide": "漢字🙂한",
}  # fmt: skip
KEEP = re.compile(
    r"(\.(id|slug|state|severity|kind|method|action|target|receipt_id|event_id|grant_id|"
    r"credential_id|name|service|partner|outcome)|^list)$"
)
OURS = re.compile(
    rb"\x1b\[(\?(1049|25|1004|2004|7|2026|2048)[hl]|\?20(26|48)\$p|[><]\d*u"
    rb"|\d*;?\d*H|\d*C|[\d;]*m|2J"
    rb"|\d+;\d+r\x1b\[\d*H(?:\n+|(?:\x1bM)+)\x1b\[r)"
)
"""Every escape sequence that the console itself may send."""


def salted(payload):
    def salt(where, value):
        if KEEP.search(where) or not value:
            return value
        return value[:4] + payload + value[4:]

    return salt


def check_cells(app, payload):
    for line in app._canvas.text():
        for character in line:
            assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}, payload


@pytest.mark.parametrize("part", range(3))
def test_a_payload_in_every_text_changes_no_cell_into_control(part):
    payload = "".join(list(PAYLOADS.values())[part::3])

    async def story():
        app = Console(FakePilot(salt=salted(payload)), all_operations(), PALETTES, PALETTES["dark"])
        async with app.run_test(size=(100, 30)) as pilot:
            hands = Hands(app, pilot)
            await hands.see("gw ok", "policy ok")
            for view in ("now", "grants", "keys", "locks", "alerts", "calls", "audit", "usage"):
                app.run_command(view)
                await hands.until(lambda: app.place.heard is not None or app.place.stale)
                await pilot.press("enter")
                check_cells(app, payload)
            app.run_command("partner acme")
            await hands.see("GRANTS")
            check_cells(app, payload)
            await hands.press("L")
            await hands.see("What ends")
            check_cells(app, payload)
            app.screen.take_paste(payload)
            await pilot.pause()
            check_cells(app, payload)
            await hands.press("escape")
            app.say(payload, "bad")
            await pilot.pause()
            check_cells(app, payload)

    asyncio.run(story())


def test_no_byte_of_a_payload_comes_out_of_a_terminal(tmp_path):
    everything = "".join(PAYLOADS[name] for name in PAYLOADS if name not in {"marks", "markup"})
    with Terminal(tmp_path, (120, 40), environ={"FAKE_PAYLOAD": json.dumps(everything)}) as screen:
        screen.see("CRIT", "gw ok", "policy ok")
        for view in ("grants", "calls", "audit", "keys", "partner acme"):
            screen.keys(f":{view}\r")
            screen.pump(0.25)
            screen.keys("\r")
            screen.pump(0.25)
        screen.keys("L").see("esc cancel")
        screen.keys("\x1b[200~" + "x\ty\x1b[201~")
        screen.pump(0.3)
        screen.keys("\x1b")
        screen.pump(0.6)
        screen.keys("\x11")
        assert screen.wait() == 0
        left = OURS.sub(b"", screen.raw)
        assert b"\x1b" not in left, left[max(0, left.find(b"\x1b") - 60) :][:120]
        assert b"]52;" not in left.replace(b"^[]52;", b"")
        text = left.decode()
        for character in set(text) - {"\r", "\n"}:
            assert unicodedata.category(character) not in {"Cc", "Cf"}, repr(character)


def test_no_naughty_string_breaks_a_line(tmp_path):
    strings = json.loads(vectors("blns/blns.json").read_text())

    async def story():
        pilot = FakePilot()
        app = Console(pilot, all_operations(), PALETTES, PALETTES["dark"])
        async with app.run_test(size=(80, 24)) as terminal:
            hands = Hands(app, terminal)
            await hands.see("gw ok")
            for at in range(0, len(strings), 40):
                app.say(" ".join(strings[at : at + 40]))
                app.run_command(strings[at])
                await terminal.pause()
                check_cells(app, strings[at])

    asyncio.run(story())
