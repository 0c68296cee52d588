"""The virtual table: only the rows on the screen are ever drawn or measured.

Rows are any sequence; a column reads what it shows from a row. The cursor is kept by id,
so that it stays on its row when rows come, go or are sorted anew. What the operator did
(sort, filter, cursor, marks, scroll) is a `TableState` that outlives the widget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from rich.style import Style
from textual.events import Resize
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from console.present.cells import Align, fit, width
from console.tui.command import matcher
from console.tui.ink import strip
from console.tui.theme import Palette

SAMPLE = 200
"""Rows that are measured for the columns' widths."""
GAP = 2
NEAR = 500
"""Rows either side of its old place in which the cursor's row is looked for first."""
EASY = 18
"""Cells of a cell that are read without guessing the rest."""

T = TypeVar("T")


class TableColumn(NamedTuple):
    """One column. `token` says how a row's cell is drawn, `key` what it is sorted by."""

    name: str
    text: Callable[[Any, datetime], str]
    token: Callable[[Any], str]
    key: Callable[[Any], Any]
    priority: int = 1
    """0 is always shown; the highest goes first when room is short."""
    least: int = 4
    most: int = 60
    align: Align = "left"
    moves: bool = False
    """Changes by itself as time passes: never marked as changed."""


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


def arrange(columns: Sequence[TableColumn], natural: Sequence[int], room: int) -> dict[int, int]:
    """Return the index and width of each column to show, in `room` cells.

    Columns go by priority until the least widths fit; then the widest are cut.
    """
    chosen = list(range(len(columns)))

    def least(index: int) -> int:
        wanted = min(columns[index].least, columns[index].most)
        return max(1, len(columns[index].name), min(wanted, max(natural[index], 1)))

    def total() -> int:
        return sum(least(index) + GAP for index in chosen) - GAP

    def readable() -> int:
        return sum(max(least(index), min(natural[index], EASY)) + GAP for index in chosen) - GAP

    while len(chosen) > 1:
        drop = max(chosen, key=lambda index: (columns[index].priority, index))
        priority = columns[drop].priority
        # what matters less must not squeeze what matters more
        if priority == 0 or (readable() if priority > 1 else total()) <= room:
            break
        chosen.remove(drop)
    widths = {
        index: max(least(index), min(natural[index], columns[index].most)) for index in chosen
    }
    over = sum(widths.values()) + GAP * (len(widths) - 1) - room
    while over > 0:
        # the widest gives way first, so that short cells stay whole
        wide = [index for index in widths if widths[index] > least(index)]
        widest = max(wide or widths, key=lambda index: widths[index])
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
        over -= 1
    return widths


def ordered(rows: Sequence[T], key: Callable[[T], Any], *, descending: bool) -> list[T]:
    """Return `rows` sorted by `key`; rows without a value come last either way."""
    with_value = [row for row in rows if key(row) not in {None, ""}]
    without = [row for row in rows if key(row) in {None, ""}]
    try:
        with_value.sort(key=key, reverse=descending)
    except TypeError:
        with_value.sort(key=lambda row: str(key(row)), reverse=descending)
    return with_value + without


class Table(Widget, can_focus=True):
    """A table of any number of rows, drawn line by line."""

    class Moved(Message):
        """The cursor is on another row."""

    class Opened(Message):
        """Enter was pressed on a row."""

    def __init__(self, palette: Callable[[], Palette], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._palette = palette
        self.columns: Sequence[TableColumn] = ()
        self.state = TableState()
        self.empty: list[str] = []
        self.now = datetime.now(UTC)
        self._all: Sequence[Any] = ()
        self._rows: Sequence[Any] = ()
        self._id_of: Callable[[Any], str] = str
        self._places: dict[str, int] | None = None
        self._natural: list[int] = []
        self._fitted: tuple[Any, dict[int, int]] | None = None
        self._drawn: dict[str, list[str]] = {}
        self._changed: dict[str, set[int]] = {}

    # what is shown

    def show(
        self,
        columns: Sequence[TableColumn],
        rows: Sequence[Any],
        id_of: Callable[[Any], str],
        state: TableState,
        *,
        empty: Sequence[str] = (),
    ) -> None:
        """Show `rows`. The same columns and state again: changed cells are marked."""
        same = columns is self.columns and state is self.state
        self.columns, self.state, self._all, self._id_of = columns, state, rows, id_of
        self.empty = list(empty)
        self.now = datetime.now(UTC)
        if not same:
            self._drawn.clear()
            self._natural = []
        before, self._drawn, self._changed = self._drawn, {}, {}
        self._arrange()
        if same and before:
            self._compare(before)
        self.refresh()

    def tick(self, now: datetime) -> None:
        """Let ages grow."""
        self.now = now
        self.refresh()

    def _compare(self, before: dict[str, list[str]]) -> None:
        for row in self._rows[self.state.top : self.state.top + self.size.height]:
            key = self._id_of(row)
            if key not in before:
                continue
            texts = [column.text(row, self.now) for column in self.columns]
            changed = {
                index
                for index, column in enumerate(self.columns)
                if not column.moves and texts[index] != before[key][index]
            }
            if changed:
                self._changed[key] = changed

    def _arrange(self) -> None:
        """Filter, sort, measure, and put the cursor back where it was."""
        state = self.state
        rows: Sequence[Any] = self._all
        test = matcher(
            state.filter,
            {column.name: self._reader(column) for column in self.columns},
            self._whole,
        )
        if test is not None:
            rows = [row for row in rows if test(row)]
        column = next((each for each in self.columns if each.name == state.sort), None)
        if column is not None:
            rows = ordered(rows, column.key, descending=state.descending)
        self._rows = rows
        self._places = None
        step = max(1, len(rows) // SAMPLE)
        seen = rows[state.top : state.top + self._height]
        sample = [*seen, *(rows[at] for at in range(0, len(rows), step))]
        measured = [
            max([len(each.name), *(width(each.text(row, self.now)) for row in sample)])
            for each in self.columns
        ]
        held = self._natural if len(self._natural) == len(measured) else measured
        self._natural = [max(pair) for pair in zip(held, measured, strict=True)]
        self._find_cursor()

    def _reader(self, column: TableColumn) -> Callable[[Any], str]:
        return lambda row: column.text(row, self.now)

    def _whole(self, row: Any) -> str:
        return " ".join([self._id_of(row), *(each.text(row, self.now) for each in self.columns)])

    def _place(self, id: str) -> int | None:
        if self._places is None:
            self._places = {self._id_of(row): at for at, row in enumerate(self._rows)}
        return self._places.get(id)

    def _near(self, id: str, index: int) -> int | None:
        """Return where `id` is, if not far from `index`: new rows push a row on by a few.

        Rows by the hundred thousand would take a tenth of a second to look up by id.
        """
        for at in range(max(0, index - NEAR), min(len(self._rows), index + NEAR)):
            if self._id_of(self._rows[at]) == id:
                return at
        return None

    def _find_cursor(self) -> None:
        state = self.state
        index = min(state.index, len(self._rows) - 1)
        if state.follow:
            index, state.top = 0, 0
        elif state.cursor and not (
            0 <= index < len(self._rows) and self._id_of(self._rows[index]) == state.cursor
        ):
            found = self._near(state.cursor, index)
            if found is None:
                found = self._place(state.cursor)
            if found is not None and (state.tail or state.top):
                state.top = max(0, state.top + found - state.index)
            index = index if found is None else found
        state.index = max(0, index)
        state.cursor = self._id_of(self._rows[state.index]) if self._rows else state.cursor
        self._keep_in_view()

    # what the operator does

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
    def marked(self) -> list[Any]:
        """The marked rows that are still there, shown or hidden by the filter."""
        return [row for row in self._all if self._id_of(row) in self.state.marks]

    @property
    def marked_shown(self) -> int:
        """How many of the marked rows the filter lets through."""
        return sum(self._place(mark) is not None for mark in self.state.marks)

    def set_filter(self, text: str) -> None:
        """Show only what matches; see `console.tui.command`."""
        self.state.filter = text
        self._arrange()
        self.refresh()

    def set_sort(self, name: str) -> None:
        """Sort by the column `name`; the same again turns the order round."""
        if self.state.sort == name:
            self.state.descending = not self.state.descending
        else:
            self.state.sort, self.state.descending = name, False
        self._arrange()
        self.refresh()

    def go(self, index: int) -> None:
        """Put the cursor on row `index`, as near as there are rows."""
        index = max(0, min(index, len(self._rows) - 1))
        if index != self.state.index and self._rows:
            before, top = self.state.index, self.state.top
            self.state.index = index
            self.state.cursor = self._id_of(self._rows[index])
            self.state.follow = False
            self._keep_in_view()
            if self.state.top == top:
                room = self.size.width
                self.refresh(*(Region(0, at - top + 1, room, 1) for at in (before, index)))
            else:
                self.refresh()
            self.post_message(self.Moved())

    def move(self, by: int) -> None:
        """Move the cursor `by` rows."""
        self.go(self.state.index + by)

    def page(self, by: int) -> None:
        """Move the cursor `by` screens."""
        self.move(by * max(1, self._height - 1))

    def mark(self) -> None:
        """Mark or unmark the row under the cursor, and go to the next."""
        if self.current is not None:
            self.state.marks ^= {self.state.cursor}
            self.state.anchor = self.state.cursor
            self.move(1)
            self.refresh()

    def mark_range(self) -> None:
        """Mark every row from the last mark to the cursor."""
        start = self._place(self.state.anchor)
        if start is None:
            self.mark()
            return
        low, high = sorted((start, self.state.index))
        self.state.marks |= {self._id_of(row) for row in self._rows[low : high + 1]}
        self.refresh()

    def clear_marks(self) -> None:
        """Unmark everything."""
        self.state.marks.clear()
        self.refresh()

    # drawing

    @property
    def _height(self) -> int:
        return max(1, self.size.height - 1)

    def _keep_in_view(self) -> None:
        state, height = self.state, self._height
        if self.size.height:
            state.top = max(min(state.top, state.index), state.index - height + 1)
            state.top = max(0, min(state.top, len(self._rows) - height))

    def on_resize(self, _: Resize) -> None:
        """Keep the cursor in view."""
        self._keep_in_view()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the header, a row, the empty text, or ground."""
        palette = self._palette()
        base = palette.style()
        room = self.size.width
        widths = self._widths(room)
        if y == 0:
            return self._header(widths, palette, room)
        at = self.state.top + y - 1
        if at >= len(self._rows):
            if not self._rows and 1 < y <= len(self.empty) + 1:
                return strip([(" " + self.empty[y - 2], palette.style("dim"))], room, base)
            return strip([], room, base)
        return self._row(self._rows[at], widths, palette, room, cursor=at == self.state.index)

    def _widths(self, room: int) -> dict[int, int]:
        """Return the columns that fit and their widths, worked out once for all lines."""
        asked = (self.columns, tuple(self._natural), room)
        if self._fitted is None or self._fitted[0] != asked:
            found = arrange(self.columns, self._natural, room - 2) if self.columns else {}
            self._fitted = (asked, found)
        return self._fitted[1]

    def _header(self, widths: dict[int, int], palette: Palette, room: int) -> Strip:
        style = palette.style("header")
        parts = [(" ", style)]
        for index, cells in widths.items():
            column = self.columns[index]
            arrow = ""
            if column.name == self.state.sort:
                arrow = "↓" if self.state.descending else "↑"
            parts.append((fit(column.name.upper() + arrow, cells, column.align), style))
            parts.append((" " * GAP, style))
        return strip(parts[:-1], room, style)

    def _row(
        self, row: Any, widths: dict[int, int], palette: Palette, room: int, *, cursor: bool
    ) -> Strip:
        key = self._id_of(row)
        marked = key in self.state.marks
        over = "cursor" if cursor else ""
        ground = palette.style(over)
        parts: list[tuple[str, Style]] = [
            ("*" if marked else " ", palette.style("mark", over) if marked else ground)
        ]
        texts = [column.text(row, self.now) for column in self.columns]
        self._drawn[key] = texts
        changed = self._changed.get(key, set())
        for index, cells in widths.items():
            column = self.columns[index]
            token = "changed" if index in changed else column.token(row)
            style = palette.style(token)
            if cursor:
                # the row's ground, the cell's own weight: words carry the meaning
                style = palette.style(token, "cursor")
            parts.append((fit(texts[index], cells, column.align), style))
            parts.append((" " * GAP, ground))
        return strip(parts[:-1], room, ground)
