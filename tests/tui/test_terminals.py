"""The screens on the terminals that there are: colours, characters, and the ones that cannot."""

import re

import pytest
from terminal import Terminal

TRUE = re.compile(rb"[34]8;2;[0-9]+;[0-9]+;[0-9]+")
INDEXED = re.compile(rb"[34]8;5;[0-9]+")
SIXTEEN = re.compile(rb"[;\[](3[0-7]|4[0-7]|9[0-7]|10[0-7])(?=[;m])")


def kinds(raw):
    """Return which kinds of colour were sent: true, of 256, of 16."""
    rest = INDEXED.sub(b"", TRUE.sub(b"", raw))
    found = {"true": TRUE.search(raw), "256": INDEXED.search(raw), "16": SIXTEEN.search(rest)}
    return {name for name, match in found.items() if match}


@pytest.mark.parametrize(
    ("environ", "colours"),
    [
        ({"TERM": "xterm-256color"}, {"true"}),
        ({"TERM": "xterm-256color", "COLORTERM": ""}, {"256"}),
        ({"TERM": "tmux-256color", "COLORTERM": ""}, {"256"}),
        ({"TERM": "linux", "COLORTERM": ""}, {"16"}),
        ({"TERM": "vt100", "COLORTERM": ""}, {"16"}),
        ({"TERM": "xterm", "COLORTERM": ""}, {"16"}),
        ({"NO_COLOR": "1"}, set()),
        ({"NO_COLOR": "1", "TERM": "linux", "COLORTERM": ""}, set()),
        ({"NO_COLOR": ""}, {"true"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("theme", ["", "light"])
def test_a_terminal_gets_the_colours_it_has(tmp_path, environ, colours, theme):
    with Terminal(tmp_path, environ=environ, pilot={"theme": theme}) as screen:
        screen.see("CRIT", "PROD", "gw ok")
        screen.keys(":grants\r").see("northwind")
        screen.pump(0.3)
        assert kinds(screen.raw) - {"16"} == colours - {"16"}
        assert ("16" in kinds(screen.raw)) is (colours == {"16"})
        status = screen.screen.buffer[0]
        plain = screen.screen.default_char
        framed = status[0].bg != plain.bg if colours else status[0].reverse
        assert framed, "production is framed on every terminal"
        screen.keys("\x11")
        assert screen.wait() == 0


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "de_DE"}])
def test_a_locale_without_utf_8_gets_ascii_borders_and_marks(tmp_path, locale):
    with Terminal(tmp_path, environ=locale) as screen:
        screen.see("CRIT", "gw ok")
        screen.keys(":theme\r").see("Theme", "enter keep")
        screen.keys("\x1b")
        screen.pump(0.4)
        screen.keys(":tour\r").see("tour 1/")
        screen.keys(":grants\r").see("in 70d")
        screen.keys("L").see("What ends")
        assert screen.raw.isascii()


def test_a_utf_8_locale_gets_lines(tmp_path):
    with Terminal(tmp_path) as screen:
        screen.see("CRIT", "gw ok")
        screen.keys(":theme\r").see("Theme")
        assert "─" in screen.text


@pytest.mark.parametrize("term", ["dumb"])
def test_a_terminal_without_a_cursor_is_told_what_to_use_instead(tmp_path, term):
    with Terminal(tmp_path, environ={"TERM": term}) as screen:
        assert screen.wait() == 2
        assert b"\x1b[?1049h" not in screen.raw
