"""Text in a form that every library measures alike: one private code point for each cell.

The toolkit cuts lines with a width table of its own, which is another one than
`console.present.cells` and changes with its version. So what is not plainly one cell wide is
handed to it in stand-ins that are, and turned back where the cells are made. `safe` has
replaced every private character of a content before, so none is taken for a stand-in.
"""

from __future__ import annotations

import re
from functools import lru_cache

from console.present.cells import Certainty, certainty, char_width

_NARROW, _NARROW_ASTRAL = 0xF0000, 0x100000
_LEFT, _RIGHT = 0xE000, 0xE400
"""The halves of a wide character: its upper bits, and its lower ten."""
_MARK = 0x0300
"""The first of sixteen marks, which stand for the five hexadecimal digits of any mark."""

_CODED = re.compile(
    "[\U000f0000-\U0010ffff]|[\ue000-\ue0ff][\ue400-\ue7ff]?|[\ue400-\ue7ff]|[\u0300-\u030f]{1,5}"
)


_PLAIN = "\N{REPLACEMENT CHARACTER}"
_plainly = False


def draw_plainly(*, plainly: bool) -> None:
    """Say whether the toolkit itself draws: it gets one plain character a cell instead."""
    global _plainly  # noqa: PLW0603  # one process draws one screen, in one way
    _plainly = plainly


@lru_cache(8192)
def _plain(char: str) -> str:
    return char if certainty(char) is not Certainty.LOOSE else _PLAIN * char_width(char)


@lru_cache(8192)
def _coded(char: str) -> str:
    point = ord(char)
    match char_width(char):
        case 0:
            return "".join(chr(_MARK + int(digit, 16)) for digit in f"{point:05x}")
        case 2:
            return chr(_LEFT + (point >> 10)) + chr(_RIGHT + (point & 0x3FF))
    if certainty(char) is not Certainty.LOOSE:
        return char
    return chr((_NARROW if point < 0x10000 else _NARROW_ASTRAL) + (point & 0xFFFF))


def coded(text: str) -> str:
    """Return `text`, which `safe` has been through, as the toolkit is to measure it."""
    return text if text.isascii() else "".join(map(_plain if _plainly else _coded, text))


def decoded(text: str) -> str:
    """Return the text that `coded` was given. Half a wide character is a blank."""
    return text if text.isascii() else _CODED.sub(_decoded, text)


def _decoded(found: re.Match[str]) -> str:
    text = found[0]
    first = ord(text[0])
    if first >= _NARROW:
        return chr(first & 0xFFFF | (0x10000 if first >= _NARROW_ASTRAL else 0))
    if first < _LEFT:
        digits = "".join(f"{ord(each) - _MARK:x}" for each in text)
        return chr(int(digits, 16)) if len(digits) == 5 and int(digits, 16) < 0x110000 else ""
    if len(text) == 2:
        return chr((first - _LEFT) << 10 | ord(text[1]) - _RIGHT)
    return " "
