"""`pilotctl pick`: one row of one list, chosen by keys, for a script."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal

from console.errors import ExitCode, PilotError
from console.operations.spec import Operation
from console.present.columns import name_of
from console.tui.link.api_link import Place as Session
from console.tui.link.form_values import params_of
from console.tui.terminal.small_app import Small
from console.tui.theme.palette import Palette
from console.tui.views.list_views import View
from console.tui.widgets.background import begin
from console.tui.widgets.entry import Entry
from console.tui.widgets.rows import TableState
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.table import Table
from console.tui.widgets.text_lines import Lines


class Picker(Small, inherit_bindings=False):
    """The rows of a view, narrowed as one types. `picked` is what was chosen, if anything."""

    CSS = """
    Screen { layout: vertical; background: $background; overflow: hidden; }
    #title, #keys, #ask { height: 1; }
    #table { height: 1fr; }
    #sigil { width: 2; height: 1; }
    #filter { width: 1fr; }
    """

    def __init__(
        self,
        session: Session,
        op: Operation,
        view: View,
        palettes: dict[str, Palette],
        palette: Palette,
        **options: Any,
    ) -> None:
        super().__init__(palettes, palette, **options)
        self._session = session
        self._op = op
        self._view = view
        self._state = TableState()
        self.picked = ""
        self.fault: PilotError | None = None

    def compose(self) -> ComposeResult:
        """Lay out title, rows, filter and keys."""
        tier = str(self._session.profile.setting("tier"))
        ground = "production" if tier == "production" else "bar"
        title = Lines(self.palette, ground, id="title")
        name = self._session.profile.name
        title.set([[Ink(f" {name} ", "title"), Ink(tier.upper(), tier),
                    Ink(f"  pick one: {self._op.noun}")]])  # fmt: skip
        yield title
        yield Table(self.palette, id="table")
        with Horizontal(id="ask"):
            sigil = Lines(self.palette, "bar", id="sigil")
            sigil.set([[Ink(" /", "key")]])
            yield sigil
            yield Entry(self.palette, plain=True, id="filter")
        yield Lines(self.palette, ground, id="keys")

    def opened(self) -> None:
        """Ask for the rows."""
        self._table = self.query_one("#table", Table)
        self._filter = self.query_one("#filter", Entry)
        self._filter.changed = lambda entry: self._narrow(entry.value)
        self.screen.set_focus(self._filter)
        self._show((), ("asking …",))
        begin(self, self._read, "read")

    async def _read(self) -> None:
        self.fault = None
        try:
            params = params_of(self._op, self._view.sources[0].raw, datetime.now(UTC))
            flow = self._op.run(params, None)
            page = await self._session.arun(flow)
        except PilotError as error:
            self.fault = error
            self._show((), (f"cannot be had: {error.message}", error.hint, "ctrl+r asks again"))
        else:
            self._show(page.items, (*self._view.empty[:1], "esc leaves"))

    def _show(self, rows: Any, empty: tuple[str, ...]) -> None:
        self._table.show(self._view.columns, rows, self._view.row_id, self._state, empty=empty)
        self._keys()

    def _narrow(self, text: str) -> None:
        self._table.set_filter(text)
        self._keys()

    def _keys(self) -> None:
        shown, total = len(self._table.rows), self._table.total
        line: Line = [
            Ink(" enter ", "key"), Ink("pick  "), Ink("esc ", "key"), Ink("none  "),
            Ink(f"{shown}/{total}", "dim"),
        ]  # fmt: skip
        self.query_one("#keys", Lines).set([line])

    def paste(self, text: str) -> None:
        """Put it into the filter."""
        self._filter.insert(text)

    def take(self, key: str, character: str | None) -> None:
        """Move, pick, leave, or narrow."""
        table = self._table
        moves = {"up": -1, "down": 1, "ctrl+p": -1, "ctrl+n": 1}
        if key in moves:
            table.move(moves[key])
        elif key in {"pageup", "pagedown"}:
            table.page(-1 if key == "pageup" else 1)
        elif key == "enter":
            if table.current is not None:
                self.picked = name_of(table.current)
                self.end(0)
        elif key in {"escape", "ctrl+c", "ctrl+q"}:
            self.end(int(ExitCode.INTERRUPTED))
        elif key == "ctrl+r":
            begin(self, self._read, "read")
        else:
            self._filter.edit(key, character)
