"""A screen of its own beside the console: it takes keys, ends cleanly, and never prints values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.events import Event, Key, Paste

from console.tui.terminal import crash_report, lifeline, suspend
from console.tui.terminal.terminal_app import Dressed
from console.tui.theme.palette import Palette


class Small(Dressed, inherit_bindings=False):
    """One screen whose every key goes to `take`."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        palettes: dict[str, Palette],
        palette: Palette,
        *,
        state_folder: Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(palettes, palette, **options)
        self.crash_line = ""
        self._state_folder = state_folder

    async def on_mount(self) -> None:
        """Listen for the signals that end it."""
        if not self.is_headless:
            lifeline.listen(self.end)
            suspend.heed_signal(self._driver)
        self.app_resume_signal.subscribe(self, lambda _: self.redraw())
        self.opened()

    def opened(self) -> None:
        """Begin: the screen is there."""

    def take(self, key: str, character: str | None) -> None:
        """Take a key."""

    def paste(self, text: str) -> None:
        """Take what was pasted."""

    def end(self, code: int) -> None:
        """Leave, with this exit code."""
        self.exit(code, return_code=code)

    async def on_event(self, event: Event) -> None:
        """Take keys here, whatever is in focus."""
        if isinstance(event, Key) and self._running and self.screen_stack:
            if event.key == "ctrl+l":
                self.redraw()
            elif event.key == "ctrl+z":
                self.action_suspend_process()
            else:
                self.take(event.key, event.character)
        elif isinstance(event, Paste):
            self.paste(event.text)
        else:
            await super().on_event(event)

    def _handle_exception(self, error: Exception) -> None:
        # the toolkit's own handler prints every frame's locals
        if not self.crash_line:
            path = crash_report.write(error, self._state_folder) if self._state_folder else None
            self.crash_line = crash_report.last_words(error, path)
            self._exception = error
            self._exception_event.set()
        self._return_code = 1
        self._close_messages_no_wait()
