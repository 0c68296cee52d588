"""What is carried away: files of what is shown, and the terminal's clipboard."""

import base64
import csv
import io
import json
import re
import stat
from datetime import UTC, datetime

from fake_pilot import FakePilot, an_id
from hypothesis import given
from hypothesis import strategies as st
from still_pilot import StillPilot
from terminal import Terminal
from test_console import run

from console.model.traffic import UsageRow
from console.present.safe import is_hidden
from console.tui.actions.export_file import raw_values, shown_rows, target
from console.tui.terminal.clipboard import MAX_BYTES, fault, sequence
from console.tui.views.usage import used

XTERM = {"TERM": "xterm-256color"}
OSC = re.compile(r"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07")


def saved(folder):
    return sorted((folder / "dumps").glob("*"))


def test_what_is_shown_is_saved_as_it_is_filtered_and_sorted(tmp_path):
    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("slash", *"active", "enter", "s")
        shown = [row.id for row in hands.app.table.rows]
        assert 0 < len(shown) < 5
        await hands.press("ctrl+s")
        await hands.see("save csv")
        await hands.press("enter")
        await hands.until(lambda: saved(tmp_path))
        await hands.see(f"saved {len(shown)} rows: ", ".csv")
        (file,) = saved(tmp_path)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with file.open() as lines:
            assert [row["id"] for row in csv.DictReader(lines)] == shown
        await hands.command(f"save {tmp_path / 'mine.json'}")
        await hands.until((tmp_path / "mine.json").exists)
        assert [row["id"] for row in json.loads((tmp_path / "mine.json").read_text())] == shown

    run(FakePilot(), story, state_folder=tmp_path)


def test_a_file_that_is_there_is_not_replaced_and_the_object_in_front_is_saved(tmp_path):
    there = tmp_path / "there.json"
    there.write_text("mine")

    async def story(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 5)
        await hands.press("enter")
        await hands.until(lambda: hands.app.place.heard is not None)
        await hands.command(f"save json {there}")
        await hands.see("it is there already")
        await hands.command("save json")
        await hands.until(lambda: saved(tmp_path))
        (file,) = saved(tmp_path)
        assert json.loads(file.read_text())["id"] == hands.app.place.subject.id

    run(FakePilot(), story, state_folder=tmp_path)
    assert there.read_text() == "mine"


def test_a_formula_from_an_api_is_inert_in_the_file(tmp_path):
    def salt(where, value):
        return "=cmd|'/c calc'!A0" if where == "Alert.title" else value

    async def story(hands):
        await hands.command("alerts")
        await hands.until(lambda: hands.app.table.total == 3)
        await hands.command("save")
        await hands.until(lambda: saved(tmp_path))

    run(FakePilot(salt=salt), story, state_folder=tmp_path)
    (file,) = saved(tmp_path)
    with file.open() as lines:
        assert all(row["title"][:1] not in "=+-@" for row in csv.DictReader(lines))


def test_the_words_of_save_are_a_format_and_a_path():
    assert target([]) == ("csv", "")
    assert target(["json"]) == ("json", "")
    assert target(["out.JSON"]) == ("json", "out.JSON")
    assert target(["csv", "out.json"]) == ("csv", "out.json")


@given(st.text())
def test_the_payload_of_a_copy_is_base64_of_text_without_controls(text):
    found = OSC.fullmatch(sequence(text, XTERM))
    assert found
    kept = base64.b64decode(found[1]).decode()
    assert not any(is_hidden(char) for char in kept)


def test_a_copy_goes_through_tmux_and_through_screen():
    plain = sequence("grt_1", XTERM)
    through = sequence("grt_1", {**XTERM, "TMUX": "/tmp/x,1,0"})
    passed = re.search(r"\x1bPtmux;(.*)\x1b\\$", through)
    assert passed[1].replace("\x1b\x1b", "\x1b") == plain
    long = "a" * 3000
    pieces = re.findall(r"\x1bP(.*?)\x1b\\", sequence(long, {**XTERM, "STY": "1.pts"}))
    assert "".join(pieces) == sequence(long, XTERM)
    assert max(map(len, pieces)) <= 256


def test_a_copy_too_long_or_without_a_clipboard_is_not_sent():
    assert sequence("a" * MAX_BYTES, XTERM)
    assert "75,000" not in fault("a" * MAX_BYTES, XTERM)
    assert "74,995 bytes are more" in fault("a" * (MAX_BYTES + 1), XTERM)
    assert not sequence("a" * (MAX_BYTES + 1), XTERM)
    assert not sequence("a", {"TERM": "linux"})


def test_the_id_and_the_command_reach_the_terminal_and_stand_in_a_box(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.see("CRIT", "gw ok")
        terminal.keys(":grants acme\r").see("grants acme")
        terminal.see("cyber.vuln")
        terminal.keys("Y").see("(unverified)", an_id("grt", 0))
        terminal.keys("\r").keys("y").see("pilotctl grant list", "acme")
        terminal.keys("\r")
        terminal.pump(0.3)
        texts = [base64.b64decode(each).decode() for each in OSC.findall(terminal.raw.decode())]
        assert len(texts) == 2
        assert texts[0] == an_id("grt", 0)
        assert texts[1].startswith("pilotctl grant list")
        assert "acme" in texts[1]


def test_a_hostile_id_leaves_no_control_byte_in_the_copy(tmp_path):
    hostile = "]52;c;aGFjaw==\u0007\u202e\u009b31m"
    with Terminal(tmp_path, environ={"FAKE_PAYLOAD": json.dumps("\u001b" + hostile)}) as terminal:
        terminal.see("gw ok")
        terminal.keys(":alerts\r").see("alerts")
        terminal.pump(0.5)
        terminal.keys("y").see("(unverified)")
        terminal.keys("\r").keys("Y")
        terminal.pump(0.5)
        for each in OSC.findall(terminal.raw.decode()):
            assert not any(is_hidden(char) for char in base64.b64decode(each).decode())
        assert b"aGFjaw==\x07" not in terminal.raw


WORDED = re.compile(
    r"\d{1,3}(,\d{3})+|\d+(\.\d+)? ?[kMG]|[-+]?\d+(\.\d+)? ?%|(in )?\d+[smhdwy]|now"
    r"|[+-]?\d+(\.\d+)? (s|ms)|\d+m\d\ds"
)
"""Numbers, shares, ages and lengths as a screen writes them."""


def worded(value, where=""):
    """Return what of a value is written for eyes and not for programs."""
    if isinstance(value, dict):
        return [found for name, one in value.items() for found in worded(one, f"{where}.{name}")]
    if isinstance(value, list):
        return [found for one in value for found in worded(one, where)]
    if not isinstance(value, str):
        return []
    drawn = WORDED.fullmatch(value) or any("▀" <= char <= "▟" for char in value) or "…" in value
    return [(where, value)] if drawn else []


def test_what_any_view_exports_are_values_and_nothing_that_a_screen_worded(tmp_path):
    """Every view, and every object under its first row; in JSON and in CSV."""
    seen = []

    async def story(hands):
        app = hands.app
        for name in [*app.views, "usage by=hour", "usage by=key", "partner acme"]:
            await hands.command(name)
            await hands.until(lambda: app.place.heard is not None or app.place.stale)
            shown = app.shown()
            assert worded(shown.rows) == [], name
            assert shown.single or shown.heads != ["line"], name
            rows = json.loads(shown.written("json"))
            cells = list(csv.DictReader(io.StringIO(shown.written("csv"))))
            assert len(cells) == len(shown.rows)
            for row, line in zip([rows] if shown.single else rows, cells, strict=True):
                for head, value in row.items():
                    if isinstance(value, int | float) and not isinstance(value, bool):
                        assert line[head] == str(value), (name, head)
            if app.place.view is not None:
                seen.append((name, len(rows)))
                # a number is a number: what the table cuts, groups or rounds is whole
                for row, shown_row in zip(app.table.rows, shown.rows, strict=True):
                    assert shown_row == raw_values(row), name

    run(StillPilot(), story, state_folder=tmp_path)
    print("\nrows exported of each view:", dict(seen))
    assert sum(1 for _, count in seen if count) > 8


def test_a_view_without_rows_is_exported_with_the_heads_that_its_rows_have(tmp_path):
    """A program that reads the file finds the same columns on a day without alerts."""
    compared = []

    def heads_of(wanted, into):
        async def story(hands):
            app = hands.app
            for name, view in app.views.items():
                if view.joined is None:
                    await hands.command(name)
                    await hands.until(lambda: app.place.heard is not None or app.place.stale)
                    shown = app.shown()
                    if bool(shown.rows) == wanted:
                        into[name] = shown.heads

        return story

    full, empty = {}, {}
    run(StillPilot(), heads_of(True, full), state_folder=tmp_path)
    bare = StillPilot()
    for rows in bare.all.values():
        rows.clear()
    run(bare, heads_of(False, empty), state_folder=tmp_path)
    for name in full.keys() & empty.keys():
        assert empty[name] == full[name], name
        compared.append(name)
    assert len(compared) > 6


def test_usage_is_exported_as_numbers():
    row = UsageRow(group="acme", calls=2678, allowed=2600, denied=78, errors=0,
                   input_tokens=160_000, output_tokens=7_000, estimated_calls=1)  # fmt: skip
    shown = shown_rows("usage", (), used([row], "partner"), datetime.now(UTC))
    assert shown.rows[0]["calls"] == 2678
    assert shown.rows[0]["tokens"] == 167_000
    assert "2678" in shown.written("csv")
    assert "167 k" not in shown.written("csv")
