"""Pages that wait: told only of what nobody has taken on so long after it was made."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from console.errors import PilotError
from console.model.text import now, rfc3339
from console.services.audit.paging import delivery
from tests.ocsf import faults
from tests.services.audit.audit_rig import Clock, Rig, call, running, short_folder, spawn, until
from tests.services.audit.test_pages_sent import (
    Receiver,
    check_paging,
    pages,
    program,
    put_on_call,
    receiving,
    says,
    verified,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def fall_due(home: Path, page: str) -> None:
    """Let the moment be over for which a page waits, in the store of a service that is down."""
    with closing(sqlite3.connect(home / "audit.db")) as store, store:
        moved = store.execute(
            "UPDATE deliveries SET next_at = created_at WHERE id = ? AND state = 'waiting'",
            (page,),
        )
        assert moved.rowcount == 1


async def one_alert(rig: Rig, **told: Any) -> tuple[dict[str, Any], str]:
    rig.gateway.calls.append(call(declared=False, **told))
    (alert,) = await rig.until_alerts(1, rule="egress-undeclared")
    return alert, f"/v1/alerts/{alert['id']}"


async def recorded(rig: Rig, action: str, count: int = 1) -> list[Any]:
    async def there() -> bool:
        return len(await rig.events(action=action)) == count

    await until(there)
    found = await rig.events(action=action)
    for each in found:
        assert faults(msgspec.json.decode(each["body"])) == []
    return found


def test_who_has_a_delay_is_told_of_what_nobody_took_on_by_then_and_not_before(
    clock: Clock,
) -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        async with receiving() as later, receiving() as boss:
            await put_on_call(rig, receiver)
            await put_on_call(rig, later, name="backup", after_seconds=600)
            await put_on_call(rig, boss, name="boss", level=2, after_seconds=1800)
            assert [
                (each["slug"], each["level"], each.get("after_seconds", 0))
                for each in (await rig.get("/v1/oncall"))["items"]
            ] == [("backup", 1, 600), ("night", 1, 0), ("boss", 2, 1800)]
            alert, path = await one_alert(rig)
            await pages(rig, 1, state="delivered")
            waiting = {each["target"]: each for each in await pages(rig, 2, state="waiting")}
            made = datetime.fromisoformat(alert["created_at"])
            for name, seconds in (("backup", 600), ("boss", 1800)):
                due = datetime.fromisoformat(waiting[name]["next_at"])
                assert due - made == timedelta(seconds=seconds)
            shown = {each["target"]: each for each in (await rig.get(path))["pages"]}
            assert (shown["night"]["state"], shown["boss"]["state"]) == ("delivered", "waiting")
            assert shown["backup"]["at"] == waiting["backup"]["next_at"]
            clock.ahead = timedelta(seconds=590)
            await asyncio.sleep(0.3)
            assert (len(receiver.got), len(later.got), len(boss.got)) == (1, 0, 0)
            rig.gateway.calls.append(call(declared=False))
            clock.ahead = timedelta(seconds=601)
            await pages(rig, 2, state="delivered")
            ((headers, body),) = later.got
            said = msgspec.json.decode(body)
            assert headers["webhook-id"] == waiting["backup"]["id"]
            assert (said["type"], said["data"]["id"]) == ("alert.created", alert["id"])
            assert said["data"]["unacknowledged_seconds"] == 600
            assert said["data"]["state"] == "new"
            (event,) = await recorded(rig, "page.escalate")
            assert (event["target"], event["partner"]) == ("backup", "acme")
            clock.ahead = timedelta(seconds=1801)
            await pages(rig, 3, state="delivered")
            await asyncio.sleep(0.2)
            assert (len(receiver.got), len(later.got), len(boss.got)) == (1, 1, 1)
            assert (await rig.get(path)).get("level", 1) == 1

    check_paging(check)


async def acknowledged(rig: Rig, path: str) -> None:
    await rig.post(path + "/acknowledgement", {})


async def closed(rig: Rig, path: str) -> None:
    await rig.post(path + "/closure", {"verdict": "benign", "reason": "theirs"})


async def snoozed(rig: Rig, path: str) -> None:
    until_then = rfc3339(now() + timedelta(hours=4))
    await rig.post(path + "/snooze", {"until": until_then, "reason": "dull"})


async def silenced(rig: Rig, path: str) -> None:
    until_then = rfc3339(now() + timedelta(hours=4))
    matchers = [{"field": "partner", "pattern": "acme"}]
    body = {"matchers": matchers, "ends_at": until_then, "reason": "known"}
    await rig.post("/v1/silences", body)


@pytest.mark.parametrize(
    ("done", "says_"),
    [
        (acknowledged, "not sent: acknowledged by "),
        (closed, "not sent: closed as benign by "),
        (snoozed, "not sent: snoozed by "),
        (silenced, "not sent: silenced by sil_"),
    ],
)
def test_what_takes_the_alert_on_or_makes_it_quiet_cancels_the_page_at_once(
    clock: Clock,
    done: Callable[[Rig, str], Awaitable[None]],
    says_: str,
) -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        await put_on_call(rig, receiver, after_seconds=600)
        _, path = await one_alert(rig)
        await pages(rig, 1, state="waiting")
        await done(rig, path)
        (page,) = (await rig.get("/v1/deliveries"))["items"]
        assert page["state"] == "cancelled"
        assert page["error"].startswith(says_)
        assert page["ended_at"]
        assert not page.get("next_at")
        ((shown),) = (await rig.get(path))["pages"]
        assert (shown["state"], shown["said"]) == ("cancelled", page["error"])
        (event,) = await recorded(rig, "page.cancel")
        assert says_.removeprefix("not sent: ") in event["reason"]
        clock.ahead = timedelta(seconds=601)
        await asyncio.sleep(0.3)
        assert receiver.got == []
        assert await rig.events(action="page.escalate") == []

    check_paging(check)


def test_what_becomes_audible_or_open_again_waits_anew(clock: Clock) -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        await put_on_call(rig, receiver, after_seconds=600)
        _, path = await one_alert(rig)
        await closed(rig, path)
        await rig.post(path + "/reopening", {"reason": "it was not theirs"})
        await pages(rig, 1, state="waiting")
        await silenced(rig, path)
        await pages(rig, 2, state="cancelled")
        (silence,) = (await rig.get("/v1/silences"))["items"]
        await rig.post(f"/v1/silences/{silence['id']}/end", {"reason": "over"})
        (page,) = await pages(rig, 1, state="waiting")
        assert page["why"] == "unsilenced"
        clock.ahead = timedelta(seconds=601)
        await pages(rig, 1, state="delivered")
        assert receiver.ids == [page["id"]]

    check_paging(check)


def test_an_escalation_lets_the_page_wait_anew_and_asks_for_others_though_it_is_taken_on(
    clock: Clock,
) -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        every = ["medium", "high", "critical"]
        await put_on_call(rig, receiver, level=2, after_seconds=600, severities=every)
        _, path = await one_alert(rig)
        (first,) = await pages(rig, 1, state="waiting")
        await rig.post(path + "/escalation", {"severity": "high", "reason": "more of it"})
        (second,) = await pages(rig, 1, state="waiting")
        assert second["created_at"] > first["created_at"]
        (old,) = await pages(rig, 1, state="cancelled")
        assert (old["id"], old["error"]) == (
            first["id"],
            "not sent: it waits anew: the alert was escalated",
        )
        await acknowledged(rig, path)
        await pages(rig, 2, state="cancelled")
        await rig.post(path + "/escalation", {"reason": "I need help"})
        await pages(rig, 1, state="waiting")
        await acknowledged(rig, path)
        await pages(rig, 3, state="cancelled")
        await rig.post(path + "/escalation", {"severity": "critical", "reason": "help after all"})
        await pages(rig, 1, state="waiting")
        await rig.post(path + "/comments", {"text": "still here"})
        clock.ahead = timedelta(seconds=601)
        await pages(rig, 1, state="delivered")
        ((_, body),) = receiver.got
        assert msgspec.json.decode(body)["type"] == "alert.escalated"

    check_paging(check)


def test_an_alert_that_grows_worse_while_somebody_has_it_asks_for_nobody_else() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        await put_on_call(rig, receiver, after_seconds=600)
        _, path = await one_alert(rig)
        await acknowledged(rig, path)
        await pages(rig, 1, state="cancelled")
        body = {"severity": "high", "reason": "worse than it looked"}
        await rig.post("/v1/rules/egress-undeclared/tuning", body)
        rig.gateway.calls.append(call(declared=False))

        async def worse() -> bool:
            return str((await rig.get(path))["severity"]) == "high"

        await until(worse)
        await asyncio.sleep(0.2)
        assert len((await rig.get("/v1/deliveries"))["items"]) == 1

    check_paging(check)


def test_hours_severities_and_removal_hold_for_those_who_are_told_later() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        def day(at: datetime) -> str:
            return f"{at:%a} 00:00-24:00".lower()

        today, tomorrow = now(), now() + timedelta(days=1)
        await put_on_call(rig, receiver, name="gone-by-then", hours=day(today),
                          after_seconds=86_400)  # fmt: skip
        await put_on_call(rig, receiver, name="there-by-then", hours=day(tomorrow),
                          after_seconds=86_400)  # fmt: skip
        await put_on_call(rig, receiver, name="critical", severities=["critical"], after_seconds=1)
        await one_alert(rig)
        (page,) = (await rig.get("/v1/deliveries"))["items"]
        assert (page["target"], page["state"]) == ("there-by-then", "waiting")
        await rig.post("/v1/oncall/there-by-then/removal", {"reason": "left"})
        (page,) = await pages(rig, 1, state="failed")
        assert page["error"] == "its target was removed"
        for seconds in (-1, 7 * 86_400 + 1):
            with pytest.raises(PilotError) as refused:
                await put_on_call(rig, receiver, name="x", after_seconds=seconds)
            assert refused.value.code == "invalid"

    check_paging(check)


def test_a_command_is_run_later_too(clock: Clock) -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        program(rig.home.path, 'cat > "$1"\n')
        out = rig.home.path / "told"
        body = {
            "name": "phone", "argv": ["page", str(out)], "severities": ["medium"],
            "after_seconds": 600, "reason": "the rota",
        }  # fmt: skip
        await rig.post("/v1/oncall", body)
        alert, _ = await one_alert(rig)
        assert not out.exists()
        clock.ahead = timedelta(seconds=601)
        await pages(rig, 1, state="delivered")
        assert msgspec.json.decode(out.read_bytes())["data"]["id"] == alert["id"]
        assert receiver.got == []

    check_paging(check)


def test_many_that_nobody_took_on_are_few_pages_that_say_so(clock: Clock) -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        assert rig.audit is not None
        rig.audit.pager.pace = delivery.Pace(first=30.0, most=60.0, attempts=30)
        await put_on_call(rig, receiver, after_seconds=600)
        receiver.answers = [says(500) for _ in range(60)]
        rig.gateway.calls += [call(declared=False, credential_id=f"crd_{nth}") for nth in range(60)]
        await rig.until_alerts(60, limit=100)
        clock.ahead = timedelta(seconds=601)
        joined = await pages(rig, 40, state="cancelled", limit=100)
        assert {each["error"] for each in joined} == {
            "not sent: another page to it tells of this one too"
        }
        sent = await pages(rig, 20, state="pending", limit=100)
        assert sum(1 + each.get("also", 0) for each in sent) == 60

    check_paging(check)


def test_a_page_that_waits_survives_the_death_of_the_service_and_goes_out_once() -> None:
    async def check() -> None:
        with short_folder() as home:
            rig = Rig(home)
            await rig.policy.start(rig.home.socket("policy"))
            await rig.gateway.start(rig.home.socket("gateway"))
            async with receiving() as receiver:
                process = await asyncio.to_thread(spawn, home)
                await until(lambda: rig._size_is(0))
                await put_on_call(rig, receiver, after_seconds=600)
                await put_on_call(rig, receiver, name="boss", after_seconds=3600)
                await one_alert(rig)
                waiting = await pages(rig, 2, state="waiting")
                process.kill()
                await asyncio.to_thread(process.communicate)
                assert receiver.got == []
                due, left = sorted(waiting, key=lambda page: str(page["target"]), reverse=True)
                assert (due["target"], left["target"]) == ("night", "boss")
                fall_due(home, due["id"])
                process = await asyncio.to_thread(spawn, home)
                await until(lambda: rig._size_is(0))
                (page,) = await pages(rig, 1, state="delivered")
                process.kill()
                await asyncio.to_thread(process.communicate)
                process = await asyncio.to_thread(spawn, home)
                await until(lambda: rig._size_is(0))
                assert [each["id"] for each in await pages(rig, 1, state="waiting")] == [left["id"]]
                process.kill()
                await asyncio.to_thread(process.communicate)
                fall_due(home, left["id"])
                process = await asyncio.to_thread(spawn, home)
                await pages(rig, 2, state="delivered")
                assert page["id"] == due["id"]
                assert receiver.ids == [due["id"], left["id"]], "each goes out once"
                assert all(verified(*each) for each in receiver.got)
                process.terminate()
                await asyncio.to_thread(process.communicate)
            for each in (rig.policy, rig.gateway):
                await each.stop()
            await rig.client.close()

    asyncio.run(check())


def test_an_alert_finds_its_pages_by_an_index() -> None:
    async def check() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                assert rig.audit is not None
                from console.services.audit.state.schema import PAGED_ALERT

                def plan(conn: Any) -> str:
                    query = f"EXPLAIN QUERY PLAN SELECT body FROM deliveries WHERE {PAGED_ALERT}"
                    return str(conn.exec_driver_sql(query + " = 'alr_x'").all())

                assert "deliveries_alert" in await rig.audit.store.read(plan)

    asyncio.run(check())
