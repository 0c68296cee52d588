"""The display layer: Textual composes, this writes.

Textual repaints regions; one changed cell of a table costs it ten kilobytes. The override
of `App._display` here keeps a `Canvas` of cells and writes the difference only. It is the
last thing that content passes on its way out, so it is also the guard against control
characters, and the place that drops frames while the link is behind.

`_display` is private to Textual, so `display_status` checks that what is relied on is
there; if it is not, stock drawing is used and `pilotctl doctor` says why.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from rich.color import ColorSystem
from rich.console import RenderableType
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.screen import Screen
from textual.strip import Strip

from console.tui.terminal.canvas import Canvas, Count, cells
from console.tui.terminal.coded_text import decoded, draw_plainly
from console.tui.terminal.unsure_widths import Cell

MAX_QUEUED = 1
"""Writes that may wait for the terminal before frames are held back."""
RETRY_SECONDS = 0.05

SYNC_START, SYNC_END = "\x1b[?2026h", "\x1b[?2026l"


class DisplayStatus(NamedTuple):
    """How the screen is drawn: by cell difference, or stock and why."""

    diff: bool
    why: str


def display_status() -> DisplayStatus:
    """Check that this Textual has what the cell difference stands on."""
    if os.environ.get("PILOTCTL_STOCK_DISPLAY") == "1":
        return DisplayStatus(False, "PILOTCTL_STOCK_DISPLAY=1 asks for stock drawing")
    missing = [
        name
        for name, there in (
            ("App._display(screen, renderable)", _takes(App, "_display", "screen", "renderable")),
            ("LayoutUpdate.strips, region", _takes(LayoutUpdate, "__init__", "strips", "region")),
            (
                "ChopsUpdate.chops, spans, chop_ends",
                _takes(ChopsUpdate, "__init__", "chops", "spans", "chop_ends"),
            ),
            ("Strip.render_ansi", callable(getattr(Strip, "render_ansi", None))),
            ("App.post_display_hook", callable(getattr(App, "post_display_hook", None))),
        )
        if not there
    ]
    if missing:
        return DisplayStatus(False, f"this Textual lacks {', '.join(missing)}")
    return DisplayStatus(True, "cell difference")


def _takes(owner: type, name: str, *parameters: str) -> bool:
    method = getattr(owner, name, None)
    return method is not None and list(inspect.signature(method).parameters)[1:] == list(parameters)


class Inks:
    """Rich styles as SGR parameters, for one colour system, remembered."""

    def __init__(self, system: ColorSystem) -> None:
        self.system = system
        self._known: dict[Style, str] = {}

    def sgr(self, style: Style | None) -> str:
        """Return the parameters between `ESC [ 0 ;` and `m`; links are never drawn."""
        if style is None:
            return ""
        known = self._known.get(style)
        if known is None:
            if len(self._known) > 4096:
                self._known.clear()
            known = self._known[style] = Strip.render_ansi(_undefaulted(style), self.system)
        return known

    def line(self, segments: Iterable[Segment], width: int) -> list[Cell]:
        """Return the segments as exactly `width` cells."""
        out: list[Cell] = []
        for text, style, control in segments:
            if not control:
                out += cells(decoded(text), self.sgr(style))
        if len(out) < width:
            out += [(" ", out[-1][1] if out else "")] * (width - len(out))
        return out[:width]


def _undefaulted(style: Style) -> Style:
    """Return the style without colours that are the terminal's own: a reset gives those."""
    fore, back = style.color, style.bgcolor
    if not (fore and fore.is_default) and not (back and back.is_default):
        return style
    keep = style.without_color
    return keep + Style(
        color=None if fore is None or fore.is_default else fore,
        bgcolor=None if back is None or back.is_default else back,
    )


def absorb(canvas: Canvas, update: object, inks: Inks) -> bool:
    """Put one of Textual's updates on the canvas. False: not a kind that is understood."""
    if isinstance(update, LayoutUpdate):
        region = update.region
        for y, strips in enumerate(update.strips, region.y):
            x = region.x
            for strip in strips:
                canvas.put(x, y, inks.line(strip, strip.cell_length))
                x += strip.cell_length
        return True
    if isinstance(update, ChopsUpdate):
        for y, x1, x2 in update.spans:
            for end, (x, chop) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if chop is None or x > x2 or end <= x1:
                    continue
                whole = x2 > x >= x1 and end <= x2
                strip = chop if whole else chop.crop(0, min(end, x2) - x)
                canvas.put(x, y, inks.line(strip, strip.cell_length))
        return True
    return False


class DiffApp(App[int]):
    """An App that writes cell differences. `count` tells frames and bytes."""

    def __init__(self, *, ascii_only: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.display_status = display_status()
        draw_plainly(plainly=not self.display_status.diff)
        self._canvas = Canvas(1, 1, ascii_only=ascii_only)
        self._inks = Inks(self.console._color_system or ColorSystem.TRUECOLOR)
        self._held = False

    @property
    def count(self) -> Count:
        """Frames painted and held back, and bytes sent."""
        return self._canvas.count

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        if not self.display_status.diff:
            super()._display(screen, renderable)
            return
        try:
            ready = self._running and not (self._batch_count or self._closed)
            if ready and renderable is not None:
                self._canvas.fit(self.size.width, self.size.height)
                if absorb(self._canvas, renderable, self._inks):
                    self.flush_canvas()
        finally:
            self.post_display_hook()

    def _set_pointer_shape(self, shape: str) -> None:
        """Send nothing: the mouse is not taken, and old terminals print the sequence."""

    def flush_canvas(self) -> None:
        """Write what is wanted and not shown, or hold it back while the link is behind."""
        driver = self._driver
        if driver is None or self.is_headless or not self.display_status.diff:
            return
        if self._behind():
            if not self._held:
                self._held = True
                self.set_timer(RETRY_SECONDS, self._retry)
            self._canvas.dropped += 1
            return
        at = self.screen.outer_size.clamp_offset(self.cursor_position)
        if data := self._canvas.paint((at.x, at.y)):
            driver.write(SYNC_START + data + SYNC_END if self._sync_available else data)
            driver.flush()

    def send(self, sequence: str) -> bool:
        """Write a control sequence of our own. False: the link is behind, nothing was sent.

        The one that there is asks for the clipboard (`console.tui.terminal.clipboard`).
        """
        driver = self._driver
        if driver is None or self._behind():
            return False
        if sequence and not self.is_headless:
            driver.write(sequence)
            driver.flush()
            self._canvas.sent += len(sequence)
        return True

    def copy_to_clipboard(self, text: str) -> None:
        """Send nothing: the toolkit's own way knows neither tmux nor a bound."""

    def _retry(self) -> None:
        self._held = False
        self.flush_canvas()

    def _behind(self) -> bool:
        thread = getattr(self._driver, "_writer_thread", None)
        queue = getattr(thread, "_queue", None)
        return queue is not None and queue.qsize() > MAX_QUEUED

    def redraw(self) -> None:
        """Clear the terminal and draw all of it again (ctrl+l, resume)."""
        self._canvas.forget()
        self.screen.refresh(layout=True)
        self.flush_canvas()
