"""Saving what is shown: the rows as they are filtered and sorted, or the object, as a file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from console.errors import PilotError
from console.present.data import as_csv, as_json
from console.present.table_columns import TableColumn
from console.private_files import make_private_folder
from console.tui.widgets.text_lines import ReadLine

FORMATS = ("csv", "json")


class Shown(NamedTuple):
    """What is on the screen, as plain data: rows with the same heads."""

    name: str
    heads: list[str]
    rows: list[dict[str, Any]]
    single: bool = False
    """It is one object and not a list of them."""

    def written(self, format: str) -> str:
        """Return it as `csv` or `json`."""
        if format == "csv":
            return as_csv(self.heads, self.rows)
        return as_json(self.rows[0] if self.single and self.rows else self.rows)


def raw_values(row: Any) -> dict[str, Any] | None:
    """Return the values of a row or an object as they are, none of them worded for a screen.

    What is no object of the model says its own (`exported`), or is its members.
    """
    if isinstance(row, msgspec.Struct):
        plain = msgspec.to_builtins(row)
    elif hasattr(row, "exported"):
        plain = msgspec.to_builtins(row.exported())
    elif hasattr(row, "_asdict"):
        plain = msgspec.to_builtins(row._asdict())
    else:
        return None
    return plain if isinstance(plain, dict) else None


def shown_rows(
    name: str,
    columns: Sequence[TableColumn],
    rows: Sequence[Any],
    now: datetime,
    kind: type | None = None,
) -> Shown:
    """Return a table's rows, each whole; where one has no values of its own, their cells.

    `kind` is what the rows are: its members are the heads of a table without rows, so that
    a file has the same columns whatever is in it.
    """
    if not rows and (members := getattr(kind, "__struct_encode_fields__", ())):
        return Shown(name, list(members), [])
    raw = [values for row in rows if (values := raw_values(row)) is not None]
    if rows and len(raw) == len(rows):
        return Shown(name, list(dict.fromkeys(head for row in raw for head in row)), raw)
    heads = [column.name for column in columns]
    return Shown(
        name, heads, [{column.name: column.text(row, now) for column in columns} for row in rows]
    )


def shown_object(name: str, value: object, lines: Sequence[ReadLine]) -> Shown:
    """Return what a reading is about, or its lines where it is about no object."""
    raw = raw_values(value)
    if raw is not None:
        return Shown(name, list(raw), [raw], single=True)
    texts = ["".join(ink.text for ink in line.inks) for line in lines]
    return Shown(name, ["line"], [{"line": text} for text in texts])


def target(words: Sequence[str]) -> tuple[str, str]:
    """Return the format and path that `:save` was given; an empty path is the dumps folder.

    `csv`, `json`, a path, or both; a path that ends in .json is written as JSON.
    """
    left = list(words)
    kind = left.pop(0) if left and left[0] in FORMATS else ""
    if len(left) > 1:
        raise KeyError(left[1])
    path = left[0] if left else ""
    return kind or ("json" if path.lower().endswith(".json") else "csv"), path


def save(shown: Shown, format: str, path: str, dumps: Path | None) -> Path:
    """Write a new file, 0600, and return its path. What is there already is not replaced.

    Raises `PilotError` where it cannot be written, or where there is no folder for it.
    """
    if path:
        file = Path(path).expanduser().absolute()
    elif dumps is None:
        raise PilotError("no-folder", "there is no folder for it here: name a path")
    else:
        make_private_folder(dumps)
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", shown.name).strip("-")[:60] or "view"
        file = dumps / f"{stem}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z.{format}"
    data = shown.written(format).encode("utf-8", "backslashreplace")
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(number, "wb") as out:
            out.write(data)
    except FileExistsError as error:
        raise PilotError("exists", f"it is there already: {file}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PilotError("not-saved", f"not saved, {why}: {file}") from error
    return file
