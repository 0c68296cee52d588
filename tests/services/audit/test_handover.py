"""The log is handed to another key, or ends and begins anew: at no moment is there neither."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from console.errors import PilotError
from console.model.log import LogHandover
from console.services.audit.log import proofs, publisher
from console.trust.note import VerifierKey
from console.trust.succession import announced_key, restart_of
from console.trust.tiles import folder_reader
from console.trust.verify import verify_folder
from tests.services.audit.audit_rig import Rig, running, short_folder, spawn, until

WHY = {"reason": "the yearly rotation"}


def check_in_rig(check: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                await check(rig)

    asyncio.run(run())


async def signed_by(rig: Rig, key: str) -> None:
    async def there() -> bool:
        return bool((await rig.get("/v1/log/head"))["key"] == key)

    await until(there)


QUESTIONS = (
    "/v1/log/head",
    "/v1/log/growth?old=3",
    "/v1/log/proofs/7",
    "/v1/log/proofs/7?tree_size=20",
    "/v1/log/files/checkpoint",
    "/v1/log/files/tile/0/000.p/30",
)


async def status_of(rig: Rig, path: str) -> int:
    async with rig.client.session.get(f"http://localhost{path}") as response:
        await response.read()
        return response.status


def handovers(home: Path) -> list[LogHandover]:
    with closing(sqlite3.connect(home / "audit.db")) as conn:
        rows = conn.execute("SELECT body FROM handovers ORDER BY seq").fetchall()
    return [msgspec.json.decode(body, type=LogHandover) for (body,) in rows]


def test_a_rotation_is_announced_under_the_old_key_and_the_tree_goes_on() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(30)
        await rig.logged(30)
        old = await rig.get("/v1/log/head")
        made = await rig.post("/v1/log/rotation", WHY)
        await signed_by(rig, made["new_key"])
        head = await rig.get("/v1/log/head")
        assert head["origin"] == old["origin"]
        assert head["tree_size"] == 31
        proof = (await rig.get(f"/v1/log/proofs/{made['event_id']}", tree_size=31))["proof"]
        leaf = msgspec.json.decode(f'"{proof["leaf"]}"', type=bytes)
        hashes = [msgspec.json.decode(f'"{each}"', type=bytes) for each in proof["hashes"]]
        state = rig.audit and rig.audit.publisher.head
        assert state is not None
        told: dict[str, Any] = {
            "index": 30, "size": 31, "root": state.root, "hashes": hashes,
            "old": VerifierKey.parse(old["key"]), "new": made["new_key"],
        }  # fmt: skip
        assert str(announced_key(leaf, **told)) == made["new_key"]
        for wrong in ({"index": 29}, {"new": old["key"]}, {"root": bytes(32)}):
            with pytest.raises(PilotError):
                announced_key(leaf, **{**told, **wrong})
        assert rig.verify().ok
        assert not list(rig.home.keys.glob("log.key.next-*"))
        # A dry run leaves neither an event nor a key.
        with suppress(PilotError):
            await rig.client.send("POST", "/v1/log/rotation?validate_only=true", WHY, Any)
        assert (await rig.get("/v1/log/head"))["key"] == made["new_key"]

    check_in_rig(check)


def test_a_new_log_names_the_old_head_first_and_everything_is_found_one_place_further() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(600, partner="acme")
        await rig.logged(600)
        before = await rig.events(text="acme", limit=500)
        old = await rig.get("/v1/log/head")
        made = await rig.post("/v1/log/restart", WHY)
        await signed_by(rig, made["new_key"])
        new = await rig.get("/v1/log/head")
        assert new["origin"] != old["origin"]
        first = (await rig.get("/v1/events/0"))["body"].encode()
        said = restart_of(first, VerifierKey.parse(old["key"]), made["new_key"])
        assert (said.old_size, said.carried) == (600, 600)
        with pytest.raises(PilotError):
            restart_of(first, VerifierKey.parse(new["key"]), made["new_key"])
        after = await rig.events(text="acme", limit=500)
        assert [each["index"] - 1 for each in after] == [each["index"] for each in before]
        assert [each["body"] for each in after] == [each["body"] for each in before]
        rig.policy.record(3)
        await rig.logged(604)
        assert rig.verify().ok
        (kept,) = (each for each in (rig.home.path / "log.ended").iterdir() if "-" in each.name)
        assert verify_folder(kept, VerifierKey.parse(old["key"])).ok

    check_in_rig(check)


def test_killed_at_any_moment_the_log_is_under_one_of_its_keys_and_verifies() -> None:
    async def check(home: Path, seed: int) -> None:
        chance = random.Random(seed)
        rig = Rig(home)
        await rig.policy.start(rig.home.socket("policy"))
        await rig.gateway.start(rig.home.socket("gateway"))
        try:
            for turn in range(6):
                process = await asyncio.to_thread(spawn, home)
                await until(lambda: rig._size_is(0))
                rig.policy.record(chance.randrange(1, 600))
                path = "/v1/log/restart" if turn % 2 else "/v1/log/rotation"
                asked = asyncio.create_task(rig.post(path, WHY))
                await asyncio.sleep(chance.uniform(0.0, 0.15))
                process.kill()
                await asyncio.to_thread(process.communicate)
                with suppress(PilotError):
                    await asked
            process = await asyncio.to_thread(spawn, home)
            await until(lambda: rig._size_is(len(rig.policy.items)))
            await asyncio.sleep(0.3)
            process.terminate()
            _, complaints = await asyncio.to_thread(process.communicate)
            assert (process.returncode, complaints) == (0, b"")
            assert rig.verify().ok
            found = handovers(home)
            for one, other in pairwise(found):
                assert one.new_key == other.old_key
            if found:
                assert (rig.home.path / "log.vkey").read_text().strip() == found[-1].new_key
        finally:
            await rig.policy.stop()
            await rig.gateway.stop()
            await rig.client.close()

    with short_folder() as home:
        asyncio.run(check(home, 7))


@pytest.mark.parametrize("moment", ["before the files move", "while they are written"])
def test_between_two_logs_nothing_is_answered_rather_than_half_of_each(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def waiting(do: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
        def held(*told: Any) -> Any:
            done = None if first else do(*told)
            assert go_on.wait(60)
            return do(*told) if first else done

        return held

    async def check(rig: Rig) -> None:
        rig.policy.record(30)
        await rig.logged(30)
        assert [await status_of(rig, each) for each in QUESTIONS] == [200] * len(QUESTIONS)
        assert rig.audit is not None
        if moment == "before the files move":
            held = waiting(rig.audit.publisher.publish, first=True)
            monkeypatch.setattr(rig.audit.publisher, "publish", held)
        else:
            monkeypatch.setattr(publisher, "_put_aside", waiting(publisher._put_aside, first=False))
        made = await rig.post("/v1/log/restart", WHY)
        if moment == "while they are written":
            await until(lambda: asyncio.to_thread((rig.home.path / "log.ended").is_dir))
        try:
            assert [await status_of(rig, each) for each in QUESTIONS] == [503] * len(QUESTIONS)
            assert (await rig.get("/v1/log/handovers"))["items"][0]["new_key"] == made["new_key"]
        finally:
            go_on.set()
        await signed_by(rig, made["new_key"])
        assert [await status_of(rig, each) for each in QUESTIONS[:5]] == [200] * 5
        assert rig.verify().ok

    check_in_rig(check)


@pytest.mark.parametrize("path", ["/v1/log/growth?old=3&new=512", "/v1/log/proofs/7?tree_size=512"])
def test_an_answer_that_was_begun_in_a_log_that_ended_is_not_given(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def reader_of(folder: Path) -> Callable[[str], bytes]:
        begun.set()
        assert go_on.wait(60)
        return folder_reader(folder)

    async def check(rig: Rig) -> None:
        rig.policy.record(600)
        await rig.logged(600)
        monkeypatch.setattr(proofs, "folder_reader", reader_of)
        asked = asyncio.create_task(status_of(rig, path))
        await asyncio.to_thread(begun.wait, 60)
        try:
            made = await rig.post("/v1/log/restart", WHY)
            await signed_by(rig, made["new_key"])
        finally:
            go_on.set()
        assert await asked == 503
        assert await status_of(rig, path) == 200

    check_in_rig(check)
