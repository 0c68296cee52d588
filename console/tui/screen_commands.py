"""The commands and keys that are about the screen and not about the pilot."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from console.tui.command import Command
from console.tui.net import show_net
from console.tui.theme_choice import theme_command
from console.tui.tour import tour_command

if TYPE_CHECKING:
    from console.tui.steer import Console


def _quit(console: Console, _: Command) -> None:
    console.leave_console()


def _write_mode(console: Console, _: Command) -> None:
    console.link.read_only = not console.link.read_only
    console.say("read-only for what opens" if console.link.read_only else "writing, this session")


def _sort(console: Console, command: Command) -> None:
    names = [column.name for column in console.table.columns]
    name = " ".join(command.words)
    if name in names:
        console.table.set_sort(name)
    else:
        console.say(f"columns: {', '.join(names)}", "bad" if name else "")


def _save(console: Console, command: Command) -> None:
    # what would be a filter of a view is a path that begins with a slash
    console.save_shown([*command.words, *([f"/{command.filter}"] if command.filter else [])])


OWN: dict[str, tuple[str, Callable[[Console, Command], None]]] = {
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

KEYS = (
    ("enter", "open what is under the cursor"),
    ("esc", "clear the filter, or go back as it was"),
    ("alt+left alt+right", "back and forward"),
    ("L", "lock whatever is under the cursor"),
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
