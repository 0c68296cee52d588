"""How many terminal cells a text takes, and cutting or padding it to a number of them.

The one measure of the whole program: tables, the screen's cells and the caret use it. It
works on text that `safe` has been through: no control characters, few marks.

Terminals agree on the width of some characters only. `certainty` says which; what is drawn
after any other character needs a cursor address of its own (`anchored`,
`console.tui.terminal.canvas`).
"""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum
from functools import lru_cache
from typing import Literal

Align = Literal["left", "right"]


class Certainty(IntEnum):
    """How far terminals agree on the cells that a character takes."""

    SURE = 0
    AMBIGUOUS = 1
    """One cell, or two where the terminal is set up for East Asian text."""
    LOOSE = 2
    """Anything from none to two: marks, signs of Indic scripts, emoji, jamo, rare symbols."""


_JOINING_JAMO = re.compile("[\u1160-\u11ff\ud7b0-\ud7ff]")
_SURE_WIDE = re.compile(
    "[\u3001-\u3020\u3041-\u3096\u309b-\u30ff\u4e00-\u9fa5\uac00-\ud7a3\uff01-\uff60]"
)
"""Ideographs, kana, syllables and full-width forms: two cells since wide characters exist."""


def char_width(char: str) -> int:
    """Return 0 for a combining mark, 2 for a wide East Asian character, else 1."""
    if char < "\u0300":
        return 1
    if is_zero_width(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def is_zero_width(char: str) -> bool:
    """Tell whether `char` is drawn on the cell before it: a mark, a jamo's vowel or final."""
    return unicodedata.category(char) in {"Mn", "Me"} or _JOINING_JAMO.match(char) is not None


@lru_cache(8192)
def is_joining(char: str) -> bool:
    """Tell whether a terminal may join `char` to the character before it."""
    return (
        is_zero_width(char)
        or unicodedata.category(char) == "Mc"
        or "\U0001f3fb" <= char <= "\U0001f3ff"
    )


@lru_cache(8192)
def certainty(text: str) -> Certainty:
    """Return how sure the width of one cell's `text` is: a character, and marks on it."""
    if text.isascii():
        return Certainty.SURE
    if len(text) > 1:
        return Certainty.LOOSE
    if _SURE_WIDE.match(text):
        return Certainty.SURE
    kind = unicodedata.east_asian_width(text)
    if unicodedata.category(text)[0] == "M" or not (
        text < "\u0530" or "\u2010" <= text <= "\u25ff" or text == "\N{REPLACEMENT CHARACTER}"
    ):
        return Certainty.LOOSE
    return {"A": Certainty.AMBIGUOUS, "W": Certainty.LOOSE}.get(kind, Certainty.SURE)


def width(text: str) -> int:
    """Return the cells that one line of `text` takes."""
    return len(text) if text.isascii() else sum(map(char_width, text))


def anchored(line: str) -> str:
    r"""Return `line` with the column named (`ESC [ n G`) wherever a terminal may have lost it.

    For a line that begins at a terminal's left edge and does not reach beyond its right one:
    what follows a character of uncertain width stands where `width` says it does, and what
    such characters covered beyond it is erased first (`ESC [ K`).
    """
    if line.isascii():
        return line
    out: list[str] = []
    at, lost = 0, False
    for char in line:
        taken = char_width(char)
        unsure = certainty(char) is not Certainty.SURE
        if lost and not unsure:
            out.append(f"\x1b[{at + 1}G\x1b[K")
            lost = False
        out.append(char)
        lost = lost or unsure
        at += taken
    return "".join(out)


def clip(text: str, cells: int, *, mark: str = "…") -> str:
    """Return `text` cut to at most `cells`, ending in `mark` where it was cut."""
    if width(text) <= cells:
        return text
    room = cells - width(mark)
    if room < 0:
        return mark[:cells]
    kept: list[str] = []
    for char in text:
        room -= char_width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept).rstrip() + mark


def fit(text: str, cells: int, align: Align = "left", *, mark: str = "…") -> str:
    """Return `text` cut or padded to exactly `cells`."""
    cut = clip(text, cells, mark=mark)
    gap = " " * max(0, cells - width(cut))
    return gap + cut if align == "right" else cut + gap
