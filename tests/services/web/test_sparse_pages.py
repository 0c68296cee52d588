"""Pages of a search that may find next to nothing: every row once, or honestly not yet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, delete, select

from console.api.policy import PARTNER_LIST
from console.model.operator import Operator
from console.services.store import SHARED, Store, tables
from console.services.web import Ask, paging, sparse_page

ROWS = Table("rows", MetaData(), Column("id", Integer, primary_key=True))
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


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    ids=st.sets(st.integers(1, 200), max_size=25),
    limit=st.integers(1, 6),
    window=st.integers(1, 40),
    patient=st.booleans(),
)
def test_every_row_comes_once_newest_first_and_a_page_that_stopped_says_so(
    store: Store, ids: set[int], limit: int, window: int, patient: bool
) -> None:
    def fill(conn: Any) -> None:
        conn.execute(delete(ROWS))
        for each in sorted(ids):
            conn.execute(ROWS.insert(), {"id": each})

    store.write_now(fill)
    seen: list[int] = []
    cursor, pages, before = "", 0, paging.WINDOW
    paging.WINDOW = window
    try:
        while True:
            query = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
            page = store.read_now(
                lambda conn: sparse_page(
                    conn,
                    select(ROWS),
                    asked(**query),  # noqa: B023
                    key=ROWS.c.id,
                    bounds=(1, 200),
                    decode=lambda row: int(row.id),
                    seconds=10.0 if patient else -1.0,
                )
            )
            seen += page.items
            pages += 1
            assert not (patient and page.partial)
            assert bool(page.warnings) == page.partial
            assert len(page.items) == limit or page.partial or not page.next_cursor
            cursor = page.next_cursor
            if not cursor:
                break
            assert pages < 400
    finally:
        paging.WINDOW = before
    assert seen == sorted(ids, reverse=True)
