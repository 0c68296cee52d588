"""What is no number is refused in words, wherever text becomes one; and only one place reads it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from console.cli.terminal import columns
from console.errors import ExitCode, PilotError
from console.model.number import MAX_DIGITS, whole_number
from console.net.http_messages import Answer, retry_after
from console.operations import limits_text
from console.operations.index import all_operations
from console.operations.pilot_toml import read as read_pilot
from console.operations.spec import Kind, fields
from console.operations.values import moment, parse, seconds, stage
from console.parsing.filters import matcher
from console.parsing.toml_file import toml_table
from console.services.web.strict_decoding import strictly
from console.trust.proof import parse_proof
from console.trust.tiles import parse_tile_path

CONSOLE = Path(__file__).parents[1] / "console"
NOW = datetime(2026, 11, 30, tzinfo=UTC)
HOSTILE = ["0\x1f", "\x1c7", "²", "٣", "१", "1_000", " 7", "+7", "--7", "1e400", "1e9999999", "nan",
           "-inf", "9" * 5000, "0" * 30, "9" * 19, "1.5.5", "", "0x10", "½", "7\u2028"]  # fmt: skip
TEXT = st.sampled_from(HOSTILE) | st.text(
    st.sampled_from("0123456789.-+e_ \x1f\x1c²٣१"), max_size=40
)
NUMBERS = [
    field
    for op in all_operations()
    for field in fields(op)
    if field.param.kind in {Kind.NUMBER, Kind.MONEY, Kind.DURATION, Kind.LIMITS, Kind.STAGE}
]
READERS = {
    "a length": seconds,
    "a moment": lambda text: moment(text, NOW, ahead=True),
    "an amount": limits_text.money,
    "limits": lambda text: limits_text.read(f"requests={text}"),
    "a budget": lambda text: limits_text.read(f"budget={text}"),
    "a stage": lambda text: stage(f"limited:most-partners={text},longest=30d"),
    "a tile": lambda text: parse_tile_path(f"tile/0/{text}"),
    "a proof": lambda text: parse_proof(f"c2sp.org/tlog-proof@v1\nindex {text}\n\n".encode()),
    "a width": lambda text: columns({"COLUMNS": text}),
    "a pause": lambda text: retry_after(Answer(429, {"retry-after": text}, b"")),
}


def refusal(read: Callable[[], Any]) -> PilotError | None:
    """Return the refusal of what was read; anything else that is raised is a fault."""
    try:
        read()
    except PilotError as error:
        return error
    return None


@pytest.mark.parametrize("what", READERS)
@given(TEXT)
@example("0\x1f")
@example("²")
@example("9" * 5000)
@example("1e9999999")
def test_text_that_is_no_number_is_refused_in_words(what, text):
    refused = refusal(lambda: READERS[what](text))
    if refused is not None:
        assert refused.exit in {ExitCode.FAILED, ExitCode.USAGE, ExitCode.LOG_FAILED}
        assert len(refused.message) < 400


@given(st.sampled_from(NUMBERS), TEXT)
def test_a_parameter_that_is_a_number_takes_one_or_says_so(field, text):
    refused = refusal(lambda: parse(field, [text] if field.param.repeats else text, now=NOW))
    if refused is not None:
        assert refused.exit is ExitCode.USAGE
        assert refused.code == "bad-value"


@given(st.integers(0, 10**MAX_DIGITS - 1))
def test_a_whole_number_is_read_as_it_was_written(number):
    assert whole_number(str(number)) == number
    assert whole_number(f"{number} ") is None
    assert whole_number(f"-{number}") is None


def test_a_number_with_too_many_digits_is_none_and_never_another_number():
    assert whole_number("1" * 18) == int("1" * 18)
    assert whole_number("1" * 19) is None
    with pytest.raises(PilotError):
        limits_text.read(f"requests={'1' * 19}")


@given(TEXT)
def test_a_filter_compares_any_text(text):
    test = matcher(f"tokens>{text}", {"tokens": str}, str) if text.strip() else None
    if test is not None:
        for row in HOSTILE:
            test(row)


def test_one_place_decides_what_a_digit_is():
    """`isdigit` alone takes `²`, and `int` alone blanks and 4,300 digits."""
    found = [
        f"{path.relative_to(CONSOLE)}:{number}"
        for path in sorted(CONSOLE.rglob("*.py"))
        if path.name != "number.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\.is(digit|decimal|numeric)\(", line)
    ]
    assert found == []


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000, "-" + "1" * 4301])
def test_a_file_with_a_number_that_nobody_can_read_is_no_toml(value):
    with pytest.raises(tomllib.TOMLDecodeError):
        toml_table(f"content_days = {value}")
    with pytest.raises(PilotError) as refused:
        read_pilot(f"content_days = {value}")
    assert refused.value.exit is ExitCode.USAGE


class Body(msgspec.Struct):
    threshold: float = 0.0
    count: int = 0
    more: Any = None


@pytest.mark.parametrize("member", ["threshold", "count", "more"])
@pytest.mark.parametrize("value", ["9" * 5000, "-" + "1" * 4301, "1e400", "[" * 5000, "0\x1f"])
def test_a_body_with_such_a_number_is_refused_and_never_a_fault_of_ours(member, value):
    refused = refusal(lambda: strictly(f'{{"{member}": {value}}}'.encode(), Body))
    assert refused is None or refused.code in {"malformed", "invalid"}
