"""The cell difference, against a terminal emulator."""

import unicodedata

import pyte
from hypothesis import given, settings
from hypothesis import strategies as st

from console.tui.terminal.canvas import Canvas, cells, guard

WIDTH, HEIGHT = 24, 5
# The emulator places marks after wide and last cells in its own way: they have their own test.
GRAPHEMES = ["a", "b", " ", "0", "│", "▂", "漢", "字", "\uac00", "\u00e9"]
TEXT = st.lists(st.sampled_from(GRAPHEMES), max_size=WIDTH + 4).map("".join)
STYLE = st.sampled_from(["", "1", "38;2;1;2;3", "7"])
PUT = st.tuples(st.integers(-2, WIDTH), st.integers(0, HEIGHT - 1), TEXT, STYLE)


def shown(screen: pyte.Screen) -> list[list[str]]:
    return [[screen.buffer[y][x].data for x in range(WIDTH)] for y in range(HEIGHT)]


def wanted(canvas: Canvas) -> list[list[str]]:
    return [[unicodedata.normalize("NFC", text) for text, _ in row] for row in canvas._want]


@settings(max_examples=150)
@given(st.lists(st.lists(PUT, max_size=4), max_size=6))
def test_painting_differences_shows_what_is_wanted(frames):
    canvas, screen = Canvas(WIDTH, HEIGHT), pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    for frame in frames:
        for x, y, text, sgr in frame:
            canvas.put(x, y, cells(text, sgr))
        stream.feed(canvas.paint())
        got = [[unicodedata.normalize("NFC", char) for char in row] for row in shown(screen)]
        assert got == wanted(canvas)
        assert canvas.paint() == ""


def test_one_changed_cell_costs_a_few_bytes():
    canvas = Canvas(80, 24)
    for y in range(24):
        canvas.put(0, y, cells("x" * 80, "38;2;1;2;3;48;2;9;9;9"))
    canvas.paint()
    canvas.put(40, 12, cells("y", "1"))
    assert len(canvas.paint()) < 24


@given(st.text(max_size=60))
def test_no_control_or_format_character_is_ever_drawn(text):
    for character, _ in cells(text, ""):
        for each in character:
            assert unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_every_control_and_bidi_character_is_replaced():
    for code in [*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x202E, 0x2066, 0xFEFF, 0xE0041]:
        assert guard(chr(code)) == ("\N{REPLACEMENT CHARACTER}", 1)


def test_a_stack_of_marks_stays_short():
    (cell,) = cells("a" + "\u0301" * 40, "")
    assert len(cell[0]) <= 6


def test_a_locale_without_unicode_gets_ascii():
    canvas = Canvas(12, 1, ascii_only=True)
    canvas.put(0, 0, cells("│▂█…漢é", ""))
    assert canvas.paint().isascii()


def test_after_forgetting_everything_is_drawn_again():
    canvas = Canvas(10, 2)
    canvas.put(0, 0, cells("hello", ""))
    canvas.paint()
    canvas.forget()
    assert "hello" in canvas.paint()


ROW = st.tuples(st.text("abc 漢", max_size=WIDTH // 2), STYLE)


@settings(max_examples=150)
@given(
    st.lists(ROW, min_size=20, max_size=20),
    st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 11)), max_size=6),
)
def test_a_list_that_scrolls_shows_what_is_wanted(rows, steps):
    """The emulator's screen is the wanted one, cell for cell, wherever the list goes."""
    canvas, screen = Canvas(WIDTH, 14), pyte.Screen(WIDTH, 14)
    stream, at = pyte.Stream(screen), 0
    for step, cursor in [(0, 0), *steps]:
        at += step
        for y in range(12):
            text, sgr = rows[(at + y) % len(rows)]
            line = cells(f"{(at + y) % len(rows):3} {text}", "7" if y == cursor else sgr)
            canvas.put(0, y + 1, [*line, *[(" ", "")] * (WIDTH - len(line))])
        stream.feed("\x1b[?7l" + canvas.paint())
        for y, line in enumerate(canvas._want):
            assert [screen.buffer[y][x].data for x in range(WIDTH)] == [text for text, _ in line]
            reversed_ = [screen.buffer[y][x].reverse for x in range(WIDTH)]
            assert reversed_ == [sgr == "7" for _, sgr in line]


def test_a_list_of_twenty_rows_scrolls_for_two_rows_of_bytes():
    canvas, ground = Canvas(80, 24), "38;2;1;2;3;48;2;9;9;9"
    for at in range(3):
        for y in range(20):
            canvas.put(0, y + 2, cells(f"partner-{at + y:03} {(at + y) * 7919:<67}", ground))
        sent = len(canvas.paint())
    assert sent < 80 + 60
