"""The console's application: the frame and the places.

How they are read is in `reads`, what the operator does in `steer`, how it is drawn in `display`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.widget import Widget

from console.operations.spec import Operation
from console.tui.app.status_line import status_line
from console.tui.link.api_link import APIS, Link
from console.tui.link.api_link import Place as Session
from console.tui.link.form_values import Registry
from console.tui.link.log_proofs import Proofs
from console.tui.places.crumbs import crumbs
from console.tui.places.place import Place
from console.tui.places.reader import Reads
from console.tui.terminal import crash_report, lifeline, suspend
from console.tui.terminal.terminal_app import Dressed
from console.tui.theme.palette import Palette
from console.tui.views.list_views import View
from console.tui.views.view_registry import described
from console.tui.widgets.entry import Entry
from console.tui.widgets.idle import Quiet
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.table import Table
from console.tui.widgets.text_lines import Lines, Reading

if TYPE_CHECKING:
    from console.tui.app.tour import Tour

TICK_SECONDS = 5.0
MAX_PLACES = 50
"""Places that can be gone back to: the first, and the last that were entered."""
PLACES_WITH_ROWS = 6
"""Of them, those that keep what they read: the last ones."""
"""How often ages may grow: an idle screen says nothing in between."""


class Frame(Reads, Dressed, inherit_bindings=False):
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
            self.views = described(self.registry.by_id, self.proofs, self.link.health.values)
        self.places: list[Place] = []
        self.ahead: list[Place] = []
        self.message: Line = []
        self.crash_line = ""
        self._state_folder = state_folder
        self.note_bug = crash_report.BugReports(state_folder, self.link.note).note
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
            suspend.heed_signal(self._driver)
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

    def _handle_exception(self, error: Exception) -> None:
        # Textual's own handler prints every frame's locals: keys and partners' text.
        if not self.crash_line:
            path = crash_report.write(error, self._state_folder) if self._state_folder else None
            self.crash_line = crash_report.last_words(error, path)
            self._exception = error
            self._exception_event.set()
        self._return_code = 1
        self._close_messages_no_wait()

    def panic(self, *_: Any) -> None:
        """Leave at once; what would have been printed is not."""
        self._handle_exception(RuntimeError("the terminal's input failed"))

    # the place in front

    def enter(self, place: Place, *, fresh: bool = True) -> None:
        """Put `place` in front and start reading it."""
        self.leave()
        if fresh:
            self.ahead.clear()
        self.places.append(place)
        # where it all began stays
        del self.places[1 : max(1, len(self.places) - MAX_PLACES + 1)]
        _forget_rows(self.places)
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
        _forget_rows(self.ahead)
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
        empty: Sequence[str] = [self.registry.keyed(line) for line in view.empty]
        if place.state.filter and place.rows:
            empty = (f"Nothing matches /{place.state.filter}", "esc clears the filter.")
        elif place.stale:
            empty = (place.stale,)
        elif place.local is None and any(part.items is None for part in place.every_part()):
            empty = ("asking …",)
        elif place.raw and view.called is None:
            asked = ", ".join(f"{name}={value}" for name, value in place.raw.items())
            empty = (f"None with {asked}.", "esc goes back.")
        columns = view.columns if view.shaped is None else view.shaped(place.raw)
        state = place.state
        if view.tail is not None and not state.tail:
            state.tail = state.follow = True
        elif view.tail is None and not state.cursor:
            # what comes first must not hold the cursor back from what is worse
            state.follow = True
        self.table.show(columns, place.rows, view.row_id, place.state, empty=empty)
        if view.tail is None and len(place.parts) == len(view.sources):
            state.follow = False
        self.around()

    def around(self) -> None:
        """Draw what stands around the rows: `looking` knows."""

    # the frame

    def _api_told(self) -> None:
        if self.places and self.is_running and self.place.local is None and self.place.join():
            self._fill_table()
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
        return crumbs(self.places, self.table, room)


def _forget_rows(places: Sequence[Place]) -> None:
    """Drop the rows of all but the last places; they are read again when one is gone back to."""
    for each in places[:-PLACES_WITH_ROWS]:
        if each.view is not None and not each.paused:
            each.forget()
