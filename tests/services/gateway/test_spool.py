"""The point's spool: what is written when, and numbers without gaps."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from console.errors import PilotError
from console.model.ids import new_id
from console.model.traffic import CallRecord
from console.services.gateway.point.spool import STEPS, Spool
from console.services.store import Store


def record(**facts: object) -> CallRecord:
    usual: dict[str, object] = {
        "id": new_id("call"),
        "point": "gw-1",
        "sequence": 0,
        "started_at": datetime.now(UTC),
        "outcome": "allowed",
        "status": 200,
    }
    return CallRecord(**{**usual, **facts})  # type: ignore[arg-type]


def with_spool(path: Path, work: Callable[[Spool], Awaitable[None]], above: int = 0) -> int:
    """Run `work` on a spool; return how many calls it found cut short."""

    async def run() -> int:
        store = Store.open(path, STEPS, durable=False)
        spool = Spool(store)
        try:
            orphans = await spool.start(above)
            await work(spool)
            return orphans
        finally:
            await spool.stop()
            store.close()

    return asyncio.run(run())


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    store = sqlite3.connect(path)
    try:
        return store.execute(f"SELECT * FROM {table}").fetchall()
    finally:
        store.close()


def test_finished_calls_are_numbered_without_gaps_in_the_order_they_end(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    made = [record() for _ in range(300)]

    async def work(spool: Spool) -> None:
        for each in made:
            spool.begin(each)
        await asyncio.gather(*(spool.end(each) for each in reversed(made)))
        held = await spool.unacknowledged(0, 1000)
        assert [each.sequence for each in held] == list(range(1, 301))
        read = [msgspec.json.decode(each.body, type=CallRecord) for each in held]
        assert [each.id for each in read] == [each.id for each in reversed(made)]
        assert [each.sequence for each in read] == list(range(1, 301))
        await spool.forget(300)

    with_spool(path, work)
    assert rows(path, "running") == rows(path, "finished") == []

    async def later(spool: Spool) -> None:
        await spool.end(record())
        assert [each.sequence for each in await spool.unacknowledged(0, 9)] == [301]

    with_spool(path, later)


def test_numbers_go_on_above_what_control_holds(tmp_path: Path) -> None:
    async def work(spool: Spool) -> None:
        await spool.end(record())
        assert [each.sequence for each in await spool.unacknowledged(41, 9)] == [42]

    with_spool(tmp_path / "s.db", work, above=41)


def test_a_stream_is_on_disk_before_its_first_byte_and_a_lone_beginning_soon(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.db"

    async def work(spool: Spool) -> None:
        await spool.begin_now(record())
        assert len(rows(path, "running")) == 1
        spool.begin(record())
        async with asyncio.timeout(60):
            while len(rows(path, "running")) < 2:  # noqa: ASYNC110 - another thread writes it
                await asyncio.sleep(0.01)

    with_spool(path, work)


def test_what_was_running_when_the_process_died_is_finished_as_an_error(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    lost = record(input_tokens=7)

    async def die(spool: Spool) -> None:
        await spool.begin_now(lost)

    with_spool(path, die)

    async def wake(spool: Spool) -> None:
        (held,) = await spool.unacknowledged(0, 9)
        found = msgspec.json.decode(held.body, type=CallRecord)
        assert (found.id, found.sequence, found.code) == (lost.id, 1, "point_restarted")
        assert (found.outcome, found.estimated) == ("error", True)
        assert found.ended_at is not None

    assert with_spool(path, wake) == 1


def test_a_record_that_cannot_be_written_fails_its_call_and_leaves_no_gap(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.db"

    async def work(spool: Spool) -> None:
        await spool.end(record())
        other = sqlite3.connect(path)
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON finished BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        other.commit()
        with pytest.raises(PilotError, match="full"):
            await spool.end(record())
        other.execute("DROP TRIGGER full")
        other.commit()
        other.close()
        await spool.end(record())
        assert [each.sequence for each in await spool.unacknowledged(0, 9)] == [1, 2]

    with_spool(path, work)


def test_a_record_that_cannot_be_encoded_fails_alone_and_writing_goes_on(tmp_path: Path) -> None:
    async def work(spool: Spool) -> None:
        async with asyncio.timeout(20):
            with pytest.raises(PilotError, match="cannot be written"):
                await spool.end(record(model=object()))
            await spool.end(record())

    with_spool(tmp_path / "spool.db", work)
    assert len(rows(tmp_path / "spool.db", "finished")) == 1
