"""Text from an API never acts on the terminal: each payload, through every view and dialogue."""

import asyncio
import json
import re
import time
import unicodedata

import pytest
from fake_pilot import FakePilot
from terminal import Terminal
from test_console import Hands
from vectors import vectors

from console.operations.index import all_operations
from console.tui.app.console_app import Console
from console.tui.theme.palette import load_all

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
    rb"|\d+;\d+r\x1b\[\d*H(?:(?:\r?\n)+|(?:\x1bM)+)\x1b\[r)"
)
"""Every escape sequence that the console itself may send."""
BEGUN = re.compile(rb"\x1b(\[[\d;?<>]*)?\Z|[\xc2-\xf4][\x80-\xbf]{0,2}\Z")
"""What the end of a read may cut in two: a sequence, or a character."""


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


SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"
    r"|[\x00-\x09\x0b-\x1f\x7f-\x9f]"
)
"""A control sequence or a control, in what terminals are tested with."""


def sequences():
    """Return every sequence that the terminal vectors hold, a few at a time: a cell's width."""
    files = sorted(vectors("xterm-escape").glob("*.in"))
    found = [each for file in files for each in SEQUENCE.findall(file.read_bytes().decode("latin"))]
    groups = [""]
    for each in dict.fromkeys(found):
        if len(groups[-1]) + len(each) > 14:
            groups.append("")
        groups[-1] += each
    return groups


def hostile(folder, payloads, size=(100, 30)):
    given = folder / "payloads.json"
    given.write_text(json.dumps(payloads))
    environ = {"FAKE_PAYLOADS": str(given), "FAKE_CELLS": str(folder / "cells.json")}
    return Terminal(folder, size, environ=environ, program="hostile_program")


def squeezed(lines):
    return [unicodedata.normalize("NFC", line).replace(" ", "") for line in lines]


def as_its_cells_say(screen, folder, what):
    """Wait until the terminal shows what the console's cells hold; return the report of it."""
    file, end = folder / "cells.json", time.monotonic() + 60
    while True:
        file.unlink(missing_ok=True)
        screen.keys("`")
        while not file.exists():
            assert time.monotonic() < end, (what, screen.text)
            screen.pump(0.02)
        screen.pump(0.05)
        report = json.loads(file.read_text())
        if squeezed(report["cells"]) == squeezed(screen.screen.display):
            return report
        assert time.monotonic() < end, (what, report["cells"], screen.screen.display)


def no_control_came_out(screen, what):
    """Check, and forget, what the terminal was sent: our own sequences and plain text.

    A sequence of which only the beginning was read is looked at with the rest of it.
    """
    begun = BEGUN.search(screen.raw)
    whole = screen.raw[: begun.start()] if begun else screen.raw
    left = OURS.sub(b"", whole)
    at = left.find(b"\x1b")
    assert at < 0, (what, left[max(0, at - 60) : at + 60])
    for character in set(left.decode("utf-8", "replace")) - {"\r", "\n"}:
        assert unicodedata.category(character) not in {"Cc", "Cf"}, (what, repr(character))
    screen.raw = screen.raw[len(whole) :]


def through_everything(folder, payloads, places):
    """Show each payload in each place, and in what answers and asks; return what was told."""
    with hostile(folder, payloads) as screen:
        screen.see("gw", "policy")
        for at, place in enumerate(places):
            screen.keys(f":{place}\r")
            screen.pump(0.3)
            for _ in payloads:
                screen.keys("^")
                screen.pump(0.03)
            report = as_its_cells_say(screen, folder, place)
            assert report["turn"] == 0, "every payload had its turn"
            no_control_came_out(screen, place)
            if at % 4 == 0:
                screen.keys("\r")  # a row's own story, with a hostile name in the crumbs
                screen.pump(0.3)
                as_its_cells_say(screen, folder, f"a row of {place}")
                for _ in payloads:
                    screen.keys("^")
                    screen.pump(0.03)
                no_control_came_out(screen, f"a row of {place}")
        for ask in ("L", ":grant create\r", ":partner create\r", ":alert close\r"):
            screen.keys(ask).see("same as")
            for payload in payloads:
                screen.keys(f"\x1b[200~{payload}.\x1b[201~")
                screen.pump(0.03)
            screen.pump(0.3)
            no_control_came_out(screen, ask)
            screen.keys("\x1b").see("cancelled")
        for payload in payloads:
            screen.keys(f":x\x1b[200~{payload}.\x1b[201~\r")
            report = as_its_cells_say(screen, folder, "what a command answers")
        no_control_came_out(screen, "what a command answers")
        screen.keys("^~")
        assert screen.wait() == 1
        assert "a bug stopped the console (ValueError)" in screen.raw.decode()
        ending = screen.raw.rpartition(b"pilotctl: a bug")[2]
        assert not re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", ending)
        reports = [each.read_text() for each in folder.rglob("crash-*.txt")]
        assert any("ValueError" in each for each in reports)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "".join(reports))
        return report["told"]


def odd(payloads):
    """Return an odd number of them: names are hostile with every second turn, so that each
    payload stands in them in every second view."""
    return payloads if len(payloads) % 2 else [*payloads, "\x1b[2J"]


MAIN = ("now", "grants", "alerts", "audit", "partner acme")


def all_places():
    app = Console(FakePilot(), all_operations(), PALETTES, PALETTES["dark"])
    return [*app.views, "partner acme", "help", "log"]


def test_no_sequence_of_the_terminal_vectors_comes_out_of_the_main_views(tmp_path):
    groups = sequences()
    through_everything(tmp_path, odd(groups[:: len(groups) // 8]), MAIN)


@pytest.mark.long
def test_no_sequence_of_the_terminal_vectors_comes_out_of_any_view(tmp_path):
    """Each sequence in every text of every noun, and in names in every second view."""
    groups = odd([*sequences(), *PAYLOADS.values()])
    told = through_everything(tmp_path, groups, all_places())
    assert len(told) > 150, "the whole model"


@pytest.mark.long
def test_no_whole_terminal_vector_comes_out(tmp_path):
    files = sorted(vectors("xterm-escape").glob("*.in"))
    whole = [file.read_bytes().decode("latin") for file in files]
    through_everything(tmp_path, odd(whole), MAIN)


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
