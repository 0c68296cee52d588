"""Grants over the socket: planned, created, activated, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from policy_rig import DAY, SPONSOR, Rig, ahead, run, wanted


def test_a_grant_with_everything_becomes_active_once_the_gateway_has_it(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        plan = await api.post("/v1/grants:plan", wanted())
        assert plan["becomes"] == "active"
        assert plan["gaps"] == []
        assert plan["decision"]["allow"] is True
        assert (await api.get("/v1/grants"))["items"] == [], "a plan stores nothing"

        grant = await api.post("/v1/grants", wanted())
        assert grant["state"] == "provisioning"
        assert grant["models"] == ["aurora-1", "aurora-2"], "an open list is spelled out"
        assert grant["decision"]["bundle_revision"]
        assert grant["terms_id"].startswith("trm_")
        assert len(grant["assessment_ids"]) == 1
        active = await api.until(grant["id"], "active")
        assert active["revision"] == 2
        assert await api.actions(grant["id"]) == ["grant.create", "grant.activate"]
        told = rig.gateway.last(grant["id"])
        assert told["state"] == "active"
        assert told["partner_state"] == "active"
        assert told["egress"] == ["127.0.0.0/8"]
        assert [lapse["code"] for lapse in told["lapses"]] == [
            "grant_expired",
            "assessment_lapsed",
            "verification_lapsed",
        ]

    run(tmp_path, scenario)


def test_what_is_missing_is_named_with_the_line_that_mends_it(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.pilot()
        await api.capability("cyber.triage")
        acme = {"slug": "acme", "name": "Acme", "sponsor": SPONSOR, "reason": "asked"}
        await api.post("/v1/partners", acme)
        grant = await api.post("/v1/grants", wanted())
        assert grant["state"] == "draft"
        mends = {gap["code"]: gap["mend"] for gap in grant["gaps"]}
        assert list(mends) == ["verification_missing", "terms_not_published", "assessment_missing"]
        assert all(mend.startswith("pilotctl ") for mend in mends.values())
        assert "partner verify acme" in mends["verification_missing"]
        assert "terms publish" in mends["terms_not_published"]
        assert "assessment create" in mends["assessment_missing"]

        refused = await api.ask(
            "POST", f"/v1/grants/{grant['id']}/activation", {"reason": "go"}, revision=1
        )
        assert (refused.status, refused.problem) == (403, "refused")
        assert "never verified" in refused.body["detail"]
        assert refused.body["mend"].startswith("pilotctl partner verify acme")
        told = await rig.gateway.hears(grant["id"], bool)
        assert told["state"] == "draft", "it can be ended there, and opens nothing"

        await api.post(
            "/v1/partners/acme/verification",
            {"until": ahead(days=90), "evidence": "R", "reason": "seen"},
            revision=1,
        )
        await api.terms()
        await api.accept()
        shown = await api.get(f"/v1/grants/{grant['id']}")
        assert [gap["code"] for gap in shown["gaps"]] == ["assessment_missing"]
        assert shown["state"] == "draft", "a draft goes on by a verb only"
        await api.assess()
        decided = await api.get(f"/v1/grants/{grant['id']}/decision")
        assert decided["becomes"] == "active"
        assert decided["gaps"] == []
        await api.post(f"/v1/grants/{grant['id']}/activation", {"reason": "go"}, revision=1)
        await api.until(grant["id"], "active")
        again = await api.ask(
            "POST", f"/v1/grants/{grant['id']}/activation", {"reason": "go"}, revision=3
        )
        assert again.status == 200, "running it again converges"
        assert await api.actions(grant["id"]) == [
            "grant.create",
            "grant.provision",
            "grant.activate",
        ]

    run(tmp_path, scenario)


def test_tier_three_and_above_waits_for_approval_whatever_else_is_there(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.capability("cyber.exploit", tier=3, category="high-risk-dual-use")
        await api.assess("cyber.exploit")
        ask = wanted(capabilities=["cyber.exploit"], models=["aurora-1"])
        grant = await api.post("/v1/grants", ask)
        assert grant["state"] == "pending_approval"
        assert grant["state_reason"] == "waits_for_approval"
        assert [gap["code"] for gap in grant["gaps"]] == ["approval_missing"]
        assert "waits for approval" in grant["gaps"][0]["message"]
        assert grant["decision"]["allow"] is False
        refused = await api.ask(
            "POST", f"/v1/grants/{grant['id']}/activation", {"reason": "go"}, revision=1
        )
        assert (refused.status, refused.problem) == (403, "needs-approval")
        told = await rig.gateway.hears(grant["id"], bool)
        assert told["state"] == "pending_approval", "it can be ended there, and opens nothing"

    run(tmp_path, scenario)


BAD: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("unknown pilot", {"pilot": "aurorra"}, 404, "not-found", "nearest: aurora"),
    ("unknown partner", {"partner": "acmee"}, 404, "not-found", "nearest: acme"),
    ("unknown capability", {"capabilities": ["cyber.triag"]}, 404, "not-found", "cyber.triage"),
    ("prohibited", {"capabilities": ["bio.weapon"]}, 403, "prohibited", "never granted"),
    ("stage the pilot lacks", {"stage": "expanded"}, 422, "invalid", "sandbox, limited"),
    ("no stage at all", {"stage": "limitd"}, 422, "invalid", "stage"),
    ("model not covered", {"models": ["aurora-3"]}, 422, "invalid", "aurora-1"),
    ("control in a model", {"models": ["a\x1b[2J"]}, 422, "invalid", "models"),
    ("empty scope at tier 2", {"capabilities": ["cyber.deep"]}, 422, "invalid", "empty list"),
    (
        "wildcard scope at tier 2",
        {"capabilities": ["cyber.deep"], "models": ["*"]},
        422,
        "invalid",
        "'*' means all",
    ),
    (
        "every network at tier 2",
        {"capabilities": ["cyber.deep"], "models": ["aurora-1"], "networks": ["0.0.0.0/0"]},
        422,
        "invalid",
        "every address",
    ),
    ("past expiry", {"expires_at": "2020-01-01T00:00:00Z"}, 422, "invalid", "is past"),
    ("expiry too long", {"expires_at": ahead(days=31)}, 422, "invalid", "at most 30d"),
    (
        "expiry too long for the stage",
        {"stage": "sandbox", "expires_at": ahead(days=11)},
        422,
        "invalid",
        "stage sandbox allows at most 10d",
    ),
    (
        "ends before it begins",
        {"not_before": ahead(days=9), "expires_at": ahead(days=8)},
        422,
        "invalid",
        "not after not_before",
    ),
    ("no expiry", {"expires_at": None}, 422, "invalid", "expires_at"),
    ("naive expiry", {"expires_at": "2030-01-01T00:00:00"}, 422, "invalid", "expires_at"),
    ("no network", {"networks": ["10.0.0.0/99"]}, 422, "invalid", "not a network"),
    ("network of words", {"networks": ["home"]}, 422, "invalid", "not a network"),
    ("host bits", {"networks": ["203.0.113.7/24"]}, 422, "invalid", "203.0.113.0/24"),
    ("mistyped member", {"expire_at": ahead(days=1)}, 400, "unknown-member", "expires_at"),
    ("another pilot's", {"capabilities": ["other.cap"]}, 422, "invalid", "belongs to pilot"),
    ("NUL in the purpose", {"purpose": "a\x00b"}, 422, "invalid", "purpose"),
    ("empty reason", {"reason": ""}, 422, "invalid", "reason"),
    ("label with control", {"labels": {"a\x1b": "b"}}, 422, "invalid", "labels"),
    ("no capability", {"capabilities": []}, 422, "invalid", "capabilities"),
]


def test_each_bad_grant_is_refused_clearly_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.capability("bio.weapon", category="prohibited")
        await api.capability("cyber.deep", tier=2, routes=["responses"])
        await api.pilot(slug="other")
        await api.capability("other.cap", pilot="other")
        before = rig.dump()
        for title, changes, status, problem, says in BAD:
            for path in ("/v1/grants", "/v1/grants?validate_only=true", "/v1/grants:plan"):
                said = await api.ask("POST", path, wanted(**changes))
                assert (said.status, said.problem) == (status, problem), (title, said.body)
                assert says in said.body["detail"], (title, said.body)
                assert "\x1b" not in said.body["detail"] or "models" in said.body["detail"]
        assert rig.dump() == before

    run(tmp_path, scenario, gateway=False)


def test_a_stage_takes_no_more_partners_than_it_says(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.partner("birch")
        await api.accept("birch")
        await api.assess(partner="birch")
        ask = wanted(stage="sandbox", expires_at=ahead(days=5))
        first = await api.post("/v1/grants", ask)
        said = await api.ask("POST", "/v1/grants", {**ask, "partner": "birch"})
        assert (said.status, said.problem) == (403, "refused")
        assert "at most 1 partners" in said.body["detail"]
        second = await api.post("/v1/grants", ask)
        assert second["id"] != first["id"], "the same partner takes no second place"

    run(tmp_path, scenario)


def test_overlaps_and_other_holders_are_said(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.partner("birch")
        await api.accept("birch")
        await api.assess(partner="birch")
        theirs = await api.post("/v1/grants", wanted(partner="birch"))
        mine = await api.post("/v1/grants", wanted())
        plan = await api.post("/v1/grants:plan", wanted())
        assert plan["overlaps"] == [mine["id"]]
        assert plan["holders"] == {"cyber.triage": 1}
        listed = await api.get("/v1/grants?partner=birch")
        assert [each["id"] for each in listed["items"]] == [theirs["id"]]
        by_capability = await api.get("/v1/grants?capability=cyber.triage&limit=1")
        assert len(by_capability["items"]) == 1
        assert by_capability["next_cursor"]
        for query, status in (("partner=birhc", 404), ("state=activ", 422), ("stat=active", 400)):
            said = await api.ask("GET", f"/v1/grants?{query}")
            assert said.status == status, said

    run(tmp_path, scenario)


def test_the_same_key_is_one_effect_and_another_request_under_it_is_refused(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        ask = wanted()
        first = await api.ask("POST", "/v1/grants", ask, key="the-same-key")
        again = await api.ask("POST", "/v1/grants", ask, key="the-same-key")
        assert again.body == first.body
        assert again.headers["Idempotent-Replayed"] == "true"
        other = await api.ask("POST", "/v1/grants", wanted(purpose="x"), key="the-same-key")
        assert (other.status, other.problem) == (422, "key-reused")
        assert len((await api.get("/v1/grants"))["items"]) == 1
        assert (await api.actions()).count("grant.create") == 1

    run(tmp_path, scenario)


def test_of_two_who_planned_on_one_revision_one_wins_and_the_other_sees_what_is_now(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.pilot()
        await api.capability("cyber.triage")
        await api.terms()
        await api.partner()
        await api.accept()
        grant = await api.post("/v1/grants", wanted())
        await api.assess()
        path = f"/v1/grants/{grant['id']}/activation"
        none = await api.ask("POST", path, {"reason": "go"})
        assert (none.status, none.problem) == (428, "revision-required")
        assert (await api.ask("POST", path, {"reason": "a"}, revision=1)).status == 200
        late = await api.ask("POST", path, {"reason": "b"}, revision=1)
        assert (late.status, late.problem) == (412, "stale")
        assert late.body["current"]["revision"] >= 2
        assert late.body["current"]["id"] == grant["id"]

    run(tmp_path, scenario)


def test_a_dry_run_says_what_would_be_and_stores_nothing(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        before = rig.dump()
        said = await api.ask("POST", "/v1/grants?validate_only=true", wanted())
        assert said.status == 200
        assert said.body["state"] == "provisioning"
        assert rig.dump() == before
        assert rig.gateway.grants == []

    run(tmp_path, scenario)


def test_a_wildcard_below_tier_two_is_spelled_out_when_it_is_granted(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.api.ready()
        grant = await rig.api.post("/v1/grants", wanted(models=["*"]))
        assert grant["models"] == ["aurora-1", "aurora-2"]
        said = await rig.api.ask("GET", "/v1/grants/grt_none")
        assert (said.status, said.problem) == (404, "not-found")

    run(tmp_path, scenario)


@pytest.mark.parametrize("length", [30 * DAY - 60])
def test_the_longest_that_is_allowed_is_allowed(tmp_path: Path, length: int) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.api.ready()
        await rig.api.post("/v1/grants", wanted(expires_at=ahead(seconds=length)))

    run(tmp_path, scenario)
