"""Rows that may be there already: SQLite's `ON CONFLICT`, said in one place.

Which row is the same is told by the table's primary key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects.sqlite import Insert, insert


def insert_missing(conn: Connection, table: Table, *rows: Mapping[str, Any]) -> int:
    """Insert the rows whose key is not there; return how many were."""
    return _written(conn, insert(table).on_conflict_do_nothing(), rows)


def insert_or_update(
    conn: Connection,
    table: Table,
    *rows: Mapping[str, Any],
    changed: Sequence[str],
    where: ColumnElement[bool] | None = None,
) -> int:
    """Insert the rows; one that is there gets the new values of the columns `changed`.

    With `where` only a row of which that holds is changed. Returns how many rows were written.
    """
    new = insert(table)
    written = new.on_conflict_do_update(
        index_elements=table.primary_key.columns,
        set_={name: new.excluded[name] for name in changed},
        where=where,
    )
    return _written(conn, written, rows)


def _written(conn: Connection, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> int:
    if not rows:
        return 0
    return conn.execute(
        statement, list(rows), execution_options={"preserve_rowcount": True}
    ).rowcount
