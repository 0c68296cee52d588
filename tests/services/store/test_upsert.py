"""Rows that may be there already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, create_engine, select

from console.services.store.upsert import insert_missing, insert_or_update

ROOT = Path(__file__).parents[3]
THINGS = Table(
    "things", MetaData(), Column("name", Text, primary_key=True), Column("size", Integer),
    Column("note", Text),
)  # fmt: skip
SEARCHES = {"call_search.py", "event_search.py"}


@pytest.fixture
def conn() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as found:
        THINGS.create(found)
        yield found
    engine.dispose()


def rows(conn: Connection) -> list[tuple[str, int, str]]:
    return [tuple(row) for row in conn.execute(select(THINGS).order_by(THINGS.c.name))]


def thing(name: str, size: int, note: str = "") -> dict[str, object]:
    return {"name": name, "size": size, "note": note}


def test_what_is_there_stays_as_it_is(conn: Connection) -> None:
    assert insert_missing(conn, THINGS, thing("a", 1)) == 1
    assert insert_missing(conn, THINGS, thing("a", 2), thing("b", 3)) == 1
    assert insert_missing(conn, THINGS) == 0
    assert rows(conn) == [("a", 1, ""), ("b", 3, "")]


def test_what_is_there_gets_the_named_columns_and_no_other(conn: Connection) -> None:
    insert_missing(conn, THINGS, thing("a", 1, "first"))
    new = (thing("a", 2, "second"), thing("b", 3, "third"))
    assert insert_or_update(conn, THINGS, *new, changed=("size",)) == 2
    assert insert_or_update(conn, THINGS, changed=("size",)) == 0
    assert rows(conn) == [("a", 2, "first"), ("b", 3, "third")]


def test_a_row_of_which_the_condition_does_not_hold_stays(conn: Connection) -> None:
    insert_missing(conn, THINGS, thing("a", 5))
    for size, written in ((4, 0), (6, 1)):
        smaller = THINGS.c.size < size
        row = thing("a", size)
        assert insert_or_update(conn, THINGS, row, changed=("size",), where=smaller) == written
    assert rows(conn) == [("a", 6, "")]


def test_sqlites_dialect_is_spoken_in_the_store_and_the_two_searches_alone() -> None:
    found = {
        path.relative_to(ROOT / "console").as_posix()
        for path in (ROOT / "console").rglob("*.py")
        if "sqlalchemy.dialects" in path.read_text()
    }
    assert {each for each in found if not each.startswith("services/store/")} == {
        each for each in found if each.rpartition("/")[2] in SEARCHES
    }
