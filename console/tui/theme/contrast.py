"""How legible a theme is: the contrast of each pair of text and ground that is drawn.

By WCAG 2.2, success criterion 1.4.3: 4.5 is enough for text, 7 for those who see little.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.color import Color, ColorSystem

from console.tui.theme.palette import TIERS, TOKENS, Palette

ENOUGH = 4.5
ENHANCED = 7.0
LINES = 3.0
"""For what is no text (success criterion 1.4.11)."""
NO_TEXT = frozenset({"border"})


class Pair(NamedTuple):
    """One token on one ground, and the ratio of their lights, from 1 to 21."""

    token: str
    ground: str
    ratio: float


def pairs(palette: Palette, system: ColorSystem = ColorSystem.TRUECOLOR) -> Iterator[Pair]:
    """Yield every pair that the console draws, as a terminal of `system` shows its colours.

    A theme of the terminal's own colours has none: nobody knows what they look like.
    """
    if palette.ansi:
        return
    with_ground = [token for token in TOKENS if palette.styles[token].bgcolor is not None]
    for token in TOKENS:
        if token in with_ground:
            yield _pair(palette, system, token, "")
        else:
            for ground in ("base", "bar", *TIERS):
                yield _pair(palette, system, token, ground)
    for ground in ("entry", "entry-focus"):
        yield _pair(palette, system, "dim", ground)


def faint(palette: Palette, enough: float = ENOUGH) -> list[Pair]:
    """Return the pairs of a theme that are hard to read."""
    return [
        pair for pair in pairs(palette) if pair.ratio < (LINES if pair.token in NO_TEXT else enough)
    ]


def _pair(palette: Palette, system: ColorSystem, token: str, ground: str) -> Pair:
    style = palette.style(*(each for each in (ground, token) if each != "base"))
    fore, back = (_shown(color, system) for color in (style.color, style.bgcolor))
    if style.reverse:
        fore, back = back, fore
    low, high = sorted((_luminance(fore), _luminance(back)))
    return Pair(token, ground or "its own", (high + 0.05) / (low + 0.05))


def _shown(color: Color | None, system: ColorSystem) -> str:
    assert color is not None, "the base of such a theme has both colours"
    return color.downgrade(system).get_truecolor().hex


def _luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
