"""A capability below another over the same model and route, and imports that widen grants."""

from __future__ import annotations

import random
import sqlite3
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from policy_rig import Rig, ahead, run, wanted

from console.model.access import Capability
from console.model.text import now
from console.services.policy.grants.reach import above, reached, uncovers, unguards


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


@pytest.mark.parametrize(
    ("after", "is_refused"),
    [
        ([capability("deep", 3)], True),
        ([capability("deep", 3, models=["aurora-2"], routes=["responses"])], True),
        ([capability("deep", 3, models=["aurora-2"]), capability("twin", 2)], False),
        ([capability("deep", 3), capability("twin", 2, models=["aurora-2"])], True),
        ([capability("deep", 3), capability("moved", 3, models=["aurora-2"])], False),
        ([capability("deep", 3), capability("moved", 4, models=["aurora-2"])], False),
        (
            [
                capability("deep", 3),
                capability("never", 4, models=["aurora-2"], category="prohibited"),
            ],
            True,
        ),
    ],
)
def test_what_the_highest_of_tier_three_guards_is_guarded_after_a_change_or_it_is_refused(
    after: list[Capability], is_refused: bool
) -> None:
    before = [capability("deep", 3, models=["aurora-2"])]
    assert (unguards(before, after) is not None) is is_refused
    low = [capability("deep", 2, models=["aurora-2"])]
    assert unguards(low, []) is None, "below tier 3 one person may"
    never = [capability("deep", 1, models=["aurora-2"], category="prohibited")]
    assert unguards(never, after[:1]) is not None, "what is prohibited stays so at every tier"
    assert unguards(never, [*after, *never]) is None


def test_a_guard_of_tier_three_is_not_moved_away_by_a_file(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.pilot()
        await api.capability("deep", tier=3, models=["aurora-2"], routes=["messages"])
        kept = await api.get("/v1/pilots/aurora/text")
        for change in ({"models": ["aurora-1"]}, {"routes": ["responses"]}):
            deep = {**kept["capabilities"]["deep"], **change}
            text = {**kept, "capabilities": {"deep": deep}}
            body = {"pilot": text, "revision": 1, "reason": "elsewhere"}
            said = await api.ask("POST", "/v1/pilots:import", body)
            assert (said.status, said.problem) == (403, "needs-approval")
            assert "aurora-2 on messages would lose its guard deep (tier 3)" in said.body["detail"]
        assert await api.get("/v1/pilots/aurora/text") == kept
        wider = {**kept["capabilities"]["deep"], "models": ["aurora-1", "aurora-2"]}
        body["pilot"] = {**kept, "capabilities": {"deep": wider}}
        await api.post("/v1/pilots:import", body)
        twin = {
            "slug": "harmless", "title": "Harmless", "pilot": "aurora", "category": "general",
            "tier": 0, "models": ["aurora-2"], "routes": ["messages"],
            "longest_grant_seconds": 3600, "reason": "why not",
        }  # fmt: skip
        assert (await api.ask("POST", "/v1/capabilities", twin)).problem == "needs-approval"

    run(tmp_path, scenario)


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


@pytest.mark.parametrize(
    ("held", "larger", "smaller"),
    [
        ({"credit_micros": 1_000_000}, {"credit_micros": 2_000_000}, {"credit_micros": 1}),
        ({"credit_micros": 1_000_000}, {"credit_micros": None}, {"credit_micros": 1_000_000}),
        ({"grace_seconds": 60}, {"grace_seconds": 7 * 86400}, {"grace_seconds": 0}),
    ],
)
def test_a_larger_pool_or_a_longer_grace_widens_each_grant_that_runs(
    tmp_path: Path, held: dict[str, Any], larger: dict[str, Any], smaller: dict[str, Any]
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api

        async def import_(changes: dict[str, Any]) -> Any:
            text = await api.get("/v1/pilots/aurora/text")
            revision = (await api.get("/v1/pilots/aurora"))["revision"]
            body = {"pilot": {**text, **changes}, "revision": revision, "reason": "other bounds"}
            return await api.ask("POST", "/v1/pilots:import", body)

        await api.ready()
        assert (await import_(held)).status == 200
        grant = (await api.post("/v1/grants", wanted(models=["aurora-1"])))["id"]
        await api.until(grant, "active")
        await api.post("/v1/partners/acme/restriction", {"reason": "odd use"})
        refused = await import_(larger)
        assert (refused.status, refused.problem) == (403, "refused")
        assert "restricted" in refused.body["detail"]
        assert (await import_(smaller)).status == 200, "what is smaller is never refused"
        assert "grant.widen" not in await api.actions(grant)
        revision = (await api.get("/v1/partners/acme"))["revision"]
        await api.post("/v1/partners/acme/resumption", {"reason": "fine"}, revision=revision)
        await api.until(grant, "active")
        assert (await import_(larger)).status == 200
        (event,) = [e for e in await api.events() if e["metadata"]["event_code"] == "grant.widen"]
        before, after = event["unmapped"]["before"], event["unmapped"]["after"]
        ((name, value),) = larger.items()
        assert after.get(name) == value != before.get(name)
        assert before["reaches"] == after["reaches"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_registration_gives_another_tier(seed: int) -> None:
    dice = random.Random(seed)
    known = [
        capability(
            f"c{at}",
            dice.randint(0, 4),
            models=dice.sample(["aurora-1", "aurora-2", "aurora-3"], dice.randint(1, 2)),
            routes=dice.sample(["messages", "responses"], dice.randint(1, 2)),
            category=dice.choice(["dual-use", "dual-use", "prohibited"]),
        )
        for at in range(5)
    ]
    models = dice.sample(["aurora-1", "aurora-2", "aurora-3"], 2)
    named = known[0]
    opened = {(model, route) for model in set(models) & set(named.models) for route in named.routes}
    tiers = [named.tier]
    for each in known:
        shared = opened & {(model, route) for model in each.models for route in each.routes}
        if shared and each.category != "prohibited":
            tiers.append(each.tier)
    found = [reached([named], models, order) for order in permutations(known)]
    assert {each.tier for each in found} == {max(tiers)}
    assert len({tuple(each.below) for each in found}) == 1


def judged_at(grant: dict[str, Any]) -> tuple[str, int, list[str]]:
    return grant["state"], grant["tier"], grant.get("below", [])


@pytest.mark.parametrize("is_low_first", [True, False])
def test_a_new_grant_is_judged_at_the_highest_tier_that_it_reaches(
    tmp_path: Path, is_low_first: bool
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        # over aurora-1 it is tier 2 that guards, over aurora-2 tier 3
        made = [
            lambda: api.capability("a.low", tier=1, models=["aurora-1"]),
            lambda: api.capability("b.deep", tier=2, models=["aurora-1"], routes=["messages"]),
        ]
        for make in made if is_low_first else reversed(made):
            await make()
        await api.capability("cyber.exploit", tier=3, models=["aurora-2"], routes=["messages"])
        never = {"tier": 4, "category": "prohibited", "models": ["aurora-1"]}
        await api.capability("never", **never)
        await api.assess("a.low")
        asked = wanted(capabilities=["a.low"], models=["aurora-1"])
        plan = await api.post("/v1/grants:plan", asked)
        assert judged_at(plan["grant"]) == ("provisioning", 2, ["b.deep"])
        grant = await api.post("/v1/grants", asked)
        assert judged_at(grant) == ("provisioning", 2, ["b.deep"])
        assert grant["principals"] == ["service"], "no user is meant where none is named"
        told = await rig.gateway.hears(grant["id"], bool)
        assert (told["tier"], told["networks"]) == (2, ["127.0.0.0/8"])
        open_ = await api.ask("POST", "/v1/grants", {**asked, "networks": ["0.0.0.0/0"]})
        assert open_.problem == "invalid"
        assert "tier 2 (that of b.deep, over aurora-1 on messages)" in open_.body["detail"]

        above = wanted(capabilities=["cyber.triage"], models=["aurora-2"])
        plan = await api.post("/v1/grants:plan", above)
        assert plan["becomes"] == "pending_approval"
        grant = await api.post("/v1/grants", above)
        assert judged_at(grant) == ("pending_approval", 3, ["cyber.exploit"])
        assert [each["code"] for each in grant["gaps"]] == ["approval_missing"]
        assert "because it opens what cyber.exploit guards" in grant["gaps"][0]["message"]
        (gap,) = (await api.get(f"/v1/grants/{grant['id']}"))["gaps"]
        assert gap == grant["gaps"][0]
        path = f"/v1/grants/{grant['id']}/activation"
        refused = await api.ask("POST", path, {"reason": "go"}, revision=1)
        assert refused.problem == "needs-approval"
        never_ = await api.ask("POST", "/v1/grants", {**asked, "capabilities": ["never"]})
        assert never_.problem == "prohibited"

    run(tmp_path, scenario)


def test_a_grant_that_is_there_keeps_its_tier_and_gets_no_more_at_it(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        made = await api.post("/v1/grants", wanted(models=["aurora-1"], networks=["127.0.0.0/24"]))
        grant = made["id"]
        await api.until(grant, "active")
        await api.capability("cyber.exploit", tier=3, models=["aurora-1"], routes=["messages"])
        said = "judged at tier 3 (that of cyber.exploit, over aurora-1 on messages)"

        async def ask(part: str, body: dict[str, Any]) -> Any:
            revision = (await api.get(f"/v1/grants/{grant}"))["revision"]
            body = {"reason": "more", **body}
            return await api.ask("POST", f"/v1/grants/{grant}{part}", body, revision=revision)

        wider = await ask("/amendment", {"networks": ["127.0.0.0/16"]})
        assert wider.problem == "needs-approval"
        assert said in wider.body["detail"]
        assert (await widened(rig)).problem == "needs-approval"
        renewed = await ask("/renewal", {"expires_at": ahead(days=25)})
        assert judged_at(renewed.body) == ("pending_approval", 3, ["cyber.exploit"])
        # what closes, and what only lasts, is judged by nobody
        narrower = await ask("/narrowing", {"networks": ["127.0.0.0/30"]})
        assert narrower.status == 200, narrower
        now_ = await api.get(f"/v1/grants/{grant}")
        assert judged_at(now_) == ("active", 1, [])
        assert rig.gateway.last(grant)["tier"] == 1

    run(tmp_path, scenario)


def test_below_tier_three_more_is_given_only_within_the_scope_of_the_higher_tier(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = (await api.post("/v1/grants", wanted(models=["aurora-1"])))["id"]
        await api.until(grant, "active")
        await api.capability("cyber.deep", tier=2, models=["aurora-1"], routes=["messages"])
        refused = await widened(rig)
        assert refused.problem == "refused"
        assert "its networks are ALL and its principals are ALL" in refused.body["detail"]
        assert "grant narrow" in refused.body["mend"]
        scope = {"networks": ["127.0.0.0/24"], "principals": ["service"], "reason": "less"}
        await api.post(f"/v1/grants/{grant}/narrowing", scope)
        assert (await widened(rig)).status == 200
        assert judged_at(await api.get(f"/v1/grants/{grant}")) == ("active", 1, [])

    run(tmp_path, scenario)


def test_a_draft_that_a_higher_capability_came_over_is_judged_anew_as_it_opens(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.capability("a.low", tier=1)
        drafts = [
            await api.post("/v1/grants", wanted(capabilities=["a.low"], models=[model]))
            for model in ("aurora-1", "aurora-2")
        ]
        assert {each["state"] for each in drafts} == {"draft"}
        await api.capability("b.deep", tier=2, models=["aurora-1"], routes=["messages"])
        await api.capability("c.exploit", tier=3, models=["aurora-2"], routes=["messages"])
        await api.assess("a.low")
        scoped, waits = drafts
        path = f"/v1/grants/{scoped['id']}"
        opened = await api.post(f"{path}/activation", {"reason": "go"}, revision=1)
        assert judged_at(opened) == ("provisioning", 2, ["b.deep"])
        assert opened["principals"] == ["service"]
        plan = await api.get(f"/v1/grants/{waits['id']}/decision")
        assert (plan["becomes"], plan["grant"]["tier"]) == ("draft", 3)
        path = f"/v1/grants/{waits['id']}/activation"
        refused = await api.ask("POST", path, {"reason": "go"}, revision=1)
        assert refused.problem == "needs-approval"
        assert "it opens what c.exploit guards" in refused.body["detail"]
        assert judged_at(await api.get(f"/v1/grants/{waits['id']}"))[0] == "draft"

    run(tmp_path, scenario)


def test_a_partner_declares_no_more_networks_for_a_grant_below_a_higher_one(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.capability("a.deep", tier=2)
        await api.assess("a.deep")
        asked = wanted(capabilities=["a.deep"], models=["aurora-1"])
        grant = (await api.post("/v1/grants", asked))["id"]
        await api.until(grant, "active")
        await api.capability("b.exploit", tier=3, models=["aurora-1"])
        partner = await api.get("/v1/partners/acme")
        more = {"network": "10.0.0.0/8", "reason": "a new site"}
        path = "/v1/partners/acme/networks"
        refused = await api.ask("POST", path, more, revision=partner["revision"])
        assert refused.problem == "needs-approval", refused
        assert "b.exploit" in refused.body["detail"]

    run(tmp_path, scenario)
