"""Server-sent events: whole ones out of a stream of bytes, and the data that each carries."""

from __future__ import annotations

import re

_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINES = re.compile(rb"\r\n|\n|\r")
MAX_EVENT_BYTES = 4 * 1024 * 1024


class TooLongError(ValueError):
    """An event of the stream does not fit."""


class Events:
    """Cuts a stream of bytes into whole server-sent events, each with its blank line."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, more: bytes) -> list[bytes]:
        """Return the events that `more` completes. TooLongError where one does not fit."""
        held = self._held + more if self._held else more
        out = []
        start = 0
        for match in _END_OF_EVENT.finditer(held):
            out.append(held[start : match.end()])
            start = match.end()
        self._held = held[start:]
        if len(self._held) > MAX_EVENT_BYTES:
            raise TooLongError("an event of the stream is too long")
        return out

    def rest(self) -> bytes:
        """Return what stands after the last whole event."""
        return self._held


def data_of(event: bytes) -> bytes | None:
    """Return the event's data (its `data` lines, joined), or None where it has none."""
    lines = [
        line[5:].removeprefix(b" ") for line in _LINES.split(event) if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None
