"""The console's application: the frame, the places, and reading what they show.

What the operator does with it is in `steer`; how it is drawn in `display`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.widget import Widget

from console.errors import PilotError
from console.model.stored import Page
from console.operations.spec import Operation
from console.present.cells import width
from console.tui import crash, lifeline
from console.tui.described import described
from console.tui.dressing import Dressed
from console.tui.entry import Entry
from console.tui.ink import Ink, Line
from console.tui.lines import Lines, Reading, ReadLine, Subject
from console.tui.link import APIS, Link
from console.tui.link import Place as Session
from console.tui.operate import Registry, params_of
from console.tui.place import Place
from console.tui.proofs import Proofs
from console.tui.quiet import Quiet
from console.tui.status import status_line
from console.tui.table import Table
from console.tui.tails import merged
from console.tui.theme import Palette
from console.tui.views import View
from console.tui.work import begin

if TYPE_CHECKING:
    from console.tui.tour import Tour

TICK_SECONDS = 5.0
"""How often ages may grow: an idle screen says nothing in between."""
STORY_EVERY = 3.0


class Frame(Dressed, inherit_bindings=False):
    """Status line, crumbs, a table or a reading, and the hint line that becomes a bar."""

    ENABLE_COMMAND_PALETTE = False
    tour: Tour | None = None
    """The tour, while it goes on."""
    CSS = """
    Screen { layout: vertical; background: $background; overflow: hidden; }
    #status, #crumbs, #hint { height: 1; }
    #body { height: 1fr; }
    #main, #reading { width: 1fr; height: 1fr; }
    #table { height: 1fr; }
    #above, #below { height: 0; }
    #detail { height: 1fr; display: none; }
    #reading { display: none; }
    #tour { height: 3; display: none; }
    #bar { height: 1; display: none; }
    #sigil { width: 2; height: 1; }
    #entry { width: 1fr; }
    """

    def __init__(
        self,
        session: Session,
        operations: Iterable[Operation],
        palettes: dict[str, Palette],
        palette: Palette,
        *,
        state_folder: Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(palettes, palette, **options)
        self.link = Link(session, self._api_told)
        self.proofs = Proofs(self.link)
        self.registry = Registry(operations)
        self.views: dict[str, View] = {}
        if self.registry.by_id:
            self.views = described(self.registry.by_id, self.proofs)
        self.places: list[Place] = []
        self.ahead: list[Place] = []
        self.message: Line = []
        self.crash_line = ""
        self._state_folder = state_folder
        self.quiet = Quiet()
        self._watchers: list[asyncio.Task[None]] = []
        self._crumbed = False

    @property
    def ground(self) -> str:
        """The token of the bars: a production screen is framed in its tier's own."""
        return "production" if self.link.tier == "production" else "bar"

    # life

    def compose(self) -> ComposeResult:
        """Lay out the frame."""
        yield Lines(self.palette, self.ground, id="status")
        yield Lines(self.palette, id="crumbs")
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield Lines(self.palette, id="above")
                yield Table(self.palette, self.quiet, id="table")
                yield Lines(self.palette, id="below")
            yield Reading(self.palette, id="reading")
            yield Lines(self.palette, id="detail")
        yield Lines(self.palette, "bar", id="tour")
        yield Lines(self.palette, self.ground, id="hint")
        with Horizontal(id="bar"):
            yield Lines(self.palette, "bar", id="sigil")
            yield Entry(self.palette, plain=True, id="entry")

    async def on_mount(self) -> None:
        """Start watching the APIs and the terminal, and land on what needs someone."""
        self.table = self.query_one("#table", Table)
        self.reading = self.query_one("#reading", Reading)
        self.entry = self.query_one("#entry", Entry)
        if not self.is_headless:
            lifeline.listen(self.end)
            self._watchers += [
                asyncio.create_task(lifeline.watch_terminal(self.end)),
                asyncio.create_task(self.quiet.sweep()),
            ]
        self._watchers += [asyncio.create_task(self.link.watch(api)) for api in APIS]
        self.app_resume_signal.subscribe(self, lambda _: self.redraw())
        self.set_interval(TICK_SECONDS, self.tick)
        self.first_place()
        if self.themes is not None:
            self.tell_wrong([*self.themes.wrong, *self.themes.notes])

    def tell_wrong(self, wrong: Sequence[str]) -> None:
        """Say the first of what is wrong with the setup; the command log has all of it."""
        for each in wrong:
            self.link.note(each, "bad")
        if wrong:
            more = f"{len(wrong)} left out (@): " if len(wrong) > 1 else ""
            self.message = [Ink(" "), Ink(more + wrong[0], "bad")]
            self.draw_frame()

    def first_place(self) -> None:
        """Go where the console opens: `steer` says where."""

    async def on_unmount(self) -> None:
        """Stop watching and close what the session opened."""
        for task in self._watchers:
            task.cancel()
        close = getattr(self.link.session, "aclose", None)
        if close is not None:
            await close()

    def end(self, code: int) -> None:
        """Leave, with this exit code."""
        self.exit(code, return_code=code)

    def _handle_exception(self, error: Exception) -> None:
        # Textual's own handler prints every frame's locals: keys and partners' text.
        if not self.crash_line:
            path = crash.write(error, self._state_folder) if self._state_folder else None
            self.crash_line = crash.last_words(error, path)
            self._exception = error
            self._exception_event.set()
        self._return_code = 1
        self._close_messages_no_wait()

    def panic(self, *_: Any) -> None:
        """Leave at once; what would have been printed is not."""
        self._handle_exception(RuntimeError("the terminal's input failed"))

    # the place in front

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

    def enter(self, place: Place, *, fresh: bool = True) -> None:
        """Put `place` in front and start reading it."""
        self.leave()
        if fresh:
            self.ahead.clear()
        self.places.append(place)
        self.show()

    def leave(self) -> None:
        """Keep what the operator made of the place in front."""
        if self.places and self.place.view is None:
            self.place.top, self.place.at = self.reading.top, self.reading.at

    def back(self) -> bool:
        """Go back one place. False: there is none."""
        if len(self.places) < 2:
            return False
        self.leave()
        self.ahead.append(self.places.pop())
        self.show()
        return True

    def forward(self) -> None:
        """Undo going back."""
        if self.ahead:
            self.enter(self.ahead.pop(), fresh=False)

    def show(self) -> None:
        """Show the place in front as it was left, and read it again."""
        place = self.place
        is_table = place.view is not None
        self.query_one("#main").display, self.reading.display = is_table, not is_table
        if not is_table:
            self.query_one("#detail").display = False
        if is_table:
            self._fill_table()
        else:
            self.reading.show(place.lines, place.top, place.at)
        if len(self.screen_stack) == 1 and not self.bar_open:
            self.body.focus()
        self.draw_frame()
        self.reload()

    @property
    def bar_open(self) -> bool:
        """Whether the hint line is a bar now."""
        return bool(self.query_one("#bar", Widget).display)

    def _fill_table(self) -> None:
        place = self.place
        view = place.view
        assert view is not None
        if place.local is not None:
            place.rows = place.local()
        empty: Sequence[str] = view.empty
        if place.state.filter and place.rows:
            empty = (f"Nothing matches /{place.state.filter}", "esc clears the filter.")
        elif place.stale:
            empty = (place.stale,)
        elif place.heard is None and place.local is None:
            empty = ("asking …",)
        elif place.raw and view.called is None:
            asked = ", ".join(f"{name}={value}" for name, value in place.raw.items())
            empty = (f"None with {asked}.", "esc goes back.")
        columns = view.columns if view.shaped is None else view.shaped(place.raw)
        state = place.state
        if view.tail is not None and not state.tail:
            state.tail = state.follow = True
        elif view.tail is None and place.heard is None and not state.cursor:
            # what comes first must not hold the cursor back from what is worse
            state.follow = True
        elif view.tail is None and len(place.parts | place.faults) == len(view.sources):
            state.follow = False
        self.table.show(columns, place.rows, view.row_id, place.state, empty=empty)
        self.around()

    def around(self) -> None:
        """Draw what stands around the rows: `looking` knows."""

    # reading

    def reload(self) -> None:
        """Read the place in front, now and again; what was being read before is dropped."""
        place = self.place
        if place.local is None and (place.view is not None or place.subject is not None):
            begin(self, partial(self._follow, place), "read")
        else:
            self.workers.cancel_group(self, "read")

    async def _follow(self, place: Place) -> None:
        while True:
            try:
                if place.view is not None:
                    await self._read_view(place, place.view)
                    pause = place.view.every
                else:
                    await self._read_story(place)
                    pause = STORY_EVERY
            except Exception as error:
                place.faults[0] = self.note_bug(error)
                pause = STORY_EVERY * 3
                self.draw_frame()
            await asyncio.sleep(pause)

    def note_bug(self, error: Exception) -> str:
        """Write the report of a bug that the console survives, and say so in a few words."""
        path = crash.write(error, self._state_folder) if self._state_folder else None
        words = f"a bug of the console ({type(error).__name__})"
        self.link.note(crash.last_words(error, path), "bad")
        return words

    async def _read_view(self, place: Place, view: View) -> None:
        await asyncio.gather(
            *(self._read_source(place, view, index) for index in range(len(view.sources)))
        )

    async def _read_source(self, place: Place, view: View, index: int) -> None:
        source = view.sources[index]
        now = datetime.now(UTC)
        asked = source.asks(place.raw)
        if asked is None:
            place.parts[index] = ()
            return
        held = place.parts.get(index, ())
        newer = view.tail(held) if view.tail is not None and held else {}
        raw = {**source.raw, **asked, **newer}
        if place.limit and len(view.sources) == 1:
            raw["limit"] = str(place.limit)
        before = place.raw
        try:
            params = params_of(source.op, raw, now)
            page = await self.link.read(source.op.run(params, self.link.session.engines, None))
        except PilotError as error:
            place.faults[index] = error.message
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
                place.faults[index] = "; ".join(page.warnings) or "some rows could not be had"
        if place is self.place:
            self._fill_table()
            self.draw_frame()

    async def _read_story(self, place: Place) -> None:
        assert place.subject is not None
        room = max(20, self.size.width - 2)
        try:
            value, lines = await self.told(place.subject, room)
        except PilotError as error:
            place.faults[0] = error.message
        else:
            place.faults.clear()
            place.heard = asyncio.get_running_loop().time()
            place.subject = place.subject._replace(value=value)
            place.lines = lines
        if place is self.place:
            if place.lines or not place.stale:
                self.reading.show(place.lines, self.reading.top, self.reading.at)
            self.draw_frame()

    async def told(self, subject: Subject, room: int) -> tuple[Any, list[ReadLine]]:
        """Return an object now, and its reading: `looking` knows."""
        raise NotImplementedError

    # the frame

    def _api_told(self) -> None:
        self.draw_frame()
        if self.places and self.is_running:
            self.around()

    def on_table_ready(self) -> None:
        """Say how many rows there are, and what the cursor is on."""
        if self.places and self.place.view is not None:
            self.draw_frame()
            self.around()

    def tick(self) -> None:
        """Let ages grow."""
        if self.places and self.place.view is not None:
            self.table.tick(datetime.now(UTC))
            self.around()
        self.draw_frame()

    def on_resize(self, _: Resize) -> None:
        """Fit the frame; a story is laid out anew."""
        if self.places:
            self.draw_frame()
            if self.place.view is None:
                self.reload()
            else:
                self.around()

    def draw_frame(self) -> None:
        """Draw status, crumbs and hint, as far as they changed."""
        if not self.places or not self.is_running:
            return
        room = self.size.width
        self.query_one("#status", Lines).set([status_line(self.link, room)])
        self.query_one("#crumbs", Lines).set([self._crumbs(room)])
        if self.tour is not None:
            self.tour.look()
        if not self.bar_open:
            self.query_one("#hint", Lines).set([self.message or self.hints(room)])

    def hints(self, room: int) -> Line:
        """Return the hint line: `steer` knows what can be done."""
        return [Ink(" " * room)]

    def offered(self) -> Line:
        """Return what the open bar may go on with: `steer` knows."""
        return []

    def _crumbs(self, room: int) -> Line:
        if self.bar_open and (offered := self.offered()):
            return offered
        place = self.place
        left: Line = [Ink(" ")]
        for each in self.places[-4:-1]:
            left += [Ink(each.title, "dim"), Ink(" > ", "dim")]
        left.append(Ink(place.title, "title"))
        if place.state.filter:
            left.append(Ink(f"  /{place.state.filter}", "mark"))
        right: Line = []
        if place.view is not None:
            shown, total = len(self.table.rows), self.table.total
            marked = len(place.state.marks)
            if marked:
                hidden = marked - self.table.marked_shown
                said = f"{marked} marked" + (f", {hidden} hidden" if hidden else "")
                right.append(Ink(said + "  ", "mark"))
            parts = [place.parts.get(at, ()) for at in range(len(place.view.sources))]
            aside = place.view.aside(parts)
            count = (
                f"{shown}/{total}"
                if shown != total
                else f"{total} row{'' if total == 1 else 's'}"
                if not place.more
                else f"{total}+ rows"
            )
            if place.paused:
                aside = [Ink(f"PAUSED, {place.waiting():,} new", "mark")]
            elif place.state.tail and place.state.follow:
                aside = [Ink("following", "dim")]
            elif place.state.tail and place.state.top:
                aside = [Ink(f"{place.state.top:,} above", "dim")]
            right += [*aside, Ink(f"  {count}" if aside else count, "dim")]
        stale = place.stale
        if stale and place.heard is not None:
            right = [Ink(stale, "bad"), *[Ink("  ")], *right[-1:]]
        used = sum(width(ink.text) for ink in left)
        taken = sum(width(ink.text) for ink in right)
        if used + taken + 2 > room and right:
            right = right[:1] if stale else right[-1:]
            taken = sum(width(ink.text) for ink in right)
        return [*left, Ink(" " * max(1, room - used - taken - 1)), *right]
