"""A widget of whole lines: what was drawn of a line is kept until that line is drawn anew.

Textual asks every widget for all of its lines whenever anything on the screen changes, and
goes through each of them again.
"""

from __future__ import annotations

from typing import Any, Self

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from console.tui.widgets.strips import stretches, whole_line


class Drawn(Widget):
    """A widget that keeps its lines. `refresh` with regions says which are other now."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._kept: dict[int, Strip] = {}
        self._kept_for: object = None

    def refresh(self, *regions: Region, **options: Any) -> Self:
        """Have lines drawn anew: those of `regions`, or all."""
        if not regions:
            self._kept.clear()
        for region in regions:
            for y in region.line_range:
                self._kept.pop(y, None)
        return super().refresh(*regions, **options)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return lines, as they were where nothing was refreshed."""
        made_for = (self.size, self.background_colors, crop.column_span)
        if self._kept_for != made_for:
            self._kept.clear()
            self._kept_for = made_for
        missing = [y for y in crop.line_range if y not in self._kept]
        for y, count in stretches(missing):
            lines = super().render_lines(Region(crop.x, y, crop.width, count))
            self._kept.update(enumerate(map(whole_line, lines), y))
        return [self._kept[y] for y in crop.line_range]
