"""`:theme`: choosing a theme by looking at it, and the words after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import Screen

from console.tui.dialogs.dialog import Dialogue
from console.tui.places.typed_command import Command
from console.tui.theme.library import Themes
from console.tui.theme.palette import Palette
from console.tui.widgets.background import ready
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines

_SAMPLES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("CRIT", "critical"), ("HIGH", "high"), ("MED", "medium"), ("LOW", "low"),
     ("changed", "changed"), ("* marked", "mark")),
    (("allowed", "good"), ("DENIED", "bad"), ("pending", "pending"), ("expired", "muted"),
     ("title", "title"), ("dim", "dim"), ("key", "key")),
    ((" the row under the cursor ", "cursor"), (" RO ", "read-only")),
    ((" PRODUCTION ", "production"), (" STAGING ", "staging"), (" DEVELOPMENT ", "development")),
)  # fmt: skip
"""What a theme must tell apart, each in a word too."""


class ThemeSwitcher(Protocol):
    """What draws with one of several themes, and can change it."""

    themes: Themes | None

    @property
    def palettes(self) -> Mapping[str, Palette]:
        """The themes to choose from, by name."""

    @property
    def palette_now(self) -> Palette:
        """The theme in use."""

    def palette(self) -> Palette:
        """Return the theme in use."""

    def wear(self, palette: Palette) -> None:
        """Draw everything with `palette` from now on."""

    def read_themes(self) -> list[str]:
        """Read the themes again; return what is wrong with any of them."""

    @property
    def watches_themes(self) -> bool:
        """Whether the files are read again as they change."""

    def watch_themes(self, told: Callable[[list[str]], None]) -> None:
        """Begin to watch the files, or stop."""

    def pop_screen(self) -> object:
        """Close the dialogue in front."""


class ThemeScreen(ThemeSwitcher, Protocol):
    """A theme switcher that opens dialogues and shows messages."""

    def open_screen(self, screen: Screen[Any]) -> None:
        """Open a dialogue."""

    def say(self, text: str, token: str = "") -> None:
        """Show a message."""

    def tell_wrong(self, wrong: Sequence[str]) -> None:
        """Show what is wrong with the themes."""


class ThemeChoice(Dialogue):
    """The themes; the one under the cursor is worn at once, and kept with enter."""

    CSS = """
    ThemeChoice { align: center middle; background: transparent; }
    ThemeChoice > Vertical { width: 64; max-width: 96%; height: auto; max-height: 96%;
                             background: $background; border: solid $foreground; padding: 0 1; }
    ThemeChoice Lines { height: auto; }
    """

    def __init__(self, switcher: ThemeSwitcher, kept: Callable[[str], None]) -> None:
        super().__init__()
        self._switcher = switcher
        self._kept = kept
        self._before: Palette = switcher.palette_now
        self._names = list(switcher.palettes)
        self._at = self._names.index(self._before.name) if self._before.name in self._names else 0

    def compose(self) -> ComposeResult:
        """One box of lines."""
        with Vertical():
            yield Lines(self._switcher.palette, id="choice")

    def on_mount(self) -> None:
        """Show the one that is worn."""
        self._draw()
        ready(self)

    def take(self, key: str, character: str | None) -> None:  # noqa: ARG002  # no text here
        """Move, keep, or go back to the one before."""
        if key in {"up", "k", "down", "j"}:
            self._at = (self._at + (1 if key in {"down", "j"} else -1)) % len(self._names)
            self._switcher.wear(self._switcher.palettes[self._names[self._at]])
            self._draw()
        elif key == "enter":
            self._switcher.pop_screen()
            self._kept(self._names[self._at])
        elif key in {"escape", "q"}:
            self._switcher.wear(self._before)
            self._switcher.pop_screen()

    def _draw(self) -> None:
        lines: list[Line] = [[Ink("Theme", "title")], []]
        for at, name in enumerate(self._names):
            token = "cursor" if at == self._at else ""
            lines.append([Ink(f" {'>' if at == self._at else ' '} {name:<24} ", token)])
        lines.append([])
        for row in _SAMPLES:
            line: Line = []
            for text, token in row:
                line += [Ink(text, token), Ink("  ")]
            lines.append(line)
        lines += [[], [Ink("up down ", "key"), Ink("look  "), Ink("enter ", "key"),
                       Ink("keep  "), Ink("esc ", "key"), Ink("as it was")]]  # fmt: skip
        box = self.part("choice", Lines)
        box.set(lines)
        box.styles.height = len(lines)


def theme_command(console: ThemeScreen, command: Command) -> None:
    """`:theme`, `:theme NAME`, `:theme reload`, `:theme watch`."""
    word = command.words[0] if command.words else ""
    if not word:
        console.open_screen(ThemeChoice(console, lambda name: _keep(console, name)))
    elif word == "reload":
        _reloaded(console, console.read_themes())
    elif word == "watch":
        console.watch_themes(lambda wrong: _reloaded(console, wrong))
        on = console.watches_themes
        console.say(
            "themes are read again when their files change; :theme watch stops it"
            if on
            else "themes are read again with :theme reload only"
        )
    elif word in console.palettes:
        _keep(console, word)
    else:
        themes = console.themes
        known = ", ".join(console.palettes)
        console.say(themes.unknown(word) if themes else f"themes: {known}", "bad")


def _keep(console: ThemeScreen, name: str) -> None:
    console.wear(console.palettes[name])
    console.say(f'theme {name}; to keep it, theme = "{name}" in the profile or [defaults]')


def _reloaded(console: ThemeScreen, wrong: list[str]) -> None:
    console.tell_wrong(wrong)
    if not wrong:
        console.say(f"{len(console.palettes)} themes read again")
