"""The only writer of standard output: data, and nothing else.

A format is applied to a result's type, never by a command. JSON and CSV are the same
bytes on a terminal and in a pipe; a table fits a terminal, says on standard error what it
cut, and cuts nothing in a pipe.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

import msgspec

from console.cli.stderr import Stderr
from console.cli.table import table_lines
from console.cli.terminal import Terminal
from console.errors import ExitCode, PilotError
from console.model.stored import Page
from console.model.text import now
from console.present.cells import anchored, width
from console.present.columns import Column, answer_name, columns_of, name_of, text_of
from console.present.data import as_csv, as_json, as_json_line
from console.present.detail import detail_lines
from console.present.safe import safe, toml_escaped
from console.streams import closed_pipe

FORMATS = ("table", "json", "jsonl", "csv", "name")


class ClosedPipe(Exception):  # noqa: N818  # it is how a reader says "enough"
    """The reader of standard output went away."""


class Output:
    """Standard output in one format, with the members that `--fields` asks for."""

    def __init__(
        self,
        terminal: Terminal,
        stderr: Stderr,
        *,
        format: str = "table",
        fields: Sequence[str] = (),
    ) -> None:
        self._terminal = terminal
        self._stderr = stderr
        self._format = format
        self._fields = tuple(fields)

    def check(self, kind: Any) -> None:
        """Refuse `--fields` that results of `kind` do not have, before anything is sent."""
        known = _members(_item(kind))
        for path in self._fields:
            first = path.split(".")[0]
            if known and first not in known:
                raise PilotError(
                    "no-such-field",
                    f"there is no field {first!r} here",
                    exit=ExitCode.USAGE,
                    hint=f"fields: {', '.join(known)}",
                )

    def result(self, value: Any, kind: Any) -> None:
        """Write a result of the type `kind`: one object, or a page of them."""
        if isinstance(value, Page):
            self._page(value, _item(kind))
        else:
            self._one(value)

    def text(self, text: str) -> None:
        """Write words that were asked for: help, a topic."""
        self._write(text if text.endswith("\n") else text + "\n")

    def json(self, value: Any) -> None:
        """Write plain data as one JSON document."""
        self._write(as_json(value))

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines that are escaped already; on a terminal, with their columns in place."""
        terminal = self._terminal
        if terminal.stdout_tty and not terminal.dumb:
            room = terminal.columns
            lines = [anchored(line) if width(line) <= room else line for line in lines]
        self._write("".join(f"{line}\n" for line in lines))

    def alternate_screen(self, lines: Sequence[str]) -> None:
        """Show `lines` where no scrollback keeps them, until Enter is pressed."""
        self._write("\x1b[?1049h\x1b[2J\x1b[H" + "\r\n".join(lines) + "\r\n")
        try:
            sys.stdin.readline()
        finally:
            self._write("\x1b[2J\x1b[H\x1b[?1049l")

    def _page(self, page: Page[Any], kind: Any) -> None:
        if self._format == "json":
            whole = msgspec.to_builtins(page)
            whole["items"] = [self.selected(item) for item in page.items]
            self._write(as_json(whole))
        elif self._format == "jsonl":
            for item in page.items:
                self._write(as_json_line(self.selected(item)))
        elif self._format == "csv":
            self._csv(page.items, kind)
        elif self._format == "name":
            self._write("".join(f"{safe(name_of(item))}\n" for item in page.items))
        else:
            self._table(page, kind)

    def _one(self, value: Any) -> None:
        if self._format == "json":
            self._write(as_json(self.selected(value)))
        elif self._format == "jsonl":
            self._write(as_json_line(self.selected(value)))
        elif self._format == "csv":
            self._csv([value], type(value))
        elif self._format == "name":
            self._write(f"{safe(answer_name(value))}\n")
        elif self._fields:
            self.lines(detail_lines(self.selected(value)))
        else:
            self.lines(_whole(value, self._terminal))

    def _table(self, page: Page[Any], kind: Any) -> None:
        columns = columns_of(kind) if not self._fields else tuple(map(_field_column, self._fields))
        if not columns:
            columns = tuple(map(_field_column, _members(kind)))
        room = self._terminal.columns if self._terminal.stdout_tty else None
        lines, cut = table_lines(page.items, columns, now(), room)
        self.lines(lines)
        if cut:
            self._stderr.note(f"cut to fit: {cut}; -o json or a pipe shows everything")
        for warning in page.warnings:
            self._stderr.note(f"warning: {warning}")
        if page.next_cursor:
            self._stderr.note(
                f"{len(page.items)} rows; there are more: --limit 0, or --cursor {page.next_cursor}"
            )
        if self._terminal.stdout_tty and not page.items:
            self._stderr.note(f"none, says {page.source}")

    def _csv(self, items: Sequence[Any], kind: Any) -> None:
        rows = [self.selected(item) for item in items]
        heads = self._fields or _members(kind) or (list(rows[0]) if rows else [])
        self._write(as_csv(heads, rows))

    def selected(self, value: Any) -> Any:
        """Return `value` as plain data, with the members that `--fields` asks for."""
        plain = msgspec.to_builtins(value)
        if not self._fields or not isinstance(plain, dict):
            return plain
        return {path: _at(plain, path) for path in self._fields}

    def _write(self, text: str) -> None:
        try:
            sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            closed_pipe()
            raise ClosedPipe from error
        except OSError as error:
            closed_pipe()  # what waits to be written would stop the note
            if error.errno == errno.EBADF:
                self._stderr.note("standard output is closed: the answer could not be printed")
                raise ClosedPipe from error
            raise PilotError(
                "output-failed", f"standard output cannot be written: {error.strerror}"
            ) from error


def _whole(value: Any, terminal: Terminal) -> list[str]:
    """Return one object in the words that its type has for people."""
    if type(value).__name__ == "Receipt":
        from console.present.receipt import receipt_lines  # noqa: PLC0415  # most need no receipt

        return receipt_lines(value)
    if type(value).__name__ == "UsagePicture":
        from console.present.picture import picture_lines  # noqa: PLC0415  # nor a picture

        plain = terminal.stdout_tty and terminal.dumb
        return picture_lines(value, terminal.columns if terminal.stdout_tty else 80, plain=plain)
    if type(value).__name__ == "EventProof":
        return detail_lines(_in_short(value))
    if type(value).__name__ == "PilotFile":
        return toml_escaped(value.text).splitlines()
    return detail_lines(value)


def _in_short(proven: Any) -> dict[str, Any]:
    """Return where in the log an event is proven to be; its bytes and hashes are for programs."""
    proof = proven.proof
    origin, _, rest = proof.checkpoint.partition("\n")
    return {
        "event": proven.event_id,
        "leaf": f"{proof.index} of {proof.tree_size}",
        "log": origin,
        "root": rest.split("\n")[1],
        "path": f"{len(proof.hashes)} hashes, checked here against the pinned key and head",
        "bytes": "-o json has them, with the hashes and the signed head",
    }


def _item(kind: Any) -> Any:
    """Return the row type of `Page[row]`, and any other type as it is."""
    return get_args(kind)[0] if get_origin(kind) is Page else kind


def _members(kind: Any) -> list[str]:
    return list(getattr(kind, "__struct_encode_fields__", ()))


def _field_column(path: str) -> Column:
    return Column(path, lambda row: text_of(_at(msgspec.to_builtins(row), path)), 0)


def _at(plain: Any, path: str) -> Any:
    for name in path.split("."):
        plain = plain.get(name) if isinstance(plain, dict) else None
    return plain
