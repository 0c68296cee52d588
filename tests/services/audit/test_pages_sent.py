"""Pages: signed, tried again, taken once, and told of where they do not arrive."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from console.errors import PilotError
from console.services.audit.paging.delivery import Pace, signed
from tests.services.audit.audit_rig import Rig, call, running, short_folder, spawn, until

KEY = os.urandom(32)
SECRET = "whsec_" + base64.b64encode(KEY).decode()
QUICK = Pace(first=0.05, most=0.2, attempts=4)


class Receiver:
    """A webhook's other end, which answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[Callable[[], Awaitable[web.Response]]] = []
        self.url = ""

    async def hear(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        if self.answers:
            return await self.answers.pop(0)()
        return web.Response(status=204)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


def says(status: int, **told: Any) -> Callable[[], Awaitable[web.Response]]:
    async def answer() -> web.Response:
        return web.Response(status=status, **told)

    return answer


async def hangs() -> web.Response:
    await asyncio.sleep(600)
    return web.Response()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/page", receiver.hear)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/page"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def check_paging(check: Callable[[Rig, Receiver], Awaitable[None]]) -> None:
    async def run() -> None:
        with short_folder() as home:
            async with running(home) as rig, receiving() as receiver:
                assert rig.audit is not None
                rig.audit.pager.pace = QUICK
                await check(rig, receiver)

    asyncio.run(run())


async def put_on_call(rig: Rig, receiver: Receiver, **told: Any) -> dict[str, Any]:
    body = {
        "name": "night", "url": receiver.url, "secret": SECRET, "severities": ["medium", "high"],
        "timeout_seconds": 60, "reason": "the rota", **told,
    }  # fmt: skip
    made: dict[str, Any] = await rig.post("/v1/oncall", body)
    return made


async def pages(rig: Rig, count: int, **query: Any) -> list[dict[str, Any]]:
    async def there() -> bool:
        return len((await rig.get("/v1/deliveries", **query))["items"]) == count

    await until(there)
    found: list[dict[str, Any]] = (await rig.get("/v1/deliveries", **query))["items"]
    return found


def verified(headers: dict[str, str], body: bytes) -> bool:
    """Check a signature as a receiver does (standard-webhooks)."""
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    made = base64.b64encode(hmac.new(KEY, text, sha256).digest()).decode()
    return abs(int(headers["webhook-timestamp"]) - time.time()) < 120 and (
        headers["webhook-signature"] == f"v1,{made}"
    )


def test_the_signature_is_the_one_of_standard_webhooks() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_alert_is_a_signed_webhook_once_and_its_growth_pages_nobody() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        target = await put_on_call(rig, receiver)
        assert "secret" not in target
        rig.gateway.calls += [call(declared=False) for _ in range(3)]
        (page,) = await pages(rig, 1, state="delivered")
        ((headers, body),) = receiver.got
        assert verified(headers, body)
        assert headers["webhook-id"] == page["id"]
        said = msgspec.json.decode(body)
        assert said["type"] == "alert.created"
        assert (said["data"]["partner"], said["data"]["count"]) == ("acme", 3)
        assert said["data"]["command"].startswith("pilotctl alert show alr_")
        rig.gateway.calls += [call(declared=False) for _ in range(3)]
        await asyncio.sleep(0.3)
        assert len(receiver.got) == 1
        alert = page["alert_id"]
        await rig.post(f"/v1/alerts/{alert}/closure", {"verdict": "benign", "reason": "ok"})
        rig.gateway.calls.append(call(declared=False))
        assert [each["why"] for each in await pages(rig, 2, state="delivered")] == [
            "reopened",
            "created",
        ]
        assert (await rig.get("/v1/oncall/night"))["delivered_at"]

    check_paging(check)


def test_a_page_is_tried_again_under_the_same_id_until_it_is_taken() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        await put_on_call(rig, receiver, timeout_seconds=1)
        receiver.answers = [
            says(500),
            hangs,
            says(200, text="<html>sign in</html>", content_type="text/html"),
        ]
        rig.gateway.calls.append(call(declared=False))
        (page,) = await pages(rig, 1, state="delivered")
        assert (page["attempts"], page.get("error", "")) == (4, "")
        assert receiver.ids == [page["id"]] * 4
        assert all(verified(*each) for each in receiver.got)
        assert len({each[1] for each in receiver.got}) == 1

    check_paging(check)


def test_what_is_not_delivered_is_listed_noted_in_the_status_and_an_alert() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        await put_on_call(rig, receiver, severities=["medium"])
        receiver.answers = [says(503, headers={"Retry-After": "0"}) for _ in range(4)]
        rig.gateway.calls.append(call(declared=False))
        (page,) = await pages(rig, 1, state="failed")
        assert (page["attempts"], page["error"]) == (4, "it answered 503")
        (alert,) = await rig.until_alerts(1, rule="page-undelivered")
        assert alert["about"] == {"target": "night"}
        status = await rig.get("/v1/status")
        assert any("night on call is not reached" in note for note in status["notes"])
        tested = await rig.post("/v1/oncall/night/test", {"reason": "is it mended"})
        assert tested["why"] == "test"
        await pages(rig, 1, state="delivered")
        status = await rig.get("/v1/status")
        assert not any("night" in note for note in status["notes"])

    check_paging(check)


def test_a_receiver_that_is_gone_for_good_is_not_tried_again() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        await put_on_call(rig, receiver)
        receiver.answers = [says(410)]
        rig.gateway.calls.append(call(declared=False))
        (page,) = await pages(rig, 1, state="failed")
        assert page["attempts"] == 1

    check_paging(check)


def test_one_who_hangs_does_not_keep_another_from_being_told() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        async with receiving() as slow:
            slow.answers = [hangs] * 50
            await put_on_call(rig, slow, name="slow")
            await put_on_call(rig, receiver, name="quick")
            rig.gateway.calls += [
                call(declared=False, credential_id=f"crd_{nth}") for nth in range(12)
            ]
            await pages(rig, 12, state="delivered")
            late = (await rig.get("/v1/deliveries", state="pending", limit=100))["items"]
            assert {each["target"] for each in late} == {"slow"}
            assert {each.get("attempts", 0) for each in late} == {0}, "it hangs still"

    check_paging(check)


def test_many_alerts_at_once_are_few_pages_that_say_so() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        assert rig.audit is not None
        rig.audit.pager.pace = Pace(first=1.0, most=2.0, attempts=30)
        await put_on_call(rig, receiver)
        receiver.answers = [says(500) for _ in range(60)]
        rig.gateway.calls += [
            call(declared=False, credential_id=f"crd_{nth}") for nth in range(300)
        ]
        await rig.until_alerts(300, limit=500)
        waiting = (await rig.get("/v1/deliveries", limit=500))["items"]
        assert len(waiting) <= 24
        assert sum(1 + each.get("also", 0) for each in waiting) == 300
        receiver.answers = []

        async def all_told() -> bool:
            found = (await rig.get("/v1/deliveries", limit=500))["items"]
            return all(each["state"] == "delivered" for each in found)

        await until(all_told)
        taken = {headers["webhook-id"]: body for headers, body in receiver.got}
        told = [msgspec.json.decode(body) for body in taken.values()]
        assert sum(1 + each.get("also", 0) for each in told) == 300

    check_paging(check)


def test_levels_severities_hours_and_silences_decide_who_is_told() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        async with receiving() as second, receiving() as never:
            await put_on_call(rig, receiver, name="first")
            await put_on_call(rig, second, name="second", level=2)
            await put_on_call(rig, never, name="critical-only", severities=["critical"])
            day = time.strftime("%a", time.gmtime(time.time() + 2 * 86_400)).lower()
            await put_on_call(rig, never, name="off-duty", hours=f"{day} 00:00-24:00")
            rig.gateway.calls.append(call(declared=False))
            (page,) = await pages(rig, 1, state="delivered")
            assert (len(receiver.got), len(second.got), len(never.got)) == (1, 0, 0)
            path = f"/v1/alerts/{page['alert_id']}"
            up = await rig.post(path + "/escalation", {"reason": "nobody answers"})
            assert up["level"] == 2
            await pages(rig, 2, state="delivered")
            assert (len(receiver.got), len(second.got), len(never.got)) == (1, 1, 0)
            with pytest.raises(PilotError) as last:
                await rig.post(path + "/escalation", {"reason": "still nobody"})
            assert last.value.code == "state"
            matchers = [{"field": "partner", "pattern": "zen*"}]
            until_then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
            body = {"matchers": matchers, "ends_at": until_then, "reason": "known"}
            made = await rig.post("/v1/silences", body)
            rig.gateway.calls.append(call(declared=False, partner="zenith", credential_id="crd_z"))
            await rig.until_alerts(1, partner="zenith")
            await asyncio.sleep(0.3)
            assert len(receiver.got) == 1
            await rig.post(f"/v1/silences/{made['id']}/end", {"reason": "over"})
            assert (await pages(rig, 3, state="delivered"))[0]["why"] == "unsilenced"

    check_paging(check)


def program(home: Path, text: str, name: str = "page", mode: int = 0o755) -> None:
    folder = home / "paging"
    folder.mkdir(mode=0o755, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(mode)


def test_a_command_gets_the_alert_on_standard_input_and_is_tried_until_it_ends_well() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        home = rig.home.path
        program(
            home,
            'cat > "$1.$PILOTCTL_DELIVERY_ID"\n'
            'echo x >> "$1.tries"\n[ "$(wc -l < "$1.tries")" -ge 3 ]\n',
        )
        out = home / "told; rm -rf x"
        body = {
            "name": "phone", "argv": ["page", str(out)], "severities": ["medium"],
            "reason": "the rota",
        }  # fmt: skip
        made = await rig.post("/v1/oncall", body)
        assert made["kind"] == "command"
        rig.gateway.calls.append(call(declared=False))
        (page,) = await pages(rig, 1, state="delivered")
        assert page["attempts"] == 3
        (written,) = home.glob("told; rm -rf x.msg_*")
        said = msgspec.json.decode(written.read_bytes())
        assert said["data"]["id"] == page["alert_id"]
        assert written.name.endswith(page["id"])
        assert receiver.got == []

    check_paging(check)


def runs(pid: str) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    # Whoever is nobody's child any more may not be reaped, but runs no more.
    return stat.exists() and stat.read_text().split()[2] != "Z"


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        home = rig.home.path
        program(home, "echo $$ > pids; sleep 60 & echo $! >> pids; wait\n")
        body = {
            "name": "phone", "argv": ["page"], "severities": ["medium"], "timeout_seconds": 3,
            "reason": "the rota",
        }  # fmt: skip
        await rig.post("/v1/oncall", body)
        assert rig.audit is not None
        rig.audit.pager.pace = Pace(first=0.05, most=0.1, attempts=1)
        rig.gateway.calls.append(call(declared=False))
        (page,) = await pages(rig, 1, state="failed")
        assert "did not end within 3 s" in page["error"]
        for pid in (home / "pids").read_text().split():

            async def ended(pid: str = pid) -> bool:
                return not runs(pid)

            await until(ended)

    check_paging(check)


def test_a_target_that_is_not_safe_or_not_whole_is_refused() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        home = rig.home.path
        program(home, "exit 0\n", name="writable", mode=0o777)
        program(home, "exit 0\n", name="text", mode=0o644)
        outside = home / "outside"
        outside.write_text("#!/bin/sh\n")
        outside.chmod(0o755)
        (home / "paging" / "link").symlink_to(outside)
        whole = {"url": receiver.url, "secret": SECRET}
        for told, says_ in (
            ({"url": "http://203.0.113.5/page", "secret": SECRET}, "https"),
            ({"url": "https://user:pw@pager.example.org/", "secret": SECRET}, "no password"),
            ({"url": "https://pager.example.org/?token=x", "secret": SECRET}, "query"),
            ({"url": receiver.url, "secret": "whsec_c2hvcnQ="}, "24 to 64"),
            ({"url": receiver.url, "secret": "not base64!"}, "base64"),
            ({"url": receiver.url}, "24 to 64"),
            ({"argv": ["/bin/sh", "-c", "id"]}, "paging"),
            ({"argv": ["../outside"]}, "paging"),
            ({"argv": ["writable"]}, "changed by others"),
            ({"argv": ["text"]}, "not a program"),
            ({"argv": ["link"]}, "not a program"),
            ({"argv": ["missing"]}, "No such file"),
            ({"argv": ["writable"], **whole}, "either"),
            ({}, "either"),
            ({**whole, "hours": "8 to 6"}, "is not like"),
        ):
            with pytest.raises(PilotError) as refused:
                await rig.post("/v1/oncall", {"name": "x", "reason": "why", **told})
            assert refused.value.code == "invalid", told
            assert says_ in refused.value.message, told
        assert (await rig.get("/v1/oncall"))["items"] == []

    check_paging(check)


def test_the_secret_is_in_one_private_file_and_nowhere_else() -> None:
    async def check(rig: Rig, receiver: Receiver) -> None:
        made = await put_on_call(rig, receiver)
        path = rig.home.keys / f"oncall-{made['id']}.key"
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(PilotError) as twice:
            await put_on_call(rig, receiver)
        assert twice.value.code == "exists"
        await rig.logged(1)
        rig.gateway.calls.append(call(declared=False))
        await pages(rig, 1, state="delivered")
        told = msgspec.json.encode([made, await rig.events(), await rig.get("/v1/oncall")])
        key = base64.b64encode(KEY)
        assert key not in told
        for file in rig.home.path.rglob("*"):
            if file.is_file() and file != path:
                assert key not in file.read_bytes(), file
        gone = await rig.post("/v1/oncall/night/removal", {"reason": "left"})
        assert gone["state"] == "removed"
        assert not path.exists()
        assert (await rig.get("/v1/oncall"))["items"] == []

    check_paging(check)


def test_a_service_killed_while_it_pages_neither_loses_a_page_nor_counts_twice() -> None:
    async def check() -> None:
        with short_folder() as home:
            rig = Rig(home)
            await rig.policy.start(rig.home.socket("policy"))
            await rig.gateway.start(rig.home.socket("gateway"))
            async with receiving() as receiver:
                receiver.answers = [says(500) for _ in range(3)]
                process = await asyncio.to_thread(spawn, home)
                await until(lambda: rig._size_is(0))
                await put_on_call(rig, receiver)
                rig.gateway.calls += [
                    call(declared=False, credential_id=f"crd_{nth % 5}") for nth in range(4000)
                ]
                for pause in (0.05, 0.4, 0.6):
                    await asyncio.sleep(pause)
                    process.kill()
                    await asyncio.to_thread(process.communicate)
                    process = await asyncio.to_thread(spawn, home)
                    await until(lambda: rig._size_is(0))

                async def all_taken() -> bool:
                    done = (await rig.get("/v1/deliveries", state="delivered"))["items"]
                    return len(done) == 5

                await until(all_taken)
                alerts = await rig.alerts()

                async def whole() -> bool:
                    return [each["count"] for each in await rig.alerts()] == [800] * 5

                await until(whole)
                assert len(alerts) == 5
                assert len(set(receiver.ids)) == 5, "again is again under the same id"
                process.terminate()
                await asyncio.to_thread(process.communicate)
            for each in (rig.policy, rig.gateway):
                await each.stop()
            await rig.client.close()

    asyncio.run(check())
