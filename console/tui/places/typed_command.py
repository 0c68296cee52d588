"""What is typed after `:`, read without a screen.

`:grants acme state=active /opus` is a name, words, options and a filter.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from console.parsing.suggest import alike


class Command(NamedTuple):
    """A command line taken apart."""

    name: str
    words: list[str]
    options: dict[str, str]
    filter: str


_OPTION = re.compile(r"([a-z][a-z0-9_-]*)=(.*)", re.DOTALL)


def parse(line: str) -> Command:
    """Return the parts of `line` (without the colon). Unbalanced quotes are plain text."""
    head, slash, rest = line.strip().partition(" /")
    try:
        words = shlex.split(head, posix=True)
    except ValueError:
        words = head.split()
    name = words[0].lower() if words else ""
    plain: list[str] = []
    options: dict[str, str] = {}
    for word in words[1:]:
        option = _OPTION.fullmatch(word)
        if option:
            options[option[1].replace("-", "_")] = option[2]
        else:
            plain.append(word)
    return Command(name, plain, options, rest.strip() if slash else "")


def write(command: Command) -> str:
    """Return the line that `parse` reads as `command`: what a view can be shared as."""
    parts = [command.name, *(shlex.quote(word) for word in command.words)]
    parts += [f"{name}={shlex.quote(value)}" for name, value in command.options.items()]
    return " ".join(parts) + (f" /{command.filter}" if command.filter else "")


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """Return the known names that begin with `name`, else those that are nearly it."""
    starts = [each for each in known if each.startswith(name)]
    if starts or not name:
        return starts
    return alike(name, known, 3)
