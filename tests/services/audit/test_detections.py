"""Detections and alerts: what fires, what does not, and how an alert is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from console.errors import PilotError
from tests.ocsf import faults
from tests.services.audit.audit_rig import (
    START,
    Rig,
    call,
    denials,
    running,
    short_folder,
    spawn,
    until,
)

REFUSALS = {"outcome": "denied", "status": 403}


def check_in_rig(check: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                await check(rig)

    asyncio.run(run())


async def settled(rig: Rig) -> list[Any]:
    """Every alert once all calls and events have been read."""
    rig.gateway.calls.append(call(**REFUSALS, code="key_revoked", credential_id="crd_last"))

    async def last_was_seen() -> bool:
        return any(each["credential_id"] == "crd_last" for each in await rig.alerts())

    await until(last_was_seen)
    return [each for each in await rig.alerts() if each["credential_id"] != "crd_last"]


def test_twenty_refusals_in_a_minute_fire_and_nineteen_or_a_trickle_do_not() -> None:
    async def check(rig: Rig) -> None:
        rig.gateway.calls += denials(19, credential_id="crd_few")
        rig.gateway.calls += denials(60, apart=4.0, credential_id="crd_trickle")
        rig.gateway.calls += denials(40, credential_id="crd_fenced", code="point_fenced")
        rig.gateway.calls += [call(credential_id="crd_good") for _ in range(50)]
        rig.gateway.calls += denials(20, credential_id="crd_burst", partner="zenith")
        (alert,) = await settled(rig)
        assert (alert["rule"], alert["partner"], alert["credential_id"], alert["count"]) == (
            "denial-burst",
            "zenith",
            "crd_burst",
            20,
        )
        assert len(alert["evidence"]) == 20
        assert alert["state"] == "new"

    check_in_rig(check)


def test_undeclared_networks_and_ended_keys_fire_by_partner_and_credential() -> None:
    async def check(rig: Rig) -> None:
        rig.gateway.calls += [call(declared=False, credential_id=f"crd_{n % 2}") for n in range(6)]
        rig.gateway.calls += [call(**REFUSALS, code="grant_revoked", credential_id="crd_x")]
        found = {(a["rule"], a["credential_id"], a["count"]) for a in await settled(rig)}
        assert found == {
            ("egress-undeclared", "crd_0", 3),
            ("egress-undeclared", "crd_1", 3),
            ("revoked-key-used", "crd_x", 1),
        }

    check_in_rig(check)


@pytest.mark.parametrize("record_comes_late", [False, True])
def test_a_call_admitted_after_a_verified_revocation_is_critical(record_comes_late: bool) -> None:
    late = START + timedelta(seconds=30)

    def verified(rig: Rig) -> None:
        told = {"kind": "grant", "target": "grt_dead", "enforced_at": "2026-03-01T12:00:10Z"}
        rig.gateway.record(1, "receipt.verify", kind="receipt", target="rcp_1", after=told)
        told = {"kind": "lock", "target": "acme", "enforced_at": "2026-03-01T12:00:10Z"}
        rig.gateway.record(1, "receipt.verify", kind="receipt", target="rcp_2", after=told)

    async def check(rig: Rig) -> None:
        if not record_comes_late:
            verified(rig)
            await rig.logged(2)
            await asyncio.sleep(0.2)
        rig.gateway.calls.append(call(grant_id="grt_dead", credential_id="crd_d"))
        rig.gateway.calls.append(call(grant_id="grt_live", started_at=late))
        rig.gateway.calls.append(call(grant_id="grt_dead", credential_id="crd_d", started_at=late))
        refused = denials(1, grant_id="grt_dead", credential_id="crd_d")
        rig.gateway.calls += refused
        await settled(rig)
        if record_comes_late:
            verified(rig)
            verified(rig)
        (alert,) = await rig.until_alerts(1, rule="admitted-after-revoke")
        assert (alert["severity"], alert["grant_id"], alert["count"]) == ("critical", "grt_dead", 1)
        assert alert["evidence"][0]["id"] == rig.gateway.calls[2].id
        assert (await rig.alerts())[0]["id"] == alert["id"]

    check_in_rig(check)


def test_a_flood_of_denials_is_one_alert_with_the_true_count_and_few_events() -> None:
    async def check(rig: Rig) -> None:
        rig.gateway.calls += denials(50_000)
        start = time.monotonic()

        async def whole() -> bool:
            found = await rig.alerts(rule="denial-burst")
            return bool(found) and found[0]["count"] == 50_000

        await until(whole)
        took = time.monotonic() - start
        (alert,) = await rig.alerts()
        assert len(alert["evidence"]) == 20
        assert alert["evidence"][0]["id"] == rig.gateway.calls[-1].id
        told = [each["action"] for each in await rig.events(action="alert.")]
        assert told.count("alert.create") == 1
        assert len(told) <= 4
        print(f"50,000 denials were one alert after {took:.1f} s")

    check_in_rig(check)


def test_counts_are_exact_when_the_service_is_killed_while_counting() -> None:
    async def check() -> None:
        with short_folder() as home:
            rig = Rig(home)
            await rig.policy.start(rig.home.socket("policy"))
            await rig.gateway.start(rig.home.socket("gateway"))
            rig.gateway.calls += denials(20_000)
            for pause in (0.0, 0.2, 0.3):
                process = await asyncio.to_thread(spawn, home)
                await until(lambda: rig._size_is(0))
                await asyncio.sleep(pause)
                process.kill()
                await asyncio.to_thread(process.communicate)
            process = await asyncio.to_thread(spawn, home)

            async def whole() -> bool:
                found = await rig.alerts()
                return bool(found) and found[0]["count"] >= 20_000

            await until(whole)
            rig.gateway.calls += denials(1, credential_id="crd_b", code="key_revoked")
            await rig.until_alerts(1, rule="revoked-key-used")
            assert [a["count"] for a in await rig.alerts(rule="denial-burst")] == [20_000]
            process.terminate()
            await asyncio.to_thread(process.communicate)
            for each in (rig.policy, rig.gateway):
                await each.stop()
            await rig.client.close()

    asyncio.run(check())


def test_an_alert_is_taken_on_closed_with_a_verdict_and_reopens_when_it_happens_again() -> None:
    async def check(rig: Rig) -> None:
        rig.gateway.calls.append(call(declared=False))
        (alert,) = await rig.until_alerts(1)
        path = f"/v1/alerts/{alert['id']}"
        taken = await rig.post(path + "/acknowledgement", {"reason": "looking"})
        assert (taken["state"], taken["note"]) == ("in_progress", "looking")
        assert taken["assignee"]
        assert (await rig.post(path + "/acknowledgement", {}))["revision"] == taken["revision"]
        closed = await rig.post(path + "/closure", {"verdict": "benign", "reason": "theirs"})
        assert (closed["state"], closed["verdict"]) == ("resolved", "benign")
        assert closed["closed_at"]
        assert await rig.alerts(state="open") == []
        again = await rig.post(path + "/closure", {"verdict": "benign", "reason": "theirs"})
        assert again["revision"] == closed["revision"]
        for body, route in (
            ({"verdict": "false_positive", "reason": "no"}, "/closure"),
            ({}, "/acknowledgement"),
        ):
            with pytest.raises(PilotError) as refused:
                await rig.post(path + route, body)
            assert refused.value.code == "state"
        rig.gateway.calls.append(call(declared=False))
        (back,) = await rig.until_alerts(1, state="open")
        assert (back["id"], back["state"], back["count"]) == (alert["id"], "reopened", 2)
        assert (back["verdict"], back.get("closed_at")) == ("", None)

        async def told() -> bool:
            return [each["action"] for each in await rig.events(action="alert.", after=-1)] == [
                "alert.create",
                "alert.acknowledge",
                "alert.close",
                "alert.reopen",
            ]

        await until(told)
        for each in await rig.events():
            assert faults(msgspec.json.decode(each["body"])) == []

    check_in_rig(check)


def test_a_true_positive_needs_a_containment_of_its_own_since_it_began() -> None:
    async def check(rig: Rig) -> None:
        early = START - timedelta(minutes=5)
        rig.gateway.record(1, "key.revoke", kind="credential", target="crd_a", at=early)
        rig.gateway.record(1, "lock.add", kind="lock", target="lck_1", partner="zenith")
        rig.gateway.record(1, "lock.add", outcome="failure", kind="lock", partner="acme")
        rig.gateway.calls.append(call(declared=False))
        (alert,) = await rig.until_alerts(1)
        await rig.logged(4)
        path, body = f"/v1/alerts/{alert['id']}/closure", {"verdict": "true_positive"}
        body |= {"reason": "the key leaked"}
        with pytest.raises(PilotError) as refused:
            await rig.post(path, body)
        assert refused.value.code == "state"
        assert "pilotctl key revoke crd_a" in refused.value.hint
        rig.gateway.record(
            1,
            "lock.add",
            kind="lock",
            target="lck_2",
            after={"kind": "capability", "target": "cyber", "blast": {"partners": ["acme"]}},
        )
        await rig.logged(5)
        closed = await rig.post(path, body)
        assert (closed["state"], closed["verdict"]) == ("resolved", "true_positive")
        later = START + timedelta(minutes=10)
        rig.gateway.calls.append(call(declared=False, started_at=later))
        await rig.until_alerts(1, state="reopened")
        with pytest.raises(PilotError) as refused:
            await rig.post(path, body)
        assert refused.value.code == "state"

    check_in_rig(check)


def test_a_feed_of_calls_that_goes_back_is_told_and_what_is_new_is_still_read() -> None:
    async def check(rig: Rig) -> None:
        rig.gateway.calls += [call() for _ in range(30)]
        rig.gateway.calls.append(call(declared=False))
        await rig.until_alerts(1, rule="egress-undeclared")
        rig.gateway.lie = lambda feed, after: None
        await rig.gateway.stop()
        del rig.gateway.calls[5:]
        await rig.gateway.start(rig.home.socket("gateway"))
        await rig.until_alerts(1, rule="log-source-stopped")
        rig.gateway.calls.append(call(declared=False, credential_id="crd_new"))
        await rig.until_alerts(2, rule="egress-undeclared")
        (told,) = await rig.events(action="source.rewind")
        assert "from 31 to 5" in told["reason"]

    check_in_rig(check)
