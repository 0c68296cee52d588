"""The virtual table: only the rows on the screen are ever drawn or measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from rich.style import Style
from textual.events import Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from console.present.cells import fit, width
from console.present.table_columns import GAP, TableColumn, arrange
from console.tui.theme.palette import Palette
from console.tui.widgets.idle import Quiet
from console.tui.widgets.row_texts import NOTHING
from console.tui.widgets.rows import Rows, TableState
from console.tui.widgets.strips import quoted, stretches, strip


class Look(NamedTuple):
    """All that a line of the table is drawn from, but the palette."""

    widths: dict[int, int]
    key: str = ""
    texts: Sequence[str] = ()
    tokens: Sequence[str] = ()
    """Of each column."""
    cursor: bool = False
    marked: bool = False
    changed: frozenset[int] = NOTHING


class Table(Rows, can_focus=True):
    """A table of any number of rows, drawn line by line."""

    class Moved(Message):
        """The cursor is on another row."""

    class Opened(Message):
        """Enter was pressed on a row."""

    class Ready(Message):
        """Many rows, filtered and sorted bit by bit, are there now."""

    def __init__(
        self, palette: Callable[[], Palette], quiet: Quiet | None = None, *, id: str | None = None
    ) -> None:
        super().__init__(quiet, id=id)
        self._palette = palette
        self._fitted: tuple[Any, dict[int, int]] | None = None
        self._looks: list[Look] = []
        self._looked: Size | None = None
        """The size that the looks are of."""
        self._strips: dict[str, tuple[Look, Palette, Strip]] = {}

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
        if not same:
            self._looks, self._rows = [], ()
            self._said.under(columns, id_of)
        self._arrange()
        self._draw()

    def tick(self, now: datetime) -> None:
        """Let ages grow."""
        self._said.grow(now)
        self._draw()

    def _arranged(self) -> None:
        self._draw()
        self.post_message(self.Ready())

    # what the operator does

    def set_filter(self, text: str) -> None:
        """Show only what matches; see `console.parsing.filters`."""
        self.state.filter = text
        self._arrange()
        self._draw()

    def set_sort(self, name: str) -> None:
        """Sort by the column `name`; the same again turns the order round."""
        if self.state.sort == name:
            self.state.descending = not self.state.descending
        else:
            self.state.sort, self.state.descending = name, False
        self._arrange()
        self._draw()

    def go(self, index: int) -> None:
        """Put the cursor on row `index`, as near as there are rows."""
        index = max(0, min(index, len(self._rows) - 1))
        if index != self.state.index and self._rows:
            state = self.state
            before = state.index, state.top
            state.index, state.cursor = index, self._id_of(self._rows[index])
            state.follow = False
            self._keep_in_view()
            # where nothing scrolled, two lines are other than they were
            still = before[1] == state.top
            self._draw((before[0] - state.top + 1, index - state.top + 1) if still else None)
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
            self._hidden.discard(self.state.cursor)
            self.state.anchor = self.state.cursor
            self.move(1)
            self._draw()

    def mark_range(self) -> None:
        """Mark every row from the last mark to the cursor."""
        start = self._place(self.state.anchor)
        if start is None:
            self.mark()
            return
        low, high = sorted((start, self.state.index))
        shown = {self._id_of(row) for row in self._rows[low : high + 1]}
        self.state.marks |= shown
        self._hidden -= shown
        self._draw()

    def clear_marks(self) -> None:
        """Unmark everything."""
        self.state.marks.clear()
        self._draw()

    # drawing

    # drawing

    def on_resize(self, _: Resize) -> None:
        """Keep the cursor in view."""
        self._keep_in_view()
        self._looks = []
        self._draw()

    def _draw(self, only: Iterable[int] | None = None) -> None:
        """Have those lines drawn again that are not what was drawn last; look at `only` those."""
        before, size = self._looks, self.size
        if only is None or self._looked != size or len(before) != size.height:
            self._looks = [self._look(y) for y in range(size.height)]
        else:
            self._looks = list(before)
            for y in only:
                if 0 <= y < len(before):
                    self._looks[y] = self._look(y)
        self._looked = size
        if len(before) != len(self._looks):
            self.refresh()
            return
        pairs = enumerate(zip(before, self._looks, strict=True))
        lines = [y for y, (old, new) in pairs if old is not new and old != new]
        if lines:
            self.refresh(*(Region(0, y, size.width, count) for y, count in stretches(lines)))

    def _look(self, y: int) -> Look:
        widths = self._widths(self.size.width)
        if y == 0:
            state = self.state
            return Look(widths, texts=(state.sort, *(each.name for each in self.columns)),
                        marked=state.descending)  # fmt: skip
        at = self.state.top + y - 1
        if at < len(self._rows):
            row = self._rows[at]
            key = self._id_of(row)
            texts, tokens = self._said.of(row)
            return Look(
                widths, key, texts, tokens, at == self.state.index, key in self.state.marks,
                self._said.changed(key),
            )  # fmt: skip
        if not self._rows and 1 < y <= len(self.empty) + 1:
            return Look({}, texts=(self.empty[y - 2],))
        return Look({})

    def render_line(self, y: int) -> Strip:
        """Draw the header, a row, the empty text, or ground."""
        palette = self._palette()
        base = palette.style()
        room = self.size.width
        held = self._looked == self.size and y < len(self._looks)
        look = self._looks[y] if held else self._look(y)
        if y == 0:
            return self._header(look.widths, palette, room)
        if look.key:
            return self._row_once(look, palette, room)
        dim, key = palette.style("dim"), palette.style("key")
        said = [(" ", dim), *((ink.text, key if ink.token else dim)
                              for text in look.texts for ink in quoted(text))]  # fmt: skip
        return strip(said, room, base)

    def _widths(self, room: int) -> dict[int, int]:
        """Return the columns that fit and their widths, worked out once for all lines."""
        natural = self._said.natural
        used = self._used()
        asked = (self.columns, tuple(natural), tuple(used), room)
        if self._fitted is None or self._fitted[0] != asked:
            columns = [self.columns[at] for at in used]
            found = arrange(columns, [natural[at] for at in used], room - 2) if used else {}
            self._fitted = (asked, {used[at]: cells for at, cells in found.items()})
        return self._fitted[1]

    def _used(self) -> list[int]:
        """Return the columns in which any row says something, with the first and the sorted one.

        A tail has all of them: the next row may be the one that says something there.
        """
        filled = self._said.filled
        if self.state.tail or not any(filled):
            return list(range(len(self.columns)))
        sort = self.state.sort
        return [at for at, column in enumerate(self.columns)
                if filled[at] or at == 0 or column.name == sort]  # fmt: skip

    def _header(self, widths: dict[int, int], palette: Palette, room: int) -> Strip:
        style = palette.style("header")
        parts = [(" ", style)]
        for index, cells in widths.items():
            column = self.columns[index]
            name, arrow = column.name.upper(), ""
            if column.name == self.state.sort:
                arrow = "↓" if self.state.descending else "↑"
            if column.align == "left" and width(name) < cells:
                name, arrow = name + arrow, ""
            # a name that fills its column has the arrow in the gap behind it
            parts += [(fit(name, cells, column.align), style), (arrow, style)]
            parts.append((" " * (GAP - width(arrow)), style))
        return strip(parts[:-1], room, style)

    def _row_once(self, look: Look, palette: Palette, room: int) -> Strip:
        """Draw a row, as it was drawn before if it only stands on another line."""
        self._said.drawn[look.key] = look.texts
        known = self._strips.get(look.key)
        if known and known[2].cell_length == room and known[1] is palette and known[0] == look:
            return known[2]
        if len(self._strips) > 4 * self._height:
            self._strips.clear()
        drawn = self._row(look, palette, room)
        self._strips[look.key] = (look, palette, drawn)
        return drawn

    def _row(self, look: Look, palette: Palette, room: int) -> Strip:
        over = "cursor" if look.cursor else ""
        ground = palette.style(over)
        parts: list[tuple[str, Style]] = [
            ("*" if look.marked else " ", palette.style("mark", over) if look.marked else ground)
        ]
        for index, cells in look.widths.items():
            token = "changed" if index in look.changed else look.tokens[index]
            # the cursor's ground, the cell's own weight: words carry the meaning
            style = palette.style(token, "cursor") if look.cursor else palette.style(token)
            parts.append((fit(look.texts[index], cells, self.columns[index].align), style))
            parts.append((" " * GAP, ground))
        return strip(parts[:-1], room, ground)
