"""A screen over the console, whose parts are there for whatever comes while it closes.

A plan, a list of choices and what was put off until after the next drawing all come at a
moment of their own. By then the dialogue may be closing, and its parts gone from the tree in
which Textual looks for them.
"""

from __future__ import annotations

from typing import TypeVar

from textual.screen import ModalScreen
from textual.widget import Widget

W = TypeVar("W", bound=Widget)


class Dialogue(ModalScreen[None]):
    """A modal screen that keeps hold of its parts."""

    def part(self, name: str, kind: type[W]) -> W:
        """Return the widget with the id `name`, on the screen or gone from it since.

        Raises `NoMatches` before the dialogue was composed, and for a name that it has not.
        """
        known: dict[str, Widget] = self.__dict__.setdefault("_parts", {})
        if not known:
            known.update({each.id: each for each in self.query(Widget) if each.id})
        found = known.get(name)
        if not isinstance(found, kind):
            found = known[name] = self.query_one(f"#{name}", kind)
        return found

    @property
    def is_open(self) -> bool:
        """Whether it is among the screens, on top or not."""
        return self in self.app.screen_stack
