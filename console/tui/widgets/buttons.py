"""The end of a dialogue: Cancel and the verb; and the way there from field to field."""

from __future__ import annotations

from collections.abc import Callable

from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from console.tui.theme.palette import Palette
from console.tui.widgets.entry import Entry
from console.tui.widgets.strips import strip


class Buttons(Widget, can_focus=True):
    """Cancel and the verb, on one line. Cancel is chosen until the operator moves."""

    DEFAULT_CSS = "Buttons { height: 1; }"

    def __init__(self, palette: Callable[[], Palette], verb: str) -> None:
        super().__init__(id="buttons")
        self._palette = palette
        self.verb = verb
        self.why = ""
        self.yes = False
        self.meant = False
        """The verb was gone to before it could be chosen: it is, as soon as it can be."""
        self._passing = False

    def hold(self, why: str, *, passing: bool = False) -> None:
        """Say why the verb cannot be chosen; an empty text frees it.

        `passing`: it will end by itself, so that going to the verb is not in vain.
        """
        self._passing = passing
        if why != self.why:
            self.why = why
            self.yes = self.meant and not why
            if not (why and passing):
                self.meant = False
            self.refresh()

    def choose(self, key: str) -> bool:
        """Move between the two. False: the key is not for them."""
        if key in {"left", "right"}:
            self.yes = key == "right" and not self.why
            self.meant = key == "right" and self._passing
        elif key == "tab" and not self.yes and not self.why:
            self.yes = True
        elif key == "tab" and self._passing:
            self.meant = True
        else:
            return False
        self.refresh()
        return True

    def on_blur(self) -> None:
        """Whoever comes back is on Cancel again."""
        self.yes = self.meant = False
        self.refresh()

    def on_focus(self) -> None:
        """Show which is chosen."""
        self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002  # one line
        """Draw both, the chosen one in brackets."""
        palette = self._palette()
        base, chosen = palette.style(), palette.style("button")
        dim = palette.style("dim")
        on = self.has_focus
        cancel = ("[ Cancel ]", chosen if on else base) if not self.yes else ("  Cancel  ", base)
        verb = (f"[ {self.verb} ]", chosen) if self.yes else (f"  {self.verb}  ", base)
        if self.why:
            verb = (f"  {self.verb}: {self.why}", dim)
        return strip([cancel, ("  ", base), verb], self.size.width, base)


def go(dialogue: Screen[None], by: int) -> None:
    """Go to the next field of a dialogue, or the one before; after the last come the buttons.

    In the order in which they were made: Textual's own is that of the last layout, and passes
    over a field that was shown since then, so that what is typed next would go to a button.
    """
    stops = [each for each in dialogue.query(Widget) if isinstance(each, Entry | Buttons)]
    shown = [each for each in stops if all(above.display for above in each.ancestors_with_self)]
    at = next((at for at, each in enumerate(shown) if each is dialogue.focused), -by)
    dialogue.set_focus(shown[(at + by) % len(shown)])
