"""Keys, taken one after another: what is typed ahead belongs to what it was typed for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from textual.events import Event, Key, Paste
from textual.screen import Screen

from console.tui.app.frame import Frame
from console.tui.places.rows_view import Looking
from console.tui.widgets.strips import Ink


class KeyQueue:
    """Keys and pastes in the order in which they came; they wait while a dialogue opens."""

    def __init__(self) -> None:
        self._events: deque[Key | Paste] = deque()
        self._opening: Screen[Any] | None = None

    def put(self, event: Key | Paste) -> None:
        """Add what was typed or pasted last."""
        self._events.append(event)

    def hold_for(self, screen: Screen[Any]) -> None:
        """Hold everything until `screen` can take keys."""
        self._opening = screen

    def release(self, screen: Screen[Any]) -> bool:
        """Let go what was held for `screen`. False: it was not held for that one."""
        if screen is not self._opening:
            return False
        self._opening = None
        return True

    def ready(self) -> Iterator[Key | Paste]:
        """Yield the first events, each only once the one before was handled: it may hold them."""
        while self._events and self._opening is None:
            yield self._events.popleft()


class Keyed(Looking, Frame):
    """The frame, with its keys and pastes in one queue."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._key_queue = KeyQueue()

    def say(self, text: str, token: str = "") -> None:
        """Show a message on the hint line, until the next key."""
        self.message = [Ink(" "), Ink(text, token)]
        self.draw_frame()

    def refuse_suspend(self, why: str) -> None:
        """Say on the hint line why it is not suspended."""
        self.say(why, "bad")

    async def on_event(self, event: Event) -> None:
        """Take keys here, one after another, whatever is in focus.

        Textual hands each key to the widget that has the focus when it arrives; what is typed
        ahead of a bar or a dialogue would run as commands.
        """
        if isinstance(event, Key | Paste) and self.places:
            self.quiet.key()
            self._key_queue.put(event)
            self._take_typed()
        else:
            await super().on_event(event)

    def screen_ready(self, screen: Screen[Any]) -> None:
        """Let a dialogue that was just opened have what was typed ahead."""
        if self._key_queue.release(screen):
            self.call_later(self._take_typed)

    def open_screen(self, screen: Screen[Any]) -> None:
        """Open a dialogue; keys wait until it can take them."""
        self._key_queue.hold_for(screen)
        self.push_screen(screen)

    def _take_typed(self) -> None:
        for event in self._key_queue.ready():
            if isinstance(event, Paste):
                self._take_paste(event.text)
            else:
                self._take_key(event.key, event.character)
        self.draw_frame()

    def _take_paste(self, text: str) -> None:
        if len(self.screen_stack) > 1:
            paste = getattr(self.screen, "take_paste", None)
            if paste is not None:
                paste(text)
        elif self.bar_open:
            self.entry.insert(text)

    def _take_key(self, key: str, character: str | None) -> None:
        if key == "ctrl+l":
            self.redraw()
        elif key == "ctrl+z":
            self.action_suspend_process()
        elif key == "ctrl+q":
            self.leave_console()
        elif len(self.screen_stack) > 1:
            self.screen.take(key, character)  # type: ignore[attr-defined]  # all of ours do
        else:
            self.message = []
            self.take_key(key, character)

    def take_key(self, key: str, character: str | None) -> None:
        """Take a key that no dialogue is open for: `steer` knows."""

    def leave_console(self) -> None:
        """Leave, if nothing speaks against it."""
        self.end(0)
