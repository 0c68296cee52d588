"""A capability below another over the same model and route, and imports that widen grants."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from policy_rig import Rig, run, wanted

from console.model.access import Capability
from console.model.text import now
from console.services.policy.reach import above, uncovers


def capability(slug: str, tier: int, **changes: Any) -> Capability:
    said: dict[str, Any] = {
        "id": f"cap_{slug}", "created_at": now(), "created_by": "a", "updated_at": now(),
        "updated_by": "a", "slug": slug, "title": slug, "pilot": "aurora", "category": "dual-use",
        "tier": tier, "models": ["aurora-1"], "routes": ["messages"], "longest_grant_seconds": 60,
    }  # fmt: skip
    return Capability(**(said | changes))


@pytest.mark.parametrize(
    ("new", "is_refused"),
    [
        ({"tier": 0}, True),
        ({"tier": 2}, True),
        ({"tier": 3}, False),
        ({"tier": 4}, False),
        ({"tier": 0, "routes": ["responses"]}, False),
        ({"tier": 0, "routes": ["responses", "messages"]}, True),
        ({"tier": 0, "models": ["aurora-2"]}, False),
        ({"tier": 0, "pilot": "boreal"}, True),
        ({"tier": 0, "category": "prohibited"}, False),
    ],
)
def test_below_tier_three_over_the_same_model_and_route_is_refused(
    new: dict[str, Any], is_refused: bool
) -> None:
    guard = capability("guard", 3)
    made = capability("new", **new)
    assert (uncovers(made, None, [guard]) is not None) is is_refused
    never = capability("guard", 4, category="prohibited")
    assert above(made, [never]) == []
    assert uncovers(made, None, [never]) is None


def test_what_it_reached_before_it_uncovers_no_more() -> None:
    guard = capability("guard", 3)
    held = capability("twin", 0)
    assert uncovers(held, held, [guard]) is None
    wide = capability("twin", 0, models=["aurora-1", "aurora-3"])
    assert uncovers(wide, held, [guard]) is None
    assert uncovers(wide, held, [guard, capability("other", 3, models=["aurora-3"])]) is not None
    assert uncovers(capability("twin", 0), capability("twin", 3), [guard]) is not None


def test_a_lower_twin_of_tier_three_is_refused_and_one_of_tier_two_is_named(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.pilot()
        await api.capability("cyber.exploit-dev", tier=3, models=["aurora-2"])
        await api.capability("cyber.discovery", tier=2, models=["aurora-1"])
        twin = {
            "slug": "harmless", "title": "Harmless", "pilot": "aurora", "category": "general",
            "tier": 0, "models": ["aurora-2"], "routes": ["messages"],
            "longest_grant_seconds": 3600, "reason": "why not",
        }  # fmt: skip
        said = await api.ask("POST", "/v1/capabilities", twin)
        assert (said.status, said.problem) == (403, "needs-approval")
        assert "harmless (tier 0) would open aurora-2 on messages" in said.body["detail"]
        assert "cyber.exploit-dev guards at tier 3" in said.body["detail"]
        made = await api.post("/v1/capabilities", {**twin, "models": ["aurora-1"]})
        assert made["below"] == ["cyber.discovery"]
        assert (await api.get("/v1/capabilities/harmless"))["below"] == ["cyber.discovery"]
        listed = (await api.get("/v1/capabilities"))["items"]
        assert {each["slug"]: each.get("below", []) for each in listed} == {
            "cyber.discovery": [],
            "cyber.exploit-dev": [],
            "harmless": ["cyber.discovery"],
        }
        event = (await api.events())[-1]["unmapped"]
        assert event["facts"] == {"below": ["cyber.discovery"]}
        text = await api.get("/v1/pilots/aurora/text")
        text["capabilities"]["harmless"]["models"] = ["aurora-1", "aurora-2"]
        body = {"pilot": text, "revision": 1, "reason": "by the file"}
        assert (await api.ask("POST", "/v1/pilots:import", body)).problem == "needs-approval"
        text["capabilities"]["harmless"]["models"] = ["aurora-1"]
        text["capabilities"]["twin"] = {**text["capabilities"]["harmless"], "models": ["aurora-2"]}
        assert (await api.ask("POST", "/v1/pilots:import", body)).problem == "needs-approval"

    run(tmp_path, scenario)


def test_a_pilot_with_twins_is_exported_and_made_anew_on_another_machine(tmp_path: Path) -> None:
    texts: list[Any] = []

    async def first(rig: Rig) -> None:
        await rig.api.pilot()
        await rig.api.capability("a.low", tier=0)
        await rig.api.capability("b.high", tier=3)
        texts.append(await rig.api.get("/v1/pilots/aurora/text"))

    async def second(rig: Rig) -> None:
        await rig.api.post("/v1/pilots:import", {"pilot": texts[0], "reason": "moved"})
        assert await rig.api.get("/v1/pilots/aurora/text") == texts[0]
        low = await rig.api.get("/v1/capabilities/a.low")
        assert low["below"] == ["b.high"]

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    run(tmp_path / "one", first)
    run(tmp_path / "two", second)


async def widened(rig: Rig, **changes: Any) -> Any:
    """Import the pilot with a route more for its capability, and `changes` of the text."""
    text = await rig.api.get("/v1/pilots/aurora/text")
    revision = (await rig.api.get("/v1/pilots/aurora"))["revision"]
    text["capabilities"]["cyber.triage"]["routes"] = ["chat.completions", "messages", "responses"]
    body = {"pilot": {**text, **changes}, "revision": revision, "reason": "a wider programme"}
    return await rig.api.ask("POST", "/v1/pilots:import", body)


def test_an_import_that_widens_a_running_grant_is_an_event_of_the_grant(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = (await api.post("/v1/grants", wanted(models=["aurora-1"])))["id"]
        await api.until(grant, "active")
        assert (await widened(rig)).status == 200
        (event,) = [e for e in await api.events() if e["metadata"]["event_code"] == "grant.widen"]
        said = event["unmapped"]
        assert (said["target"], said["partner"], said["reason"]) == (
            grant,
            "acme",
            "a wider programme",
        )
        assert set(said["after"]["reaches"]) - set(said["before"]["reaches"]) == {
            "cyber.triage: aurora-1 on responses"
        }
        await rig.gateway.hears(
            grant, lambda told: "responses" in str(told.get("capabilities", ""))
        )
        assert (await widened(rig)).status == 200
        assert (await api.actions(grant)).count("grant.widen") == 1

    run(tmp_path, scenario)


def test_an_import_widens_nothing_for_a_restricted_partner_or_from_tier_three(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = (await api.post("/v1/grants", wanted(models=["aurora-1"])))["id"]
        await api.until(grant, "active")
        await api.post("/v1/partners/acme/restriction", {"reason": "odd use"})
        refused = await widened(rig)
        assert (refused.status, refused.problem) == (403, "refused")
        assert "restricted" in refused.body["detail"]
        partner = await api.get("/v1/partners/acme")
        await api.post(
            "/v1/partners/acme/resumption", {"reason": "fine"}, revision=partner["revision"]
        )
        with sqlite3.connect(rig.home / "policy.db") as conn:
            conn.execute(
                "UPDATE grants SET body = CAST(json_set(CAST(body AS TEXT), '$.tier', 3) AS BLOB)"
            )
        refused = await widened(rig)
        assert refused.problem == "needs-approval"
        assert f"{grant} of acme, of tier 3" in refused.body["detail"]
        assert "grant.widen" not in await api.actions(grant)
        held = (await api.get("/v1/capabilities/cyber.triage"))["routes"]
        assert held == ["chat.completions", "messages"], "nothing of it was stored"

    run(tmp_path, scenario)
