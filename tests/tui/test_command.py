"""What is typed after `:` and `/`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.parsing.filters import matcher, terms
from console.tui.places.typed_command import Command, nearest, parse, write


def test_a_command_has_words_options_and_a_filter():
    assert parse("grants acme state=active /opus !x") == Command(
        "grants", ["acme"], {"state": "active"}, "opus !x"
    )


def test_quotes_hold_a_word_together_and_a_lost_one_is_plain_text():
    assert parse("lock add partner acme reason='it leaked'").options == {"reason": "it leaked"}
    assert parse("calls it's").words == ["it's"]


@given(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    st.lists(st.text("abc 'é", min_size=1, max_size=6).filter(str.strip), max_size=3),
    st.dictionaries(
        st.from_regex(r"[a-z_]{2,6}", fullmatch=True).filter(lambda name: name[0] != "_"),
        st.text("abc é", max_size=5),
        max_size=3,
    ),
)
def test_what_is_written_reads_as_it_was(name, words, options):
    command = Command(name, words, options, "")
    assert parse(write(command)) == command


ROWS = [("acme", "active", "3"), ("halcyon", "revoked", "40"), ("acme", "revoked", "1,200")]
COLUMNS = {
    "partner": lambda row: row[0],
    "state": lambda row: row[1],
    "count": lambda row: row[2],
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acme", [0, 2]),
        ("!acme", [1]),
        ("state:revoked", [1, 2]),
        ("!state:revoked", [0]),
        ("st:rev partner:acme", [2]),
        ("count>=40", [1, 2]),
        ("count<4", [0]),
        ("nosuch:field", []),
        ("", [0, 1, 2]),
    ],
)
def test_a_filter_finds_the_rows_that_it_describes(text, found):
    test = matcher(text, COLUMNS, " ".join)
    assert [at for at, row in enumerate(ROWS) if test is None or test(row)] == found


@given(st.text(max_size=30))
def test_no_filter_text_is_an_error(text):
    terms(text)
    test = matcher(text, COLUMNS, " ".join)
    for row in ROWS:
        assert test is None or test(row) in {True, False}


def test_a_mistyped_name_finds_the_nearest():
    assert "grants" in nearest("grnats", ["grants", "keys", "alerts"])
