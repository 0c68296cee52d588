"""What lapses suspends by itself, with nobody's console open."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from policy_rig import Clock, Rig, ahead, later, run, wanted


async def active(rig: Rig, **changes: Any) -> str:
    made = await rig.api.post("/v1/grants", wanted(**changes))
    await rig.api.until(made["id"], "active")
    return str(made["id"])


async def suspended(rig: Rig, grant: str, why: str) -> None:
    found = await rig.api.until(grant, "suspended")
    assert found["state_reason"] == why
    assert found["gaps"], "it says what is missing now"
    told = await rig.gateway.hears(grant, lambda held: held.get("state") == "suspended")
    assert told["state_reason"] == why


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_an_assessment_that_ends_suspends_and_a_new_one_resumes_by_itself(
    tmp_path: Path, clock: Clock
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.pilot()
        await api.capability("cyber.triage")
        await api.terms()
        await api.partner()
        await api.accept()
        old = await api.assess(until=ahead(hours=1))
        grant = await active(rig)
        assert rig.gateway.last(grant)["lapses"][0]["code"] == "assessment_lapsed"
        clock.ahead = timedelta(hours=2)
        await suspended(rig, grant, "assessment_lapsed")
        ended = await api.get(f"/v1/assessments/{old}")
        assert ended["state"] == "expired"
        await api.assess()
        await api.until(grant, "active")
        assert await api.actions(grant) == [
            "grant.create",
            "grant.activate",
            "grant.warn",
            "grant.suspend",
            "grant.resume",
            "grant.activate",
        ]
        assert await api.actions(old) == [
            "assessment.create",
            "assessment.accept",
            "assessment.expire",
        ]

    run(tmp_path, scenario)


def test_an_assessment_that_is_withdrawn_suspends_at_once(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await active(rig)
        [held] = (await api.get("/v1/assessments?state=accepted"))["items"]
        said = await api.ask(
            "POST", f"/v1/assessments/{held['id']}/withdrawal", {"reason": "found wrong"}
        )
        assert said.status == 200, "closing asks for no revision"
        assert await api.state(grant) == "suspended"
        await suspended(rig, grant, "assessment_lapsed")

    run(tmp_path, scenario)


def test_new_terms_count_as_accepted_until_their_window_closes(
    tmp_path: Path, clock: Clock
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await active(rig)
        said = await api.ask(
            "POST",
            "/v1/terms",
            {"pilot": "aurora", "title": "T", "text": "be better", "reason": "r"},
        )
        assert said.status == 422
        assert "reaccept_by" in said.body["detail"]
        new = await api.terms(text="be better", reaccept_by=ahead(hours=1))
        assert new["version"] == 2
        assert await api.state(grant) == "active"
        await rig.gateway.hears(
            grant, lambda held: "terms_lapsed" in [each["code"] for each in held["lapses"]]
        )
        clock.ahead = timedelta(hours=2)
        await suspended(rig, grant, "terms_lapsed")
        await api.accept()
        await api.until(grant, "active")
        assert (await api.get("/v1/pilots/aurora"))["terms_id"] == new["id"]
        assert (await api.get(f"/v1/terms/{new['id']}"))["accepted_by"] == ["acme"]

    run(tmp_path, scenario)


def test_the_clock_suspends_expires_and_warns_once_each(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.pilot(
            stages=[{"key": "limited", "most_partners": 3, "longest_grant_seconds": 86400 * 100}]
        )
        await api.capability("cyber.triage", longest_grant_seconds=86400 * 100)
        await api.terms()
        await api.partner(until=ahead(days=300))
        await api.accept()
        await api.assess(until=ahead(days=80))
        grant = await active(rig, expires_at=ahead(days=90))
        warned: list[tuple[str, int]] = []
        for days in (10, 51, 52, 61, 74, 79.5):
            later(rig, days=days)
            warned = [
                (event["unmapped"]["facts"]["code"], event["unmapped"]["facts"]["days"])
                for event in await api.events()
                if event["metadata"]["event_code"] == "grant.warn"
            ]
        assert warned == [
            ("assessment_lapsed", 30),
            ("grant_expired", 30),
            ("assessment_lapsed", 7),
            ("assessment_lapsed", 1),
        ]
        later(rig, days=80.1)
        assert await api.state(grant) == "suspended"
        later(rig, days=91)
        assert await api.state(grant) == "expired"
        assert (await api.actions(grant))[-2:] == ["grant.suspend", "grant.expire"]
        before = len(await api.events())
        later(rig, days=400)
        assert await api.state(grant) == "expired"
        assert len(await api.events()) == before, "what ended is not looked at again"

    run(tmp_path, scenario)


def test_what_time_did_while_policy_was_down_is_done_when_it_is_back(
    tmp_path: Path, clock: Clock
) -> None:
    grants: list[str] = []

    async def before(rig: Rig) -> None:
        await rig.api.pilot()
        await rig.api.capability("cyber.triage")
        await rig.api.terms()
        await rig.api.partner(until=ahead(hours=1))
        await rig.api.accept()
        await rig.api.assess()
        grants.append(await active(rig))

    async def after(rig: Rig) -> None:
        await suspended(rig, grants[0], "verification_lapsed")
        revision = (await rig.api.get("/v1/partners/acme"))["revision"]
        await rig.api.post(
            "/v1/partners/acme/verification",
            {"until": ahead(days=9), "evidence": "R", "reason": "again"},
            revision=revision,
        )
        await rig.api.until(grants[0], "active")

    run(tmp_path, before)
    clock.ahead = timedelta(hours=2)
    run(tmp_path, after)
