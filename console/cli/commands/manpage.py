"""`pilotctl help man`: the manual page, made from the registry, as roff (man(7))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from console import __version__
from console.cli.command_list import BUILTINS
from console.cli.parser import example
from console.cli.topics import topics
from console.errors import MEANING
from console.operations.index import NOUNS, load
from console.operations.spec import Operation, fields

_DESCRIPTION = """\
The operator console for partner-only pilots of restricted AI models. Without arguments, on a
terminal, it opens the console. With a noun and a verb it does one thing and ends, for scripts.
It never says that a thing is revoked or logged without proof of it: what it cannot prove is
called unverified, with the reason, and exits with 9."""

_FILES = {
    "$XDG_CONFIG_HOME/pilotctl/config.toml": "profiles; see pilotctl help profiles",
    "$XDG_STATE_HOME/pilotctl/logs/": "pinned heads and keys of each log",
    "$XDG_STATE_HOME/pilotctl/local/": "the services of pilotctl up: stores, keys, the log",
    "$XDG_CACHE_HOME/pilotctl/names/": "names for completion; can be thrown away",
}


def page() -> str:
    """Return the whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH PILOTCTL 1 "" "pilotctl {__version__}" "User Commands"'
    yield from _section("Name", ["pilotctl \\- operator console for partner-only model pilots"])
    yield ".SH SYNOPSIS"
    yield ".B pilotctl"
    yield from [".br", ".B pilotctl", ".I NOUN VERB", "[FLAGS]", ".br", ".B pilotctl"]
    yield ".I COMMAND"
    yield "[FLAGS]"
    yield from _section("Description", map(_text, _DESCRIPTION.splitlines()))
    yield ".SH NOUNS AND VERBS"
    for noun, (_, summary) in NOUNS.items():
        yield f'.SS "{noun}: {_text(summary)}"'
        for op in load(noun):
            yield from _operation(op)
    yield ".SH COMMANDS"
    for name, (_, summary) in BUILTINS.items():
        yield from [".TP", f".B {_text(name)}", _text(summary)]
    yield ".SH EXIT STATUS"
    for code, meaning in MEANING.items():
        yield from [".TP", f".B {int(code)}", _text(meaning)]
    for name, text in topics().items():
        if name != "exit-codes":
            _, _, body = text.partition("\n")
            yield f".SH {name.upper()}"
            yield from [".nf", *map(_text, body.strip("\n").splitlines()), ".fi"]
    yield ".SH FILES"
    for path, text in _FILES.items():
        yield from [".TP", f".I {_text(path)}", _text(text)]


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f".SH {title.upper()}"
    yield from lines


def _operation(op: Operation) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(example(op))}"
    yield from map(_text, op.help.split("\n\n")[0].splitlines())
    for field in fields(op):
        name = field.flag.upper() if field.param.positional else f"--{field.flag}"
        choices = f" ({', '.join(field.param.choices)})" if field.param.choices else ""
        yield from [".RS", ".TP", f".B {_text(name)}", _text(field.param.help + choices), ".RE"]


def _text(text: str) -> str:
    """Return `text` as roff takes it literally."""
    known = text.replace("\\", "\\e").replace("-", "\\-")
    plain = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in known)
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
