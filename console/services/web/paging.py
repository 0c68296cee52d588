"""Lists by key: a cursor names the last row that was shown, so rows are never skipped."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import UnaryExpression

from console.api.problems import refusal
from console.model.number import whole_number
from console.model.stored import Page
from console.services.web.request_context import Ask

T = TypeVar("T")

MIN_ROWS, USUAL_ROWS, MAX_ROWS = 1, 100, 500

WINDOW = 1_000_000
"""Rows that a search for something rare looks through first."""
SEARCH_SECONDS = 0.25
"""Seconds after which such a search answers with what it has."""


def page(
    conn: Connection,
    query: Select[Any],
    ask: Ask,
    *,
    keys: Sequence[ColumnElement[Any]],
    decode: Callable[[Row[Any]], T],
) -> Page[T]:
    """Return the part of `query` that `ask` wants (its `cursor` and `limit`).

    `keys` order the rows and together are unique and never null; write `column.desc()`
    to go down. They must be among the selected columns. Raises the problem `malformed`
    for a cursor that is not one of this list, or a limit that is none.
    """
    limit = _limit(ask.query.get("limit", ""))
    columns = [_column(key) for key in keys]
    scope = _scope(ask, columns)
    if cursor := ask.query.get("cursor", ""):
        query = query.where(_beyond(keys, columns, _opened(cursor, scope, columns)))
    rows = conn.execute(query.order_by(*keys).limit(limit + 1)).all()
    more = len(rows) > limit
    rows = rows[:limit]
    last = [rows[-1]._mapping[column] for column in columns] if more else []
    return Page(
        as_of=ask.now,
        source=ask.service,
        items=[decode(row) for row in rows],
        next_cursor=_closed(last, scope) if more else "",
    )


def sparse_page(
    conn: Connection,
    query: Select[Any],
    ask: Ask,
    *,
    key: ColumnElement[Any],
    bounds: tuple[int, int],
    decode: Callable[[Row[Any]], T],
    keep: Callable[[Row[Any]], bool] | None = None,
    seconds: float = SEARCH_SECONDS,
) -> Page[T]:
    """The same, newest first by one whole-number `key`, for a query that may find next to nothing.

    It is asked in ranges of the key within `bounds`, each larger than the one before; `keep`
    is what the query itself cannot say of a row. When it has taken `seconds` the page is
    partial, with a cursor that goes on where it stopped.
    """
    limit = _limit(ask.query.get("limit", ""))
    scope = _scope(ask, [key])
    least, top = bounds
    if cursor := ask.query.get("cursor", ""):
        top = min(top, int(_opened(cursor, scope, [key])[0]) - 1)
    rows: list[Row[Any]] = []
    room, began = WINDOW, time.monotonic()
    while top >= least and len(rows) <= limit:
        low = max(least, top - room + 1)
        part = query.where(key >= low, key <= top).order_by(key.desc())
        wanted = limit + 1 - len(rows)
        found = conn.execute(part.limit(wanted)).all()
        rows += [row for row in found if keep is None or keep(row)]
        if len(found) < wanted:
            top, room = low - 1, room * 4
        else:
            top = found[-1]._mapping[key] - 1
        if time.monotonic() - began > seconds:
            break
    more, stopped = len(rows) > limit, len(rows) <= limit and top >= least
    rows = rows[:limit]
    following = ""
    if more:
        following = _closed([rows[-1]._mapping[key]], scope)
    elif stopped:
        following = _closed([top + 1], scope)
    told = f"{top - least + 1} older rows were not searched yet: go on from the cursor"
    return Page(
        as_of=ask.now,
        source=ask.service,
        items=[decode(row) for row in rows],
        next_cursor=following,
        partial=stopped,
        warnings=[told] if stopped else [],
    )


def _limit(text: str) -> int:
    if not text:
        return USUAL_ROWS
    limit = whole_number(text)
    if limit is None or not MIN_ROWS <= limit <= MAX_ROWS:
        raise refusal("malformed", f"limit: must be a whole number from {MIN_ROWS} to {MAX_ROWS}")
    return limit


def _column(key: ColumnElement[Any]) -> ColumnElement[Any]:
    return key.element if isinstance(key, UnaryExpression) else key


def _down(key: ColumnElement[Any]) -> bool:
    return isinstance(key, UnaryExpression) and key.modifier is operators.desc_op


def _scope(ask: Ask, columns: Sequence[ColumnElement[Any]]) -> str:
    """Name the list that a cursor belongs to: the route, its filters and its order."""
    filters = sorted((k, v) for k, v in ask.query.items() if k not in {"cursor", "limit"})
    told = [ask.route.id if ask.route else "", filters, [str(column) for column in columns]]
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:8]


def _closed(values: Sequence[Any], scope: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([scope, *values])).decode().rstrip("=")


def _opened(cursor: str, scope: str, columns: Sequence[ColumnElement[Any]]) -> list[Any]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        told, *values = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True))
        if told == scope and len(values) == len(columns):
            return [_typed(*each) for each in zip(values, columns, strict=True)]
    except (binascii.Error, ValueError, TypeError, msgspec.MsgspecError):
        pass  # one answer for every way of being wrong
    raise refusal(
        "malformed",
        "cursor: not a cursor of this list",
        mend="use next_cursor as it was given, with the same filters, or start without one",
    )


def _typed(value: Any, column: ColumnElement[Any]) -> Any:
    wanted = column.type.python_type
    if wanted is datetime:
        return msgspec.convert(value, datetime)
    return msgspec.convert(value, wanted)


def _beyond(
    keys: Sequence[ColumnElement[Any]], columns: Sequence[ColumnElement[Any]], values: list[Any]
) -> ColumnElement[bool]:
    """Say `(a, b) > (x, y)` for keys that may each go up or down."""
    past: list[ColumnElement[bool]] = []
    for at, (key, column) in enumerate(zip(keys, columns, strict=True)):
        same = [columns[i] == values[i] for i in range(at)]
        further = column < values[at] if _down(key) else column > values[at]
        past.append(and_(*same, further))
    return or_(*past)
