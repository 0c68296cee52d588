"""What policy tells the gateway, what it takes over, and that neither is lost or doubled."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import aiohttp
from policy_rig import Api, FakeGateway, Process, Rig, ahead, run, until, wanted

from console.services import settings


def test_a_grant_waits_for_the_gateway_and_opens_there_last(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        rig.gateway.takes = False
        await api.ready()
        grant = (await api.post("/v1/grants", wanted()))["id"]
        tries = rig.gateway.beats
        await until(lambda: rig.gateway.beats > tries, "the gateway was told, and did not take it")
        status = await api.status(healthy=False)
        assert "gateway" in status["notes"][0]
        assert await api.state(grant) == "provisioning", "not active before the gateway has it"
        rig.gateway.takes = True
        await api.until(grant, "active")
        assert await api.actions(grant) == ["grant.create", "grant.activate"]
        await api.status(healthy=True)

    run(tmp_path, scenario)


def test_the_gateway_hears_from_policy_each_second_even_without_news(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        began, beats = time.monotonic(), rig.gateway.beats
        await until(lambda: rig.gateway.beats >= beats + 3, "the gateway hears from policy")
        assert time.monotonic() - began > 1.0, "no more often than it need"

    run(tmp_path, scenario)


def test_a_gateway_that_comes_later_or_forgot_everything_is_told_everything(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = (await api.post("/v1/grants", wanted()))["id"]
        await asyncio.sleep(0.3)
        assert await api.state(grant) == "provisioning"
        await rig.gateway.start()
        await api.until(grant, "active")
        rig.gateway.items.clear()
        rig.gateway.applied = 0
        await rig.gateway.hears(grant, lambda held: held.get("state") == "active")
        assert await api.actions(grant) == ["grant.create", "grant.activate"]

    run(tmp_path, scenario, gateway=False)


def test_a_store_older_than_what_the_gateway_has_is_said(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.gateway.applied = 99
        status = await rig.api.status(healthy=False)
        assert "an old copy" in status["notes"][0]

    run(tmp_path, scenario)


def test_what_the_gateway_ended_is_revoked_here_without_a_second_event(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = (await api.post("/v1/grants", wanted()))["id"]
        draft = (await api.post("/v1/grants", wanted(partner="acme")))["id"]
        await api.until(grant, "active")
        told = {"reason": "leak", "by": "oncall", "at": ahead(), "event_id": ""}
        rig.gateway.closings += [
            {"seq": 4, "kind": "credential", "id": "crd_1", **told},
            {"seq": 7, "kind": "grant", "id": grant, **told, "event_id": "evt_9"},
            {"seq": 8, "kind": "grant", "id": "grt_unknown", **told},
            {"seq": 9, "kind": "grant", "id": draft, **told},
        ]
        found = await api.until(grant, "revoked")
        assert found["state_reason"] == "leak [evt_9]"
        assert found["updated_by"] == "oncall"
        await api.until(draft, "revoked")
        assert "grant.revoke" not in await api.actions()
        assert len(await api.actions(grant)) == 2
        # nothing brings it back: not evidence, not the verb, not the same news again
        rig.gateway.closings.append({"seq": 12, "kind": "grant", "id": grant, **told})
        await api.assess()
        again = await api.ask(
            "POST",
            f"/v1/grants/{grant}/activation",
            {"reason": "please"},
            revision=found["revision"],
        )
        assert (again.status, again.problem) == (409, "state")
        assert await api.get(f"/v1/grants/{grant}") == found

    run(tmp_path, scenario)


def test_what_a_partner_declares_reaches_the_gateway(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = (await api.post("/v1/grants", wanted()))["id"]
        await api.until(grant, "active")
        await api.post(
            "/v1/partners/acme/declarations",
            {"egress": ["203.0.113.0/24"], "subprocessors": ["birch"], "reason": "moved"},
            revision=2,
        )
        told = await rig.gateway.hears(grant, lambda held: held["subprocessors"] == ["birch"])
        assert told["egress"] == ["203.0.113.0/24"]
        assert await api.state(grant) == "active"

    run(tmp_path, scenario)


def test_killed_at_any_moment_no_change_is_without_its_event_and_none_is_there_twice(
    tmp_path: Path,
) -> None:
    """Six times kill -9, while grants are made and handed over."""
    seed = 20300101
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def whole() -> None:
        service = Process(tmp_path)
        gateway = FakeGateway(settings.load(tmp_path).home.socket("gateway"))
        await gateway.start()
        service.start()
        keys: dict[str, str] = {}
        ask = wanted()
        async with service.api() as api:
            await api.ready()
        for round_ in range(6):
            async with service.api() as api:
                killer = asyncio.create_task(_kill_after(service, chance.uniform(0, 0.12)))
                for n in range(6):
                    key = f"round-{round_}-grant-{n}"
                    try:
                        said = await api.ask("POST", "/v1/grants", ask, key=key)
                    except (OSError, aiohttp.ClientError):
                        keys[key] = ""  # not known whether it was done: asked again below
                        break
                    keys[key] = said.body["id"]
                await killer
            service.start()
        async with service.api() as api:
            await _is_consistent(api, keys, ask, gateway)
        assert service.stop() == 0
        await gateway.stop()

    asyncio.run(whole())


async def _kill_after(service: Process, seconds: float) -> None:
    await asyncio.sleep(seconds)
    service.kill()


async def _is_consistent(
    api: Api, keys: dict[str, str], ask: dict[str, Any], gateway: FakeGateway
) -> None:
    for key, was in keys.items():
        again = await api.ask("POST", "/v1/grants", ask, key=key)
        assert again.status == 201
        assert again.body["id"] == was or not was, "what was answered is there, once"
    grants = (await api.get("/v1/grants?limit=500"))["items"]
    assert len(grants) == len(keys), "the same key again is the same grant, sent or not"
    for grant in grants:
        await api.until(grant["id"], "active")
    events = await api.events()
    sequences = [event["metadata"]["sequence"] for event in events]
    assert sequences == list(range(1, len(events) + 1)), "no gap, and in order"
    assert len({event["metadata"]["uid"] for event in events}) == len(events)
    for grant in grants:
        assert await api.actions(grant["id"]) == ["grant.create", "grant.activate"]
        assert gateway.last(grant["id"])["state"] == "active"
    told = [item["seq"] for item in gateway.items]
    assert told == sorted(set(told))
    assert (await api.actions()).count("grant.create") == len(grants)
    assert (await api.actions()).count("policy.activate") == 1
