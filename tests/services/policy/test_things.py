"""Pilots, capabilities, partners, terms and assessments over the socket."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from policy_rig import SPONSOR, Rig, ahead, later, run, wanted
from test_gates import NOON, assessment, facts, partner, version

from console.api import authzen
from console.api import policy as routes
from console.cli.parser import parse_operation
from console.operations import index
from console.services.policy.judging.gates import gaps
from tests.ocsf import faults
from tests.vectors import vectors

CAPABILITY = {
    "slug": "cyber.other",
    "title": "Other",
    "pilot": "aurora",
    "category": "general",
    "tier": 0,
    "models": ["aurora-1"],
    "routes": ["messages"],
    "longest_grant_seconds": 60,
    "reason": "r",
}
PARTNER = {"slug": "cedar", "name": "Cedar", "sponsor": SPONSOR, "reason": "r"}
PILOT = {
    "slug": "boreal",
    "title": "Boreal",
    "models": ["b-1"],
    "stages": [{"key": "sandbox", "most_partners": 1, "longest_grant_seconds": 60}],
    "reason": "r",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"partner": partner(verified_until=None, state="prospect")},
        {"partner": partner(verified_until=NOON)},
        {"terms": [], "accepted": frozenset()},
        {"accepted": frozenset()},
        {"terms": [version(1), version(2)]},
        {"assessments": []},
        {"assessments": [assessment(0)]},
        {"assessments": [assessment(state="in_review")]},
    ],
)
def test_each_mend_is_a_line_that_the_command_takes(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "FILE").write_text("terms")
    monkeypatch.chdir(tmp_path)
    [gap] = gaps(facts(**changes), NOON)
    program, noun, verb, *rest = shlex.split(gap.mend)
    assert program == "pilotctl"
    parse_operation(index.find(f"{noun}.{verb}"), rest)


BAD: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("/v1/pilots", "slug", {**PILOT, "slug": "Boreal"}, 422, "slug"),
    ("/v1/pilots", "twice", {**PILOT, "slug": "aurora"}, 409, "exists already"),
    ("/v1/pilots", "stage twice", {**PILOT, "stages": PILOT["stages"] * 2}, 422, "twice"),  # type: ignore[operator]
    ("/v1/pilots", "no model", {**PILOT, "models": []}, 422, "models"),
    ("/v1/pilots", "title with a bidi override", {**PILOT, "title": "a\u202eb"}, 422, "title"),
    ("/v1/pilots", "title with a newline", {**PILOT, "title": "a\nb"}, 422, "title"),
    ("/v1/capabilities", "no pilot", {**CAPABILITY, "pilot": "auror"}, 404, "nearest: aurora"),
    ("/v1/capabilities", "model", {**CAPABILITY, "models": ["aurora-9"]}, 422, "aurora-1"),
    ("/v1/capabilities", "tier", {**CAPABILITY, "tier": 5}, 422, "tier"),
    ("/v1/capabilities", "route", {**CAPABILITY, "routes": ["embeddings"]}, 422, "routes"),
    ("/v1/capabilities", "category", {**CAPABILITY, "category": "fun"}, 422, "category"),
    ("/v1/capabilities", "extra", {**CAPABILITY, "quorum": 2}, 400, "quorum"),
    ("/v1/partners", "egress", {**PARTNER, "egress": ["10.0.0.1/8"]}, 422, "10.0.0.0/8"),
    ("/v1/partners", "egress words", {**PARTNER, "egress": ["here"]}, 422, "egress[0]"),
    ("/v1/partners", "own subprocessor", {**PARTNER, "subprocessors": ["cedar"]}, 422, "its own"),
    ("/v1/partners", "control in the name", {**PARTNER, "name": "a\x1b[31mb"}, 422, "name"),
    ("/v1/partners", "long name", {**PARTNER, "name": "x" * 201}, 422, "name"),
    ("/v1/partners", "mistyped", {**PARTNER, "sponser": "x"}, 400, "sponsor"),
    ("/v1/partners", "sponsor", {**PARTNER, "sponsor": f"{SPONSOR}s"}, 422, f"nearest: {SPONSOR}"),
    ("/v1/partners", "no reason", {**PARTNER, "reason": ""}, 422, "reason"),
    ("/v1/partners", "twice", {**PARTNER, "slug": "acme"}, 409, "exists already"),
    ("/v1/terms", "no pilot", {"pilot": "x", "title": "T", "text": "t", "reason": "r"}, 404, "x"),
    (
        "/v1/terms",
        "past window",
        {
            "pilot": "aurora",
            "title": "T",
            "text": "t",
            "reason": "r",
            "reaccept_by": "2020-01-01T00:00:00Z",
        },
        422,
        "is past",
    ),
    (
        "/v1/pilots/aurora/acceptances",
        "version",
        {"partner": "acme", "signatory": "A", "evidence": "E", "reason": "r", "version": 7},
        404,
        "the newest is 1",
    ),
    (
        "/v1/pilots/aurora/acceptances",
        "twice",
        {"partner": "acme", "signatory": "A", "evidence": "E", "reason": "r"},
        409,
        "already",
    ),
    (
        "/v1/assessments",
        "past",
        {
            "partner": "acme",
            "capability": "cyber.triage",
            "assessor": "A",
            "summary": "s",
            "valid_until": "2020-01-01T00:00:00Z",
            "reason": "r",
        },
        422,
        "is past",
    ),
    ("/v1/partners", "10 MB", {**PARTNER, "name": "x" * 10_000_000}, 413, "larger"),
]


def test_each_bad_write_is_refused_clearly_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.api.ready()
        before = rig.dump()
        for path, title, body, status, says in BAD:
            said = await rig.api.ask("POST", path, body)
            assert said.status == status, (title, said.body)
            assert says in said.body["detail"], (title, said.body)
            assert said.headers["Content-Type"] == "application/problem+json"
        for revision, status in ((None, 428), (1, 412)):
            said = await rig.api.ask(
                "POST",
                "/v1/partners/acme/verification",
                {"until": ahead(days=1), "evidence": "E", "reason": "r"},
                revision=revision,
            )
            assert said.status == status
        said = await rig.api.ask(
            "POST",
            "/v1/partners/acme/verification",
            {"until": "2020-01-01T00:00:00Z", "evidence": "E", "reason": "r"},
            revision=2,
        )
        assert said.status == 422
        said = await rig.api.ask(
            "POST", "/v1/partners/acme/declarations", {"reason": "r"}, revision=2
        )
        assert said.status == 422
        assert rig.dump() == before

    run(tmp_path, scenario, gateway=False)


def test_a_stage_is_added_or_replaced_on_the_revision_that_was_seen(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.api.pilot()
        stage = {"key": "applied", "most_partners": 9, "longest_grant_seconds": 60}
        path = "/v1/pilots/aurora/stages"
        body = {"stage": stage, "reason": "grows"}
        changed = await rig.api.post(path, body, revision=1)
        assert [each["key"] for each in changed["stages"]] == ["applied", "sandbox", "limited"]
        late = await rig.api.ask("POST", path, body, revision=1)
        assert (late.status, late.problem) == (412, "stale")
        stage["most_partners"] = 2
        again = await rig.api.post(path, body, revision=2)
        assert [each["most_partners"] for each in again["stages"]] == [2, 1, 3]
        assert await rig.api.actions(again["id"]) == ["pilot.create", "pilot.stage", "pilot.stage"]

    run(tmp_path, scenario, gateway=False)


def test_an_assessment_is_decided_once(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        [held] = (await api.get("/v1/assessments?partner=acme&state=accepted"))["items"]
        path = f"/v1/assessments/{held['id']}"
        again = await api.ask("POST", f"{path}/acceptance", {"reason": "r"}, revision=2)
        assert again.status == 200, "the same decision again converges"
        rejected = await api.ask("POST", f"{path}/rejection", {"reason": "r"})
        assert (rejected.status, rejected.problem) == (409, "state")
        gone = await api.ask("POST", f"{path}/withdrawal", {"reason": "r"})
        assert gone.body["state"] == "withdrawn"
        back = await api.ask("POST", f"{path}/acceptance", {"reason": "r"}, revision=3)
        assert (back.status, back.problem) == (409, "state")
        assert await api.actions(held["id"]) == [
            "assessment.create",
            "assessment.accept",
            "assessment.withdraw",
        ]

    run(tmp_path, scenario, gateway=False)


def test_who_made_an_assessment_accepts_it_only_where_nobody_else_could(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        me = _me()

        async def entered(assessor: str, **headers: str) -> str:
            body = {
                "partner": "acme", "capability": "cyber.triage", "assessor": assessor,
                "summary": "low", "valid_until": ahead(days=20), "reason": "r",
            }  # fmt: skip
            said = await api.ask("POST", "/v1/assessments", body, headers=headers)
            assert said.status == 201, said
            return f"/v1/assessments/{said.body['id']}/acceptance"

        async def accepted(path: str, **headers: str) -> tuple[int, str]:
            said = await api.ask("POST", path, {"reason": "r"}, revision=1, headers=headers)
            return said.status, "" if said.status == 200 else said.problem

        async def added(name: str, role: str, **more: str) -> dict[str, str]:
            new = {"name": name, "roles": [role], "reason": "r", **more}
            await api.post("/v1/operators", new)
            issued = await api.post(f"/v1/operators/{name}/tokens", {"reason": "r"})
            return {"Authorization": f"Bearer {issued['secret']}"}

        assert await accepted(await entered(me)) == (200, ""), "nobody else is there"
        viewer = await added("onlooker", "viewer")
        machine = await added("robot", "operator", kind="service")
        assert await accepted(await entered(me)) == (200, ""), "nobody else could"
        mine = await entered("the risk desk")
        mara = await added("mara", "operator")
        assert await accepted(mine) == (403, "refused")
        said = await api.ask("POST", mine, {"reason": "r"}, revision=1)
        assert "mara" in said.body["mend"]
        assert await accepted(mine, **viewer) == (403, "role-missing")
        assert await accepted(mine, **mara) == (200, "")
        about_me = await entered(f" {me.upper()} ", **mara)
        assert await accepted(about_me) == (200, ""), "mara entered it, I made it: nobody is left"
        assert await accepted(await entered("mara", **machine), **mara) == (403, "refused")
        assert await accepted(await entered(me)) == (403, "refused")
        await api.post("/v1/operators/mara/freeze", {"reason": "r"})
        mine = await entered(me)
        assert await accepted(mine) == (403, "refused"), "freezing mara makes nobody the last one"
        said = await api.ask("POST", mine, {"reason": "r"}, revision=1)
        assert "pilotctl operator thaw mara" in said.body["mend"]
        await api.post("/v1/operators/mara/cut", {"reason": "r"})
        assert await accepted(mine) == (200, ""), "mara is nobody here any more"

    run(tmp_path, scenario, gateway=False)


@pytest.mark.parametrize("name", ["system", "service", "break-glass", "break-glass-7"])
def test_nobody_is_called_as_pilotctl_itself_acts(tmp_path: Path, name: str) -> None:
    async def scenario(rig: Rig) -> None:
        new = {"name": name, "roles": ["admin"], "reason": "r"}
        said = await rig.api.ask("POST", "/v1/operators", new)
        assert (said.status, said.problem) == (422, "invalid")
        assert "pilotctl itself acts by" in said.body["detail"]

    run(tmp_path, scenario, gateway=False)


def test_each_role_may_what_its_routes_say_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "pilot.toml").write_text(
        f'[[operators]]\nname = "{_me()}"\nroles = ["responder"]\n'
    )

    async def scenario(rig: Rig) -> None:
        before = rig.dump()
        for route in (*routes.ROUTES, *authzen.ROUTES):
            path = route.path
            for name in re.findall(r"{(\w+)}", path):
                path = path.replace(f"{{{name}}}", "x")
            said = await rig.api.ask(route.method, path, {} if route.writes else None, revision=1)
            if route.role in {"viewer", "responder"}:
                assert said.status in {200, 400, 404, 422}, route.id
            else:
                assert (said.status, said.problem) == (403, "role-missing"), route.id
                assert route.role in said.body["detail"]
        assert rig.dump() == before

    run(tmp_path, scenario, gateway=False)


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def test_hostile_text_comes_back_as_it_was_and_every_event_of_it_is_recorded(
    tmp_path: Path,
) -> None:
    texts: list[str] = json.loads(vectors("blns/blns.json").read_text())

    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        kept = 0
        for text in texts:
            said = await api.ask("POST", "/v1/grants", wanted(purpose=text, reason=text))
            if not text or "\x00" in text or len(text) > 4000:
                assert said.status == 422
                continue
            assert said.status == 201, (text, said.body)
            assert said.body["purpose"] == text
            kept += 1
        listed: list[str] = []
        cursor = ""
        while True:
            page = await api.get(f"/v1/grants?limit=200{cursor and '&cursor=' + cursor}")
            listed += [each["purpose"] for each in page["items"]]
            cursor = page["next_cursor"]
            if not cursor:
                break
        assert len(listed) == kept
        assert set(listed) <= set(texts)
        reasons = [
            event["unmapped"]["reason"]
            for event in await api.events()
            if event["metadata"]["event_code"] == "grant.create"
        ]
        assert reasons == list(reversed(listed))

    run(tmp_path, scenario, gateway=False)


def test_the_largest_texts_make_events_that_fit_a_log_entry(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        long = "\x01" * 4000  # six bytes each, once escaped
        await api.terms(text="\u20ac" * 60_000, reason=long, reaccept_by=ahead(days=2))
        await api.post(
            "/v1/grants",
            wanted(
                purpose=long,
                reason=long,
                labels={f"l{n}": long for n in range(32)},
                networks=[f"10.{n}.0.0/16" for n in range(200)],
            ),
        )
        page = await api.get("/internal/v1/outbox?limit=2000")
        assert max(len(item["body"].encode()) for item in page["items"]) <= 65_535

    run(tmp_path, scenario, gateway=False)


def test_the_bundle_in_force_is_shown_and_a_start_with_the_same_one_says_nothing(
    tmp_path: Path,
) -> None:
    seen: list[Any] = []

    async def scenario(rig: Rig) -> None:
        seen.append(await rig.api.get("/v1/bundle"))
        assert await rig.api.actions() == ["policy.activate"]

    run(tmp_path, scenario, gateway=False)
    run(tmp_path, scenario, gateway=False)
    assert seen[0] == seen[1]
    assert "active-grant-covers-call" in seen[0]["policies"]
    assert len(seen[0]["revision"]) == 16


def test_another_bundle_judges_every_grant_anew(tmp_path: Path) -> None:
    grants: list[str] = []

    async def first(rig: Rig) -> None:
        await rig.api.ready()
        grants.append((await rig.api.post("/v1/grants", wanted()))["id"])
        await rig.api.until(grants[0], "active")

    async def stricter(rig: Rig) -> None:
        found = await rig.api.until(grants[0], "suspended")
        assert found["state_reason"] == "policy_denied"
        decided = await rig.api.get(f"/v1/grants/{grants[0]}/decision")
        assert decided["becomes"] == "suspended"
        assert "not-acme" in decided["gaps"][0]["message"]
        told = await rig.gateway.hears(grants[0], lambda held: held.get("state") == "suspended")
        assert told["state_reason"] == "policy_denied"
        bundles = [item["body"] for item in rig.gateway.items if item["kind"] == "bundle"]
        assert "not-acme" in bundles[-1]["policies"], "every point decides by it too"

    async def again(rig: Rig) -> None:
        await rig.api.until(grants[0], "active")
        assert (await rig.api.actions()).count("policy.activate") == 3

    from console.services.cedar.shipped import SHIPPED

    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in SHIPPED.iterdir():
        (folder / file.name).write_text(file.read_text())
    (folder / "zz.cedar").write_text(
        '@id("not-acme") forbid(principal == Partner::"acme", action, resource);'
    )
    run(tmp_path, first)
    (tmp_path / "pilot.toml").write_text('[policy]\nbundle = "bundle"\n')
    run(tmp_path, stricter)
    (tmp_path / "pilot.toml").unlink()
    run(tmp_path, again)
    (folder / "zz.cedar").write_text('@id("x") permit(principal, action, resource) when { 1 };')
    (tmp_path / "pilot.toml").write_text('[policy]\nbundle = "bundle"\n')
    with pytest.raises(Exception, match="bundle is refused"):
        run(tmp_path, again)


def test_every_event_that_policy_records_is_a_valid_one(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        stage = {"key": "applied", "most_partners": 9, "longest_grant_seconds": 60}
        await api.post("/v1/pilots/aurora/stages", {"stage": stage, "reason": "r"}, revision=1)
        body = {"egress": ["10.0.0.0/8"], "reason": "r"}
        await api.post("/v1/partners/acme/declarations", body, revision=2)
        grant = (await api.post("/v1/grants", wanted()))["id"]
        await api.until(grant, "active")
        [held] = (await api.get("/v1/assessments"))["items"]
        await api.post(f"/v1/assessments/{held['id']}/withdrawal", {"reason": "r"})
        second = await api.assess(until=ahead(days=5))
        await api.until(grant, "active")
        third = await api.post(
            "/v1/assessments",
            {
                "partner": "acme",
                "capability": "cyber.triage",
                "assessor": "A",
                "summary": "s",
                "valid_until": ahead(days=1),
                "reason": "r",
            },
        )
        await api.post(f"/v1/assessments/{third['id']}/rejection", {"reason": "r"})
        later(rig, days=6)
        later(rig, days=30)
        await api.partner("birch")
        await api.accept("birch")
        draft = await api.post("/v1/grants", wanted(partner="birch"))
        await api.assess(partner="birch")
        path = f"/v1/grants/{draft['id']}/activation"
        await api.post(path, {"reason": "r"}, revision=1)
        events = await api.events()
        assert second in [event["unmapped"]["target"] for event in events]
        assert {event["metadata"]["event_code"] for event in events} == {
            "policy.activate",
            "pilot.create",
            "pilot.stage",
            "capability.create",
            "partner.create",
            "partner.verify",
            "partner.declare",
            "terms.publish",
            "terms.accept",
            "assessment.create",
            "assessment.accept",
            "assessment.reject",
            "assessment.withdraw",
            "assessment.expire",
            "grant.create",
            "grant.provision",
            "grant.activate",
            "grant.suspend",
            "grant.resume",
            "grant.warn",
            "grant.expire",
        }
        for event in events:
            assert faults(event) == [], event["metadata"]["event_code"]

    run(tmp_path, scenario)
