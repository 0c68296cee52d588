"""The commands that are written by hand, and the text of `pilotctl --help`.

A table only: a command's module is imported when it is run.
"""

from __future__ import annotations

from console.operations.index import NOUNS

BUILTINS: dict[str, tuple[str, str]] = {
    "up": ("console.cli.commands.services", "run the services on this machine"),
    "down": ("console.cli.commands.services", "stop them"),
    "status": ("console.cli.commands.services", "how they are"),
    "backup": ("console.cli.commands.backup", "the whole pilot as one file, while it serves"),
    "restore": ("console.cli.commands.backup", "a backup into a state folder: it starts locked"),
    "owner": ("console.cli.commands.owner", "cut off, thaw or restore anybody, at the machine"),
    "demo": ("console.cli.commands.demo", "a whole pilot on this machine, with live traffic"),
    "auth": ("console.cli.commands.auth", "who the APIs take you for"),
    "config": ("console.cli.commands.config", "profiles, and where each value comes from"),
    "tail": ("console.cli.commands.tail", "events, or calls, as they happen"),
    "wait": ("console.cli.commands.wait", "until something is in a state, or in the log"),
    "repin": ("console.cli.commands.repin", "accept a log that took the place of the pinned one"),
    "pick": ("console.cli.commands.pick", "choose one on the terminal, and print its name"),
    "api": ("console.cli.commands.api", "one request to an API, as it is"),
    "doctor": ("console.cli.commands.doctor", "what is wrong with this installation"),
    "spec": ("console.cli.commands.spec", "every operation, or an API as OpenAPI, as JSON"),
    "completion": ("console.cli.commands.completion", "words, flags and names in your shell"),
    "help": ("console.cli.commands.help", "a command or a topic"),
}
"""Command to module and summary. Each module has `run(argv, context)`, and `parser_of(name)`
where it takes flags."""

BY_HAND: dict[tuple[str, str], tuple[str, ...]] = {
    ("audit", "tail"): ("tail", "audit"),
    ("call", "tail"): ("tail", "call"),
    ("log", "repin"): ("repin",),
}
"""Noun and verb to the command that is meant: verbs that are no operations."""

HIDDEN: dict[str, str] = {"__complete": "console.cli.commands.complete_names"}
"""What programs call, and nobody types."""


def root_help() -> str:
    """Return the text of `pilotctl --help`."""
    room = max(map(len, [*NOUNS, *BUILTINS])) + 2
    nouns = "\n".join(f"  {name:<{room}}{text}" for name, (_, text) in NOUNS.items())
    others = "\n".join(f"  {name:<{room}}{text}" for name, (_, text) in BUILTINS.items())
    return f"""\
pilotctl NOUN VERB [FLAGS]

examples:
  pilotctl up
  pilotctl grant list --partner acme
  pilotctl grant revoke GRANT --reason 'contract ended'
  pilotctl lock add partner acme --reason 'credential leak'

nouns:
{nouns}

others:
{others}

Without arguments, on a terminal, the console opens. `pilotctl NOUN --help` lists the verbs;
`pilotctl help exit-codes|environment|output|profiles|confirming` says what holds everywhere.
"""
