"""The first run: nothing is set up here yet, and this is where it can go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical

from console.tui.dialogs.connect_form import Connect
from console.tui.terminal.small_app import Small
from console.tui.theme.palette import Palette
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines

OFFERS = (
    ("d", "demo", "a whole pilot on this machine: partners, live traffic,",
     "an incident that unfolds; nothing of it is left behind"),
    ("u", "up", "your own small pilot: the services on this machine,",
     "empty and durable, in front of a model that you name"),
    ("c", "connect", "a pilot that runs elsewhere: its three addresses and a token,",
     "checked, and written to your configuration (0600)"),
)  # fmt: skip


class FirstRun(Small, inherit_bindings=False):
    """Three ways to begin. `chosen` is the one that was taken; empty for none."""

    CSS = """
    Screen { layout: vertical; background: $background; overflow: hidden; align: center middle; }
    #middle { width: 78; max-width: 100%; height: auto; max-height: 100%; }
    #offers { height: 15; max-height: 100%; }
    """

    def __init__(
        self, palettes: dict[str, Palette], palette: Palette, *, config: Path, **options: Any
    ) -> None:
        super().__init__(palettes, palette, **options)
        self.chosen = ""
        self._at = 0
        self._config = config

    def compose(self) -> ComposeResult:
        """Lay out the offers."""
        with Vertical(id="middle"):
            yield Lines(self.palette, id="offers")

    def opened(self) -> None:
        """Show them."""
        self._draw()

    def take(self, key: str, character: str | None) -> None:
        """Move, choose, or leave; a form over the offers takes its own keys."""
        if isinstance(self.screen, Connect):
            self.screen.take(key, character)
        elif key in {"up", "k", "down", "j", "tab"}:
            self._at = (self._at + (-1 if key in {"up", "k"} else 1)) % len(OFFERS)
            self._draw()
        elif key == "enter":
            self._choose(OFFERS[self._at][1])
        elif key in {"escape", "q", "ctrl+c", "ctrl+q"}:
            self.end(0)
        else:
            for letter, word, *_ in OFFERS:
                if key == letter:
                    self._choose(word)

    def paste(self, text: str) -> None:
        """Hand it to the form."""
        if isinstance(self.screen, Connect):
            self.screen.take_paste(text)

    def _choose(self, word: str) -> None:
        if word == "connect":
            self.push_screen(Connect(self.palette, self._config, self._connected))
            return
        self.chosen = word
        self.end(0)

    def _connected(self, name: str) -> None:
        self.chosen = f"connected {name}"
        self.end(0)

    def _draw(self) -> None:
        lines: list[Line] = [
            [Ink("pilotctl", "title"),
             Ink("  the console of a partner-only pilot of restricted AI models")],
            [],
            [Ink("There is no configuration here and no pilot running on this machine.")],
            [Ink("How do you want to begin?")],
            [],
        ]  # fmt: skip
        for at, (letter, word, first, second) in enumerate(OFFERS):
            token = "cursor" if at == self._at else ""
            mark = ">" if at == self._at else " "
            lines += [
                [Ink(f" {mark} "), Ink(f" {letter} ", "key"), Ink(f" {word:<8} ", token or "title"),
                 Ink(f" {first}")],
                [Ink(" " * 18 + second, "dim")],
                [],
            ]  # fmt: skip
        lines += [
            [Ink(" enter ", "key"), Ink("or the letter begins   "), Ink("q ", "key"),
             Ink("leaves   "), Ink("pilotctl --help ", "key"), Ink("lists the commands")],
        ]  # fmt: skip
        self.query_one("#offers", Lines).set(lines)
