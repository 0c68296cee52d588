"""A store that was changed behind the service's back: what is listed is what was signed."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any

import pytest

from console.errors import PilotError
from console.services.audit.alerts import detections
from console.services.audit.log import store_check, stored_rows
from console.services.audit.log.store_check import CHANGED, INVENTED, MISSING, STATE, UNREADABLE
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
        assert [index for index, _ in found.rows] == list(range(5, 205))
        assert [index for index, event in found.rows if event.fault] == [7, 8]

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
                await until(partial(nothing_found, rig))

        looking = asyncio.create_task(look())
        for _ in range(3):
            made = await rig.post("/v1/log/rotation", {"reason": "yearly"})

            await until(partial(_signs, rig, made["new_key"]))
        made = await rig.post("/v1/log/restart", {"reason": "the key leaked"})
        await until(partial(_signs, rig, made["new_key"]))
        done.set()
        await looking

    check_in_rig(check)


async def nothing_found(rig: Rig) -> bool:
    return bool((await rig.get("/v1/log/comparison"))["findings"] == [])


async def _signs(rig: Rig, key: str) -> bool:
    return bool((await rig.get("/v1/log/head"))["key"] == key)


COLUMNS = (
    "event_id", "source", "sequence", "at", "actor", "action", "kind", "target", "partner",
    "outcome", "reason", "request_id", "contains", "body",
)  # fmt: skip
GARBAGE = ("'x'", "x'00ff'", "CAST(x'ff' AS TEXT)", "-1", "1.5", "9223372036854775807")
INVENT = (
    "INSERT OR IGNORE INTO leaves SELECT {}, 'evt_made', source, 99999999, at, actor, action, "
    "kind, target, partner, outcome, reason, request_id, contains, body FROM leaves WHERE idx = 3"
)
FILTERS: dict[str, dict[str, Any]] = {
    "actor": {"actor": "by-acme"},
    "action": {"action": "partner.create"},
    "beginning": {"action": "partner."},
    "target": {"target": "ptn-8"},
    "name": {"target": "acme"},
    "partner": {"partner": "acme"},
    "outcome": {"outcome": "success"},
    "source": {"source": "policy"},
    "text": {"text": "acme"},
    "since": {"since": "2026-01-01T00:00:00Z"},
    "until": {"until": "2036-01-01T00:00:00Z"},
    "after": {"after": -1},
    "none": {},
}


@pytest.mark.parametrize(
    "column",
    [
        each if each in {"at", "body", "event_id"} else pytest.param(each, marks=pytest.mark.long)
        for each in COLUMNS
    ],
)
def test_a_column_of_any_type_is_a_fault_and_keeps_nothing_else_from_sight(column) -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        assert rig.audit is not None
        for index, garbage in enumerate(GARBAGE, 5):
            with suppress(sqlite3.IntegrityError):
                change(rig, f"UPDATE leaves SET {column} = {garbage} WHERE idx = {index}")
        every = await rig.events(after=-1, limit=500)
        assert same(every, before)
        wrong = [event["index"] for event in every if event["fault"]]
        assert set(wrong) <= set(range(5, 11))
        assert len(wrong) >= 4
        for asked in FILTERS.values():
            for event in await rig.events(**asked, limit=500):
                assert bare(event) == before[event["index"]] or event["index"] >= len(before)
        for index in wrong:
            shown = await rig.get(f"/v1/events/{index}")
            assert bare(shown) == before[index]
            assert shown["fault"]
        found = await rig.get("/v1/log/comparison")
        assert [each["where"] for each in found["findings"]] == [f"entry {at}" for at in wrong]
        await rig.audit.check.compare_all(rig.audit.store)
        assert sorted(rig.audit.check.faults) == wrong
        assert (await rig.get("/v1/status"))["damage"]

    check_in_rig(check)


@pytest.mark.parametrize(
    "index",
    [
        10**9,
        pytest.param(-1, marks=pytest.mark.long),
        pytest.param((1 << 63) - 1, marks=pytest.mark.long),
        -(1 << 63),
    ],
)
def test_an_entry_that_the_log_does_not_hold_is_told_and_listed_nowhere(index) -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        assert rig.audit is not None
        change(rig, INVENT.format(index))
        for asked in FILTERS.values():
            page = await rig.get("/v1/events", **asked, limit=500)
            assert "evt_made" not in {event["id"] for event in page["items"]}
            assert any("that the log does not" in each for each in page["warnings"])
        shown = await rig.get("/v1/events/evt_made")
        assert "does not hold" in shown["fault"]
        with pytest.raises(PilotError) as refused:
            await rig.get("/v1/log/proofs/evt_made")
        assert "does not hold" in refused.value.message
        found = await rig.get("/v1/log/comparison")
        told = [(each["where"], each["code"]) for each in found["findings"]]
        assert told == [(f"entry {index}", INVENTED)]
        await rig.audit.check.compare_all(rig.audit.store)
        await noted(rig, f"differs from the log in 1 entries, the first are {index}")
        look = rig.audit.check.tail
        seen = await rig.audit.store.read(lambda conn: look(conn, {}, len(before) - 1))
        assert len(before) - 1 <= seen.reached < len(before) + 100

    check_in_rig(check)


def test_an_entry_behind_the_log_blinds_neither_the_rules_nor_a_follower() -> None:
    async def check(rig: Rig) -> None:
        await some_log(rig)
        assert rig.audit is not None
        change(
            rig,
            INVENT.format(10**9),
            "UPDATE leaves SET body = x'00' WHERE idx = 290",
            "DELETE FROM leaves WHERE idx = 291",
            "UPDATE cursors SET position = 280 WHERE feed = 'events'",
        )
        rig.policy.record(1, actor="mallory")
        found: list[Any] = []

        async def read() -> bool:
            assert rig.audit is not None
            found[:] = await rig.events(actor="mallory")
            position = partial(detections.position, feed="events")
            reached = await rig.audit.store.read(position)
            return bool(found) and found[0]["index"] <= reached < 1000

        await until(read)
        look = rig.audit.check.tail
        seen = await rig.audit.store.read(lambda conn: look(conn, {"actor": "mallory"}, 299))
        assert [event.actor for _, event in seen.rows] == ["mallory"]

    check_in_rig(check)


def test_rules_that_were_led_behind_the_log_come_back() -> None:
    async def check(rig: Rig) -> None:
        await some_log(rig)
        assert rig.audit is not None
        change(rig, "UPDATE cursors SET position = 1000000000 WHERE feed = 'events'")

        async def read() -> bool:
            assert rig.audit is not None
            position = partial(detections.position, feed="events")
            return 299 <= await rig.audit.store.read(position) < 1000

        await until(read)

    check_in_rig(check)


@pytest.mark.parametrize(
    "how",
    [
        f"UPDATE tree SET state = x'{'00' * 8}'",
        pytest.param("UPDATE tree SET state = 'x'", marks=pytest.mark.long),
        pytest.param("UPDATE tree SET key = 'x'", marks=pytest.mark.long),
        "UPDATE tree SET key = replace(key, '+', '+0')",
        pytest.param("DELETE FROM tree", marks=pytest.mark.long),
    ],
)
def test_what_the_store_says_of_its_own_size_cuts_no_comparison_short(how) -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        change(rig, how, RENAME)
        assert same(await rig.events(after=-1, limit=500), before)
        found = await rig.get("/v1/log/comparison")
        assert found["tree_size"] == found["next"] >= 300
        codes = {each["code"] for each in found["findings"]}
        assert codes == ({CHANGED} if "key" in how else {CHANGED, STATE})

    check_in_rig(check)


def test_a_lost_entry_is_found_by_its_id_and_under_a_filter_without_a_pass() -> None:
    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        change(rig, DELETE)
        shown = await rig.get(f"/v1/events/{before[7]['id']}")
        assert bare(shown) == before[7]
        assert "lost" in shown["fault"]
        for asked in FILTERS.values():
            page = await rig.get("/v1/events", **asked, limit=500)
            assert any("1 entries are missing" in each for each in page["warnings"])
            if "name" not in asked:
                at = [event["index"] for event in page["items"] if event["fault"]]
                assert at == ([] if asked.get("target") == "acme" else [7])

    check_in_rig(check)


def test_an_id_that_is_nowhere_is_not_said_to_come_later_where_too_much_is_lost(
    monkeypatch,
) -> None:
    monkeypatch.setattr(stored_rows, "MAX_LISTED", 5)

    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        change(rig, "DELETE FROM leaves WHERE idx BETWEEN 10 AND 90")
        with pytest.raises(PilotError) as refused:
            await rig.get(f"/v1/events/{before[80]['id']}")
        assert "has lost 81 entries" in refused.value.message
        page = await rig.get("/v1/events", partner="acme", limit=500)
        assert page["partial"]

    check_in_rig(check)


@pytest.mark.parametrize("times", [4, pytest.param(60, marks=pytest.mark.long)])
def test_whatever_is_done_to_rows_every_listing_is_what_was_signed(monkeypatch, times) -> None:
    monkeypatch.setattr(store_check, "COMPARED_AT_ONCE", 64)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def check(rig: Rig) -> None:
        before = await some_log(rig)
        assert rig.audit is not None
        for _ in range(times):
            index = chance.randrange(300)
            noise = chance.randbytes(9).hex()
            column, garbage = chance.choice(COLUMNS), chance.choice(GARBAGE)
            change(
                rig,
                chance.choice(
                    (
                        f"DELETE FROM leaves WHERE idx = {index}",
                        f"UPDATE OR IGNORE leaves SET {column} = {garbage} WHERE idx = {index}",
                        INVENT.format(chance.choice((-1, 1)) * chance.randrange(10**4, 10**9)),
                        f"UPDATE leaves SET body = x'{noise}' WHERE idx = {index}",
                        f"UPDATE leaves SET body = replace(body, 'by', 'b') WHERE idx = {index}",
                    )
                ),
            )
            every = await rig.events(after=-1, limit=500)
            assert same(every, before)
            for asked in FILTERS.values():
                for event in await rig.events(**asked, limit=500):
                    assert bare(event) == before[event["index"]] or event["index"] >= 300
        await rig.audit.check.compare_all(rig.audit.store)
        faults = [event["index"] for event in every if event["fault"]]
        known = [each for each, code in rig.audit.check.faults.items() if code != INVENTED]
        assert sorted(known) == faults
        mine = await rig.events(actor="by-birch", limit=500)
        assert {each["index"] for each in mine} >= set(range(150, 300)) & set(faults)

    check_in_rig(check)
