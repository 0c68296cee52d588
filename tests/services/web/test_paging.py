"""Paging: however the rows are ordered, walking the cursors shows each exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, Text, delete, select

from console.api.policy import PARTNER_LIST
from console.errors import PilotError
from console.model.operator import Operator
from console.services.store import SHARED, Instant, Store, tables
from console.services.web import Ask, page

ROWS = Table(
    "rows",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("group", Text, nullable=False),
    Column("at", Instant, nullable=False),
)
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(tmp_path_factory.mktemp("s") / "a.db", [SHARED, tables(ROWS)])
    yield opened
    opened.close()


def asked(**query: str) -> Ask:
    return Ask(
        service="policy", route=PARTNER_LIST, operator=Operator(name="root", uid=0, roles=[]),
        uid=0, path={}, query=query, body=None, raw=b"", revision=None, request_id="rid_1",
        validate_only=False, now=T0, request=cast("Any", None),
    )  # fmt: skip


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["", "a", "b", "é\n"]), st.integers(0, 3)), max_size=20
    ),
    down=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    limit=st.integers(1, 7),
)
def test_every_row_is_shown_once_in_order_whatever_the_directions(
    store: Store, rows: list[tuple[str, int]], down: tuple[bool, bool, bool], limit: int
) -> None:
    def fill(conn: Any) -> None:
        conn.execute(delete(ROWS))
        for n, (group, seconds) in enumerate(rows):
            at = T0 + timedelta(seconds=seconds)
            conn.execute(ROWS.insert(), {"id": n, "group": group, "at": at})

    store.write_now(fill)
    columns = [ROWS.c.group, ROWS.c.at, ROWS.c.id]
    keys = [each.desc() if way else each for each, way in zip(columns, down, strict=True)]
    expected = [(group, T0 + timedelta(seconds=s), n) for n, (group, s) in enumerate(rows)]
    for place in (2, 1, 0):
        expected.sort(key=lambda row, place=place: row[place], reverse=down[place])
    seen: list[Any] = []
    cursor = ""
    while True:
        ask = asked(cursor=cursor, limit=str(limit))
        part = store.read_now(
            lambda conn, ask=ask: page(
                conn, select(ROWS), ask, keys=keys, decode=lambda r: (r.group, r.at, r.id)
            )
        )
        assert len(part.items) <= limit
        seen += part.items
        if not (cursor := part.next_cursor):
            break
    assert seen == expected


@given(st.text(max_size=80))
def test_no_text_is_taken_for_a_cursor(store: Store, text: str) -> None:
    if not text:
        return
    with pytest.raises(PilotError) as caught:
        store.read_now(
            lambda conn: page(
                conn, select(ROWS), asked(cursor=text), keys=[ROWS.c.id], decode=lambda row: row.id
            )
        )
    assert caught.value.code == "malformed"
