"""What was copied, in a box: the terminal never says whether it took it."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical

from console.present.safe import safe
from console.tui.dialogs.dialog import Dialogue
from console.tui.theme.palette import Palette
from console.tui.widgets.background import ready
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines, wrap

SENT = "sent to the terminal's clipboard (unverified)"


class Copied(Dialogue):
    """The text, to select by hand where the terminal did not take it."""

    CSS = """
    Copied { align: center middle; background: transparent; }
    Copied > Vertical { width: 92%; max-width: 110; height: auto; max-height: 96%;
                        background: $background; border: solid $foreground; padding: 0 1; }
    Copied Lines { height: auto; }
    """

    def __init__(
        self,
        palette: Callable[[], Palette],
        text: str,
        fault: str,
        passed: Callable[[str, str | None], None],
    ) -> None:
        super().__init__()
        self._palette = palette
        self._text = text
        self._fault = fault
        self._passed = passed

    def compose(self) -> ComposeResult:
        """One box of lines."""
        with Vertical():
            yield Lines(self._palette, id="copied")

    def on_mount(self) -> None:
        """Show the text whole, as far as the screen goes."""
        box = self.part("copied", Lines)
        room = max(20, min(110, self.app.size.width * 92 // 100) - 4)
        most = max(1, self.app.size.height - 8)
        pieces = wrap(safe(self._text), room)
        said = f"not copied: {self._fault}" if self._fault else SENT
        lines: list[Line] = [
            [Ink(line, "bad" if self._fault else "good")] for line in wrap(said, room)
        ]
        lines += [[], *([Ink(piece)] for piece in pieces[:most])]
        if len(pieces) > most:
            lines.append([Ink(f"{len(pieces) - most} more lines", "dim")])
        lines += [[], [Ink("enter", "key"), Ink(" close")]]
        box.styles.height = len(lines)
        box.set(lines)
        ready(self)

    def take(self, key: str, character: str | None) -> None:
        """Close; a key that means something to the console is the console's."""
        self.app.pop_screen()
        if key not in {"enter", "escape", "space", "q", "y", "Y"}:
            self._passed(key, character)
