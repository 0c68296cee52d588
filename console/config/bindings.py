"""What the file says of the console's commands and keys: aliases, hotkeys, keys.

Their shape is checked here, like every other setting. Whether an entry can be had (the
operation exists, the key is free) is for the console to say: one that cannot is told and
left out, and never keeps anybody from working.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from console.parsing.suggest import suggest

TABLES = {
    "aliases": "what the command stands for; more words may follow it",
    "hotkeys": "the command that the key runs",
    "keys": "the key of the operation; empty for none",
}
"""The tables of `[console]`, in any profile too: each holds texts by name."""


class Binding(NamedTuple):
    """One entry of one table, and where it stands."""

    table: str
    name: str
    value: str
    file: Path
    line: int
    where: str

    @property
    def source(self) -> str:
        """Where it came from, as every setting says it."""
        return f"{self.file}:{self.line} [{self.where}]"

    @property
    def place(self) -> str:
        """The same, as short as a person needs it."""
        return f"{self.file.name}:{self.line}"


def entries(table: str, section: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of one table. An operation's id may be written without quotes."""
    for name, value in section.items():
        if table == "keys" and isinstance(value, dict):
            for verb, key in value.items():
                yield f"{name}.{verb}", key
        else:
            yield name, value


_PLAIN = (
    "up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete",
    "backspace", "tab", "enter", "escape", "space", *(f"f{number}" for number in range(1, 25)),
)  # fmt: skip
_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
_MOVES = ("up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete")
KEY_NAMES = (
    *_PLAIN,
    *(f"ctrl+{name}" for name in (*_LETTERS, *_MOVES, "space", "backslash")),
    *(f"alt+{name}" for name in (*_LETTERS, *_MOVES)),
    *(f"shift+{name}" for name in ("tab", *_MOVES, *_PLAIN[15:27])),
)
"""The keys with a name that terminals can tell apart; any character is a key by itself."""

_SAME = {
    "ctrl+i": "tab", "ctrl+m": "enter", "ctrl+j": "enter", "ctrl+h": "backspace",
    "esc": "escape", "pgup": "pageup", "pgdn": "pagedown", "return": "enter", " ": "space",
    "ins": "insert", "del": "delete",
}  # fmt: skip
"""What is another key to a terminal, or to a person."""


def key_of(written: str) -> tuple[str, str]:
    """Return the key that `written` names, and what is wrong with it: one of them is empty."""
    if len(written) == 1 and written.isprintable() and written != " ":
        return written, ""
    name = written.lower()
    name = _SAME.get(name, name)
    if name in KEY_NAMES:
        return name, ""
    near = suggest(name, KEY_NAMES)
    return "", f"is no key{f'; did you mean {near!r}?' if near else ''}"
