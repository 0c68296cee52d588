"""Many rows are filtered and sorted bit by bit: keys come between, and nothing else differs."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Generator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App

from console.present.table_columns import TableColumn
from console.tui.terminal.canvas import cells
from console.tui.terminal.coded_text import decoded
from console.tui.theme.palette import load_all
from console.tui.widgets.idle import (
    AFTER_KEY,
    SLICE,
    WHOLE_AT_LATEST,
    Quiet,
    _whole_is_due,
    at_once,
)
from console.tui.widgets.row_order import RUN, arranged, ordered
from console.tui.widgets.rows import AT_ONCE, TableState
from console.tui.widgets.table import Table

PALETTES, _ = load_all()


class Row(NamedTuple):
    id: str
    size: int | None


def made(sizes: list[int | None]) -> list[Row]:
    return [Row(f"row-{at}", size) for at, size in enumerate(sizes)]


def plainly(rows: list[Row], least: int, *, descending: bool) -> list[Row]:
    """What filtering and sorting at once gives; rows without a size come last either way."""
    left = [row for row in rows if row.size is None or row.size >= least]
    sized = [row for row in left if row.size is not None]
    sized.sort(key=lambda row: row.size or 0, reverse=descending)
    return [*sized, *(row for row in left if row.size is None)]


SIZES = st.lists(st.none() | st.integers(0, 20), max_size=400)


@settings(max_examples=60)
@given(SIZES, st.integers(0, 20), st.booleans(), st.sets(st.integers(0, 400), max_size=5))
def test_rows_arranged_bit_by_bit_are_the_rows_arranged_at_once(sizes, least, descending, sought):
    rows = made(sizes)
    found = at_once(
        arranged(
            rows, lambda row: row.id, {f"row-{at}" for at in sought},
            test=lambda row: row.size is None or row.size >= least,
            key=lambda row: row.size, descending=descending,
        )
    )  # fmt: skip
    assert list(found.rows) == plainly(rows, least, descending=descending)
    wanted = {f"row-{at}" for at in sought}
    assert found.places == {row.id: at for at, row in enumerate(found.rows) if row.id in wanted}


def test_runs_are_merged_into_one_order_and_equal_rows_stay_as_they_came():
    rows = made([at * 7919 % 97 for at in range(3 * RUN + 11)])
    for descending in (False, True):
        found = at_once(ordered(rows, lambda row: row.size, descending=descending))
        assert found == plainly(rows, 0, descending=descending)


@settings(max_examples=30)
@given(SIZES.filter(len), st.integers(1, 50), st.randoms(use_true_random=False))
def test_rows_that_change_in_between_do_not_disturb_an_order_that_has_begun(sizes, steps, chance):
    rows = made(sizes)
    taken = tuple(rows)
    steps_of = arranged(taken, lambda row: row.id, set(), key=lambda row: row.size)
    try:
        for _ in range(steps):
            next(steps_of)
            rows[chance.randrange(len(rows))] = Row("another", chance.randrange(99))
            del rows[chance.randrange(len(rows)) :]
            rows.append(Row("last", None))
        found = at_once(steps_of)
    except StopIteration as done:
        found = done.value
    assert list(found.rows) == plainly(list(taken), 0, descending=False)


def test_a_key_is_looked_at_after_a_slice_of_work_and_its_answer_goes_first():
    quiet = Quiet()
    waits: list[float] = []
    answers: list[float] = []

    def work() -> Generator[None, None, str]:
        for _ in range(40):
            end = time.perf_counter() + SLICE / 3
            while time.perf_counter() < end:
                pass
            yield
        return "done"

    async def keys() -> None:
        for _ in range(8):
            asked = time.perf_counter()
            await asyncio.sleep(0)
            waits.append(time.perf_counter() - asked)
            quiet.key()
            answers.append(quiet.since_key())
            await asyncio.sleep(0.01)

    async def both() -> str:
        typing = asyncio.create_task(keys())
        found = await quiet.in_slices(work())
        await typing
        return found

    assert asyncio.run(both()) == "done"
    # what the loop itself takes is on top: a busy machine is given ten times a slice
    assert sorted(waits)[len(waits) // 2] < 10 * SLICE
    assert sorted(answers)[len(answers) // 2] < AFTER_KEY


def test_keys_without_a_pause_do_not_keep_the_work_waiting_for_ever():
    quiet = Quiet()

    async def turned() -> float:
        async def press() -> None:
            while True:
                quiet.key()
                await asyncio.sleep(0.002)

        pressing = asyncio.create_task(press())
        await asyncio.sleep(0)
        began = time.monotonic()
        await quiet.turn()
        pressing.cancel()
        return time.monotonic() - began

    assert AFTER_KEY < asyncio.run(turned()) < 60


COLUMNS = (
    TableColumn("id", lambda row, _: row.id, lambda _: "", lambda row: row.id),
    TableColumn("size", lambda row, _: str(row.size), lambda _: "", lambda row: row.size),
)


class Shown(App[None]):
    """A table, and nothing else."""

    def compose(self):
        yield Table(lambda: PALETTES["dark"])


def test_rows_that_change_while_they_are_sorted_are_there_in_the_end_and_the_cursor_on_its_row():
    async def go() -> None:
        app = Shown()
        async with app.run_test(size=(60, 20)):
            table = app.query_one(Table)
            state = TableState()
            rows = made([at * 7919 % 9973 for at in range(30 * AT_ONCE)])
            table.show(COLUMNS, rows, lambda row: row.id, state)
            table.go(7)
            assert state.cursor == "row-7"
            table.set_sort("size")
            before = list(table.rows)
            # more rows, while the first are still being put in order
            await asyncio.sleep(0)
            newer = [Row("newest", 5000), *rows[:4000], *rows[4001:]]
            table.show(COLUMNS, newer, lambda row: row.id, state)
            assert list(table.rows) == before
            wanted = plainly(newer, 0, descending=False)
            end = time.monotonic() + 60
            while list(table.rows) != wanted:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            assert state.cursor == "row-7"
            assert table.current.id == "row-7"
            assert state.top <= state.index < state.top + 20

    asyncio.run(go())


def test_a_row_that_only_moved_down_is_said_as_before_and_a_changed_cell_is_marked():
    async def go() -> None:
        app = Shown()
        async with app.run_test(size=(60, 20)) as pilot:
            table = app.query_one(Table)
            state = TableState()
            rows = made(list(range(30)))
            table.show(COLUMNS, rows, lambda row: row.id, state)
            await pilot.pause()
            changed = [Row("new", 1), *rows]
            changed[3] = rows[2]._replace(size=77)
            table.show(COLUMNS, changed, lambda row: row.id, state)
            await pilot.pause()
            marked = {look.key: look.changed for look in table._looks if look.changed}
            assert marked == {"row-2": frozenset({1})}
            assert table.current.id == "row-0"
            lines = table.render_lines(table.size.region)
            said = [line.text.split()[0] for line in lines[1:4]]
            assert said == ["new", "row-0", "row-1"]

    asyncio.run(go())


class Knot:
    """Something that only the collector can free."""

    def __init__(self) -> None:
        self.self = self


def freed_after(*, typing: bool) -> float:
    """Return the seconds until something old is freed, with a key every 0.8 s or with none."""
    clock = [100.0]
    quiet = Quiet(lambda: clock[0], sweep_every=0.001)

    async def swept() -> float:
        sweeping = asyncio.create_task(quiet.sweep())
        await asyncio.sleep(0)
        old, began = Knot(), clock[0]
        kept = weakref.ref(old)
        for generation in (0, 1):
            gc.collect(generation)  # old now, as everything is that outlives a view
        del old
        while kept() is not None:
            assert clock[0] - began < 3600, "it waits for ever"
            if typing:
                quiet.key()
            clock[0] += 0.8
            await asyncio.sleep(0.002)
        sweeping.cancel()
        return clock[0] - began

    return asyncio.run(swept())


def test_an_operator_who_never_pauses_has_everything_collected_all_the_same():
    # the test's clock runs on while a loaded machine is at its work
    assert freed_after(typing=True) <= 4 * WHOLE_AT_LATEST


def test_a_pause_of_the_operator_is_used_for_it_sooner():
    assert freed_after(typing=False) < WHOLE_AT_LATEST


@pytest.mark.parametrize(
    ("since_whole", "since_key", "took", "due"),
    [
        (5.0, 60.0, 0.01, False),
        (9.0, 0.1, 0.01, True),  # it costs a two-hundredth of the time
        (9.0, 0.1, 0.1, False),
        (21.0, 0.1, 0.1, True),
        (9.0, 2.0, 0.1, True),  # a pause
        (29.0, 0.1, 9.0, False),
        (31.0, 0.1, 9.0, True),  # whatever it costs
    ],
)
def test_everything_is_collected_as_often_as_it_is_cheap_and_never_later_than_in_30_s(
    since_whole, since_key, took, due
):
    assert _whole_is_due(since_whole, since_key, took) is due


@pytest.mark.parametrize("name", ["a\u202eb", "x\u200d\u200dy", "\x1b[2J", "हिन्दी", "\u1112\u1161"])
def test_a_name_that_is_made_visible_takes_no_room_of_the_next_column(name):
    async def go() -> None:
        app = Shown()
        async with app.run_test(size=(60, 20)) as pilot:
            table = app.query_one(Table)
            named = TableColumn("name", lambda row, _: row.id, lambda _: "", lambda row: row.id)
            rows = [Row(name, 77_777), Row("plain", 88_888)]
            table.show((named, COLUMNS[1]), rows, lambda row: row.id, TableState())
            await pilot.pause()
            lines = table.render_lines(table.size.region)[1:3]
            first, second = (cells(decoded(line.text), "") for line in lines)
            at = "".join(text for text, _ in second).index("88888")
            assert [text for text, _ in first][at : at + 5] == list("77777")

    asyncio.run(go())
