"""What came of several writes: each with its own answer, and nothing partial called done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from textual.app import ComposeResult
from textual.containers import Vertical

from console.api.flow import Report, Waiting
from console.errors import PilotError
from console.model.enforcement import Receipt
from console.operations.outcome import outcome
from console.operations.spec import Operation
from console.present.cells import fit
from console.present.receipt import standing
from console.present.safe import safe
from console.tui.dialogs.dialog import Dialogue
from console.tui.link.marked_rows import Item, refused
from console.tui.theme.palette import Palette
from console.tui.widgets.background import ready
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines, wrap

_INKS = {"done": "good", "verified": "good", "refused": "bad", "unknown": "bad", "not sent": "bad"}


class Followed(Protocol):
    """Whoever is told how one write goes on."""

    given_up: bool
    """Whether an API that is not there is waited for no longer."""

    def report(self, step: Report) -> None:
        """Take a step of it."""

    def fail(self, error: PilotError, *, unknown: bool) -> None:
        """Take an error; `unknown`: it is asked again what became of it."""

    def finish(self, result: Any) -> None:
        """Take its result."""


class Part:
    """One of them. `state` is a word: waiting, sent, done, verified, refused, unknown …"""

    def __init__(self, op: Operation, item: Item, told: Callable[[], None]) -> None:
        self.op = op
        self.item = item
        self.state = "waiting"
        self.why = ""
        self.given_up = False
        self.answered: Callable[[], None] = lambda: None
        """Called when there is an answer, or it is known that there was none."""
        self._told = told

    @property
    def good(self) -> bool:
        """Whether what was agreed to is so."""
        return self.state in {"done", "verified"}

    def _is(self, state: str, why: str = "") -> None:
        self.state, self.why = state, why
        self._told()

    def begun(self) -> None:
        """It is on its way."""
        self._is("sent")

    def held(self, why: str) -> None:
        """Nothing was sent for it."""
        self._is("not sent", why)

    def report(self, step: Report) -> None:
        """Take a step of the flow."""
        self._is("waiting" if isinstance(step.state, Waiting) else "sent", step.text)

    def fail(self, error: PilotError, *, unknown: bool) -> None:
        """Take an error."""
        lost = unknown or error.code in {"bug", "unknown-outcome"}
        again = "; asking again with the same key" if unknown else ""
        self._is("unknown" if lost else "refused", refused(error) + again)
        self.answered()

    def finish(self, result: Any) -> None:
        """Take its result: what is proven of it is said, and no more."""
        ending = outcome(self.op, result)
        if isinstance(result, Receipt):
            reached = standing(result)
            if reached.proven:
                self._is("verified", "at every point, and logged")
            else:
                self._is("unverified", reached.why)
        elif ending.exit:
            self._is("not yet", ending.why)
        else:
            self._is("done")
        self.answered()


class Results(Dialogue):
    """The writes of one confirmation as they go on. Leaving this screen stops none."""

    CSS = """
    Results { align: center middle; background: transparent; }
    Results > Vertical { width: 96%; max-width: 110; height: auto; max-height: 100%;
                         background: $background; border: solid $foreground; padding: 0 1; }
    Results Lines { height: auto; }
    """

    def __init__(self, palette: Callable[[], Palette], op: Operation) -> None:
        super().__init__()
        self._palette = palette
        self.op = op
        self.parts: list[Part] = []
        self.closed: Callable[[], None] = lambda: None
        self._top = 0
        self._shown = False

    def compose(self) -> ComposeResult:
        """One box of lines."""
        with Vertical():
            yield Lines(self._palette, id="results")

    def on_mount(self) -> None:
        """Show what was sent."""
        self._shown = True
        self.draw()
        ready(self)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return all(part.state not in {"waiting", "sent", "unknown"} for part in self.parts)

    @property
    def _can_give_up(self) -> bool:
        """Whether an API that is not there is waited for, and nobody gave that up yet."""
        return any(p.state == "waiting" and p.why and not p.given_up for p in self.parts)

    def words(self) -> str:
        """Return how many came to what."""
        count = Counter(part.state for part in self.parts)
        return ", ".join(f"{many} {state}" for state, many in count.items())

    def draw(self) -> None:
        """Draw every part, as far as the screen goes."""
        if not self._shown:
            return
        room = max(20, min(110, self.app.size.width * 96 // 100) - 4)
        good = all(part.good for part in self.parts)
        token = "good" if good else "pending" if not self.ended else "bad"
        lines: list[Line] = [
            [Ink(f"{self.op.title}, {len(self.parts)} marked: ", "title"), Ink(self.words(), token)]
        ]
        body: list[Line] = []
        for part in self.parts:
            said = wrap(part.why, max(12, room - 40)) if part.why else [""]
            body.append(
                [Ink(fit(safe(part.item.name), 26, "left") + "  "),
                 Ink(fit(part.state, 10, "left") + "  ", _INKS.get(part.state, "pending")),
                 Ink(said[0], "dim")]
            )  # fmt: skip
            if not part.good:
                body += [[Ink(" " * 40), Ink(each, "dim")] for each in said[1:3]]
        most = max(2, self.app.size.height - 7)
        self._top = max(0, min(self._top, len(body) - most))
        lines += body[self._top : self._top + most]
        if len(body) > most:
            lines.append([Ink(f"{len(body) - most} more lines: pgdn pgup", "dim")])
        on = "" if self.ended else "   it goes on by itself"
        give_up = [Ink("   esc", "key"), Ink(" give up waiting")] if self._can_give_up else []
        lines += [[], [Ink("enter", "key"), Ink(" close"), Ink(on, "dim"), *give_up]]
        box = self.part("results", Lines)
        box.styles.height = len(lines)
        box.set(lines)

    def take(self, key: str, _: str | None) -> None:
        """Scroll, or close the box, never a write; Escape first gives up waiting."""
        if key == "escape" and self._can_give_up:
            for part in self.parts:
                part.given_up = True
            self.draw()
        elif key in {"pagedown", "pageup", "down", "up"}:
            step = 1 if key in {"down", "up"} else max(1, self.app.size.height - 8)
            self._top += step if key in {"down", "pagedown"} else -step
            self.draw()
        elif key in {"enter", "escape", "q", "space"}:
            self._shown = False
            self.app.pop_screen()
            self.closed()
