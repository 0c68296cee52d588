"""Themes: TOML files of tokens, checked whole before one is used.

A theme never stops the console: a bad one is named with its file, key and reason, and
the shipped one of the same depth is used instead.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.color import Color
from rich.errors import StyleSyntaxError
from rich.style import Style
from textual.theme import BUILTIN_THEMES, Theme

SCHEMA = 1
MOST_BYTES = 64 * 1024

TOKENS = (
    "base", "dim", "title", "bar", "header", "border", "cursor", "mark", "changed", "key",
    "entry", "entry-focus", "button", "critical", "high", "medium", "low", "good", "bad",
    "pending", "muted", "bars", "read-only", "production", "staging", "development",
)  # fmt: skip
"""Every theme says all of them."""

_MEANING = {
    "critical": "critical", "high": "high", "medium": "medium", "low": "low",
    "informational": "muted", "active": "good", "serving": "good", "allowed": "good",
    "verified": "good", "accepted": "good", "in_use": "good", "issued": "good",
    "success": "good", "revoked": "muted", "released": "muted", "resolved": "muted",
    "expired": "muted", "withdrawn": "muted", "offboarded": "muted", "gone": "muted",
    "suspended": "bad", "denied": "bad", "blocked": "bad", "error": "bad", "fenced": "bad",
    "unverified": "bad", "rejected": "bad", "failure": "bad", "flagged": "high",
    "revoking": "pending", "provisioning": "pending", "pending_approval": "pending",
    "approved": "pending", "draft": "pending", "verifying": "pending", "new": "high",
    "reopened": "high", "in_progress": "pending", "in_review": "pending",
    "restricted": "pending", "vetting": "pending", "offboarding": "pending",
}  # fmt: skip


def meaning(word: str) -> str:
    """Return the token that a state, severity or outcome is drawn in; empty for none."""
    return _MEANING.get(word, "")


class ThemeError(ValueError):
    """What is wrong with a theme file: file, key and reason, in one line."""


class Palette(NamedTuple):
    """A checked theme."""

    name: str
    dark: bool
    ansi: bool
    styles: dict[str, Style]

    def style(self, *tokens: str) -> Style:
        """Return base with each of `tokens` over it, in order; empty ones are skipped."""
        style = self.styles["base"]
        for token in tokens:
            if not token:
                continue
            over = self.styles[token]
            if self.ansi and over.reverse and over.color is None:
                style = style.without_color
            elif self.ansi and style.reverse and over.bgcolor is None:
                # a colour on a reversed ground would become the ground
                over = over.without_color
            style += over
        return style

    def theme(self) -> Theme:
        """Return what Textual needs to know of it."""
        name = f"pilotctl-{self.name}"
        if self.ansi:
            return replace(BUILTIN_THEMES["ansi-dark"], name=name, dark=self.dark)
        base = self.styles["base"]
        back, fore = _hex(base.bgcolor, "#000000"), _hex(base.color, "#ffffff")
        return Theme(
            name, primary=fore, background=back, surface=back, panel=back, foreground=fore,
            dark=self.dark,
        )  # fmt: skip


def parse(text: str, source: str) -> Palette:
    """Return the theme that `text` describes. Raises `ThemeError` naming `source` and key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ThemeError(f"{source}: {error}") from None
    unknown = set(data) - {"schema", "name", "dark", "ansi", "tokens"}
    if unknown:
        raise ThemeError(f"{source}: unknown key {min(unknown)!r}")
    if data.get("schema") != SCHEMA:
        raise ThemeError(f"{source}: schema is {data.get('schema')!r}, this console reads {SCHEMA}")
    name = data.get("name")
    if not isinstance(name, str) or not name.replace("-", "").isalnum():
        raise ThemeError(f"{source}: name is {name!r}, a word is needed")
    tokens = data.get("tokens", {})
    if not isinstance(tokens, dict):
        raise ThemeError(f"{source}: tokens is not a table")
    return Palette(
        name, data.get("dark") is not False, data.get("ansi") is True, _styles(tokens, source)
    )


def _styles(tokens: dict[str, Any], source: str) -> dict[str, Style]:
    if unknown := set(tokens) - set(TOKENS):
        raise ThemeError(f"{source}: tokens.{min(unknown)}: no such token")
    styles = {}
    for token in TOKENS:
        written = tokens.get(token)
        if not isinstance(written, str):
            raise ThemeError(f"{source}: tokens.{token}: a style is needed, found {written!r}")
        try:
            styles[token] = Style.parse(written)
        except StyleSyntaxError as error:
            raise ThemeError(f"{source}: tokens.{token}: {error}") from None
        if styles[token].link:
            raise ThemeError(f"{source}: tokens.{token}: a style may not hold a link")
    return styles


def read(path: Path) -> Palette:
    """Return the theme in the file `path`: a plain file of at most 64 KiB."""
    if path.is_symlink() or not path.is_file():
        raise ThemeError(f"{path}: not a plain file")
    if path.stat().st_size > MOST_BYTES:
        raise ThemeError(f"{path}: larger than {MOST_BYTES} bytes")
    return parse(path.read_text("utf-8"), str(path))


def shipped() -> Path:
    """Return the folder of the themes that come with the console."""
    here = Path(__file__).resolve()
    packed = here.parent / "themes"
    return packed if packed.is_dir() else here.parents[2] / "themes"


def load_all(extra: Iterable[Path] = ()) -> tuple[dict[str, Palette], list[str]]:
    """Return every theme that reads, by name, and what is wrong with the others.

    A folder of `extra` overrides the shipped themes of the same name.
    """
    found: dict[str, Palette] = {}
    wrong: list[str] = []
    for folder in (shipped(), *extra):
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
            try:
                palette = read(path)
            except (ThemeError, OSError, UnicodeDecodeError) as error:
                wrong.append(str(error))
            else:
                found[palette.name] = palette
    return found, wrong


def contrast(style: Style, base: Style) -> float:
    """Return the WCAG 2.2 contrast ratio of a style's text on its own or the base's ground."""
    lights = sorted(
        _luminance(_hex(color, "#000000"))
        for color in (style.color or base.color, style.bgcolor or base.bgcolor)
    )
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(color: Color | None, default: str) -> str:
    if color is None or color.is_default:
        return default
    return color.get_truecolor().hex
