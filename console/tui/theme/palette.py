"""Themes: TOML files of tokens, checked whole before one is used.

A theme never stops the console: a bad one is named with its file, key and reason, and
the shipped one of the same depth is used instead.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.color import Color
from rich.errors import StyleSyntaxError
from rich.style import Style
from textual.theme import BUILTIN_THEMES, Theme

from console.parsing.suggest import suggest
from console.parsing.toml_file import toml_table

SCHEMA = 1
MAX_BYTES = 64 * 1024

TOKENS = (
    "base", "dim", "title", "bar", "header", "border", "cursor", "mark", "changed", "key",
    "entry", "entry-focus", "button", "critical", "high", "medium", "low", "good", "bad",
    "pending", "muted", "bars", "read-only", "production", "staging", "development",
)  # fmt: skip
"""Every theme says all of them."""

TIERS = ("production", "staging", "development")
"""The tokens of a profile's tier. The first is also the frame of a production screen."""

KEYS = ("schema", "name", "dark", "ansi", "tokens", "sixteen")

SIXTEEN = frozenset(
    f"{bright}{name}"
    for bright in ("", "bright_")
    for name in ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
) | {"default"}
"""The colours that every terminal has, in the operator's own choice of them."""

ATTRIBUTES = frozenset({"bold", "dim", "italic", "underline", "reverse", "strike"})

_MEANING = {
    "critical": "critical", "high": "high", "medium": "medium", "low": "low",
    "informational": "muted", "active": "good", "serving": "good", "allowed": "good",
    "verified": "good", "accepted": "good", "in_use": "good", "issued": "good",
    "success": "good", "revoked": "muted", "released": "muted", "resolved": "muted",
    "expired": "muted", "withdrawn": "muted", "offboarded": "muted", "gone": "muted",
    "suspended": "bad", "denied": "bad", "blocked": "bad", "error": "bad", "fenced": "bad",
    "unverified": "bad", "rejected": "bad", "failure": "bad", "flagged": "high",
    "revoking": "pending", "rotating": "pending", "provisioning": "pending",
    "pending_approval": "pending",
    "approved": "pending", "draft": "pending", "verifying": "pending", "new": "high",
    "reopened": "high", "in_progress": "pending", "in_review": "pending",
    "snoozed": "muted", "ended": "muted", "removed": "muted", "off": "muted", "on": "good",
    "dead": "bad", "key_fault": "bad", "failing": "high", "untried": "muted",
    "broken": "bad", "delivered": "good", "failed": "bad", "pending": "pending",
    "waiting": "pending", "cancelled": "muted", "cut": "muted", "frozen": "pending",
    "restricted": "pending", "vetting": "pending", "offboarding": "pending",
    "closing": "pending", "closed": "muted",
}  # fmt: skip


def meaning(word: str) -> str:
    """Return the token that a state, severity or outcome is drawn in; empty for none."""
    return _MEANING.get(word, "")


class ThemeError(ValueError):
    """What is wrong with a theme file: file, key and reason, in one line."""


class Palette(NamedTuple):
    """A checked theme. `sixteen` is what it is on a terminal of sixteen colours."""

    name: str
    dark: bool
    ansi: bool
    styles: dict[str, Style]
    sixteen: dict[str, Style] = {}

    def style(self, *tokens: str) -> Style:
        """Return base with each of `tokens` over it, in order; unknown ones are skipped."""
        style = self.styles["base"]
        ground = ""
        for token in tokens:
            if token not in self.styles:
                # nothing, or a word of an API that was taken for one: a bug, and no end
                continue
            over = self.styles[token]
            if ground in TIERS and over.bgcolor is None:
                # a tier's ground takes no other colour: what is bad is turned round on it
                over = over.without_color
                if token in {"bad", "critical"}:
                    over += Style(bold=True, reverse=not style.reverse)
            elif self.ansi and over.reverse and over.color is None:
                style = style.without_color
            elif self.ansi and style.reverse and over.bgcolor is None:
                # a colour on a reversed ground would become the ground
                over = over.without_color
            style += over
            ground = token
        return style

    def on_sixteen(self, terminal: Palette) -> Palette:
        """Return it in sixteen colours: its own choice of them over the theme `terminal`."""
        if self.ansi:
            return self
        return Palette(self.name, self.dark, True, {**terminal.styles, **self.sixteen})

    def without_colour(self) -> Palette:
        """Return it without any colour: a ground becomes reverse."""
        styles = {}
        for token, style in self.styles.items():
            styles[token] = style.without_color
            if style.bgcolor is not None and token != TOKENS[0]:
                styles[token] += Style(reverse=True)
        return Palette(self.name, self.dark, True, styles)

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


def parse(text: str) -> Palette:
    """Return the theme that `text` describes. Raises `ThemeError` naming the key."""
    try:
        data = toml_table(text)
    except tomllib.TOMLDecodeError as error:
        raise ThemeError(str(error)) from None
    for key in data:
        if key not in KEYS:
            raise ThemeError(f"unknown key {key!r}{_nearest(key, KEYS)}")
    if data.get("schema") is not SCHEMA:
        raise ThemeError(f"schema is {data.get('schema')!r}, this console reads {SCHEMA}")
    name = data.get("name")
    if not isinstance(name, str) or not name.isascii() or not name.replace("-", "").isalnum():
        raise ThemeError(f"name is {name!r}, a word is needed")
    for key in ("dark", "ansi"):
        if not isinstance(data.get(key, False), bool):
            raise ThemeError(f"{key} is {data[key]!r}, true or false is needed")
    for key in ("tokens", "sixteen"):
        if not isinstance(data.get(key, {}), dict):
            raise ThemeError(f"{key} is not a table")
    ansi = data.get("ansi", False)
    styles = _styles(data.get("tokens", {}), "tokens", ansi=ansi)
    for token in TOKENS:
        if token not in styles:
            raise ThemeError(f"tokens.{token}: is missing")
    base = styles["base"]
    if not ansi and (base.color is None or base.bgcolor is None):
        raise ThemeError("tokens.base: needs a colour and a ground (#… on #…)")
    _tells_production(styles)
    sixteen = _styles(data.get("sixteen", {}), "sixteen", ansi=True)
    return Palette(name, data.get("dark", True), ansi, styles, sixteen)


def _styles(table: dict[str, Any], where: str, *, ansi: bool) -> dict[str, Style]:
    styles = {}
    for token, written in table.items():
        if token not in TOKENS:
            raise ThemeError(
                f"{where}.{token}: no such token{_nearest(token, TOKENS)}"
            )  # fmt: skip
        if not isinstance(written, str):
            raise ThemeError(f"{where}.{token}: a style is needed, found {written!r}")
        if fault := _fault(written, ansi=ansi):
            raise ThemeError(f"{where}.{token}: {fault}")
        try:
            styles[token] = Style.parse(written)
        except StyleSyntaxError as error:
            raise ThemeError(f"{where}.{token}: {error}") from None
    return styles


def _fault(written: str, *, ansi: bool) -> str:
    """Return what is wrong with a style's words; empty where nothing is."""
    words = written.split()
    known = [*ATTRIBUTES, "on", "not"]
    for at, word in enumerate(words):
        if word in known:
            continue
        if not ansi and len(word) == 7 and word[0] == "#":
            try:
                int(word[1:], 16)
            except ValueError:
                return f"{word!r} is not a colour: #rrggbb"
        elif ansi and word in SIXTEEN:
            continue
        elif word.startswith("#") or (at and words[at - 1] == "on"):
            wanted = "one of the sixteen, like bright_red" if ansi else "#rrggbb"
            near = _nearest(word, SIXTEEN) if ansi else ""
            return f"{word!r} is not a colour: {wanted}{near}"
        else:
            return f"{word!r} is no colour and no attribute{_nearest(word, known)}"
    return ""


def _tells_production(styles: dict[str, Style]) -> None:
    """A theme may not make a production screen look like another."""
    grounds = {
        token: (styles[token].bgcolor, bool(styles[token].reverse))
        for token in ("base", "bar", *TIERS)
    }
    production = grounds.pop("production")
    if production[0] is None:
        raise ThemeError("tokens.production: needs a ground of its own (on …)")
    for token, ground in grounds.items():
        if ground == production:
            raise ThemeError(f"tokens.production: has the ground of {token}")


def _nearest(word: str, known: Iterable[str]) -> str:
    near = suggest(word, known)
    return f"; nearest: {near}" if near else ""


def read(path: Path) -> Palette:
    """Return the theme in the file `path`: a plain file of at most 64 KiB, no link."""
    try:
        return _read(path)
    except ThemeError as error:
        # the folder last: what is wrong must fit on a line
        raise ThemeError(f"{path.name}: {error} (in {path.parent})") from None


def _read(path: Path) -> Palette:
    try:
        # not waited for: a fifo in its place would never answer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "a symbolic link" if path.is_symlink() else error.strerror
        raise ThemeError(f"cannot be read: {why}") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ThemeError("not a plain file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ThemeError(f"larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ThemeError("is not UTF-8") from None
    return parse(text)


def shipped() -> Path:
    """Return the folder of the themes that come with the console."""
    here = Path(__file__).resolve()
    packed = here.parent / "themes"
    return packed if packed.is_dir() else here.parents[3] / "themes"


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
            except (ThemeError, OSError) as error:
                wrong.append(str(error))
            else:
                found[palette.name] = palette
    return found, wrong


def _hex(color: Color | None, default: str) -> str:
    if color is None or color.is_default:
        return default
    return color.get_truecolor().hex
