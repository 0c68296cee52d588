"""The commands and keys that are about the screen and not about the pilot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from console.tui.app.link_cost import Connected, show_net
from console.tui.app.tour import TourScreen, tour_command
from console.tui.dialogs.theme_dialog import ThemeScreen, theme_command
from console.tui.places.typed_command import Command
from console.tui.widgets.table import Table
from console.tui.widgets.text_lines import Reading


class Parts(ThemeScreen, TourScreen, Connected, Protocol):
    """What the commands and keys of the screen act on."""

    @property
    def body(self) -> Table | Reading:
        """The widget that shows the place in front."""

    def help(self) -> None:
        """List what can be done here."""

    def anything(self) -> None:
        """Open the palette of everything that can be done."""

    def command_log(self) -> None:
        """Show what was sent."""

    def open_bar(self, sigil: str, typed: str = "") -> None:
        """Open the `:` or `/` bar, with something typed already."""

    def open_row(self) -> None:
        """Open what is under the cursor."""

    def step_back(self) -> None:
        """Clear the filter, then the marks, then go back."""

    def back(self) -> bool:
        """Go back one place. False: there is none."""

    def forward(self) -> None:
        """Undo going back."""

    def reload(self) -> None:
        """Read the place in front again."""

    def redraw(self) -> None:
        """Draw the whole screen again."""

    def sort_next(self) -> None:
        """Sort by the next column."""

    def sort_turn(self) -> None:
        """Turn the order round."""

    def copy_command(self) -> None:
        """Copy the command that shows the same."""

    def copy_id(self) -> None:
        """Copy the id of what is under the cursor."""

    def save_shown(self, words: Sequence[str]) -> None:
        """Save what is shown: a format, a path, both or neither."""

    def leave_console(self) -> None:
        """Leave, if nothing speaks against it."""


def _quit(console: Parts, _: Command) -> None:
    console.leave_console()


def _write_mode(console: Parts, _: Command) -> None:
    session = console.link.session
    session.read_only = not session.read_only
    console.say("read-only for what opens" if console.link.read_only else "writing, this session")


def _sort(console: Parts, command: Command) -> None:
    names = [column.name for column in console.table.columns]
    name = " ".join(command.words)
    if name in names:
        console.table.set_sort(name)
    else:
        console.say(f"columns: {', '.join(names)}", "bad" if name else "")


def _save(console: Parts, command: Command) -> None:
    # what would be a filter of a view is a path that begins with a slash
    console.save_shown([*command.words, *([f"/{command.filter}"] if command.filter else [])])


OWN: dict[str, tuple[str, Callable[[Parts, Command], None]]] = {
    "help": ("what can be done here", lambda console, _: console.help()),
    "log": ("what was sent, and the commands that do the same",
            lambda console, _: console.command_log()),
    "write": ("lift or set read-only for what opens, this session", _write_mode),
    "net": ("bytes and frames sent to this terminal, latency by API",
            lambda console, _: show_net(console)),
    "tour": ("two minutes at the keys; again takes it away", tour_command),
    "theme": ("look at the themes and wear another; NAME, reload, watch", theme_command),
    "sort": ("sort by a column; the same again turns it round", _sort),
    "save": ("save what is shown: csv or json, and a path", _save),
    "redraw": ("draw the whole screen again", lambda console, _: console.redraw()),
    "quit": ("leave", _quit),
    "q": ("leave", _quit),
}  # fmt: skip
"""The commands that are about the screen and not about the pilot."""

MOVES: dict[str, Callable[[Parts], object]] = {
    "up": lambda at: at.body.move(-1), "k": lambda at: at.body.move(-1),
    "down": lambda at: at.body.move(1), "j": lambda at: at.body.move(1),
    "pageup": lambda at: at.body.page(-1), "pagedown": lambda at: at.body.page(1),
    "home": lambda at: at.body.go(0), "end": lambda at: at.body.go(10**9),
    ":": lambda at: at.open_bar(":"), "/": lambda at: at.open_bar("/"),
    "?": lambda at: at.help(), "@": lambda at: at.command_log(),
    "enter": lambda at: at.open_row(), "escape": lambda at: at.step_back(),
    "alt+left": lambda at: at.back(), "alt+right": lambda at: at.forward(),
    "ctrl+r": lambda at: at.reload(), "ctrl+p": lambda at: at.anything(),
    "y": lambda at: at.copy_command(), "Y": lambda at: at.copy_id(),
    "ctrl+s": lambda at: at.open_bar(":", "save csv "),
    "ctrl+c": lambda at: at.say(":q leaves (or ctrl+q); esc goes back"),
}  # fmt: skip
"""What keys do in every place."""


def _on_table(do: Callable[[Parts, Table], object]) -> Callable[[Parts], object]:
    def done(at: Parts) -> object:
        if isinstance(at.body, Table):
            return do(at, at.body)
        return False

    return done


TABLE_MOVES: dict[str, Callable[[Parts], object]] = {
    "space": _on_table(lambda _, table: table.mark()),
    "ctrl+space": _on_table(lambda _, table: table.mark_range()),
    "ctrl+backslash": _on_table(lambda _, table: table.clear_marks()),
    "s": _on_table(lambda at, _: at.sort_next()),
    "S": _on_table(lambda at, _: at.sort_turn()),
}
"""What they do besides, where there are rows."""

NEEDED = frozenset(
    {*MOVES, *TABLE_MOVES, "ctrl+@", "ctrl+l", "ctrl+z", "ctrl+q", "tab", "shift+tab", "R"}
)
"""The keys that the screen itself needs: no operation and no hotkey gets one of them."""

KEYS = (
    ("enter", "open what is under the cursor"),
    ("esc", "clear the filter, or go back as it was"),
    ("alt+left alt+right", "back and forward"),
    ("R", "revoke the grant or key under the cursor"),
    ("space ctrl+space", "mark, mark up to here"),
    ("ctrl+\\", "unmark all"),
    ("s S", "sort by the next column, turn the order round"),
    ("y Y", "copy the command that shows this, the id under the cursor"),
    ("ctrl+p", "find anything that can be done, by a few letters"),
    ("ctrl+s", "save what is shown, as CSV or JSON"),
    ("@", "the command log"),
    ("ctrl+r ctrl+l", "read again, draw again"),
    ("ctrl+z ctrl+q", "suspend, leave"),
)
"""What keys do everywhere, for the help."""
LOCK_WORDS = "lock whatever is under the cursor"
"""What the key of `lock.add` does everywhere."""
