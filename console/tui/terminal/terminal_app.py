"""An application that wears a theme, and can change it as it runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from textual.widget import Widget

from console.tui.terminal import suspend
from console.tui.terminal.display import DiffApp
from console.tui.theme.library import Themes
from console.tui.theme.palette import Palette

LOOK_SECONDS = 1.0
"""How often the files of the themes are looked at, where that is asked for."""


class Dressed(DiffApp, inherit_bindings=False):
    """The palette that every widget draws with, and the themes to choose another from."""

    themes: Themes | None = None
    """Where the palettes came from; none where they were handed over."""

    def __init__(self, palettes: dict[str, Palette], palette: Palette, **options: Any) -> None:
        super().__init__(**options)
        self.palettes = palettes
        self.palette_now = palette
        self._worn = 0
        self._watching: asyncio.Task[None] | None = None
        self._tell_toolkit(palette)
        self.animation_level = "none"

    def action_suspend_process(self) -> None:
        """Stop the whole job, as a shell expects of Ctrl-Z; say so where none is there."""
        if self._driver is None or not self._driver.can_suspend:
            return
        if why := suspend.why_not():
            self.refuse_suspend(why)
            return
        self._suspend_signal()
        suspend.stop_job(self._driver)

    def refuse_suspend(self, _why: str) -> None:
        """Say that it is not suspended, and why; a screen without a line for it rings."""
        self.bell()

    def palette(self) -> Palette:
        """Return the palette in use."""
        return self.palette_now

    def wear(self, palette: Palette) -> None:
        """Draw everything with `palette` from now on."""
        if palette == self.palette_now:
            return
        self.palette_now = palette
        self._tell_toolkit(palette)
        for screen in self.screen_stack:
            screen.refresh(layout=True)
            for widget in screen.query(Widget):
                widget.refresh()

    def _tell_toolkit(self, palette: Palette) -> None:
        # a name of its own each time: the toolkit does not look at a theme's colours again
        self._worn += 1
        theme = palette.theme()
        theme = replace(theme, name=f"{theme.name}-{self._worn}")
        before = self.theme
        self.register_theme(theme)
        self.theme = theme.name
        if before.startswith("pilotctl-"):
            self.unregister_theme(before)

    def read_themes(self) -> list[str]:
        """Read the themes again, and wear what the one that is worn has become.

        Returns what is wrong with any of them. One that no longer reads stays as it was.
        """
        if self.themes is None:
            return []
        self.themes.load()
        self.palettes = self.themes.palettes
        now = self.palettes.get(self.palette_now.name)
        if now is not None:
            self.wear(now)
        return [*self.themes.wrong, *self.themes.notes]

    @property
    def watches_themes(self) -> bool:
        """Whether the files are looked at as they change."""
        return self._watching is not None

    def watch_themes(self, told: Any) -> None:
        """Begin to look at the files, or stop; `told(wrong)` is called when one changed."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
            return
        self._watching = asyncio.get_running_loop().create_task(self._watch(told))

    async def _watch(self, told: Any) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.themes is not None and self.themes.changed():
                told(self.read_themes())
