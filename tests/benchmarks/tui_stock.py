"""The same screen in stock Textual: its App, Static, DataTable and palette. Only a baseline.

It shows the words that our console shows (the same columns over the same rows) and is
treated kindly: it polls as seldom, is told which rows changed and touches only their
changed cells, adds new rows at the end and never sorts.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks.tui_feed import Feed, made


def run(feed: Feed, kind_name: str, *, load: bool) -> int:
    """Show the rows of one kind: at once, or on the key `l`."""
    from rich.text import Text
    from textual.app import App, ComposeResult
    from textual.widgets import DataTable, Static

    from console.model.audit import Alert
    from console.model.enforcement import Credential
    from console.tui.views.list_views import table_columns

    kind: type = {"alerts": Alert, "keys": Credential}[kind_name]
    columns = table_columns(kind)[:7]

    class Stock(App[int]):
        CSS = "#status, #crumbs, #hint { height: 1; } DataTable { height: 1fr; }"
        BINDINGS = [("l", "load", "Load")]

        def compose(self) -> ComposeResult:
            yield Static(
                "prod PRODUCTION op:mhr   gw ok 2ms 5s | policy ok | audit #4182", id="status"
            )
            yield Static(kind_name, id="crumbs")
            yield DataTable[Text](cursor_type="row")
            yield Static(
                "enter open  L lock  a acknowledge  c close   : go  / filter  ? all", id="hint"
            )

        def on_mount(self) -> None:
            self.table = self.query_one(DataTable)
            self.keys = [self.table.add_column(column.name.upper()) for column in columns]
            self.shown: dict[str, list[str]] = {}
            if load:
                self.action_load()
            self.set_interval(2.0, self.poll)

        def texts(self, row: Any) -> list[str]:
            now = datetime.now(UTC)
            return [column.text(row, now) for column in columns]

        def action_load(self) -> None:
            for row in feed.all[kind]:
                self.add(row)
            self.table.focus()

        def add(self, row: Any) -> None:
            self.shown[row.id] = self.texts(row)
            self.table.add_row(*(Text(each) for each in self.shown[row.id]), key=row.id)

        def poll(self) -> None:
            if not self.shown:
                return
            feed.advance()
            touched = [row for row in feed.touched if type(row) is kind]
            feed.touched.clear()
            for row in touched:
                known = self.shown.get(row.id)
                if known is None:
                    self.add(row)
                else:
                    self.change(row, known)

        def change(self, row: Any, known: list[str]) -> None:
            texts = self.texts(row)
            for at, text in enumerate(texts):
                if text != known[at]:
                    self.table.update_cell(row.id, self.keys[at], Text(text))
            self.shown[row.id] = texts

    return Stock().run(mouse=False) or 0


if __name__ == "__main__":
    sys.exit(run(made(), sys.argv[1], load="hold" not in sys.argv))
