import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import PilotError
from console.trust.canonical import MAX_INTEGER, canonical
from tests.vectors import vectors


@pytest.mark.parametrize("name", ["arrays", "french", "structures", "unicode", "values", "weird"])
def test_every_public_vector_comes_out_byte_for_byte(name):
    folder = vectors("jcs/testdata")
    value = json.loads((folder / "input" / f"{name}.json").read_text())
    expected = bytes.fromhex((folder / "outhex" / f"{name}.txt").read_text())
    assert canonical(value) == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_canonical_bytes_read_back_to_the_value_and_are_a_fixed_point(value):
    raw = canonical(value)
    again = json.loads(raw, parse_int=as_number)
    assert again == value
    assert canonical(again) == raw


def as_number(digits):
    """A double of a whole value beyond 2^53 is written without a point, and is still a double."""
    return int(digits) if abs(int(digits)) <= MAX_INTEGER else float(digits)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, 2**53]}, "$.a[1] is an integer beyond 2^53 - 1"),
        ({"a": -(2**53)}, "$.a is an integer beyond 2^53 - 1"),
        ([float("nan")], "$[0] is not a finite number"),
        ({"x": {"y": float("-inf")}}, "$.x.y is not a finite number"),
        ({"a": "\ud800"}, "$.a holds a lone surrogate"),
        ({"\udfff": 1}, '$."\\udfff" is a key that holds a lone surrogate'),
        ({"esc\x1b[2J": 2**60}, '$."esc\\u001b[2J" is an integer beyond 2^53 - 1'),
        ({1: 2}, "$ has a key that is not text"),
        ({"a": b"bytes"}, "$.a is a bytes, which JSON does not have"),
    ],
)
def test_a_value_without_a_canonical_form_is_refused_and_the_place_named(value, said):
    with pytest.raises(PilotError) as caught:
        canonical(value)
    assert caught.value.code == "json-not-canonical"
    assert caught.value.message == said


def test_nesting_too_deep_is_an_error_of_ours():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(PilotError, match="nested too deeply"):
        canonical(value)
    while value:  # taken apart by hand: the interpreter frees it recursively
        value = value.pop()
