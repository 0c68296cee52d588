"""Looking closer: what stands around a view's rows, the pane beside them, and live tails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from console.errors import PilotError
from console.present.cells import width
from console.tui.link.form_values import Doable, why_not
from console.tui.link.subjects import lock_target
from console.tui.places.place import Place
from console.tui.places.reader import Reads
from console.tui.views.list_views import Sight
from console.tui.views.stories import STORIES
from console.tui.views.story_reader import fields_of
from console.tui.views.tails import searching
from console.tui.widgets.background import begin
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Lines, ReadLine, Subject

WIDE = 110
"""Columns from which on the row under the cursor is told beside the table."""
MIN_PANE_CELLS, MAX_PANE_CELLS = 46, 84
PANE_PAUSE = 0.15
"""Seconds that the cursor rests on a row before the row's story is asked for."""
PANE_WAIT_SECONDS = 0.3
"""Seconds that the pane waits for the story of another row, before it tells what is known."""
PANE_EVERY = 3.0
MAX_ROWS = 100_000


class Looking(Reads):
    """The frame, with everything that a view describes beyond its rows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pane: tuple[str, str] = ("", "")
        self._pane_lines: list[ReadLine] = []
        self._proving = False
        self._moved = False

    # around the rows

    def sight(self, place: Place) -> Sight:
        """Return what the view in front knows of itself."""
        return Sight(
            place.every_part(), place.raw,
            self.table.current, self._main_room(), max(1, self.size.height - 3),
            datetime.now(UTC), self.proofs.health,
        )  # fmt: skip

    def _main_room(self) -> int:
        pane = self._pane_room()
        return self.size.width - (pane + 1 if pane else 0)

    def _pane_room(self) -> int:
        view = self.place.view if self.places else None
        if view is None or not view.told or self.size.width < WIDE or self.subject is None:
            return 0
        return max(MIN_PANE_CELLS, min(MAX_PANE_CELLS, self.size.width * 2 // 5))

    def around(self) -> None:
        """Draw what stands over, under and beside the rows."""
        place = self.place
        above, below = self.query_one("#above", Lines), self.query_one("#below", Lines)
        drawn: list[tuple[Lines, list[Line]]] = [(above, []), (below, [])]
        if place.view is not None and (place.parts or place.local is not None):
            seen = self.sight(place)
            drawn = [(above, place.view.above(seen)), (below, place.view.below(seen))]
        for widget, lines in drawn:
            if widget.styles.height is None or widget.styles.height.value != len(lines):
                widget.styles.height = len(lines)
            widget.set(lines)
        self._draw_pane()
        self._prove_seen()

    def on_table_moved(self) -> None:
        """Tell the row that the cursor came to."""
        if self.places and self.place.view is not None and not self._moved:
            # the key is answered by the cursor; what stands around it comes after
            self._moved = True
            self.call_after_refresh(self._after_move)

    def _after_move(self) -> None:
        self._moved = False
        if self.places and self.place.view is not None:
            self.around()
            self._ask_further()

    def _ask_further(self) -> None:
        """Ask for more rows when the cursor has come to the end of those that were asked for."""
        place, state = self.place, self.place.state
        at_end = state.index >= self.table.total - 1 and self.table.total > 1
        if place.more and at_end and not state.filter and self.table.total < MAX_ROWS:
            place.more = False
            place.limit = min(MAX_ROWS, 4 * self.table.total)
            if place.view is not None and place.view.tail is not None:
                place.parts.clear()
            self.reload()

    # the pane

    def _draw_pane(self) -> None:
        pane = self.query_one("#detail", Lines)
        room = self._pane_room()
        subject = self.subject
        if bool(pane.display) != bool(room):
            pane.display = bool(room)
        if not room or subject is None:
            self._pane, self._pane_lines = ("", ""), []
            self.workers.cancel_group(self, "pane")
            return
        if pane.styles.width is None or pane.styles.width.value != room + 1:
            pane.styles.width = room + 1
        if self.registry.show_op(subject.noun) is None and subject.noun not in STORIES:
            # the row is all there is to it, and it is here
            self._pane = (subject.noun, subject.id)
            self.workers.cancel_group(self, "pane")
            self._pane_lines = self._known(subject, room - 2)
        elif self._pane != (subject.noun, subject.id):
            # the story of the row before, which says whose it is, stays until this one is
            # known: half a story in between would cost a slow link two kilobytes a step
            if self._pane[0] != subject.noun:
                self._pane_lines = []
            self._pane = (subject.noun, subject.id)
            begin(self, partial(self._follow_pane, subject, room - 2), "pane")
        self._show_pane(subject, room)

    def _show_pane(self, subject: Subject, room: int) -> None:
        height = max(1, self.size.height - 3)
        keys = [[Ink("│ ", "border"), Ink(line, token)] for line, token in self._can(subject, room)]
        body = [[Ink("│ ", "border"), *line.inks] for line in self._pane_lines]
        left = height - len(keys) - 1
        if len(body) > left:
            rest = len(body) - left + 1
            body = [*body[: left - 1], [Ink("│ ", "border"),
                                        Ink(f"{rest} more lines: enter", "dim")]]  # fmt: skip
        rest_of_it = [[Ink("│", "border")]] * (left - len(body) + 1)
        self.query_one("#detail", Lines).set([*body, *rest_of_it, *keys])

    def _can(self, subject: Subject, room: int) -> list[tuple[str, str]]:
        """Return what can be done with the subject: its keys in one or two lines."""
        said: list[tuple[str, str, str]] = []
        taken = set()
        for each in self.can(subject):
            if each.op.key and each.op.key not in taken:
                taken.add(each.op.key)
                said.append((each.op.key, each.op.title.lower(), each.why))
        lines, line = [], ""
        for key, what, why in said:
            part = f"{key} {what}" if not why else f"({key} {what})"
            if line and width(line) + width(part) + 3 > room - 2:
                lines.append(line)
                line = ""
            line += ("   " if line else "") + part
        return [(each, "key") for each in [*lines, line][:3] if each]

    def can(self, subject: Subject) -> list[Doable]:
        """Return what can be done with the subject; the lock of it first."""
        here = self.registry.here(subject, self.noun, self.link)
        lock = self.registry.by_id.get("lock.add")
        if not lock_target(subject)[0]:
            return [each for each in here if each.op is not lock]
        if lock is not None and not any(each.op is lock for each in here):
            here.insert(0, Doable(lock, subject, why_not(lock, self.link)))
        return here

    async def _follow_pane(self, subject: Subject, room: int) -> None:
        await asyncio.sleep(PANE_PAUSE)
        late = asyncio.get_running_loop().call_later(
            PANE_WAIT_SECONDS, lambda: self._tell(subject, room, self._known(subject, room))
        )
        try:
            while True:
                try:
                    _, lines = await self.told(subject, room, glance=True)
                except PilotError as error:
                    lines = [*self._known(subject, room), ReadLine([Ink(error.message, "bad")])]
                except Exception as error:
                    lines = [ReadLine([Ink(self.note_bug(error), "bad")])]
                late.cancel()
                self._tell(subject, room, lines)
                await asyncio.sleep(PANE_EVERY)
        finally:
            late.cancel()

    def _known(self, subject: Subject, room: int) -> list[ReadLine]:
        return [] if subject.value is None else fields_of(subject.value, room)

    def _tell(self, subject: Subject, room: int, lines: list[ReadLine]) -> None:
        if self._pane == (subject.noun, subject.id):
            self._pane_lines = lines
            self._show_pane(subject, room + 2)

    # proofs

    def _prove_seen(self) -> None:
        view = self.place.view
        if view is None or not view.seen or self._proving:
            return
        top = self.place.state.top
        rows = self.table.rows[top : top + self.table.size.height]
        if any(self.proofs.word(row) == ".." for row in rows):
            self._proving = True
            begin(self, partial(self._prove, rows))

    async def _prove(self, rows: Any) -> None:
        try:
            changed = await self.proofs.prove(rows)
        finally:
            self._proving = False
        if changed and self.places and self.place.view is not None and self.place.view.seen:
            self.table.tick(datetime.now(UTC))
            self.around()

    # a view's own keys

    def view_key(self, key: str) -> bool:
        """Do what a key of the view in front does. False: it has no such key."""
        view = self.place.view
        found = next((each for each in view.keys if each.key == key), None) if view else None
        if found is None:
            return False
        if found.turn is not None:
            self.turn(found.turn)
        else:
            self.act(found.act)
        return True

    def press_view_key(self, key: str) -> None:
        """Do what a key of the view in front does, if it has it."""
        self.view_key(key)

    def turn(self, turned: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        """Ask the view in front for something else, in its place."""
        place = self.place
        place.raw = turned(place.raw)
        place.forget()
        self.show()

    def act(self, name: str) -> None:
        """Do one of `ACTS`, or begin the operation of that name."""
        if name in ACTS:
            ACTS[name](self)
            return
        self.begin_named(name)

    def begin_named(self, name: str) -> None:
        """Begin an operation by its id: `acting` knows how."""

    def export_rows(self) -> None:
        """Save what is shown: `steer` knows how."""

    def follow(self) -> None:
        """Keep the cursor on the newest row, or let it stay where it is."""
        state = self.place.state
        state.follow = not state.follow
        if state.follow:
            self.place.paused = False
            self.table.go(0)
            state.follow = True
        self._fill_table()
        self.draw_frame()

    def pause(self) -> None:
        """Hold the rows as they are, or go on."""
        self.place.paused = not self.place.paused
        if not self.place.paused:
            self.place.catch_up()
            self._fill_table()
        self.draw_frame()

    def search_log(self) -> bool:
        """Ask the API for what the filter asks, where it can search. True: it does."""
        place = self.place
        view = place.view
        if view is None or not view.searched or not place.state.filter:
            return False
        raw, left = searching(view, place.state.filter)
        if not raw:
            return False
        found = Place(view.name, view, {**place.raw, **raw})
        found.state.filter = left
        place.state.filter = ""
        self.enter(found)
        return True


ACTS: dict[str, Callable[[Looking], None]] = {
    "follow": Looking.follow,
    "pause": Looking.pause,
    "export": lambda looking: looking.export_rows(),
}
"""What a key of a view can do."""
