"""Characters on which terminals disagree never move, hide or change any other cell."""

from __future__ import annotations

import json
import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_terminal import OddTerminal
from rich.cells import cell_len
from terminal import Terminal

from console.present.cells import Certainty, certainty, char_width, fit, is_joining, width
from console.present.safe import is_hidden, safe
from console.tui.terminal.canvas import Canvas, cells
from console.tui.terminal.coded_text import coded, decoded
from console.tui.terminal.unsure_widths import unsure

WIDTH, HEIGHT = 40, 6
NAMES = [
    "हिन्दी किताबें", "தமிழ் நூல்கள்", "a🏻a🏻", "👩🏽\u200d🚀🇩🇪🇫🇷", "ไทยภาษา",
    "\u1112\u1161\u11ab\u1100\u1173", "e\u0301o\u0308", "Zürich Ωμέγα", "①※★→…",
    "\U0001fae9\U0001f9d1🏿", "漢字かな", "한국어", "plain-1", "🏻lead", "ా lead", "ab…", "ﷺ𒐫",
]  # fmt: skip
ODD = sorted({char for name in NAMES for char in name if certainty(char) is not Certainty.SURE})
NAME = st.sampled_from(NAMES) | st.text(st.sampled_from([*ODD, "a", " ", "1", "漢"]), max_size=14)
STYLE = st.sampled_from(["", "1", "48;2;1;2;3", "7"])
ROW = st.tuples(NAME, st.integers(0, 99_999), st.sampled_from(["VERIFIED", "unverified", "no"]),
                STYLE)  # fmt: skip
FRAME = st.lists(ROW, min_size=HEIGHT, max_size=HEIGHT)


def drawn_line(row: tuple[str, int, str, str]) -> list[tuple[str, str]]:
    """A table's row: a name that anybody may have chosen, and facts beside it."""
    name, tokens, state, sgr = row
    return cells(f"{fit(safe(name), 14)}  {tokens:5}  {state:<10}", sgr)[:WIDTH]


def sure_cells(canvas: Canvas):
    """Every cell whose character takes the same cells in every terminal."""
    for y, line in enumerate(canvas._want):
        inside = {x for each in unsure(line) for x in range(each.start, each.end)}
        yield from ((x, y, cell) for x, cell in enumerate(line) if x not in inside)


def taken(char: str, cells: int) -> int:
    """Return the cells that a terminal may give: what joins nothing takes at least one."""
    if certainty(char) is Certainty.SURE:
        return char_width(char)
    return cells if is_joining(char) else max(1, cells)


def as_wanted(terminal: OddTerminal, canvas: Canvas) -> None:
    for x, y, (text, sgr) in sure_cells(canvas):
        got = terminal.cells[y][x]
        assert got[0] == text, (x, y, canvas.text()[y], terminal.cells[y])
        if text.strip():
            assert got[1] == sgr, (x, y)


@settings(max_examples=60)
@given(st.lists(FRAME, min_size=1, max_size=5), st.dictionaries(st.sampled_from(ODD),
       st.integers(0, 2)), st.integers(0, 2), st.booleans())  # fmt: skip
def test_whatever_cells_a_terminal_gives_them_every_other_cell_is_as_wanted(
    frames, table, otherwise, scrolling
):
    canvas = Canvas(WIDTH, HEIGHT)
    terminal = OddTerminal(WIDTH, HEIGHT, lambda char: taken(char, table.get(char, otherwise)))
    for number, frame in enumerate(frames):
        rows = frames[0][number:] + frames[0][:number] if scrolling else frame
        for y, row in enumerate(rows):
            canvas.put(0, y, drawn_line(row))
        terminal.feed(canvas.paint())
        as_wanted(terminal, canvas)
        assert canvas.paint() == ""


@settings(max_examples=40)
@given(FRAME, st.lists(st.tuples(st.integers(-3, WIDTH), st.integers(0, HEIGHT - 1), NAME,
                                 STYLE), max_size=6), st.integers(0, 2))  # fmt: skip
def test_what_is_put_over_part_of_a_name_leaves_the_rest_as_wanted(rows, puts, otherwise):
    """A dialogue may cover half of a name, or end in the middle of a letter."""
    canvas = Canvas(WIDTH, HEIGHT)
    terminal = OddTerminal(WIDTH, HEIGHT, lambda char: taken(char, otherwise))
    for y, row in enumerate(rows):
        canvas.put(0, y, drawn_line(row))
    terminal.feed(canvas.paint())
    for x, y, text, sgr in puts:
        canvas.put(x, y, cells(f"│{safe(text)}│", sgr))
        terminal.feed(canvas.paint())
        as_wanted(terminal, canvas)


def every_character() -> list[str]:
    planes = [chr(code) for code in range(0x20, 0x40000)]
    return [char for char in planes if not is_hidden(char)]


@pytest.mark.parametrize("count", [20_000, pytest.param(0, marks=pytest.mark.long, id="all")])
def test_the_toolkit_measures_every_character_as_the_console_does(count):
    chars = every_character()
    if count:
        seed = random.randrange(1 << 32)
        chars = random.Random(seed).sample(chars, count)
        print(f"{count} characters, seed {seed}")
    for char in chars:
        handed = coded(f"x{char}")
        assert cell_len(handed) == 1 + char_width(char), hex(ord(char))
        assert decoded(handed) == f"x{char}", hex(ord(char))


@given(st.text(st.sampled_from([*ODD, "a", "漢", " "]), max_size=20), st.integers(0, 20))
def test_what_the_toolkit_cuts_has_the_cells_that_it_was_cut_to(text, at):
    from rich.cells import split_text

    shown = safe(text)
    whole = coded(shown)
    assert cell_len(whole) == width(shown)
    left, right = split_text(whole, min(at, width(shown))) if shown else ("", "")
    assert width(decoded(left)) == len(cells(decoded(left), ""))
    assert len(cells(decoded(left), "")) == min(at, width(shown))
    assert len(cells(decoded(left), "")) + cell_len(right) == width(shown)


@given(st.text(max_size=30))
def test_a_text_takes_the_cells_that_it_was_measured_to_take(text):
    shown = safe(text)
    assert len(cells(shown, "")) == width(shown)


def test_a_sign_that_joins_what_is_before_it_never_joins_the_column_before():
    canvas = Canvas(12, 1)
    canvas.put(0, 0, [*cells("│", ""), *cells("\u093e1", "")])
    painted = canvas.paint()
    assert "\u093e" not in painted
    assert "\N{REPLACEMENT CHARACTER}" in painted


@pytest.mark.parametrize("char", ["\u1161", "\u0301", "\U0001f3fb", "\u0bbe"])
def test_signs_that_may_join_are_known_as_such(char):
    assert is_joining(char)
    assert certainty(char) is Certainty.LOOSE
    assert unicodedata.category(char) != "Cn"


def test_stock_drawing_gets_plain_characters_and_none_that_stands_for_another(tmp_path):
    environ = {
        "PILOTCTL_STOCK_DISPLAY": "1", "FAKE_NAMES": json.dumps(NAMES),
        "FAKE_CELLS": str(tmp_path / "cells.json"),
    }  # fmt: skip
    args = [":partners"]
    with Terminal(tmp_path, environ=environ, args=args, program="unsure_program") as screen:
        screen.see("partners", "acme", "enter open")
        screen.keys("\x11")
        assert screen.wait() == 0
        drawn = set(screen.raw.decode())
        assert {char for char in drawn if unicodedata.category(char) in {"Co", "Mn", "Mc"}} == set()
        assert "\N{REPLACEMENT CHARACTER}" in drawn
