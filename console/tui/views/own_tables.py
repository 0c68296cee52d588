"""Views of the console's own: rows that are plain tuples with named members."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from console.present.columns import text_of
from console.present.table_columns import TableColumn
from console.tui.views.list_views import View

_MAX_CELLS = {
    "what": 70,
    "value": 100,
    "measure": 24,
    "text": 400,
    "why": 60,
    "command": 24,
    "key": 8,
    "at": 8,
}
_PRIORITY = {"what": 0, "value": 0, "measure": 0, "text": 0, "command": 0, "key": 0, "why": 2}


def own_view(
    name: str, title: str, members: tuple[str, ...], empty: tuple[str, ...] = ("Nothing yet.",)
) -> View:
    """Return a view over named tuples with these members, which are its columns."""
    return View(
        name, name, title, (), tuple(_column(each) for each in members),
        lambda _: None, lambda row: "\0".join(text_of(getattr(row, each)) for each in members),
        empty=empty,
    )  # fmt: skip


def _column(member: str) -> TableColumn:
    def text(row: Any, _: datetime) -> str:
        value = getattr(row, member)
        if isinstance(value, datetime):
            return value.astimezone().strftime("%H:%M:%S")
        return text_of(value)

    def token(row: Any) -> str:
        if member in {"key", "command", "measure"}:
            return "dim" if getattr(row, "why", "") else "key"
        return "dim" if getattr(row, "why", "") else str(getattr(row, "token", ""))

    return TableColumn(
        member, text, token, lambda row: getattr(row, member),
        _PRIORITY.get(member, 1), 8, _MAX_CELLS.get(member, 20),
    )  # fmt: skip
