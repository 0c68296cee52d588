r"""Results as data: JSON and CSV, the same wherever they are written.

What cannot be seen is written as `\uXXXX`; a text that a spreadsheet would run as a
formula is made inert.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from console.present.safe import csv_escaped, json_escaped


def as_json(value: Any) -> str:
    r"""Return `value` as an indented JSON document, hidden characters as `\uXXXX`."""
    return json_escaped(json.dumps(msgspec.to_builtins(value), ensure_ascii=False, indent=2)) + "\n"


def as_json_line(value: Any) -> str:
    """Return `value` as one line of JSON."""
    plain = msgspec.to_builtins(value)
    return json_escaped(json.dumps(plain, ensure_ascii=False, separators=(",", ":"))) + "\n"


def as_csv(heads: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return plain rows as CSV, the heads first; a row without a head's value leaves it empty."""
    # written here and not by the csv module, which would let control characters through
    lines = [_line(heads)]
    lines += [_line([_value(row.get(head)) for head in heads]) for row in rows]
    return "".join(lines)


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    # a number is no formula, whatever its sign
    return str(value) if isinstance(value, (int, float)) else csv_escaped(str(value))


def _line(cells: Iterable[str]) -> str:
    return ",".join(map(_quoted, cells)) + "\n"


def _quoted(cell: str) -> str:
    inert = json_escaped(cell)
    if any(mark in inert for mark in ',"\n') or inert != inert.strip():
        return '"' + inert.replace('"', '""').replace("\n", "\\n") + '"'
    return inert
