"""The store: whole transactions, whole files, and nothing lost but what nobody was told of."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, func, select
from sqlalchemy.exc import IntegrityError, OperationalError

from console.errors import PilotError
from console.services.store import SHARED, Instant, Store, emit, sql, tables
from console.services.store import signal as wake
from console.services.store.outbox import OUTBOX, after

ROOT = Path(__file__).resolve().parents[3]
THINGS = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", Text, unique=True),
    Column("at", Instant),
)
STEPS = (SHARED, tables(THINGS))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "a.db", STEPS)
    yield opened
    opened.close()


def add(name: str) -> Any:
    return lambda conn: conn.execute(THINGS.insert(), {"name": name})


def names(conn: Connection) -> list[str]:
    return list(conn.scalars(select(THINGS.c.name).order_by(THINGS.c.id)))


def event(n: int) -> dict[str, Any]:
    return {"metadata": {"uid": f"evt_{n}"}, "n": n}


def test_a_write_that_raises_changes_nothing(store: Store) -> None:
    def fails(conn: Connection) -> None:
        add("half")(conn)
        emit(conn, event(1))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.write_now(fails)
    assert store.read_now(names) == []
    assert store.read_now(lambda conn: after(conn, 0, 10)).head == 0


def test_writes_that_wait_together_fail_alone(store: Store) -> None:
    def change(n: int) -> Any:
        def run(conn: Connection) -> int:
            add(f"n{n}")(conn)
            emit(conn, event(n))
            if n % 3 == 0:
                raise ValueError(str(n))
            return n

        return run

    async def together() -> list[Any]:
        asked = [store.write(change(n)) for n in range(200)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(together())
    went = [n for n in range(200) if n % 3]
    assert [each for each in answers if isinstance(each, int)] == went
    assert store.read_now(names) == [f"n{n}" for n in went]
    found = store.read_now(lambda conn: after(conn, 0, 500))
    assert [item.seq for item in found.items] == list(range(1, len(went) + 1))
    assert [json.loads(item.body)["n"] for item in found.items] == went


def test_a_broken_constraint_is_the_callers_error(store: Store) -> None:
    store.write_now(add("one"))
    with pytest.raises(IntegrityError):
        store.write_now(add("one"))
    store.write_now(add("two"))
    assert store.read_now(names) == ["one", "two"]


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(plan=st.lists(st.lists(st.booleans(), min_size=1, max_size=4), max_size=12))
def test_outbox_numbers_have_no_gaps_whatever_fails(
    tmp_path_factory: pytest.TempPathFactory, plan: list[list[bool]]
) -> None:
    """Each inner list is one round of writes at once: true commits, false raises."""
    opened = Store.open(tmp_path_factory.mktemp("s") / "a.db", STEPS, durable=False)
    counter = iter(range(10_000))

    def change(good: bool) -> Any:
        def run(conn: Connection) -> None:
            emit(conn, event(next(counter)))
            if not good:
                raise ValueError

        return run

    async def rounds() -> None:
        for each in plan:
            await asyncio.gather(
                *(opened.write(change(good)) for good in each), return_exceptions=True
            )

    try:
        asyncio.run(rounds())
        found = opened.read_now(lambda conn: after(conn, 0, 1000))
        assert [item.seq for item in found.items] == list(range(1, sum(map(sum, plan)) + 1))
        assert all(
            json.loads(item.body)["metadata"]["sequence"] == item.seq for item in found.items
        )
    finally:
        opened.close()


def test_after_kill_9_each_change_has_its_event_and_no_number_is_missing(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from tests.services.store.test_store import STEPS, Store, add, emit, event
        store = Store.open(Path(sys.argv[1]), STEPS)
        start = store.read_now(lambda c: c.exec_driver_sql("select count(*) from things").scalar())
        for n in range(start, 1_000_000):
            store.write_now(lambda c: (add(f"n{n}")(c), emit(c, event(n))))
            print(n, flush=True)
        """
    )
    path = tmp_path / "a.db"
    told = -1
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, cwd=ROOT
        ) as process:
            assert process.stdout is not None
            for _ in range(25):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            told = max([told, *map(int, process.stdout.read().split())])
    store = Store.open(path, STEPS)
    try:
        things = store.read_now(names)
        found = store.read_now(lambda conn: after(conn, 0, 1_000_000)).items
        assert things == [f"n{n}" for n in range(len(things))]
        assert [json.loads(item.body)["n"] for item in found] == list(range(len(things)))
        assert len(things) > told  # what was told is there
    finally:
        store.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Store.open(path, [*STEPS, sql("CREATE TABLE later (x)")]).close()
    before = path.read_bytes()
    with pytest.raises(PilotError) as caught:
        Store.open(path, STEPS)
    assert caught.value.code == "store-newer"
    assert str(path) in caught.value.message
    assert "version 3" in caught.value.message
    assert "up to 2" in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == before


def test_an_older_store_is_migrated_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    old = Store.open(path, STEPS)
    old.write_now(add("kept"))
    old.close()
    new = Store.open(path, [*STEPS, sql("ALTER TABLE things ADD COLUMN colour TEXT DEFAULT 'red'")])
    try:
        assert new.read_now(
            lambda conn: conn.exec_driver_sql("SELECT name, colour FROM things").all()
        ) == [("kept", "red")]
    finally:
        new.close()


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Store.open(path, STEPS).close()
    broken = sql("CREATE TABLE half (x)", "INSERT INTO nowhere VALUES (1)")
    with pytest.raises(OperationalError):
        Store.open(path, [*STEPS, broken])
    again = Store.open(path, STEPS)
    try:
        assert (
            again.read_now(
                lambda conn: conn.exec_driver_sql(
                    "SELECT count(*) FROM sqlite_master WHERE name = 'half'"
                ).scalar_one()
            )
            == 0
        )
    finally:
        again.close()


def test_a_store_that_cannot_be_made_leaves_no_file_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with pytest.raises(OperationalError):
        Store.open(path, [SHARED, sql("nonsense")])
    assert not path.exists()
    Store.open(path, STEPS).close()


def _filled(path: Path) -> bytes:
    store = Store.open(path, STEPS)
    for n in range(50):
        store.write_now(add(f"{n}" * 500))
    store.close()
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.95])
def test_a_truncated_store_is_refused_and_left_alone(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.db"
    whole = _filled(path)
    path.write_bytes(whole[: int(len(whole) * share)])
    before = path.read_bytes()
    with pytest.raises(PilotError) as caught:
        Store.open(path, STEPS)
    assert caught.value.code == "store-damaged"
    assert str(path) in caught.value.message
    assert path.read_bytes() == before


def test_a_garbled_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    whole = bytearray(_filled(path))
    whole[4096 * 2 : 4096 * 6] = os.urandom(4096 * 4)
    path.write_bytes(whole)
    with pytest.raises(PilotError) as caught:
        Store.open(path, STEPS)
    assert caught.value.code == "store-damaged"


@pytest.mark.parametrize("text", [b"not a database at all" * 100, b"\0" * 8192])
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(text)
    with pytest.raises(PilotError, match="not a SQLite file"):
        Store.open(path, STEPS)


def test_somebody_elses_sqlite_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE theirs (x)")
    conn.commit()
    conn.close()
    with pytest.raises(PilotError, match="not made by pilotctl"):
        Store.open(path, STEPS)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PilotError) as caught:
        Store.open(tmp_path / "no" / "a.db", STEPS)
    assert caught.value.code == "unavailable"


def test_a_full_store_refuses_the_write_and_goes_on_when_there_is_space(store: Store) -> None:
    def bound(pages: int) -> Any:
        return lambda conn: conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()

    store.write_now(add("before"))
    store.write_now(bound(1))  # SQLite takes the present size as the least

    def fill() -> None:
        for n in range(1000):
            store.write_now(lambda conn, n=n: (add(f"{n}" * 2000)(conn), emit(conn, event(n))))

    with pytest.raises(PilotError) as caught:
        fill()
    assert caught.value.code == "store-full"
    held = store.read_now(names)
    assert len(held) - 1 == store.read_now(lambda conn: after(conn, 0, 9999)).head
    store.write_now(bound(100_000))
    store.write_now(add("after"))
    assert store.read_now(names) == [*held, "after"]


def test_a_full_disk_is_named_and_the_process_lives_on(tmp_path: Path) -> None:
    """The file size limit stands in for a full disk: the kernel refuses the write for real."""
    program = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from console.errors import PilotError
        from tests.services.store.test_store import STEPS, Store, add, names
        store = Store.open(Path(sys.argv[1]), STEPS)
        store.write_now(add("before"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        done = 0
        try:
            for n in range(1000):
                store.write_now(add(f"{n}" * 3000)); done += 1
        except PilotError as error:
            print(error.code)
        assert len(store.read_now(names)) == done + 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        store.write_now(add("after"))
        assert store.read_now(names)[-1] == "after"
        store.close()
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path / "a.db")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "store-full\n"), done.stderr


def test_those_who_wait_hear_of_a_commit_at_once_and_only_of_theirs(store: Store) -> None:
    async def run() -> None:
        def some(conn: Connection) -> list[str] | None:
            return names(conn) or None

        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(store.until("things", some, 60))
        deaf = asyncio.create_task(store.signalled("other", 0.3))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        began = loop.time()
        await store.write(lambda conn: (add("x")(conn), wake(conn, "things")))
        assert await waiting == ["x"]
        assert loop.time() - began < 30
        assert await deaf is False
        assert await store.until("things", lambda _: None, 0.02) is None

    asyncio.run(run())


def test_readers_see_one_snapshot_and_cannot_write(store: Store) -> None:
    def look(conn: Connection) -> tuple[int, int]:
        count = select(func.count()).select_from(THINGS)
        first = conn.scalar(count)
        store.write_now(add("meanwhile"))
        return int(first or 0), int(conn.scalar(count) or 0)

    assert store.read_now(look) == (0, 0)
    assert store.read_now(names) == ["meanwhile"]
    with pytest.raises(PilotError, match="readonly"):
        store.read_now(add("sneaked"))


def test_a_closed_store_says_so_and_leaves_one_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db", STEPS)
    store.write_now(add("x"))
    assert store.read_now(names) == ["x"]
    store.close()
    store.close()
    for ask in (lambda: store.write_now(add("y")), lambda: store.read_now(names)):
        with pytest.raises(PilotError) as caught:
            ask()
        assert caught.value.code == "unavailable"
    assert [each.name for each in tmp_path.iterdir()] == ["a.db"]
    assert (tmp_path / "a.db").stat().st_mode & 0o777 == 0o600


def test_the_write_ahead_log_stays_small(store: Store) -> None:
    for n in range(200):
        store.write_now(add(f"{n:03}" * 30_000))
    assert store.path.with_name("a.db-wal").stat().st_size < 10_000_000


def test_a_small_write_costs_little(store: Store) -> None:
    def rounds() -> float:
        began = time.perf_counter()
        for _ in range(100):
            store.write_now(lambda conn: conn.execute(select(1)))
        return (time.perf_counter() - began) / 100

    assert min(rounds() for _ in range(3)) < 0.002


def test_stored_times_are_utc_sort_as_text_and_keep_microseconds(store: Store) -> None:
    early = datetime(2026, 3, 1, 1, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    late = datetime(2026, 3, 1, tzinfo=UTC)
    for name, at in (("late", late), ("early", early)):
        store.write_now(
            lambda conn, n=name, a=at: conn.execute(THINGS.insert(), {"name": n, "at": a})
        )
    rows = store.read_now(lambda conn: conn.execute(select(THINGS).order_by(THINGS.c.at)).all())
    assert [(row.name, row.at) for row in rows] == [("early", early), ("late", late)]
    assert rows[0].at.tzinfo is UTC or rows[0].at.utcoffset() == timedelta(0)
    with pytest.raises(Exception, match="time zone"):
        store.write_now(
            lambda conn: conn.execute(
                THINGS.insert(), {"name": "x", "at": late.replace(tzinfo=None)}
            )
        )


def test_an_event_is_kept_as_its_canonical_bytes(store: Store) -> None:
    store.write_now(lambda conn: emit(conn, {"b": "é\n", "metadata": {"uid": "evt_1"}, "a": 1.0}))
    body = store.read_now(lambda conn: conn.scalar(select(OUTBOX.c.body)))
    assert body == '{"a":1,"b":"é\\n","metadata":{"sequence":1,"uid":"evt_1"}}'.encode()
