"""Usage drawn in characters: it fits, it reads without colour, and it adds up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.model.traffic import UsagePicture, UsageRow
from console.present.cells import width
from console.present.heat import heat, weekly
from console.present.picture import picture_lines

NOW = datetime(2026, 3, 20, 12, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def row(group: str, tokens: int = 0, **more: Any) -> UsageRow:
    usual: dict[str, Any] = {
        "calls": 1, "allowed": 1, "denied": 0, "errors": 0, "output_tokens": 0,
        "estimated_calls": 0,
    }  # fmt: skip
    return UsageRow(group=group, input_tokens=tokens, **{**usual, **more})


def picture(tokens: list[int], groups: list[UsageRow]) -> UsagePicture:
    hours = [
        row((NOW.replace(minute=0) - timedelta(hours=at)).isoformat(), each)
        for at, each in enumerate(tokens)
    ]
    return UsagePicture(
        as_of=NOW,
        by="partner",
        since=NOW - timedelta(days=7),
        until=NOW,
        hours=hours,
        groups=groups,
    )


ACME = row("acme", 300, norm_tokens=100, cost_micros=412_070_000, calls=10, denied=1, blocked=1)
DRAWN = picture([50, 0, 100, 150], [row("halcyon", 100, norm_tokens=0), ACME])


def test_bars_are_the_largest_first_with_shares_cost_and_the_norm() -> None:
    lines = picture_lines(DRAWN, 80)
    assert lines[0] == "400 tokens  11 calls  refused 18.2 %  cost 412.07"
    at = lines.index("by partner")
    first, second = lines[at + 1], lines[at + 2]
    assert first.split()[0] == "acme"
    assert first.split()[2:] == ["300", "75.0", "%", "412.07", "+200", "%"]
    assert second.split()[0] == "halcyon"
    assert second.endswith("new")
    assert first.count("█") > 2 * second.count("█")


def test_the_week_shows_which_hour_of_which_day() -> None:
    lines = picture_lines(DRAWN, 80)
    friday = next(line for line in lines if line.startswith("Fri"))
    assert friday.endswith("300")
    head = next(line for line in lines if line.startswith("    00"))
    for hour, mark in ((12, "░"), (10, "▓"), (9, "█"), (11, " ")):
        place = 4 + 2 * hour
        assert friday[place : place + 2] == mark * 2, hour
    assert head[4 + 2 * 9 :].startswith("09")
    assert any("up to 150" in line for line in lines)


def test_where_blocks_cannot_be_shown_letters_and_digits_say_the_same() -> None:
    lines = picture_lines(DRAWN, 80, plain=True)
    assert all(line.isascii() for line in lines)
    friday = next(line for line in lines if line.startswith("Fri"))
    assert friday.split() == ["Fri", "9", "6", "3", "300"]
    assert any("the most 150" in line for line in lines)


def test_nothing_is_said_to_be_nothing() -> None:
    for plain in (False, True):
        lines = picture_lines(picture([], []), 80, plain=plain)
        assert "nothing was used" in lines
        assert lines[0] == "0 tokens  0 calls  refused 0  cost 0.00"


NAMES = st.text(max_size=40)
TOKENS = st.integers(0, 10**12)


@settings(max_examples=60)
@given(
    st.lists(TOKENS, max_size=169),
    st.lists(st.tuples(NAMES, TOKENS), max_size=30),
    st.integers(60, 200),
    st.booleans(),
)
def test_any_usage_fits_and_no_byte_of_it_is_control(
    tokens: list[int], groups: list[tuple[str, int]], room: int, plain: bool
) -> None:
    drawn = picture(tokens, [row(name, each, norm_tokens=7) for name, each in groups])
    for line in picture_lines(drawn, room, plain=plain):
        assert width(line) <= room, line
        assert not {category(mark) for mark in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**9)), max_size=50))
def test_a_week_adds_up_to_what_it_was_made_of(values: list[tuple[int, int]]) -> None:
    moments = [(NOW - timedelta(minutes=back), float(value)) for back, value in values]
    week = weekly(moments)
    assert sum(map(sum, week)) == sum(value for _, value in values)
    drawn = heat(week, 80)
    assert len(drawn.rows) == 7
    for (_, cells, _), day in zip(drawn.rows, week, strict=True):
        for hour, value in enumerate(day):
            assert (cells[2 * hour] == " ") == (value == 0)
