"""Which rows a table shows, in which order, and where its cursor is: nothing of how they look.

Rows are any sequence. The cursor is kept by id, so that it stays on its row when rows come,
go or are sorted anew. What the operator did (sort, filter, cursor, marks, scroll) is a
`TableState` that outlives the widget. Many rows are filtered and sorted bit by bit, while
those before are still shown.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from console.parsing.filters import matcher
from console.present.table_columns import TableColumn
from console.tui.widgets.background import begin
from console.tui.widgets.cached_lines import Drawn
from console.tui.widgets.idle import Quiet, at_once
from console.tui.widgets.row_order import Arranged, arranged
from console.tui.widgets.row_texts import Texts

SAMPLE, AGAIN = 200, 10
"""Rows that are measured for the columns' widths, at first and each time after."""
NEAR = 500
"""Rows either side of its old place in which the cursor's row is looked for first."""
AT_ONCE = 2_000
"""Rows that are filtered and sorted while the keys wait: a few milliseconds of work."""


@dataclass
class TableState:
    """What the operator made of a table."""

    cursor: str = ""
    index: int = 0
    top: int = 0
    sort: str = ""
    descending: bool = False
    filter: str = ""
    marks: set[str] = field(default_factory=set)
    anchor: str = ""
    tail: bool = False
    """New rows come at the top: the row under the cursor stays where it is on the screen."""
    follow: bool = False
    """The cursor stays on the first row, whichever that is."""


class Rows(Drawn):
    """The rows of a table, and the place of its cursor and its marks among them."""

    def __init__(self, quiet: Quiet | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._quiet = quiet or Quiet()
        self.columns: Sequence[TableColumn] = ()
        self.state = TableState()
        self.empty: list[str] = []
        self._said = Texts()
        self._all: Sequence[Any] = ()
        self._rows: Sequence[Any] = ()
        self._id_of: Callable[[Any], str] = str
        self._places: dict[str, int] | None = None
        self._hidden: set[str] = set()
        self._working: object = None
        """What is being arranged bit by bit: filter, sort and columns, or None."""
        self._again = False

    @property
    def rows(self) -> Sequence[Any]:
        """The rows that the filter lets through, in order."""
        return self._rows

    @property
    def total(self) -> int:
        """How many rows there are without the filter."""
        return len(self._all)

    @property
    def current(self) -> Any:
        """The row under the cursor, or None."""
        return self._rows[self.state.index] if self.state.index < len(self._rows) else None

    @property
    def now(self) -> datetime:
        """The moment that ages are worked out for."""
        return self._said.now

    @property
    def marked(self) -> list[Any]:
        """The marked rows that are still there, shown or hidden by the filter."""
        return [row for row in self._all if self._id_of(row) in self.state.marks]

    @property
    def marked_shown(self) -> int:
        """How many of the marked rows the filter lets through."""
        return len(self.state.marks - self._hidden)

    def _arrange(self) -> None:
        """Filter, sort, and put the cursor back where it was: now, or soon where rows are many."""
        if len(self._all) <= AT_ONCE or not self.is_running:
            self._take(at_once(self._steps()))
        elif self._as_they_came:
            self._take(Arranged(self._all, {}))
        else:
            self._arrange_in_slices()

    @property
    def _as_they_came(self) -> bool:
        """Whether the rows need neither to be read one by one nor to be put in order."""
        state = self.state
        return not (
            state.filter.strip() or state.sort or state.marks
            or (state.cursor and not state.follow and self._near(self._all) is None)
        )  # fmt: skip

    def _arrange_in_slices(self) -> None:
        state = self.state
        asked = (state.filter, state.sort, state.descending, self.columns, id(state))
        if self._working == asked:
            self._again = True
            return
        self._working, self._again = asked, False
        if not self._rows:
            self.empty = [f"arranging {len(self._all):,} rows …"]
        begin(self, partial(self._arrange_slowly, asked), "arrange")

    async def _arrange_slowly(self, asked: object) -> None:
        while self._working == asked:
            self._again = False
            found = await self._quiet.in_slices(self._steps())
            if self._working != asked:
                return
            self._take(found)
            self._arranged()
            if not self._again:
                self._working = None

    def _steps(self) -> Generator[None, None, Arranged]:
        state = self.state
        test = matcher(
            state.filter,
            {column.name: self._said.reader(column) for column in self.columns},
            self._said.whole,
        )
        column = next((each for each in self.columns if each.name == state.sort), None)
        sought = state.marks | ({state.cursor} if state.cursor else set())
        return arranged(
            self._all, self._id_of, sought,
            test=test, key=column.key if column else None, descending=state.descending,
        )  # fmt: skip

    def _take(self, found: Arranged) -> None:
        """Show rows in their order; cells that say something else than before are marked."""
        self._rows = found.rows
        self._said.renew()
        self._places = None
        self._hidden = self.state.marks - found.places.keys()
        if len(self._all) <= AT_ONCE:
            self._working = None
        self._measure()
        self._find_cursor(found.places)
        self._said.compare(self._seen())

    def _seen(self) -> Sequence[Any]:
        return self._rows[self.state.top : self.state.top + self._height]

    def _measure(self) -> None:
        rows = self._rows
        again = len(self._said.natural) == len(self.columns)
        step = max(1, -(-len(rows) // (AGAIN if again else SAMPLE)))
        self._said.measure([*self._seen(), *(rows[at] for at in range(0, len(rows), step))])

    def _place(self, id: str) -> int | None:
        if self._places is None:
            self._places = {self._id_of(row): at for at, row in enumerate(self._rows)}
        return self._places.get(id)

    def _near(self, rows: Sequence[Any]) -> int | None:
        """Return where the cursor's row is, if not far from where it was: new rows push it on.

        Rows by the hundred thousand would take a tenth of a second to look up by id.
        """
        state = self.state
        at = min(state.index, len(rows) - 1)
        for by in range(NEAR):
            for place in {at + by, at - by}:
                if 0 <= place < len(rows) and self._id_of(rows[place]) == state.cursor:
                    return place
        return None

    def _find_cursor(self, places: dict[str, int]) -> None:
        state = self.state
        index = min(state.index, len(self._rows) - 1)
        if state.follow:
            index, state.top = 0, 0
        elif state.cursor and not (
            0 <= index < len(self._rows) and self._id_of(self._rows[index]) == state.cursor
        ):
            found = places.get(state.cursor)
            if found is None and self._rows:
                found = self._near(self._rows)
            if found is not None and (state.tail or state.top):
                state.top = max(0, state.top + found - state.index)
            index = index if found is None else found
        state.index = max(0, index)
        state.cursor = self._id_of(self._rows[state.index]) if self._rows else state.cursor
        self._keep_in_view()

    @property
    def _height(self) -> int:
        return max(1, self.size.height - 1)

    def _keep_in_view(self) -> None:
        state, height = self.state, self._height
        if self.size.height:
            state.top = max(min(state.top, state.index), state.index - height + 1)
            state.top = max(0, min(state.top, len(self._rows) - height))

    def _arranged(self) -> None:
        """Show what was arranged bit by bit."""
