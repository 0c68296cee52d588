"""What the rows of a table say: worked out once for each row and moment, measured, compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from console.present.cells import width
from console.present.safe import safe
from console.present.table_columns import TableColumn

KEEPS = timedelta(seconds=4)
"""How long ages may stay as they were worked out; the frame lets them grow every few seconds."""
NOTHING: frozenset[int] = frozenset()


class Said(NamedTuple):
    """The text and the token of each cell of a row."""

    texts: Sequence[str]
    tokens: Sequence[str]


class Texts:
    """What rows say under some columns, and which cells say something else than was drawn."""

    def __init__(self) -> None:
        self.columns: Sequence[TableColumn] = ()
        self.id_of: Callable[[Any], str] = str
        self.now = datetime.now(UTC)
        self.natural: list[int] = []
        """The width that each column would like."""
        self.filled: list[bool] = []
        """Whether any row says something in each column."""
        self.drawn: dict[str, Sequence[str]] = {}
        """What the rows on the screen said when they were drawn, by id."""
        self._known: dict[str, tuple[Any, Said]] = {}
        self._changed: dict[str, frozenset[int]] = {}

    def under(self, columns: Sequence[TableColumn], id_of: Callable[[Any], str]) -> None:
        """Forget everything, and read rows by other columns."""
        self.columns, self.id_of = columns, id_of
        self.natural, self.filled = [], []
        self._known.clear()
        self.drawn.clear()
        self._changed.clear()

    def grow(self, now: datetime) -> None:
        """Let ages be those of `now`."""
        self.now = now
        self._known.clear()

    def of(self, row: Any) -> Said:
        """Return what `row` says."""
        key = self.id_of(row)
        known = self._known.get(key)
        if known is None or known[0] is not row:
            said = Said(
                # made safe before it is measured: what is named takes more cells than what it was
                [safe(column.text(row, self.now)) for column in self.columns],
                [column.token(row) for column in self.columns],
            )
            known = self._known[key] = (row, said)
        return known[1]

    def reader(self, column: TableColumn) -> Callable[[Any], str]:
        """Return what reads one column out of a row."""
        return lambda row: column.text(row, self.now)

    def whole(self, row: Any) -> str:
        """Return all that a row says, and its id."""
        return " ".join([self.id_of(row), *(each.text(row, self.now) for each in self.columns)])

    def measure(self, rows: Iterable[Any]) -> None:
        """Let each column be as wide as the widest of its cells so far."""
        held = self.natural if len(self.natural) == len(self.columns) else []
        filled = self.filled if held else [False] * len(self.columns)
        texts = [self.of(row).texts for row in rows]
        self.natural = [
            max([held[at] if held else len(each.name), *(width(row[at]) for row in texts)])
            for at, each in enumerate(self.columns)
        ]
        self.filled = [was or any(row[at] for row in texts) for at, was in enumerate(filled)]

    def renew(self) -> None:
        """Take the time of new rows; what was said a moment ago is as good as said now."""
        now = datetime.now(UTC)
        if not timedelta(0) <= now - self.now <= KEEPS:
            self.grow(now)

    def compare(self, seen: Iterable[Any]) -> None:
        """Mark the cells of the rows on the screen that say something else than was drawn."""
        before, self.drawn, self._changed = self.drawn, {}, {}
        for row in seen if before else ():
            key = self.id_of(row)
            if (held := before.get(key)) is None:
                continue
            self.drawn[key] = held
            texts = self.of(row).texts
            if held != texts:
                self._changed[key] = frozenset(
                    at for at, column in enumerate(self.columns)
                    if not column.moves and texts[at] != held[at]
                )  # fmt: skip

    def changed(self, key: str) -> frozenset[int]:
        """Return the columns whose cell of the row `key` changed."""
        return self._changed.get(key, NOTHING)
