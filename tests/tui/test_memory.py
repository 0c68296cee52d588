"""Where the operator was is where the next start lands; a broken file is left out with a word."""

import json
import stat

import pytest
from fake_pilot import FakePilot, an_id
from hypothesis import given
from hypothesis import strategies as st
from test_console import run

from console.tui.app.frame import MAX_PLACES, PLACES_WITH_ROWS
from console.tui.places.saved_screen import Kept, file_of, keep, load


def start(tmp_path, story, **options):
    return run(FakePilot(partners=40), story, state_folder=tmp_path, **options)


def test_the_next_start_restores_view_filter_sort_cursor_and_marks(tmp_path):
    seen = {}

    async def leave(hands):
        await hands.command("grants")
        await hands.until(lambda: hands.app.table.total == 40)
        await hands.press("slash", *"active", "enter", "s", "S", "down", "space", "down")
        state = hands.app.place.state
        seen["kept"] = (state.filter, state.sort, state.descending, state.cursor, state.marks)

    async def back(hands):
        await hands.until(lambda: hands.app.place.heard is not None)
        state = hands.app.place.state
        assert hands.app.place.name == "grants"
        kept = (state.filter, state.sort, state.descending, state.cursor, state.marks)
        assert kept == seen["kept"]
        assert hands.app.table.current.id == state.cursor
        await hands.press("escape", "escape", "escape")
        await hands.until(lambda: hands.app.place.name == "now")

    start(tmp_path, leave)
    (file,) = (tmp_path / "screen").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    start(tmp_path, back)


def test_what_was_being_read_is_read_again_and_commands_can_be_recalled(tmp_path):
    async def leave(hands):
        await hands.press("colon", *"grants", "enter")
        await hands.until(lambda: hands.app.table.total == 40)
        await hands.press("enter")
        await hands.until(lambda: hands.app.place.subject is not None)

    async def back(hands):
        assert hands.app.place.subject.id == an_id("grt", 0)
        await hands.press("colon", "up")
        assert hands.app.entry.value == "grants"

    start(tmp_path, leave)
    start(tmp_path, back)


def test_a_command_to_open_with_goes_before_where_the_operator_was(tmp_path):
    async def leave(hands):
        await hands.command("keys")

    async def back(hands):
        assert hands.app.place.name == "locks"

    start(tmp_path, leave)
    start(tmp_path, back, opening="locks")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version":2}', '{"version":1,"marks":[1]}', "\x00", '{"a":1}']
)
def test_a_corrupted_file_is_left_out_with_a_word(tmp_path, text):
    file = file_of(tmp_path, "prod")
    file.parent.mkdir()
    file.write_text(text)
    kept, wrong = load(file)
    assert kept is None
    assert "left out" in wrong


def test_a_start_over_a_corrupted_file_or_an_unknown_view_lands_on_now(tmp_path):
    async def story(hands):
        assert hands.app.place.name == "now"

    names = [start(tmp_path, story).link.name]
    file = file_of(tmp_path, names[0])
    gone = {"version": 1, "view": "gone"}
    strange = {"version": 1, "view": "grants", "raw": {"colour": "red"}}
    for text in ("{", json.dumps(gone), json.dumps(strange)):
        file.write_text(text)
        start(tmp_path, story)


def test_a_profile_s_name_stays_in_its_folder(tmp_path):
    assert file_of(tmp_path, "../../x").parent == tmp_path / "screen"


@given(st.lists(st.text(), max_size=4), st.text(), st.text(), st.booleans())
def test_what_is_kept_is_what_is_loaded(tmp_path_factory, marks, cursor, filter_text, down):
    file = tmp_path_factory.mktemp("kept") / "screen" / "p.json"
    kept = Kept(version=1, view="grants", cursor=cursor, marks=marks, filter=filter_text,
                descending=down)  # fmt: skip
    keep(kept, file)
    assert load(file) == (kept, "")


def test_a_console_that_is_used_all_day_keeps_few_places_and_the_rows_of_fewer(tmp_path):
    async def story(hands):
        app = hands.app
        await hands.command("grants")
        await hands.until(lambda: app.table.total == 40)
        await hands.press("slash", *"active", "enter", "down", "down", "space")
        left = app.place
        kept = (left.state.filter, left.state.cursor, set(left.state.marks))
        assert kept[1]
        for number in range(2 * PLACES_WITH_ROWS):
            await hands.command(("partners state=active", "keys state=issued")[number % 2])
            await hands.until(lambda: app.place.heard is not None)
        assert left.rows == ()
        assert sum(1 for each in app.places if each.rows) <= PLACES_WITH_ROWS
        while app.place is not left:
            app.back()
        assert sum(1 for each in app.ahead if each.rows) <= PLACES_WITH_ROWS
        await hands.until(lambda: app.table.rows)
        assert (left.state.filter, left.state.cursor, left.state.marks) == kept
        assert app.table.current.id == kept[1]
        first = app.places[0]
        for number in range(MAX_PLACES + 10):
            app.run_command(("locks state=active", "keys state=issued")[number % 2])
        await hands.until(lambda: app.place.heard is not None)
        assert len(app.places) == MAX_PLACES
        assert app.places[0] is first

    start(tmp_path, story)
