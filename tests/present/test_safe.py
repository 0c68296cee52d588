import csv
import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import vectors

from console.present.safe import MAX_MARKS, csv_escaped, is_hidden, is_safe, json_escaped, safe

ANY_TEXT = st.text(st.characters(), max_size=60)


@given(ANY_TEXT, st.booleans())
def test_escaped_text_holds_nothing_that_hides_or_drives_a_terminal(text, multiline):
    shown = safe(text, multiline=multiline)
    allowed = "\t\n" if multiline else ""
    assert [char for char in shown if is_hidden(char) and char not in allowed] == []


@given(ANY_TEXT, st.booleans())
def test_escaping_twice_is_escaping_once(text, multiline):
    once = safe(text, multiline=multiline)
    assert safe(once, multiline=multiline) == once
    assert is_safe(once, multiline=multiline)


@given(ANY_TEXT)
def test_no_base_carries_more_marks_than_a_script_needs(text):
    run = 0
    for char in safe(text):
        run = run + 1 if unicodedata.category(char) in {"Mn", "Me"} else 0
        assert run <= MAX_MARKS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;cm0=\x07", "^[]52;c;cm0=^G"),
        ("\x9b2J", "^[2J"),
        ("\x7f", "^?"),
        ("a\u202eb", "a\\u{202e}b"),
        ("a\u2066b", "a\\u{2066}b"),
        ("\U000e0041", "\\u{e0041}"),
        ("\ud800", "\\u{d800}"),
        ("\ue000", "\\u{e000}"),
        ("a\u200bb", "a\\u{200b}b"),
        ("\u3164", "\\u{3164}"),
        ("line\rover", "line^Mover"),
        ("two\nlines", "two^Jlines"),
        ("e\u0301", "e\u0301"),
        ("\u0301e", "\\u{301}e"),
        ("Z" + "\u0334" * 40, "Z" + "\u0334" * 4 + "\\u{+36}"),
        ("Ünïcode 日本語 ✓", "Ünïcode 日本語 ✓"),
    ],
)
def test_what_could_deceive_is_named_and_what_is_text_stays(text, shown):
    assert safe(text) == shown


def test_a_note_of_several_lines_keeps_its_lines_and_never_a_carriage_return():
    assert safe("one\n\ttwo\r\n", multiline=True) == "one\n\ttwo^M\n"


def test_the_cases_of_gh_are_shown_as_gh_shows_them():
    cases = json.loads(vectors("gh-asciisanitizer/cases.json").read_text())["cases"]
    for case in cases:
        if case["json_mode"]:
            continue
        # stricter than gh: a vertical tab and a carriage return are escaped as well
        want = case["want"].replace("\v", "^K").replace("\r", "^M")
        assert safe(case["input"], multiline=True) == want, case["name"]


def test_the_json_cases_of_gh_come_out_of_our_json_as_they_went_in():
    cases = json.loads(vectors("gh-asciisanitizer/cases.json").read_text())["cases"]
    for case in cases:
        if case["json_mode"]:
            value = json.loads(f'"{case["input"]}"')
            written = json_escaped(json.dumps(value, ensure_ascii=False))
            assert json.loads(written) == value, case["name"]
            assert all(char >= " " and char != "\x7f" and not is_hidden(char) for char in written)


@given(
    st.recursive(ANY_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=4))
)
def test_json_means_the_same_after_escaping(value):
    written = json_escaped(json.dumps(value, ensure_ascii=False))
    assert json.loads(written) == value
    assert not any(is_hidden(char) for char in written)


@given(ANY_TEXT)
def test_a_csv_cell_is_one_line_and_no_formula(text):
    cell = csv_escaped(text)
    assert not any(is_hidden(char) for char in cell)
    assert cell.strip()[:1] not in {"=", "+", "-", "@"}


def test_naughty_strings_leave_every_format_whole():
    from console.present.data import as_csv, as_json, as_json_line

    naughty = json.loads(vectors("blns/blns.json").read_text())
    for text in naughty:
        assert not any(is_hidden(char) for char in safe(text))
        assert json.loads(as_json({"reason": text})) == {"reason": text}
        assert json.loads(as_json_line([text])) == [text]
        assert not any(is_hidden(char) for char in as_json_line([text]).rstrip("\n"))
        written = as_csv(["text", "last"], [{"text": text, "last": "end"}])
        assert written.count("\n") == 2
        assert list(csv.reader(io.StringIO(written)))[1][-1] == "end"
