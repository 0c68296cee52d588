"""A store that was changed behind the service's back: what is listed is what was signed."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from console.services.audit.log import store_check
from console.services.audit.log.store_check import CHANGED, MISSING, UNREADABLE
from tests.services.audit.audit_rig import Rig, running, short_folder, until


def check_in_rig(check: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                await check(rig)

    asyncio.run(run())


def change(rig: Rig, *statements: str) -> None:
    """Do to the store what somebody with the file would."""
    with closing(sqlite3.connect(rig.home.store("audit"))) as conn:
        for statement in statements:
            conn.execute(statement)
        conn.commit()


async def noted(rig: Rig, words: str) -> None:
    """Wait until the service says so in its status."""

    async def there() -> bool:
        status = await rig.get("/v1/status")
        return any(words in note for note in status["notes"])

    await until(there)


async def some_log(rig: Rig) -> list[Any]:
    """Fill a log of more than a bundle; return its events, oldest first."""
    for target in ("acme", "birch"):
        rig.policy.record(150, partner=target, actor=f"by-{target}")
    await rig.logged(300)
    first = await rig.events(after=-1, limit=500)
    assert len(first) == 300
    assert not any(event["fault"] for event in first)
    return first


def bare(event: Any) -> Any:
    return {**event, "fault": ""}


def same(events: Any, before: list[Any]) -> bool:
    """Tell whether these are the events of before; those of reading them came after."""
    return [bare(event) for event in events if event["index"] < len(before)] == before


REWRITE = "UPDATE leaves SET body = replace(body, 'ptn-8', 'ptn-9') WHERE idx = 7"
RENAME = "UPDATE leaves SET actor = 'nobody' WHERE idx = 7"
DELETE = "DELETE FROM leaves WHERE idx = 7"


@pytest.mark.parametrize("how", [REWRITE, RENAME, DELETE])
def test_an_entry_that_was_changed_is_shown_as_the_log_holds_it_and_says_so(how) -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        change(rig, how)
        lost = how == DELETE
        for name in ("7",) if lost else ("7", before[7]["id"]):
            shown = await rig.get(f"/v1/events/{name}")
            assert bare(shown) == before[7]
            assert ("lost" if lost else "another entry") in shown["fault"]
        proof = await rig.get("/v1/log/proofs/7")
        assert proof["fault"]
        for page in (await rig.events(after=-1, limit=500), (await rig.events(limit=500))[::-1]):
            assert same(page, before)
            assert [event["index"] for event in page if event["fault"]] == [7]
        found = await rig.get("/v1/log/comparison")
        assert found["tree_size"] == found["next"] >= 300
        code = MISSING if lost else CHANGED
        assert [(each["where"], each["code"]) for each in found["findings"]] == [("entry 7", code)]

    check_in_rig(check)


def test_a_gap_is_told_wherever_a_page_ends() -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        gone = (0, 99, 100, 199, 299)
        change(rig, f"DELETE FROM leaves WHERE idx IN {gone}")
        for after in ("-1", ""):
            seen: list[Any] = []
            cursor = ""
            while True:
                page = await rig.get("/v1/events", after=after, limit=100, cursor=cursor)
                seen += page["items"]
                cursor = page["next_cursor"]
                if not cursor:
                    break
            assert sorted(event["index"] for event in seen if event["fault"]) == [*gone]
            assert same(seen if after else seen[::-1], before)

    check_in_rig(check)


def test_a_filter_does_not_hide_what_a_pass_found() -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        change(rig, DELETE, "UPDATE leaves SET partner = 'birch' WHERE idx = 9")
        assert rig.audit is not None
        await rig.audit.check.compare_all(rig.audit.store)
        await noted(rig, "differs from the log in 2 entries, the first are 7, 9")
        found = await rig.events(partner="acme", limit=500)
        assert [bare(event) for event in found] == before[:150][::-1]
        assert [event["index"] for event in found if event["fault"]] == [9, 7]
        shown = await rig.get(f"/v1/events/{before[7]['id']}")
        assert bare(shown) == before[7]
        assert shown["fault"]
        by = await rig.events(target="ptn-8", actor="by-acme")
        assert [event["index"] for event in by] == [7]
        assert await rig.events(target="ptn-8", actor="by-birch") == []
        assert [event["index"] for event in await rig.events(text="ptn-10")] == [9]

    check_in_rig(check)


@pytest.mark.parametrize(
    "how",
    [
        "INSERT INTO search(search) VALUES ('delete-all')",
        "DELETE FROM hours",
        "DELETE FROM actions",
    ],
)
def test_an_index_that_was_emptied_does_not_hide_what_the_log_holds(how) -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        change(rig, how)
        assert rig.audit is not None
        await rig.audit.check.compare_all(rig.audit.store)
        every = {"action": "partner.create", "since": "2026-01-01T00:00:00Z", "limit": 500}
        found = await rig.events(**every)
        assert [bare(event) for event in found] == before[::-1]
        assert all("index" in event["fault"] for event in found)
        await noted(rig, "differs from the log in")

    check_in_rig(check)


def test_the_store_is_compared_with_the_tiles_at_the_start() -> None:
    async def fill(rig: Rig) -> None:
        await some_log(rig)
        change(rig, REWRITE)

    async def look(rig: Rig) -> None:
        await noted(rig, "differs from the log in 1 entries, the first are 7")

    async def both() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                await fill(rig)
            async with running(home) as rig:
                await look(rig)

    asyncio.run(both())


def test_an_entry_that_the_files_do_not_hold_is_not_blamed_on_the_store() -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        tile = rig.home.log / "tile/0/000"
        raw = bytearray(tile.read_bytes())
        raw[7 * 32] ^= 1
        tile.write_bytes(raw)
        shown = await rig.get("/v1/events/7")
        assert bare(shown) == before[7]
        assert "files" in shown["fault"]
        found = await rig.get("/v1/log/comparison")
        assert [each["code"] for each in found["findings"]] == [UNREADABLE]

    check_in_rig(check)


def test_a_follower_is_given_what_the_store_lost() -> None:
    async def check(rig: Rig) -> None:
        await some_log(rig)
        change(rig, DELETE, REWRITE.replace("7", "8"))
        assert rig.audit is not None
        look = rig.audit.check.tail
        found = await rig.audit.store.read(lambda conn: look(conn, {}, 4))
        assert [index for index, _ in found.rows] == list(range(5, 206))
        assert [index for index, event in found.rows if event.fault] == [7]

    check_in_rig(check)


def test_nothing_is_wrong_while_the_log_is_handed_over_and_begins_anew() -> None:
    async def check(rig: Rig) -> None:
        await some_log(rig)
        assert rig.audit is not None
        done = asyncio.Event()

        async def look() -> None:
            while not done.is_set():
                events = await rig.events(limit=500)
                assert not any(event["fault"] for event in events)
                assert (await rig.get("/v1/log/comparison"))["findings"] == []

        looking = asyncio.create_task(look())
        for _ in range(3):
            made = await rig.post("/v1/log/rotation", {"reason": "yearly"})

            await until(partial(_signs, rig, made["new_key"]))
        made = await rig.post("/v1/log/restart", {"reason": "the key leaked"})
        await until(partial(_signs, rig, made["new_key"]))
        done.set()
        await looking

    check_in_rig(check)


async def _signs(rig: Rig, key: str) -> bool:
    return bool((await rig.get("/v1/log/head"))["key"] == key)


def test_whatever_is_done_to_rows_every_listing_is_what_was_signed(monkeypatch) -> None:
    monkeypatch.setattr(store_check, "COMPARED_AT_ONCE", 64)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        assert rig.audit is not None
        for _ in range(12):
            index = chance.randrange(300)
            noise = chance.randbytes(9).hex()
            column = chance.choice(("actor", "partner", "target", "reason", "outcome", "kind"))
            change(
                rig,
                chance.choice(
                    (
                        f"DELETE FROM leaves WHERE idx = {index}",
                        f"UPDATE leaves SET {column} = 'x' WHERE idx = {index}",
                        f"UPDATE leaves SET body = x'{noise}' WHERE idx = {index}",
                        f"UPDATE leaves SET body = replace(body, 'by', 'b') WHERE idx = {index}",
                    )
                ),
            )
            every = await rig.events(after=-1, limit=500)
            assert same(every, before)
        await rig.audit.check.compare_all(rig.audit.store)
        faults = [event["index"] for event in every if event["fault"]]
        assert sorted(rig.audit.check.faults) == faults
        mine = await rig.events(actor="by-birch", limit=500)
        assert {each["index"] for each in mine} >= set(range(150, 300)) & set(faults)

    check_in_rig(check)
