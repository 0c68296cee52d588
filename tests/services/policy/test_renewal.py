"""A grant is extended by a successor: judged anew, opened last, and the old one ends as renewed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from policy_rig import Rig, ahead, run, wanted


async def active(rig: Rig, **changes: Any) -> dict[str, Any]:
    grant = (await rig.api.post("/v1/grants", wanted(**changes)))["id"]
    return await rig.api.until(grant, "active")


def renewal(**length: float) -> dict[str, Any]:
    return {"expires_at": ahead(**(length or {"days": 29})), "reason": "goes on"}


def test_the_old_grant_ends_as_renewed_once_the_gateway_has_the_successor(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        old = await active(rig, networks=["127.0.0.0/8"])
        rig.gateway.takes = False
        new = await api.post(f"/v1/grants/{old['id']}/renewal", renewal(), revision=old["revision"])
        assert new["state"] == "provisioning"
        assert (new["renews"], new["lineage"]) == (old["id"], [old["id"]])
        for same in ("partner", "capabilities", "models", "networks", "purpose", "stage"):
            assert new[same] == old[same]
        await asyncio.sleep(0.3)
        assert await api.state(old["id"]) == "active", "nothing ends before the gateway has it"
        rig.gateway.takes = True
        await api.until(new["id"], "active")
        ended = await api.until(old["id"], "expired")
        assert (ended["state_reason"], ended["renewed_by"]) == ("renewed", new["id"])
        told = await rig.gateway.hears(old["id"], lambda held: held["state"] == "expired")
        assert told["state_reason"] == "renewed"
        assert rig.gateway.last(new["id"])["renews"] == old["id"]
        assert rig.gateway.last(new["id"])["lineage"] == [old["id"]]
        assert await api.actions(new["id"]) == ["grant.renew", "grant.activate"]
        assert await api.actions(old["id"]) == ["grant.create", "grant.activate", "grant.supersede"]

    run(tmp_path, scenario)


def test_a_chain_of_renewals_knows_all_that_it_succeeds_and_is_renewed_at_its_end_only(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        first = await active(rig)
        second = await api.post(
            f"/v1/grants/{first['id']}/renewal", renewal(days=25), revision=first["revision"]
        )
        second = await api.until(second["id"], "active")
        third = await api.post(
            f"/v1/grants/{second['id']}/renewal", renewal(), revision=second["revision"]
        )
        assert third["lineage"] == [second["id"], first["id"]]
        await api.until(third["id"], "active")
        ended = await api.get(f"/v1/grants/{first['id']}")
        said = await api.ask(
            "POST", f"/v1/grants/{first['id']}/renewal", renewal(), revision=ended["revision"]
        )
        assert (said.status, said.problem) == (409, "state")
        assert second["id"] in said.body["detail"]

    run(tmp_path, scenario)


def test_the_same_renewal_again_is_the_successor_that_is_there_and_another_is_a_conflict(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        old = await active(rig)
        path = f"/v1/grants/{old['id']}/renewal"
        new = await api.post(path, renewal(), revision=old["revision"])
        await api.until(new["id"], "active")
        ended = await api.until(old["id"], "expired")
        for again in (renewal(), {**renewal(), "stage": "limited"}):
            said = await api.ask("POST", path, again, revision=ended["revision"])
            assert said.status < 300
            assert (said.body["id"], said.body["state"]) == (new["id"], "active")
        for other in (renewal(days=28), {**renewal(), "stage": "sandbox"}):
            said = await api.ask("POST", path, other, revision=ended["revision"])
            assert (said.status, said.problem) == (409, "exists")
            assert new["id"] in said.body["detail"]
        stale = await api.ask("POST", path, renewal(), revision=old["revision"])
        assert stale.problem == "stale"
        assert len((await api.get("/v1/grants"))["items"]) == 2
        assert await api.actions(new["id"]) == ["grant.renew", "grant.activate"]

    run(tmp_path, scenario)


def test_a_gap_in_the_evidence_makes_the_successor_a_draft_and_the_old_one_goes_on(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        old = await active(rig)
        (assessment,) = (await api.get("/v1/assessments"))["items"]
        await api.post(f"/v1/assessments/{assessment['id']}/withdrawal", {"reason": "new facts"})
        old = await api.until(old["id"], "suspended")
        new = await api.post(f"/v1/grants/{old['id']}/renewal", renewal(), revision=old["revision"])
        assert new["state"] == "draft"
        assert [gap["code"] for gap in new["gaps"]] == ["assessment_missing"]
        assert "pilotctl assessment create" in new["gaps"][0]["mend"]
        again = await api.post(
            f"/v1/grants/{old['id']}/renewal", renewal(), revision=old["revision"]
        )
        assert again == new
        said = await api.ask(
            "POST", f"/v1/grants/{old['id']}/renewal", renewal(days=28), revision=old["revision"]
        )
        assert (said.status, said.problem) == (409, "exists")
        assert new["id"] in said.body["detail"]
        await api.assess()
        await api.until(old["id"], "active")
        await api.post(
            f"/v1/grants/{new['id']}/activation", {"reason": "mended"}, revision=new["revision"]
        )
        await api.until(new["id"], "active")
        await api.until(old["id"], "expired")

    run(tmp_path, scenario)


def test_a_successor_is_within_the_longest_and_ends_later_than_what_it_renews(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        old = await active(rig)
        path, revision = f"/v1/grants/{old['id']}/renewal", old["revision"]
        too_long = await api.ask("POST", path, renewal(days=31), revision=revision)
        assert (too_long.status, too_long.problem) == (422, "invalid")
        assert "cyber.triage allows at most 30d" in too_long.body["detail"]
        earlier = await api.ask("POST", path, renewal(days=10), revision=revision)
        assert (earlier.status, earlier.problem) == (422, "invalid")
        assert "goes on until" in earlier.body["detail"]
        blind = await api.ask("POST", path, renewal())
        assert blind.problem == "revision-required"
        stale = await api.ask("POST", path, renewal(), revision=revision - 1)
        assert stale.problem == "stale"
        for never in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"):
            said = await api.ask(
                "POST", path, {"expires_at": never, "reason": "x"}, revision=revision
            )
            assert (said.status, said.problem) == (422, "invalid")
        elsewhere = await api.ask(
            "POST", path, {**renewal(days=5), "stage": "sandbox"}, revision=revision
        )
        assert "goes on until" in elsewhere.body["detail"]
        moved = {"expires_at": ahead(days=25), "stage": "sandbox", "reason": "a step back"}
        elsewhere = await api.ask("POST", path, moved, revision=revision)
        assert "stage sandbox allows at most 10d" in elsewhere.body["detail"]
        typo = await api.ask("POST", path, {**renewal(), "expire": "x"}, revision=revision)
        assert typo.problem == "unknown-member"
        tried = await api.ask("POST", path + "?validate_only=true", renewal(), revision=revision)
        assert (tried.status, tried.body["state"]) == (200, "provisioning")
        assert (await api.get("/v1/grants"))["items"] == [await api.get(f"/v1/grants/{old['id']}")]

    run(tmp_path, scenario)


def test_from_tier_three_up_the_successor_waits_and_nothing_moves(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.capability("cyber.exploit", tier=3, category="high-risk-dual-use")
        await api.assess("cyber.exploit")
        high = await api.post(
            "/v1/grants", wanted(capabilities=["cyber.exploit"], models=["aurora-1"])
        )
        assert high["state"] == "pending_approval"
        said = await api.ask(
            "POST", f"/v1/grants/{high['id']}/renewal", renewal(), revision=high["revision"]
        )
        assert (said.status, said.problem) == (409, "state")
        assert "pending approval" in said.body["detail"]

    run(tmp_path, scenario)


def test_revoking_the_old_grant_ends_its_successors_here_too(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        old = await active(rig)
        beside = await active(rig)
        new = await api.post(f"/v1/grants/{old['id']}/renewal", renewal(), revision=old["revision"])
        await api.until(new["id"], "active")
        rig.gateway.closings.append(
            {
                "seq": 1, "kind": "grant", "id": old["id"], "reason": "misuse", "by": "r",
                "at": ahead(), "event_id": "evt_1",
            }
        )  # fmt: skip
        await api.until(new["id"], "revoked")
        await api.until(old["id"], "revoked")
        assert await api.state(beside["id"]) == "active", "overlapping grants are not touched"

    run(tmp_path, scenario)


def test_an_overlapping_grant_goes_on_and_the_plan_names_it_but_not_the_renewed_one(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        old = await active(rig)
        beside = await active(rig)
        rig.gateway.takes = False
        new = await api.post(f"/v1/grants/{old['id']}/renewal", renewal(), revision=old["revision"])
        plan = await api.get(f"/v1/grants/{new['id']}/decision")
        assert plan["overlaps"] == [beside["id"]]
        rig.gateway.takes = True
        await api.until(old["id"], "expired")
        assert await api.state(beside["id"]) == "active"

    run(tmp_path, scenario)
