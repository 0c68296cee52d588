"""`:tour`: two minutes at the keys. Each step says what to press and goes on when it happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget

from console.tui.dialogs.operation_form import Act
from console.tui.dialogs.theme_dialog import ThemeChoice
from console.tui.link.form_values import Registry
from console.tui.places.place import Place
from console.tui.places.typed_command import Command
from console.tui.widgets.strips import Ink, quoted
from console.tui.widgets.table import Table
from console.tui.widgets.text_lines import Lines, wrap

Memory = dict[str, Any]
"""What a step remembers from look to look."""


_WidgetT = TypeVar("_WidgetT", bound=Widget)


class TourScreen(Protocol):
    """What the tour shows the keys of: places, a table, a bar, dialogues and a box of lines."""

    tour: Tour | None
    table: Table

    @property
    def registry(self) -> Registry:
        """The operations that can be done."""

    @property
    def place(self) -> Place:
        """The place in front."""

    @property
    def bar_open(self) -> bool:
        """Whether a command or a filter is being typed."""

    @property
    def screen(self) -> Screen[object]:
        """The dialogue in front, or the screen itself."""

    @property
    def screen_stack(self) -> Sequence[Screen[Any]]:
        """The screen and the dialogues over it."""

    @property
    def size(self) -> Size:
        """The size in cells."""

    def query_one(self, selector: str, expect_type: type[_WidgetT]) -> _WidgetT:
        """Return the widget that `selector` finds."""

    def go(self, name: str) -> None:
        """Go to a view."""


class Step(NamedTuple):
    """What to press, what it is good for, and whether it was done."""

    press: str
    what: str
    done: Callable[[TourScreen, Memory], bool]


def _moved(console: TourScreen, memory: Memory) -> bool:
    at = console.table.state.index
    return at != int(memory.setdefault("at", at))


def _at(name: str) -> Callable[[TourScreen, Memory], bool]:
    return lambda console, _: console.place.name == name and len(console.screen_stack) == 1


def _opened(console: TourScreen, _: Memory) -> bool:
    return console.place.view is None


def _back(console: TourScreen, _: Memory) -> bool:
    return console.place.view is not None


def _filtered(console: TourScreen, _: Memory) -> bool:
    return bool(console.place.state.filter) and not console.bar_open


def _left(console: TourScreen, memory: Memory) -> bool:
    name = str(memory.setdefault("name", console.place.name))
    return console.place.name != name


def _closed(kind: type) -> Callable[[TourScreen, Memory], bool]:
    def looked(console: TourScreen, memory: Memory) -> bool:
        if isinstance(console.screen, kind):
            memory["open"] = True
        return bool(memory.get("open")) and len(console.screen_stack) == 1

    return looked


STEPS = (
    Step("down", "This is `now`: what needs someone, worst first. down and up (or j k) move.",
         _moved),
    Step("enter", "enter opens what the cursor is on: its story, with the evidence.", _opened),
    Step("esc", "esc goes back, exactly to where you were.", _back),
    Step(":grants enter", "Every view has a name: type a colon, grants, enter. tab completes.",
         _at("grants")),
    Step("/state:active enter", "A slash filters as you type: a word, !word, or column:value.",
         _filtered),
    Step("?", "? lists all that can be done here, with the reason where it cannot. enter runs it.",
         _at("help")),
    Step("esc", "Back again.", _left),
    Step(":alerts enter", "Alerts are grouped detections over calls and events, to be triaged.",
         _at("alerts")),
    Step("{lock.add}", "{lock.add} locks whatever is under the cursor, and says first what that "
         "ends. Type a reason, tab to the verb, enter; or esc, and nothing is sent.",
         _closed(Act)),
    Step(":locks enter", "What is held back stands here until released; a revoke is for ever.",
         _at("locks")),
    Step("@", "The command log: each request, and the `pilotctl` line that does the same.",
         _at("log")),
    Step(":audit enter", "Every change is an entry in a log that this console verifies itself.",
         _at("audit")),
    Step(":theme enter", "Themes are looked at before they are kept: down, then enter or esc.",
         _closed(ThemeChoice)),
)  # fmt: skip
"""In order: moving, reading, finding, acting, proving. `{lock.add}` is the key that it has."""

LAST = (
    "That was the tour. ? lists everything, :q leaves. The commands do the same: pilotctl --help."
)


class Tour:
    """The tour as it goes on."""

    def __init__(self, console: TourScreen) -> None:
        self._console = console
        self.at = 0
        self._memory: Memory = {}
        keyed = console.registry.keyed
        self.steps = tuple(
            step._replace(press=keyed(step.press, " enter"), what=keyed(step.what))
            for step in STEPS
        )
        """The steps with the keys that operations have here."""
        self._draw()

    @property
    def over(self) -> bool:
        """Whether every step was done."""
        return self.at == len(self.steps)

    def look(self) -> None:
        """Go on where what a step asks for has happened."""
        while not self.over and self.steps[self.at].done(self._console, self._memory):
            self.at += 1
            self._memory = {}
            self._draw()

    def end(self) -> None:
        """Take it off the screen."""
        self._console.query_one("#tour", Lines).display = False

    def _draw(self) -> None:
        box = self._console.query_one("#tour", Lines)
        room = self._console.size.width - 2
        if self.over:
            said, press = LAST, ":tour enter"
            where = "tour over"
        else:
            step = self.steps[self.at]
            said, press = step.what, step.press
            where = f"tour {self.at + 1}/{len(self.steps)}"
        lines = [[Ink(" "), *quoted(line)] for line in wrap(said, room)[:2]]
        head = [Ink(f" {where}  ", "title"), Ink("press "), Ink(press, "key"),
                Ink("   :tour takes this away", "dim")]  # fmt: skip
        box.set([head, *lines, *[[Ink("")]] * (2 - len(lines))])
        box.display = True


def tour_command(console: TourScreen, _: Command) -> None:
    """Begin the tour, or leave it."""
    if console.tour is not None:
        console.tour.end()
        console.tour = None
        return
    console.go("now")
    console.tour = Tour(console)
