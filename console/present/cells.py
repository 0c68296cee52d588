"""How many terminal cells a text takes, and cutting or padding it to a number of them.

Works on text that `safe` has been through: no control characters, few marks.
"""

from __future__ import annotations

import unicodedata
from typing import Literal

Align = Literal["left", "right"]


def char_width(char: str) -> int:
    """Return 0 for a combining mark, 2 for a wide East Asian character, else 1."""
    if char < "\u0300":
        return 1
    if unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(text: str) -> int:
    """Return the cells that one line of `text` takes."""
    return len(text) if text.isascii() else sum(map(char_width, text))


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
