"""What came of it: a write in flight, its receipt growing, and the key that is shown once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical

from console.api.flow import Report, Waiting
from console.errors import PilotError
from console.model.enforcement import Receipt
from console.operations.outcome import outcome
from console.operations.spec import Operation
from console.present.receipt import receipt_lines, standing
from console.tui.dialogs.dialog import Dialogue
from console.tui.theme.palette import Palette
from console.tui.views.story_reader import fields_of
from console.tui.widgets.background import ready
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines, wrap

_INKS = {"refused": "good", "lapsed": "good", "waiting": "pending", "unproven": "bad"}


class Doing(Dialogue):
    """A write as it goes on. Leaving this screen does not stop it."""

    CSS = """
    Doing { align: center middle; background: transparent; }
    Doing > Vertical { width: 96%; max-width: 110; height: auto; max-height: 96%;
                       background: $background; border: solid $foreground; padding: 0 1; }
    Doing Lines { height: auto; }
    """

    def __init__(
        self, palette: Callable[[], Palette], op: Operation, line: str, closed: Callable[[], None]
    ) -> None:
        super().__init__()
        self.after = closed
        """What comes when this box is closed."""
        self._palette = palette
        self.op = op
        self._line = line
        self._steps: list[str] = []
        self._receipt: Receipt | None = None
        self._result: Any = None
        self._ended = ""
        self._waits_for = ""
        """The API that is waited for before anything is done."""
        self.given_up = False
        """Whether Escape ended that wait."""
        self._shown = False
        self._ink = "pending"

    def compose(self) -> ComposeResult:
        """One box of lines."""
        with Vertical():
            yield Lines(self._palette, id="doing")

    def on_mount(self) -> None:
        """Show that it was sent."""
        self._shown = True
        self._draw()
        ready(self)

    def report(self, step: Report) -> None:
        """Take a step of the flow."""
        waits = isinstance(step.state, Waiting) and self._receipt is None
        self._waits_for = step.state.api if waits else ""
        if isinstance(step.state, Receipt):
            self._receipt = step.state
        if not self._steps or self._steps[-1] != step.text:
            self._steps.append(step.text)
        self._draw()

    def finish(self, result: Any) -> None:
        """Take the result."""
        self._waits_for = ""
        ending = outcome(self.op, result)
        if isinstance(result, Receipt):
            self._receipt = result
            reached = standing(result)
            self._ended = "VERIFIED and LOGGED" if reached.proven else result.state.upper()
            if result.state == "verified" and not reached.proven:
                self._ended = "VERIFIED at the points, NOT LOGGED"
            self._ink = "good" if reached.proven else "bad"
        else:
            self._ended = "DONE" if ending.exit == 0 else "NOT DONE YET"
            self._ink = "good" if ending.exit == 0 else "pending"
            self._steps = []
            self._result = result
        if ending.why:
            self._steps.append(ending.why)
        self._draw()

    def fail(self, error: PilotError, *, unknown: bool) -> None:
        """Take an error: refused, or unknown."""
        self._waits_for = ""
        self._ended = "UNKNOWN: asking again with the same key" if unknown else "NOT DONE"
        self._ink = "bad"
        self._steps.append(error.message)
        if error.hint:
            self._steps.append(error.hint)
        self._draw()

    def _draw(self) -> None:
        if not self._shown:
            return
        box = self.part("doing", Lines)
        room = max(20, min(110, self.size.width * 96 // 100) - 4)
        waits = self._waits_for and f"waiting for the {self._waits_for} API to start"
        state = self._ended or waits or "sent, being followed"
        lines: list[Line] = [[Ink(f"{self.op.title}: ", "title"), Ink(state, self._ink)]]
        if self._receipt is not None:
            first, *rest = receipt_lines(self._receipt)
            lines += [[Ink(piece)] for piece in wrap(first, room, "  ")]
            for line in rest:
                ink = next((t for word, t in _INKS.items() if f"  {word}" in line), "")
                if line.lstrip().startswith("why"):
                    ink = "bad"
                lines += [[Ink(piece, ink)] for piece in wrap(line, room, " " * 13)]
            tail = [step for step in self._steps[-2:] if self._ink == "bad" or not self._ended]
        else:
            if self._result is not None:
                lines += [line.inks for line in fields_of(self._result, room)[:12]]
            tail = self._steps[-8:]
        for step in tail:
            lines += [[Ink(piece, "dim")] for piece in wrap(step, room, "  ")]
        lines.append([])
        lines += [[Ink(piece, "dim")] for piece in wrap(f"same as  {self._line}", room, "  ")]
        on = "" if self._ended else "   it goes on by itself"
        give_up = [Ink("   esc", "key"), Ink(" give up waiting")] if self._waits_for else []
        lines.append([Ink("enter", "key"), Ink(" close"), Ink(on, "dim"), *give_up])
        box.styles.height = len(lines)
        box.set(lines)

    def take(self, key: str, _: str | None) -> None:
        """Any of these closes the box, never the write; Escape first gives up waiting."""
        if key == "escape" and self._waits_for and not self.given_up:
            self.given_up = True
        elif key in {"enter", "escape", "q", "space"}:
            self._shown = False
            self.app.pop_screen()
            self.after()

    def on_unmount(self) -> None:
        """Take what comes of the write from now on, and show none of it."""
        self._shown = False


class SecretShown(Dialogue):
    """A raw key, once. It lives in this screen only and is gone when it closes."""

    CSS = """
    SecretShown { align: center middle; background: $background; }
    SecretShown > Vertical { width: 100%; height: 100%; background: $background; padding: 1 2; }
    SecretShown Lines { height: 1fr; }
    """

    def __init__(
        self,
        palette: Callable[[], Palette],
        title: str,
        secret: str,
        notes: list[str],
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._after = closed
        self._palette = palette
        self._title = title
        self._secret: str = secret
        self._notes = notes

    def compose(self) -> ComposeResult:
        """The key on a line of its own, so that a terminal's selection takes it whole."""
        with Vertical():
            yield Lines(self._palette, id="secret")

    def on_mount(self) -> None:
        """Show it."""
        room = max(20, self.app.size.width - 4)
        pieces = [self._secret[at : at + room] for at in range(0, len(self._secret), room)]
        self.part("secret", Lines).set(
            [
                [Ink(self._title, "title")],
                [],
                *([Ink(piece, "key")] for piece in pieces),
                [],
                *([Ink(note)] for note in self._notes),
                [],
                [Ink("Shown this once. ", "bad"), Ink("It is stored nowhere: copy it now.")],
                [Ink("ctrl+x", "key"), Ink(" hides it for good")],
            ]
        )
        ready(self)

    def take(self, key: str, _: str | None) -> None:
        """Only one key closes it, so that a stray one loses nothing."""
        if key == "ctrl+x":
            self._secret = ""
            self.part("secret", Lines).set([])
            self.app.pop_screen()
            self._after()
