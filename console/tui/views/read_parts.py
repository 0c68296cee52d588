"""What is known of one list: its rows and their age, or that nothing is known.

A list that was never read has no rows to count: `items` is None, and each view must say
what it shows then. Zero is only what an API has answered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from console.present.amounts import counted
from console.tui.link.api_link import coarse_age


@dataclass(frozen=True, slots=True)
class Part:
    """What a list answered, and when."""

    items: Sequence[Any] | None = None
    """None: never read."""
    heard: float | None = None
    """When it was read, by the monotonic clock."""
    fault: str = ""
    """Why the newest reading failed, or is not whole; empty where it is the present."""

    @property
    def age(self) -> str:
        """How old rows are that are not the present, in coarse steps; empty for those that are."""
        if not self.fault or self.items is None or self.heard is None:
            return ""
        return coarse_age(time.monotonic() - self.heard)

    def known(self) -> Sequence[Any]:
        """Return the rows to list. Never to be counted: none may mean that nobody could look."""
        return () if self.items is None else self.items


UNREAD = Part()


def count_words(
    part: Part, noun: str, *, tail: str = "", most: int = 0, of: int | None = None
) -> str:
    """Return `12 alerts open`, `12 alerts open, 5m old`, or `alerts unknown`.

    `of` is the number where not every row counts. With `most` rows read there may be more.
    """
    if part.items is None:
        return f"{noun}s unknown"
    read = len(part.items)
    said = counted(read if of is None else of, noun, more=bool(most) and read >= most) + tail
    return f"{said}, {part.age} old" if part.age else said
