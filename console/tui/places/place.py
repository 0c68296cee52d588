"""Where the operator is: a view with what they made of it, so that going back is exact."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from console.present.columns import short
from console.tui.link.api_link import coarse_age
from console.tui.places.typed_command import Command, write
from console.tui.views.list_views import ROWS, View
from console.tui.views.read_parts import UNREAD, Part
from console.tui.widgets.rows import TableState
from console.tui.widgets.text_lines import ReadLine, Subject


@dataclass
class Place:
    """A table over a view, the story of a subject, or some text."""

    name: str
    view: View | None = None
    raw: Mapping[str, str] = field(default_factory=dict)
    state: TableState = field(default_factory=TableState)
    parts: dict[int, Part] = field(default_factory=dict)
    """What each source has answered, by its number; a story is one source."""
    rows: Sequence[Any] = ()
    heard: float | None = None
    subject: Subject | None = None
    lines: Sequence[ReadLine] = ()
    top: int = 0
    at: int = -1
    limit: int = 0
    """How many rows are asked for, where the operator went past the view's own number."""
    more: bool = False
    """There are more rows than were asked for."""
    paused: bool = False
    """A tail whose rows are held as they are."""
    local: Callable[[], Sequence[Any]] | None = None
    """Where the rows come from, for views of the console's own (help, log)."""

    @property
    def title(self) -> str:
        """What the crumbs call it."""
        if self.subject is not None:
            return self.subject.noun if self.subject.noun in ROWS else short(self.subject.id)
        if self.view is not None and self.view.called is not None:
            return self.view.called(self.raw)
        said = [
            value if name == "partner" else f"{name}={value}"
            for name, value in self.raw.items()
            if name not in {"limit", "cursor"}
        ]
        return " ".join([self.name, *said])

    @property
    def command(self) -> str:
        """The command line that leads here: a view can be shared as it."""
        if self.subject is not None:
            return f"{self.subject.noun} {self.subject.id}"
        return write(Command(self.name, [], dict(self.raw), self.state.filter))

    def take(self, index: int, items: Sequence[Any], now: datetime) -> None:
        """Note what one source answered; while it is paused, the rows stay as they are."""
        self.heard = time.monotonic()
        self.parts[index] = Part(items, self.heard)
        if self.view is not None and not self.paused:
            self.rows = self._made(now)

    def miss(self, index: int, why: str) -> None:
        """Note why a source gave no answer, or not all of it; its older rows stay, as old."""
        self.parts[index] = replace(self.part(index), fault=why)
        self.join()

    def join(self) -> bool:
        """Make the rows of a joined view anew, as things stand; tell whether there are such."""
        if self.view is None or self.view.joined is None or self.paused:
            return False
        self.rows = self._made(datetime.now(UTC))
        return True

    def part(self, index: int) -> Part:
        """Return what is known of one source."""
        return self.parts.get(index, UNREAD)

    def every_part(self) -> list[Part]:
        """Return what is known of each source of the view."""
        return [self.part(at) for at in range(len(self.view.sources) if self.view else 1)]

    @property
    def faults(self) -> dict[int, str]:
        """Why a source's newest reading failed, by its number."""
        return {at: part.fault for at, part in self.parts.items() if part.fault}

    def catch_up(self) -> None:
        """Show what came while it was paused."""
        if self.parts:
            self.rows = self._made(datetime.now(UTC))

    def forget(self) -> None:
        """Drop what was read: something else is asked for."""
        self.parts.clear()
        self.rows = ()
        self.heard = None

    def waiting(self) -> int:
        """Return how many rows came while it was paused."""
        return len(self._made(datetime.now(UTC))) - len(self.rows) if self.paused else 0

    def _made(self, now: datetime) -> Sequence[Any]:
        assert self.view is not None
        sources = self.view.sources
        if self.view.joined is not None:
            return self.view.joined(self.every_part(), self.raw)
        if len(sources) == 1:
            return sources[0].rows(self.part(0).known(), now)
        return [
            row
            for at, source in enumerate(sources)
            for row in source.rows(self.part(at).known(), now)
        ]

    @property
    def stale(self) -> str:
        """What keeps it from being the present, in words; empty where nothing does."""
        wrong = [part for part in self.parts.values() if part.fault]
        if not wrong:
            return ""
        # what was never read is worse than the oldest that was
        worst = min(wrong, key=lambda part: -1.0 if part.heard is None else part.heard)
        if worst.heard is None:
            return f"{'some of it ' if self.heard else ''}cannot be had: {worst.fault}"
        return f"OLD, from {coarse_age(time.monotonic() - worst.heard)} ago: {worst.fault}"
