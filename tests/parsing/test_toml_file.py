import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from console.parsing.toml_file import line_of, line_of_key, toml_table

KEYS = st.text("abxy.-=# ", min_size=1, max_size=6)
TABLES = st.recursive(
    st.dictionaries(KEYS, st.integers(0, 9), min_size=1, max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3),
    max_leaves=6,
)


def leaves(table, above=()):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


@given(st.dictionaries(KEYS, TABLES, min_size=1, max_size=3))
def test_the_line_of_a_key_sets_it(document):
    text = tomli_w.dumps(document)
    for place, value in leaves(document):
        alike = [each for each, _ in leaves(document) if ".".join(each) == ".".join(place)]
        if len(alike) > 1:
            continue  # a dot in quotes is a dot here
        line = text.splitlines()[line_of(text, place) - 1]
        assert tomllib.loads(line) == {place[-1]: value}, (text, place)


def test_a_line_is_found_however_the_key_is_written():
    text = 'a = 1\n[profiles."lab"]\n"policy" = 1\n[profiles]\nx.tier = 2\n'
    assert line_of(text, ("profiles", "lab", "policy")) == 3
    assert line_of(text, ("profiles.x", "tier")) == 5
    assert line_of(text, ("a",)) == 1


def test_a_line_is_found_for_keys_with_signs_and_inside_inline_tables():
    text = '[console.hotkeys]\n"=" = "a"\n"#" = "b"\n[profiles.p.console]\naliases = { x = "y" }\n'
    assert line_of(text, ("console.hotkeys", "=")) == 2
    assert line_of(text, ("console.hotkeys", "#")) == 3
    assert line_of(text, ("profiles.p.console.aliases", "x")) == 5


def test_what_is_missing_stands_where_its_table_does_and_what_has_no_table_nowhere():
    text = "[a]\nb = 1\n\n[a.c]\nd = 2\n"
    assert [line_of(text, place) for place in (("a", "x"), ("a", "c", "x"), ("z",))] == [1, 4, 0]
    assert line_of("[profiles.lab.token]\nsource = 1\n", ("profiles", "lab")) == 1


def test_each_table_of_an_array_has_its_own_lines():
    text = "[[operators]]\nname = 1\n[[operators]]\nname = 2\n[operators.more]\nx = 3\n"
    assert line_of(text, ("operators", 0, "name")) == 2
    assert line_of(text, ("operators", 1, "name")) == 4
    assert line_of(text, ("operators", 1)) == 3
    assert line_of(text, ("operators", 1, "more", "x")) == 6


def test_a_key_is_found_in_whichever_table_it_stands():
    text = "id = 1\n[when]\ncode = 2\n[when.code]\n"
    assert [line_of_key(text, key) for key in ("id", "when", "code", "none")] == [1, 2, 3, 0]


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 5000, "a = ", "[a"])
def test_whatever_is_wrong_is_one_error(text):
    with pytest.raises(tomllib.TOMLDecodeError):
        toml_table(text)
