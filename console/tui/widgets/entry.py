"""A line to type into: the bars' and the forms' only input.

Control and format characters are refused as they are typed or pasted (a paste's line
breaks become spaces), so what is read from here is one printable line.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.style import Style
from textual.events import Blur, Focus
from textual.geometry import Offset
from textual.strip import Strip
from textual.widget import Widget

from console.present.cells import width
from console.present.safe import is_hidden
from console.tui.theme.palette import Palette
from console.tui.widgets.strips import strip


def _held(key: str) -> bool:
    return key.startswith(("ctrl+", "alt+", "super+", "meta+"))


def pressed(key: str, character: str | None) -> str:
    """Return the key as people and the configuration write it: `X`, `f5`, `ctrl+g`."""
    plain = character and character.isprintable() and character != " " and not _held(key)
    return character if plain and character else key


def _caret(style: Style) -> Style:
    return Style(reverse=not style.reverse)


class Entry(Widget, can_focus=True):
    """One editable line. The caret is drawn in reverse and never blinks."""

    DEFAULT_CSS = "Entry { height: 1; }"

    def __init__(
        self,
        palette: Callable[[], Palette],
        value: str = "",
        *,
        ghost: str = "",
        plain: bool = False,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._palette = palette
        self.value = value
        self.ghost = ghost
        self.caret = len(value)
        self._plain = plain
        self.changed: Callable[[Entry], None] | None = None
        """Called, before anything else happens, when the text is another."""
        self._left = 0

    def set(self, value: str) -> None:
        """Replace the text; the caret goes to its end."""
        if value != self.value:
            self.value = value
            self.caret = len(value)
            self._changed()

    def _changed(self) -> None:
        self.refresh()
        if self.changed is not None:
            self.changed(self)

    def insert(self, text: str) -> None:
        """Put `text` in at the caret, without what cannot be seen."""
        clean = "".join(
            " " if char in "\r\n\t" else char
            for char in text
            if char in "\r\n\t" or not is_hidden(char)
        )
        if clean:
            self.value = self.value[: self.caret] + clean + self.value[self.caret :]
            self.caret += len(clean)
            self._changed()

    def edit(self, key: str, character: str | None) -> bool:
        """Take a key. False: it means nothing to a line, and its owner may."""
        at = self.caret
        moves = {
            "left": at - 1, "right": at + 1, "home": 0, "ctrl+a": 0,
            "end": len(self.value), "ctrl+e": len(self.value),
        }  # fmt: skip
        cuts = {
            "backspace": (at - 1, at), "ctrl+h": (at - 1, at), "delete": (at, at + 1),
            "ctrl+d": (at, at + 1), "ctrl+u": (0, at), "ctrl+k": (at, len(self.value)),
            "ctrl+w": (len(self.value[:at].rstrip().rpartition(" ")[0]), at),
        }  # fmt: skip
        if key in moves:
            self.caret = max(0, min(len(self.value), moves[key]))
            self.refresh()
        elif key in cuts:
            low, high = (max(0, place) for place in cuts[key])
            if self.value[low:high]:
                self.value = self.value[:low] + self.value[high:]
                self.caret = low
                self._changed()
        elif character and character.isprintable() and not _held(key):
            self.insert(character)
        else:
            return False
        return True

    def on_focus(self, _: Focus) -> None:
        """Show the caret."""
        self.refresh()

    def on_blur(self, _: Blur) -> None:
        """Hide the caret."""
        self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002  # one line
        """Draw the stretch of the text that holds the caret."""
        palette = self._palette()
        token = "bar" if self._plain else "entry-focus" if self.has_focus else "entry"
        style = palette.style(token)
        room = max(1, self.size.width)
        before = self.value[: self.caret]
        self._left = min(self._left, self.caret)
        while width(before[self._left :]) > room - 1:
            self._left += 1
        under = self.value[self.caret : self.caret + 1] or " "
        after = self.value[self.caret + 1 :]
        ghost = "" if self.value else self.ghost
        if self.has_focus:
            # The terminal's own cursor follows, for input methods and braille displays.
            self.app.cursor_position = self.content_region.offset + Offset(
                width(before[self._left :]), 0
            )
            parts = [
                (before[self._left :], style),
                (ghost[:1] or under, style + _caret(style)),
                (after or ghost[1:], style if after else palette.style(token, "dim")),
            ]
        else:
            parts = [(self.value, style), (ghost, palette.style(token, "dim"))]
        return strip(parts, room, style)
