"""TOML that a person wrote: one error for whatever is wrong with it, and the line of a fault.

tomllib keeps no positions, so headers and keys are read here as a person would.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

Place: TypeAlias = tuple[str, ...]
"""Keys from the top, each without quotes and dots; the number of a table in an array of tables
(from 0) is one of them."""

_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?$")
_MEMBER = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[^=#"'\[\]{}])+?)\s*=""")
_KEY = re.compile(r"\"[^\"]*\"|'[^']*'|[^.\s]+")


class _Set(NamedTuple):
    """A line that begins a table or sets a key."""

    number: int
    table: Place
    """The table it stands in; nothing for a header."""
    own: Place


def toml_table(text: str) -> dict[str, Any]:
    """Return the table of a TOML document. Raises `tomllib.TOMLDecodeError`.

    Python's reader leaves a number of more than 4,300 digits and deep nesting to other errors.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        raise tomllib.TOMLDecodeError("a number in it has too many digits") from error
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("it is nested too deeply") from error


def line_of(text: str, place: Sequence[str | int]) -> int:
    """Return the line (from 1) where `place` stands, else what is nearest above it; else 0.

    `place` is keys from the top, and the number (from 0) of a table in an array of tables:
    `("operators", 1, "roles")`. What is inside an inline table stands where that does.
    """
    wanted = _taken_apart(map(str, place))
    best, depth, implied = 0, 0, 0
    for line in _lines(text):
        found = line.table + line.own
        same = _in_common(found, wanted)
        if same > depth and same == len(found):
            best, depth = line.number, same
        elif same == len(wanted):
            implied = implied or line.number  # one that only what is inside it names
    return best if depth == len(wanted) else implied or best


def line_of_key(text: str, key: str) -> int:
    """Return the first line that sets `key`, or begins a table of that name, in any table; or 0."""
    return next((line.number for line in _lines(text) if line.own[0] == key), 0)


def _lines(text: str) -> Iterator[_Set]:
    table: Place = ()
    counts: Counter[Place] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            named = _keys(header[2])
            if header[1] == "[[":
                counts[named] += 1
            table = _numbered(named, counts)
            yield _Set(number, (), table)
        elif member := _MEMBER.match(line):
            yield _Set(number, table, _keys(member[1]))


def _numbered(named: Place, counts: Counter[Place]) -> Place:
    """Return the place of a table: one of an array of tables has its number after its name."""
    parts: list[str] = []
    for at, key in enumerate(named, 1):
        parts.append(key)
        if counts[named[:at]]:
            parts.append(str(counts[named[:at]] - 1))
    return tuple(parts)


def _keys(dotted: str) -> Place:
    """Return the keys of a dotted one. A dot in quotes counts too, here and in what is sought."""
    return _taken_apart(part.strip("\"'") for part in _KEY.findall(dotted))


def _taken_apart(keys: Iterable[str]) -> Place:
    return tuple(each for key in keys for each in key.split("."))


def _in_common(one: Place, other: Place) -> int:
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return same
