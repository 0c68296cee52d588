"""Making, checking and migrating a store's file.

The schema's version is SQLite's `user_version`: the number of steps that were taken.
Each step and its number are one transaction, so a crash leaves a whole version behind.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import Connection, Table
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from console.services.store import faults

Step: TypeAlias = Callable[[Connection], None]
"""One migration. Its number is its place in the list, counted from 1; never edit an old one."""

CHECKED_BYTES = 50_000_000
"""Files up to this size are checked whole when they are opened (some 0.2 s)."""

_MAGIC = b"SQLite format 3\0"


def tables(*which: Table) -> Step:
    """Return the step that creates these tables and their indexes."""

    def create(conn: Connection) -> None:
        for table in which:
            conn.execute(CreateTable(table))
            for index in sorted(table.indexes, key=lambda each: str(each.name)):
                conn.execute(CreateIndex(index))

    return create


def grown(*which: Table) -> Step:
    """Return the step that gives an older store what it lacks of these tables.

    Whole tables, columns at the end of a table, and indexes; a new column may be empty or
    has a `server_default`. A store that was made with them is left as it is.
    """

    def grow(conn: Connection) -> None:
        for table in which:
            known = conn.exec_driver_sql(f"PRAGMA table_info('{table.name}')").all()
            if not known:
                conn.execute(CreateTable(table))
            names = {row[1] for row in known} or set(table.columns.keys())
            for column in table.columns:
                if column.name not in names:
                    written = CreateColumn(column).compile(dialect=conn.dialect)
                    conn.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {written}")
            for index in sorted(table.indexes, key=lambda each: str(each.name)):
                conn.execute(CreateIndex(index, if_not_exists=True))

    return grow


def sql(*statements: str) -> Step:
    """Return the step that runs these statements."""

    def run(conn: Connection) -> None:
        for statement in statements:
            conn.exec_driver_sql(statement)

    return run


def check(path: Path, known: int) -> None:
    """Refuse the file at `path` unless it is a whole store of version `known` or older.

    Raises `PilotError` (`store-damaged`, `store-newer`, `unavailable`). Changes nothing
    but what SQLite's own recovery of a write-ahead log does.
    """
    with path.open("rb") as file:
        head = file.read(100)
    size = path.stat().st_size
    if not head.startswith(_MAGIC) or len(head) < 100:
        raise faults.damaged(path, "it is empty" if not head else "it is not a SQLite file")
    pages = int.from_bytes(head[28:32], "big")
    page_bytes = int.from_bytes(head[16:18], "big")
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    if size < pages * page_bytes and not path.with_name(path.name + "-wal").exists():
        raise faults.damaged(path, f"it is cut short: {size} of {pages * page_bytes} bytes")
    conn = sqlite3.connect(path, timeout=5.0)
    try:
        version = int(conn.execute("PRAGMA user_version").fetchone()[0])
        conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version > known:
            raise faults.newer(path, version, known)
        if version < 1:
            raise faults.damaged(path, "it was not made by pilotctl")
        if size <= CHECKED_BYTES:
            found = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise faults.damaged(path, " ".join(str(found).split()))
    finally:
        conn.close()


def make(conn: Connection, steps: Sequence[Step]) -> None:
    """Take every step in one transaction: a store that nobody has yet needs no step kept."""
    with conn.begin():
        for step in steps:
            step(conn)
        conn.exec_driver_sql(f"PRAGMA user_version = {len(steps)}")


def migrate(conn: Connection, steps: Sequence[Step]) -> None:
    """Take the steps that the store has not taken, each in a transaction with its number."""
    with conn.begin():
        done = int(conn.exec_driver_sql("PRAGMA user_version").scalar_one())
    for number, step in enumerate(steps[done:], start=done + 1):
        with conn.begin():
            step(conn)
            conn.exec_driver_sql(f"PRAGMA user_version = {number}")


def claim(path: Path) -> None:
    """Make an empty file at `path`, readable by its owner only, replacing a leftover."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def publish(made: Path, path: Path) -> None:
    """Give the finished file `made` its name, durably."""
    made.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
