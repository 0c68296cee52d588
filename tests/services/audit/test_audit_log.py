"""The log: every event of every source once, in order, under a checkpoint that verifies."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from base64 import b64decode
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from console.errors import PilotError
from console.services import settings
from console.services.audit.log import ledger
from console.services.audit.migrations import STEPS
from console.services.audit.service import Audit
from console.services.store import OutboxItem, OutboxPage, Store
from console.trust.checkpoint import open_checkpoint
from console.trust.merkle import leaf_hash, verify_consistency, verify_inclusion
from console.trust.note import VerifierKey
from tests.services.audit.audit_rig import Rig, answer, item, running, short_folder, spawn, until


def in_order(leaves: list[tuple[str, int]]) -> bool:
    """Whether each source's numbers are 1, 2, 3, … in the log."""
    seen: dict[str, int] = {}
    for source, sequence in leaves:
        if sequence != seen.get(source, 0) + 1:
            return False
        seen[source] = sequence
    return True


def stored(home: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(home / "audit.db") as conn:
        rows = conn.execute("SELECT source, sequence FROM leaves ORDER BY idx").fetchall()
    conn.close()
    return rows


def test_events_of_all_sources_are_logged_once_in_order_and_the_log_verifies() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(300)
        rig.gateway.record(40, "lock.add", kind="lock")
        await rig.logged(340)
        rig.policy.record(7)
        await rig.logged(347)
        report = rig.verify()
        assert report.ok, report.damage
        assert report.entries == 347
        leaves = [(each["source"], each["sequence"]) for each in await whole(rig)]
        assert len(leaves) == 347
        assert in_order(leaves)
        bodies = {each["id"]: each["body"] for each in await whole(rig)}
        assert bodies == {each.event_id: each.body for each in rig.policy.items + rig.gateway.items}
        status = await rig.get("/v1/status")
        assert (status["sequence"], status["healthy"], status["notes"]) == (347, True, [])

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


def test_a_proof_leads_from_the_exact_bytes_to_a_checkpoint_signed_by_the_logs_key() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(70)
        await rig.logged(70)
        head = await rig.get("/v1/log/head")
        key = VerifierKey.parse(head["key"])
        assert head["origin"] == key.name
        assert key.name.startswith("pilotctl.local/")
        assert (rig.home.path / "log.vkey").read_text().strip() == head["key"]
        for wanted, size in (("0", 70), ("69", 70), (rig.policy.items[12].event_id, 33)):
            told = await rig.get(f"/v1/log/proofs/{wanted}", tree_size=size)
            proof = told["proof"]
            leaf = b64decode(proof["leaf"])
            signed = open_checkpoint(proof["checkpoint"].encode(), key).checkpoint
            assert signed.size == proof["tree_size"] == size
            path = [b64decode(each) for each in proof["hashes"]]
            verify_inclusion(leaf_hash(leaf), proof["index"], size, path, signed.root)
            assert leaf == rig.policy.items[proof["index"]].body.encode()
        old = open_checkpoint(
            (await rig.get("/v1/log/proofs/0", tree_size=33))["proof"]["checkpoint"].encode(), key
        ).checkpoint
        new = open_checkpoint(head["checkpoint"].encode(), key).checkpoint
        growth = await rig.get("/v1/log/growth", old=33)
        path = [b64decode(each) for each in growth["hashes"]]
        verify_consistency(33, 70, path, old.root, new.root)

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


def test_proofs_that_would_prove_nothing_are_refused() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(5)
        await rig.logged(5)
        for path, query, code in (
            ("/v1/log/growth", {"old": 0}, "invalid"),
            ("/v1/log/growth", {}, "invalid"),
            ("/v1/log/growth", {"old": 3, "new": 9}, "invalid"),
            ("/v1/log/proofs/4", {"tree_size": 4}, "invalid"),
            ("/v1/log/proofs/4", {"tree_size": 6}, "invalid"),
            ("/v1/log/proofs/5", {}, "not-found"),
            ("/v1/log/proofs/evt_nobody", {}, "not-found"),
            ("/v1/log/files/tile/0/000.p/06", {}, "not-found"),
            ("/v1/log/files/../keys/log.key", {}, "no-such-route"),
            ("/v1/log/files/..%2F..%2Fkeys%2Flog.key", {}, "not-found"),
        ):
            with pytest.raises(PilotError) as refused:
                await rig.get(path, **query)
            assert refused.value.code == code, path

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


def test_the_log_is_served_in_the_c2sp_layout_and_signed_anew_while_idle() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(3)
        await rig.logged(3)
        session = rig.client.session
        base = "http://localhost/v1/log/files/"
        async with session.get(base + "checkpoint") as response:
            assert response.content_type == "text/plain"
            assert await response.read() == (rig.home.log / "checkpoint").read_bytes()
        async with session.get(base + "tile/entries/000.p/3") as response:
            assert "immutable" in response.headers["Cache-Control"]
            said = await response.read()
            assert said == (rig.home.log / "tile/entries/000.p/3").read_bytes()
        first = (await rig.get("/v1/log/head"))["checkpointed_at"]

        async def again() -> bool:
            return (await rig.get("/v1/log/head"))["checkpointed_at"] > first

        await until(again)

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


def test_a_source_that_was_down_is_caught_up_with_in_order() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(10)
        await rig.logged(10)
        await rig.policy.stop()
        rig.policy.record(1200)
        rig.gateway.record(5)
        await rig.logged(15)

        async def said() -> bool:
            status = await rig.get("/v1/status")
            assert not any("reached" in note for note in status["notes"]), "audit itself is well"
            lacks = status["dependency_notes"]
            return any("policy events" in note and "reached" in note for note in lacks)

        await until(said)
        await rig.policy.start(rig.home.socket("policy"))
        await rig.logged(1215)
        assert rig.verify().ok
        assert in_order(stored(rig.home.path))

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


def test_a_gap_stops_its_source_alone_and_is_told_in_the_log_and_as_an_alert() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(4)
        await rig.logged(4)
        missing = [item("policy", 5), item("policy", 6), item("policy", 7)]
        rig.policy.items.extend([missing[1], missing[2]])  # 6 and 7 in the places of 5 and 6
        rig.gateway.record(3)
        (alert,) = await rig.until_alerts(1, rule="log-source-stopped")
        assert (alert["severity"], alert["count"]) == ("critical", 1)
        notes = (await rig.get("/v1/status"))["notes"]
        assert any("policy: stopped at 4: it skips from 4 to 6" in note for note in notes)
        (told,) = await rig.events(action="source.stop")
        assert (told["target"], told["outcome"]) == ("policy", "failure")
        del rig.policy.items[4:]
        rig.policy.items.extend(missing)

        async def resumed() -> bool:
            return len(await rig.events(action="source.resume")) == 1

        await until(resumed)
        assert len(await rig.events(source="policy")) == 7
        assert len(await rig.events(action="source.stop")) == 1
        assert rig.verify().ok

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


def test_a_source_whose_numbers_went_back_is_stopped_even_once_it_has_overtaken() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(10)
        await rig.logged(10)
        await rig.policy.stop()
        del rig.policy.items[4:]
        rig.policy.record(30)  # other events under the numbers 5 to 10, and beyond
        await rig.policy.start(rig.home.socket("policy"))
        await rig.until_alerts(1, rule="log-source-stopped")
        assert len(await rig.events(source="policy")) == 10
        rig.policy.items[:] = rig.policy.items[:2]
        (told,) = await rig.events(action="source.stop")
        assert "not the one that it gave before" in told["reason"]
        assert rig.verify().ok

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: web.Response(text="<html>Bad gateway</html>", content_type="text/html"),
        lambda: web.Response(status=502, text="<html>Bad gateway</html>"),
        lambda: web.Response(body=b"\xff\xfe\x00", content_type="application/json"),
        lambda: answer({"items": [{"seq": 1}], "head": 1}),
        lambda: answer({"items": [], "head": 99}),
        lambda: answer([]),
        lambda: answer({"items": [item("policy", 1)], "head": -(2**70)}),
        lambda: answer({"items": [{"seq": 2**80, "event_id": "x", "body": "{}"}], "head": 2**80}),
        lambda: answer({"items": [{"seq": 1, "event_id": "x", "body": "{}"}], "head": 1}),
        lambda: answer({"items": [item("gateway", 1)], "head": 1}),
        lambda: answer({"items": [item("policy", 2), item("policy", 1)], "head": 2}),
        lambda: answer({"items": [loose()], "head": 1}),
        lambda: answer({"items": [item("policy", 1, reason="x" * 70_000)], "head": 1}),
        lambda: answer({"items": [], "head": 3, "calls": [{"seq": "one"}]}),
    ],
)
def test_nonsense_from_a_source_is_not_logged_and_what_follows_is(nonsense) -> None:
    async def check(rig: Rig) -> None:
        rig.gateway.record(2)
        rig.policy.lie = lambda feed, after: nonsense()
        rig.gateway.lie = lambda feed, after: nonsense() if feed == "calls" else None

        async def unwell() -> bool:
            notes = (await rig.get("/v1/status"))["notes"]
            return any(note.startswith("policy") for note in notes) and rig.policy.asked > 1

        await until(unwell)
        assert await rig.events(source="policy") == []
        rig.policy.lie = rig.gateway.lie = lambda feed, after: None
        rig.policy.record(3)

        async def all_there() -> bool:
            return len(await rig.events(source="policy")) == 3

        await until(all_there)
        assert len(await rig.events(source="gateway")) == 2
        assert rig.verify().ok

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


def loose() -> OutboxItem:
    """An event whose bytes are not canonical."""
    honest = item("policy", 1)
    return OutboxItem(1, honest.event_id, " " + honest.body)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=8).map(tuple), max_size=12
    )
)
@bounded(max_examples=15, suppress_health_check=list(HealthCheck))
def test_whatever_a_source_offers_the_log_holds_a_prefix_of_its_true_events_once(
    tmp_path_factory: pytest.TempPathFactory, pages: list[tuple[tuple[int, bool], ...]]
) -> None:
    """Pages hold numbers in any order, again and again, some with another event's bytes."""
    truth = {seq: item("policy", seq) for seq in range(1, 10)}
    path = tmp_path_factory.mktemp("p") / "audit.db"
    store = Store.open(path, STEPS, durable=False)
    try:
        store.write_now(
            lambda conn: conn.exec_driver_sql(
                "INSERT INTO tree VALUES (1, ?, '')", (ledger.CompactRange().to_bytes(),)
            )
        )
        for page in pages:
            offered = [truth[seq] if true else item("policy", seq) for seq, true in page]
            # A lie about an event that is not in the log yet cannot be told from the truth.
            for seq, true in page:
                place = store.read_now(lambda conn: ledger.place(conn, "policy"))
                if not true and seq > place.last_seq:
                    offered = [each for each in offered if each.seq != seq]
            taken = OutboxPage(offered, 9)
            store.write_now(lambda conn: ledger.take(conn, "policy", taken))  # noqa: B023
        rows = store.read_now(
            lambda conn: conn.exec_driver_sql(
                "SELECT body FROM leaves WHERE source = 'policy' ORDER BY idx"
            ).all()
        )
        state = store.read_now(ledger.tree)
    finally:
        store.close()
    assert [row.body.decode() for row in rows] == [
        truth[seq].body for seq in range(1, len(rows) + 1)
    ]
    assert state.size == len(rows)


def test_kill_9_at_any_moment_loses_nothing_doubles_nothing_and_leaves_a_log_that_verifies() -> (
    None
):
    async def check(home: Path, seed: int) -> None:
        chance = random.Random(seed)
        rig = Rig(home)
        await rig.policy.start(rig.home.socket("policy"))
        await rig.gateway.start(rig.home.socket("gateway"))
        try:
            for _ in range(5):
                process = await asyncio.to_thread(spawn, home)
                await until(lambda: rig._size_is(0))
                end = time.monotonic() + chance.uniform(0.0, 0.6)
                while time.monotonic() < end:
                    rig.policy.record(chance.randrange(1, 40))
                    rig.gateway.record(chance.randrange(1, 10))
                    await asyncio.sleep(0.005)
                process.kill()
                await asyncio.to_thread(process.communicate)
                assert in_order(stored(home))
            process = await asyncio.to_thread(spawn, home)
            total = len(rig.policy.items) + len(rig.gateway.items)
            await rig.logged(total)
            process.terminate()
            _, complaints = await asyncio.to_thread(process.communicate)
            assert (process.returncode, complaints) == (0, b"")
            report = rig.verify()
            assert report.ok, report.damage
            assert report.entries == total == len(stored(home))
            assert in_order(stored(home))
        finally:
            await rig.policy.stop()
            await rig.gateway.stop()
            await rig.client.close()

    with short_folder() as home:
        asyncio.run(check(home, 20260301))


def test_files_that_were_lost_are_written_again_from_the_store() -> None:
    async def fill(rig: Rig) -> None:
        rig.policy.record(600)
        await rig.logged(600)

    with short_folder() as home:
        asyncio.run(in_rig(home, fill))
        note = (home / "log/checkpoint").read_bytes()
        for lost in ("tile/0/001", "tile/entries/000", "checkpoint", "tile/0/002.p/88"):
            (home / "log" / lost).unlink()
            audit = Audit(settings.load(home), ())
            audit.close()
            assert Rig(home).verify().ok, lost
            assert (home / "log/checkpoint").read_bytes() == note
        (home / "log/tile/1/000.p/2").write_bytes(os.urandom(64))
        Audit(settings.load(home), ()).close()
        assert Rig(home).verify().ok


def test_a_store_older_than_the_published_log_is_refused_and_nothing_is_overwritten() -> None:
    async def fill(rig: Rig) -> None:
        rig.policy.record(20)
        await rig.logged(20)

    with short_folder() as home:
        asyncio.run(in_rig(home, fill))
        (home / "audit.db").rename(home / "aside.db")
        before = sorted((each, each.stat().st_mtime_ns) for each in (home / "log").rglob("*"))
        with pytest.raises(PilotError) as refused:
            Audit(settings.load(home), ())
        assert refused.value.code == "log-rolled-back"
        after = sorted((each, each.stat().st_mtime_ns) for each in (home / "log").rglob("*"))
        assert before == after


def test_another_key_or_a_changed_entry_is_refused_at_the_start() -> None:
    async def fill(rig: Rig) -> None:
        rig.policy.record(300)
        await rig.logged(300)

    with short_folder() as home:
        asyncio.run(in_rig(home, fill))
        key = (home / "keys/log.key").read_bytes()
        assert (home / "keys/log.key").stat().st_mode & 0o777 == 0o600
        (home / "keys/log.key").unlink()
        with pytest.raises(PilotError) as refused:
            Audit(settings.load(home), ())
        assert refused.value.code == "log-key-changed"
        (home / "keys/log.key").write_bytes(key)
        with sqlite3.connect(home / "audit.db") as conn:
            conn.execute("UPDATE leaves SET body = ? WHERE idx = 7", (b"{}",))
        conn.close()
        (home / "log/tile/entries/000").unlink()
        with pytest.raises(PilotError) as refused:
            Audit(settings.load(home), ())
        assert refused.value.code == "log-split"


async def in_rig(home: Path, check) -> None:
    async with running(home) as rig:
        await check(rig)


async def whole(rig: Rig) -> list[dict[str, object]]:
    """Every event, oldest first, page by page as a tail reads them."""
    every: list[dict[str, object]] = []
    after = -1
    while some := await rig.events(after=after, limit=200):
        every += some
        after = int(str(some[-1]["index"]))
    assert [each["index"] for each in every] == list(range(len(every)))
    return every


def test_an_event_that_is_too_long_for_a_log_stops_its_source_with_the_reason() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(2)
        await rig.logged(2)
        rig.policy.record(1, facts={"n": ["y" * 900 for _ in range(10)]}, reason="é" * 40_000)

        async def told() -> bool:
            notes = (await rig.get("/v1/status"))["notes"]
            return any("65535" in note for note in notes)

        await until(told)
        assert len(await rig.events(source="policy")) == 2

    with short_folder() as home:
        asyncio.run(in_rig(home, check))


def test_msgspec_never_hands_a_lone_surrogate_on() -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(b'{"seq": 1, "event_id": "x", "body": "\\ud800"}', type=OutboxItem)
