"""Finding events: by facet, by word, by time, page by page, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from console.errors import PilotError
from tests.services.audit.audit_rig import START, Rig, running, short_folder

HOUR = timedelta(hours=1)


def check_in_rig(check: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        with short_folder() as home:
            async with running(home) as rig:
                await check(rig)

    asyncio.run(run())


async def found(rig: Rig, **query: Any) -> list[int]:
    return [each["sequence"] for each in await rig.events(source="policy", **query)]


async def some_history(rig: Rig) -> None:
    one = {"kind": "grant", "partner": "acme", "actor": "operator-a", "at": START}
    rig.policy.record(1, "grant.create", target="grt_1", reason="The pilot begins", **one)
    rig.policy.record(1, "grant.revoke", target="grt_1", reason="Schlüssel verloren", **one)
    two = {"kind": "partner", "partner": "zenith", "actor": "operator-b", "at": START + HOUR}
    rig.policy.record(1, "partner.create", target="ptn_2", reason="pilot_two", **two)
    late = START - 48 * HOUR  # recorded while audit was down, and so logged after the others
    rig.policy.record(
        1, "grant.create", outcome="failure", target="grt_3", actor="operator-b", at=late
    )
    await rig.logged(4)


def test_events_are_found_by_each_facet_and_by_several_at_once() -> None:
    async def check(rig: Rig) -> None:
        await some_history(rig)
        assert await found(rig) == [4, 3, 2, 1]
        assert await found(rig, actor="operator-b") == [4, 3]
        assert await found(rig, action="grant.") == [4, 2, 1]
        assert await found(rig, action="grant.create") == [4, 1]
        assert await found(rig, action="g", partner="acme") == [2, 1]
        assert await found(rig, target="ptn_2") == [3]
        assert await found(rig, outcome="failure") == [4]
        assert await found(rig, actor="operator-b", action="grant.re") == []
        assert await found(rig, action="nothing.like") == []
        assert await rig.events(source="gateway") == []

    check_in_rig(check)


def test_what_has_a_slug_is_found_by_it_as_by_its_id() -> None:
    async def check(rig: Rig) -> None:
        await some_history(rig)
        named = {"kind": "partner", "partner": "zenith", "at": START}
        rig.policy.record(1, "partner.restrict", target="ptn_2", name="zenith", **named)
        rig.policy.record(1, "lock.add", target="lck_1", name="partner zenith", **named)
        rig.policy.record(1, "partner.restrict", target="ptn_3", name="zenith-two", **named)
        await rig.logged(7)
        assert await found(rig, target="zenith") == [5]
        assert await found(rig, target="zenith", action="partner.") == [5]
        assert await found(rig, target="zenith", action="lock.add") == []
        assert await found(rig, target="zenith-two", text="partner*") == [7]
        assert await found(rig, target="zen") == []
        assert [each["sequence"] for each in await rig.events(target="zenith", after=0)] == [5]

    check_in_rig(check)


def test_words_are_found_in_any_case_and_script_and_by_their_beginning_when_asked() -> None:
    async def check(rig: Rig) -> None:
        await some_history(rig)
        assert await found(rig, text="pilot") == [1]
        assert await found(rig, text="PILOT begins") == [1]
        assert await found(rig, text="pilot*") == [3, 1]
        assert await found(rig, text="schlüssel") == [2]
        assert await found(rig, text="grt_1 revoke") == [2]
        assert await found(rig, text='" OR tokens:x NOT (') == []
        with pytest.raises(PilotError) as refused:
            await rig.events(text="***")
        assert refused.value.code == "malformed"

    check_in_rig(check)


def test_a_period_is_about_when_it_happened_not_when_it_was_logged() -> None:
    async def check(rig: Rig) -> None:
        await some_history(rig)
        assert await found(rig, since="2026-03-01T12:30:00Z") == [3]
        assert await found(rig, until="2026-03-01T12:00:00Z") == [4]
        noon = {"since": "2026-03-01T14:00:00+02:00", "until": "2026-03-01T12:30:00Z"}
        assert await found(rig, **noon) == [2, 1]
        assert await found(rig, since="2027-01-01T00:00:00Z") == []
        for wrong in ("yesterday", "2026-03-01T12:00:00"):
            with pytest.raises(PilotError) as refused:
                await rig.events(since=wrong)
            assert refused.value.code == "malformed"

    check_in_rig(check)


def test_pages_skip_nothing_while_the_log_grows_and_a_tail_goes_on_from_an_index() -> None:
    async def check(rig: Rig) -> None:
        rig.policy.record(25, partner="acme")
        await rig.logged(25)
        page = await rig.get("/v1/events", partner="acme", limit=10)
        seen = [each["sequence"] for each in page["items"]]
        rig.policy.record(5, partner="acme")
        await rig.logged(30)
        while page["next_cursor"]:
            cursor = page["next_cursor"]
            page = await rig.get("/v1/events", partner="acme", limit=10, cursor=cursor)
            seen += [each["sequence"] for each in page["items"]]
        assert seen == list(range(25, 0, -1))
        tail = await rig.events(partner="acme", after=24)
        assert [each["index"] for each in tail] == [25, 26, 27, 28, 29]
        shown = await rig.get(f"/v1/events/{tail[0]['id']}")
        assert shown == tail[0]
        assert shown["body"] == rig.policy.items[shown["sequence"] - 1].body

    check_in_rig(check)
