"""The palette: every operation and every view by a few letters of its name, and why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Vertical

from console.present.cells import fit
from console.tui.dialogs.dialog import Dialogue
from console.tui.theme.palette import Palette
from console.tui.widgets.background import ready
from console.tui.widgets.entry import Entry
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines


class Choice(NamedTuple):
    """One thing that can be run. `why` says why it cannot be now."""

    command: str
    what: str
    key: str
    why: str
    run: Callable[[], object]


def closeness(typed: str, text: str) -> int | None:
    """Return how badly `typed` fits `text`: None where its letters are not in it, in order.

    The span that the letters take counts, and where it begins; a word's start is best.
    """
    wanted, within = typed.casefold().replace(" ", ""), text.casefold()
    if not wanted:
        return 0
    best: int | None = None
    for start, letter in enumerate(within):
        if letter != wanted[0]:
            continue
        at = start
        for each in wanted[1:]:
            at = within.find(each, at + 1)
            if at < 0:
                break
        else:
            head = start == 0 or not within[start - 1].isalnum()
            cost = (at - start + 1 - len(wanted)) * 4 + start + (0 if head else 20)
            best = cost if best is None else min(best, cost)
    return best


def found(typed: str, choices: Sequence[Choice]) -> list[Choice]:
    """Return the choices that `typed` fits, the best first; names before what they say."""
    scored: list[tuple[int, int, Choice]] = []
    for at, each in enumerate(choices):
        by_name = closeness(typed, each.command)
        by_words = closeness(typed, each.what) if typed.casefold() in each.what.casefold() else None
        scores = [score for score in (by_name, None if by_words is None else by_words + 200)
                  if score is not None]  # fmt: skip
        if scores:
            scored.append((min(scores), at, each))
    return [each for _, _, each in sorted(scored, key=lambda one: one[:2])]


class Anything(Dialogue):
    """A line to type into, and what it fits."""

    CSS = """
    Anything { align: center top; background: transparent; }
    Anything > Vertical { width: 92%; max-width: 100; height: auto; max-height: 100%;
                          background: $background; border: solid $foreground; padding: 0 1; }
    Anything Lines { height: auto; }
    """

    def __init__(self, palette: Callable[[], Palette], choices: Sequence[Choice]) -> None:
        super().__init__()
        self._palette = palette
        self._choices = choices
        self._found = list(choices)
        self._at = 0
        self._top = 0
        self._said = ""

    def compose(self) -> ComposeResult:
        """The entry over the list."""
        with Vertical():
            yield Entry(self._palette, ghost="a few letters of what to do", id="typed")
            yield Lines(self._palette, id="choices")

    def on_mount(self) -> None:
        """Start with everything."""
        self.set_focus(self._entry)
        self._entry.changed = self._changed
        self._draw()
        ready(self)

    @property
    def _entry(self) -> Entry:
        return self.part("typed", Entry)

    def _changed(self, entry: Entry) -> None:
        self._found = found(entry.value, self._choices)
        self._at = self._top = 0
        self._said = ""
        self._draw()

    def take_paste(self, text: str) -> None:
        """Take a paste."""
        self._entry.insert(text)

    def take(self, key: str, character: str | None) -> None:
        """Move, run, leave, or type."""
        steps = {"up": -1, "down": 1, "pageup": -self._height, "pagedown": self._height}
        if key in {"escape", "ctrl+p"}:
            self.app.pop_screen()
        elif key in steps:
            self._at = max(0, min(len(self._found) - 1, self._at + steps[key]))
            self._said = ""
            self._draw()
        elif key == "enter":
            self._run()
        else:
            self._entry.edit(key, character)

    def _run(self) -> None:
        if not self._found:
            return
        choice = self._found[self._at]
        if choice.why:
            self._said = f"{choice.command}: {choice.why}"
            self._draw()
            return
        self.app.pop_screen()
        choice.run()

    @property
    def _height(self) -> int:
        return max(2, self.app.size.height - 6)

    def _draw(self) -> None:
        room = max(20, min(100, self.app.size.width * 92 // 100) - 4)
        self._top = max(min(self._top, self._at), self._at - self._height + 1)
        shown = self._found[self._top : self._top + self._height]
        lines: list[Line] = []
        for at, each in enumerate(shown, self._top):
            under = at == self._at
            lead = Ink("> " if under else "  ", "key")
            name = fit(each.command, min(26, room // 2), "left")
            token = "dim" if each.why else "title" if under else ""
            said = f"{each.key:<3} {each.why or each.what}"
            lines.append([lead, Ink(name + "  ", token), Ink(said, "dim")])
        tail = self._said or f"{len(self._found)} of {len(self._choices)}; grey: enter says why not"
        lines.append([Ink(tail, "bad" if self._said else "dim")])
        box = self.part("choices", Lines)
        box.styles.height = len(lines)
        box.set(lines)
