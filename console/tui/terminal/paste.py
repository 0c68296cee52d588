"""A paste is text, whatever is in it.

Textual reads an escape sequence within a bracketed paste as the paste's end and the rest
of it as keys: a text that a partner wrote could then type for the operator who pastes it
(terminals take escapes out of what is pasted, `tmux paste-buffer` does not). Here nothing
but the terminal's own mark ends a paste; other escapes in it become U+FFFD.
"""

from __future__ import annotations

from collections.abc import Iterable

import textual.drivers.linux_driver as driver
from textual._xterm_parser import XTermParser
from textual.message import Message

_BEGIN, _END = "\x1b[200~", "\x1b[201~"


class Pastes:
    """What arrives, in whatever pieces, with no escape inside a paste."""

    def __init__(self) -> None:
        self._inside = False
        self._last = ""
        """Inside: what may be the start of the end's mark. Outside: the last that was read."""

    def clean(self, data: str) -> str:
        """Return what of `data` can be read now; inside a paste, half a mark is held back."""
        out: list[str] = []
        while data:
            seen, mark = self._last + data, _END if self._inside else _BEGIN
            before, found, rest = seen.partition(mark)
            if self._inside:
                before, self._last = (before, "") if found else _held_back(before, mark)
                out += [before.replace("\x1b", "\ufffd"), found]
            else:
                # a key must not wait for what may follow it, so its start was read already
                out.append((before + found)[len(self._last) :])
                self._last = "" if found else seen[1 - len(mark) :]
            data, self._inside = rest, self._inside ^ bool(found)
        return "".join(out)


def _held_back(text: str, mark: str) -> tuple[str, str]:
    for size in range(len(mark) - 1, 0, -1):
        if text.endswith(mark[:size]):
            return text[:-size], text[-size:]
    return text, ""


class PasteSafe(XTermParser):
    """The terminal's input, read as Textual reads it but for what is pasted."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._pastes = Pastes()

    def feed(self, data: str) -> Iterable[Message]:
        """Read some more input; nothing at its end."""
        clean = self._pastes.clean(data)
        return super().feed(clean) if clean or not data else ()


def install() -> None:
    """Have the terminal's driver read its input so."""
    setattr(driver, "XTermParser", PasteSafe)  # noqa: B010  it is not exported
