"""Reading what the place in front shows, now and again, for as long as it is in front."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from textual.app import App
from textual.screen import Screen

from console.api.flow import Flow
from console.errors import PilotError
from console.model.stored import Page
from console.tui.link.api_link import LOOK_SECONDS, Link
from console.tui.link.form_values import Registry, params_of
from console.tui.link.log_proofs import Proofs
from console.tui.places.place import Place
from console.tui.theme.palette import Palette
from console.tui.views.list_views import View
from console.tui.views.stories import STORIES
from console.tui.views.story_reader import Story, story
from console.tui.views.tails import merged
from console.tui.widgets.background import begin
from console.tui.widgets.idle import Quiet
from console.tui.widgets.strips import Line
from console.tui.widgets.table import Table
from console.tui.widgets.text_lines import Reading, ReadLine, Subject

STORY_EVERY = 3.0


class Say(Protocol):
    """What shows a message on the hint line."""

    def __call__(self, text: str, token: str = "") -> None:
        """Show `text` until the next key."""


class Reads(App[int], inherit_bindings=False):
    """An application whose places are read from the APIs.

    What is only declared here is given by the frame: places and actions use the frame by
    these names, and import none of its classes.
    """

    link: Link
    registry: Registry
    proofs: Proofs
    quiet: Quiet
    table: Table
    reading: Reading
    places: list[Place]
    message: Line
    _state_folder: Path | None

    palette: Callable[[], Palette]
    send: Callable[[str], bool]
    note_bug: Callable[[Exception], str]
    say: Say
    enter: Callable[[Place], None]
    show: Callable[[], None]
    open_screen: Callable[[Screen[Any]], None]
    take_key: Callable[[str, str | None], None]
    draw_frame: Callable[[], None]
    _fill_table: Callable[[], None]

    @property
    def place(self) -> Place:
        """The place in front."""
        return self.places[-1]

    @property
    def body(self) -> Table | Reading:
        """The widget that shows it."""
        return self.table if self.place.view is not None else self.reading

    @property
    def subject(self) -> Subject | None:
        """What the cursor is on, or what the reading is about."""
        place = self.place
        if place.view is not None:
            row = self.table.current
            return None if row is None else place.view.subject(row)
        return self.reading.subject or place.subject

    @property
    def noun(self) -> str:
        """The noun of the view in front: what can be made here."""
        view = self.place.view
        return view.noun if view is not None else ""

    def end(self, code: int) -> None:
        """Leave, with this exit code."""
        self.exit(code, return_code=code)

    def reload(self) -> None:
        """Read the place in front, now and again; what was being read before is dropped."""
        place = self.place
        if place.local is None and (place.view is not None or place.subject is not None):
            begin(self, partial(self._follow, place), "read")
        else:
            self.workers.cancel_group(self, "read")

    async def _follow(self, place: Place) -> None:
        if place.view is None:
            await self._repeat(place, 0, partial(self._read_story, place), STORY_EVERY)
            return
        # each source by itself: one API that is slow or hangs keeps nothing else from being read
        await asyncio.gather(
            *(
                self._repeat(
                    place, at, partial(self._read_source, place, place.view, at), place.view.every
                )
                for at in range(len(place.view.sources))
            )
        )

    async def _repeat(
        self, place: Place, index: int, read: Callable[[], Awaitable[None]], pause: float
    ) -> None:
        while True:
            try:
                await read()
                wait = pause
            except Exception as error:
                place.miss(index, self.note_bug(error))
                wait = STORY_EVERY * 3
                self.draw_frame()
            await asyncio.sleep(wait)

    async def _read_source(self, place: Place, view: View, index: int) -> None:
        source = view.sources[index]
        now = datetime.now(UTC)
        asked = source.asks(place.raw)
        if asked is None:
            place.take(index, (), now)
            return
        held = place.part(index).known()
        newer = view.tail(held) if view.tail is not None and held else {}
        raw = {**source.raw, **asked, **newer}
        if place.limit and len(view.sources) == 1:
            raw["limit"] = str(place.limit)
        before = place.raw
        try:
            params = params_of(source.op, raw, now)
            page = await self._await_page(place, index, source.op.run(params, None))
        except PilotError as error:
            place.miss(index, error.message)
        else:
            # reading took its time: a key that came meanwhile goes before what was read
            await self.quiet.turn()
            if place.raw is not before:
                return
            items: Sequence[Any] = page.items if isinstance(page, Page) else [page]
            if isinstance(page, Page) and not newer and len(view.sources) == 1:
                place.more = bool(page.next_cursor)
            if view.tail is not None:
                items = merged(held, items, view.row_id, ascending=bool(newer))
            place.take(index, items, now)
            if isinstance(page, Page) and page.partial:
                place.miss(index, "; ".join(page.warnings) or "some rows could not be had")
        if place is self.place:
            self._fill_table()
            self.draw_frame()

    async def _await_page(self, place: Place, index: int, flow: Flow[Any]) -> Any:
        """Return the answer to one source; say meanwhile that it is late, where it is."""
        reading = asyncio.ensure_future(self.link.read(flow))
        try:
            done, _ = await asyncio.wait({reading}, timeout=LOOK_SECONDS)
            if not done:
                place.miss(index, f"no answer in {LOOK_SECONDS:g} s")
                if place is self.place:
                    self._fill_table()
                    self.draw_frame()
            return await reading
        finally:
            reading.cancel()

    async def _read_story(self, place: Place) -> None:
        assert place.subject is not None
        room = max(20, self.size.width - 2)
        try:
            value, lines = await self.told(place.subject, room)
        except PilotError as error:
            place.miss(0, error.message)
        else:
            place.take(0, (), datetime.now(UTC))
            place.subject = place.subject._replace(value=value)
            place.lines = lines
        if place is self.place:
            if place.lines or not place.stale:
                self.reading.show(place.lines, self.reading.top, self.reading.at)
            self.draw_frame()

    async def told(
        self, subject: Subject, room: int, *, glance: bool = False
    ) -> tuple[Any, list[ReadLine]]:
        """Return an object now, and its reading. Raises `PilotError` if it cannot be had."""
        return await story(
            subject, STORIES.get(subject.noun, Story()), self.registry, self.link, self.proofs,
            room=room, glance=glance,
        )  # fmt: skip
