"""OpenID AuthZEN 1.0: the certification scenario, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from policy_rig import SPONSOR, Rig, policy, run, wanted

from console.services.cedar.shipped import SHIPPED
from tests.vectors import vectors

PATHS = {
    "access_evaluation": "/access/v1/evaluation",
    "access_evaluations": "/access/v1/evaluations",
    "search_subject": "/access/v1/search/subject",
    "search_resource": "/access/v1/search/resource",
    "search_action": "/access/v1/search/action",
}

RULES = """
@id("fixture-read")
permit(principal is user, action == Action::"read", resource is record);
@id("fixture-write")
permit(principal == user::"alice", action == Action::"write", resource is record)
unless { resource has status && resource.status == "archived" };
@id("fixture-admin")
permit(principal is user, action == Action::"write", resource is record)
when {
  principal has role && principal.role == "admin" &&
  resource has status && resource.status == "archived"
};
@id("fixture-soft-delete")
permit(principal == user::"alice", action == Action::"delete", resource is record)
when { context has action_soft && context.action_soft };
"""


def fixture(home: Path, cases: dict[str, Any]) -> None:
    """A bundle folder beside the settings: the shipped policies, and the scenario's."""
    folder = home / "bundle"
    folder.mkdir(parents=True)
    (folder / "pilot.cedar").write_text((SHIPPED / "pilot.cedar").read_text())
    (folder / "fixture.cedar").write_text(RULES)
    schema = json.loads((SHIPPED / "schema.json").read_text())

    def text(name: str) -> dict[str, Any]:
        said = {name: {"type": "String", "required": False}}
        return {"shape": {"type": "Record", "attributes": said}}

    schema[""]["entityTypes"] |= {"user": text("role"), "record": text("status")}
    applies = {"principalTypes": ["user"], "resourceTypes": ["record"]}
    soft = {"action_soft": {"type": "Boolean", "required": False}}
    schema[""]["actions"] |= {
        "read": {"appliesTo": applies},
        "write": {"appliesTo": applies},
        "delete": {"appliesTo": {**applies, "context": {"type": "Record", "attributes": soft}}},
    }
    (folder / "schema.json").write_text(json.dumps(schema))
    held = [*cases["fixture"]["subjects"], *cases["fixture"]["resources"]]
    entities = [
        {
            "uid": {"type": each["type"], "id": each["id"]},
            "attrs": each.get("properties", {}),
            "parents": [],
        }
        for each in held
    ]
    (folder / "entities.json").write_text(json.dumps(entities))
    (home / "pilot.toml").write_text('[policy]\nbundle = "bundle"\n')


@pytest.fixture(scope="module")
def cases() -> dict[str, Any]:
    path = vectors("authzen/certification-cases.json")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


@asynccontextmanager
async def served(home: Path, cases: dict[str, Any]) -> AsyncIterator[Rig]:
    fixture(home, cases)
    async with policy(home, gateway=False) as rig:
        yield rig


def test_every_certification_case_is_answered_as_the_scenario_says(
    tmp_path: Path, cases: dict[str, Any]
) -> None:
    async def whole() -> None:
        async with served(tmp_path, cases) as rig:
            for case in cases["cases"]:
                said = await rig.api.ask("POST", PATHS[case["endpoint"]], case["request"])
                title = f"{case['section']} {case['label']}"
                assert said.status == case["expect_status"], (title, said.body)
                if said.status == 200:
                    assert said.headers["Content-Type"].startswith("application/json")
                    _as_expected(title, case.get("expect_body", {}), said.body)

    asyncio.run(whole())
    assert len(cases["cases"]) == 25


def _as_expected(title: str, expected: dict[str, Any], body: dict[str, Any]) -> None:
    if "decision" in expected:
        assert body["decision"] is expected["decision"], (title, body)
    if "evaluations" in expected:
        got = [each["decision"] for each in body["evaluations"]]
        assert got == [each["decision"] for each in expected["evaluations"]], (title, body)
    if "results" in expected:
        for each in expected["results"]:
            assert each in body["results"], (title, body)
        if not expected["results"]:
            assert body["results"] == [], title


ALICE = {"type": "user", "id": "alice"}
BOB = {"type": "user", "id": "bob"}
READ = {"name": "read"}
WRITE = {"name": "write"}
ONE = {"type": "record", "id": "record-1"}
TWO = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}


def test_the_eight_required_decisions_and_what_surrounds_them(
    tmp_path: Path, cases: dict[str, Any]
) -> None:
    async def whole() -> None:
        async with served(tmp_path, cases) as rig:
            api = rig.api
            admin = {**BOB, "properties": {"role": "admin"}}
            for subject, action, resource, allowed in (
                (ALICE, READ, ONE, True),
                (ALICE, WRITE, ONE, True),
                (BOB, READ, ONE, True),
                (BOB, WRITE, ONE, False),
                (ALICE, WRITE, TWO, False),
                (admin, WRITE, TWO, True),
                (ALICE, {"name": "delete", "properties": {"soft": True}}, ONE, True),
                (ALICE, {"name": "delete", "properties": {"soft": False}}, ONE, False),
                (ALICE, {"name": "delete"}, ONE, False),
                (ALICE, {"name": "fly"}, ONE, False),
                ({"type": "ship", "id": "x"}, READ, ONE, False),
                ({**ALICE, "properties": {"role": 7}}, READ, ONE, False),
            ):
                ask = {"subject": subject, "action": action, "resource": resource}
                for _ in range(2):
                    said = await api.ask("POST", PATHS["access_evaluation"], ask)
                    assert said.status == 200
                    assert said.body["decision"] is allowed, (ask, said.body)

    asyncio.run(whole())


def test_what_is_no_json_request_is_400(tmp_path: Path, cases: dict[str, Any]) -> None:
    good = json.dumps({"subject": ALICE, "action": READ, "resource": ONE}).encode()
    sent: list[tuple[bytes, str]] = [
        (good, "text/plain"),
        (good, "application/x-www-form-urlencoded"),
        (b"", "application/json"),
        (b"{", "application/json"),
        (b'{"subject":', "application/json"),
        (b"[]", "application/json"),
        (b'"text"', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 100_000, "application/json"),
    ]

    async def whole() -> None:
        async with served(tmp_path, cases) as rig:
            for path in PATHS.values():
                for body, kind in sent:
                    async with rig.api.session.post(
                        "http://localhost" + path, data=body, headers={"Content-Type": kind}
                    ) as answer:
                        assert answer.status == 400, (path, body[:20], await answer.text())

    asyncio.run(whole())


def test_the_request_id_is_echoed(tmp_path: Path, cases: dict[str, Any]) -> None:
    async def whole() -> None:
        async with served(tmp_path, cases) as rig:
            ask = {"subject": ALICE, "action": READ, "resource": ONE}
            for name in ("bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "r-1", "a b !~", "x" * 256):
                said = await rig.api.ask(
                    "POST", PATHS["access_evaluation"], ask, headers={"X-Request-ID": name}
                )
                assert said.headers["X-Request-ID"] == name
            for name in ("x" * 257, "caf\u00e9", "a\tb"):
                said = await rig.api.ask(
                    "POST", PATHS["access_evaluation"], ask, headers={"X-Request-ID": name}
                )
                assert said.headers["X-Request-ID"].startswith("rid_")

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [True, False, True, False]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_the_three_semantics_of_a_batch(
    tmp_path: Path, cases: dict[str, Any], semantic: str, decisions: list[bool]
) -> None:
    async def whole() -> None:
        async with served(tmp_path, cases) as rig:
            body = {
                "action": READ,
                "resource": TWO,
                "subject": ALICE,
                "evaluations": [
                    {"resource": ONE},
                    {"action": {"name": "nothing"}, "resource": ONE},
                    {"action": WRITE, "resource": ONE},
                    "no object",
                ],
                "options": {"evaluations_semantic": semantic},
            }
            said = await rig.api.ask("POST", PATHS["access_evaluations"], body)
            assert [each["decision"] for each in said.body["evaluations"]] == decisions
            wrong: list[dict[str, Any]] = [
                {"options": {"evaluations_semantic": "other"}},
                {"options": 3},
                {"evaluations": "x"},
                {"subject": "alice"},
                {"evaluations": [{}] * 1001},
            ]
            for bad in wrong:
                refused = await rig.api.ask("POST", PATHS["access_evaluations"], {**body, **bad})
                assert refused.status == 400, bad

    asyncio.run(whole())


def test_a_member_of_a_batch_stands_for_itself_and_takes_nothing_from_the_default(
    tmp_path: Path, cases: dict[str, Any]
) -> None:
    halves: list[dict[str, Any]] = [
        {"subject": {}},
        {"subject": {"id": "alice"}},
        {"subject": {"type": "user"}},
        {"subject": {"properties": {"role": "admin"}}},
        {"subject": None},
        {"action": {}},
        {"resource": {"id": "record-1"}},
        {"resource": {"type": "record", "properties": {}}},
        {"context": None},
        {"subject": {**ALICE, "properties": 7}},
        {"action": {**READ, "properties": []}},
        {"resource": {**ONE, "properties": None}},
    ]

    async def whole() -> None:
        async with served(tmp_path, cases) as rig:
            default = {"subject": ALICE, "action": READ, "resource": ONE, "context": {}}
            said = await rig.api.ask(
                "POST", PATHS["access_evaluations"], {**default, "evaluations": [{}, *halves, {}]}
            )
            first, *answers, last = said.body["evaluations"]
            assert first["decision"]
            assert last["decision"]
            for half, answer in zip(halves, answers, strict=True):
                assert (answer["decision"], "error" in answer["context"]) == (False, True), half
            for half in halves:
                alone = await rig.api.ask("POST", PATHS["access_evaluation"], {**default, **half})
                assert alone.status == 400, half
            for name in ("search_subject", "search_resource", "search_action"):
                for half in ({"subject": {**ALICE, "properties": 7}},
                             {"resource": {**ONE, "properties": "x"}},
                             {"page": {"properties": 3}}):  # fmt: skip
                    found = await rig.api.ask("POST", PATHS[name], {**default, **half})
                    assert found.status == 400, (name, half)

    asyncio.run(whole())


def test_a_search_is_paged_by_a_token_for_that_very_question(
    tmp_path: Path, cases: dict[str, Any]
) -> None:
    async def whole() -> None:
        async with served(tmp_path, cases) as rig:
            ask = {"subject": {"type": "user", "id": "x"}, "action": READ, "resource": ONE}
            path = PATHS["search_subject"]
            first = (await rig.api.ask("POST", path, {**ask, "page": {"limit": 1}})).body
            assert [each["id"] for each in first["results"]] == ["alice"]
            token = first["page"]["next_token"]
            assert token
            second = (await rig.api.ask("POST", path, {**ask, "page": {"token": token}})).body
            assert [each["id"] for each in second["results"]] == ["bob"]
            assert second["page"]["next_token"] == ""
            for page in ({"limit": 0}, {"limit": "1"}, {"token": "nonsense"}, {"token": 1}, 7):
                assert (await rig.api.ask("POST", path, {**ask, "page": page})).status == 400
            other = {**ask, "action": WRITE, "page": {"token": token}}
            assert (await rig.api.ask("POST", path, other)).status == 400
            for unknown in (
                {**ask, "subject": {"type": "spaceship"}},
                {**ask, "resource": {"type": "record", "id": "record-9"}},
                {**ask, "action": {"name": "fly"}},
            ):
                said = await rig.api.ask("POST", path, unknown)
                assert (said.status, said.body["results"]) == (200, [])

    asyncio.run(whole())


def test_the_metadata_says_where_everything_is(tmp_path: Path, cases: dict[str, Any]) -> None:
    async def whole() -> None:
        async with served(tmp_path, cases) as rig:
            said = await rig.api.get("/.well-known/authzen-configuration")
            assert said["policy_decision_point"] == "http://localhost"
            for name, path in PATHS.items():
                assert said[f"{name}_endpoint"] == f"http://localhost{path}"

    asyncio.run(whole())


def test_of_the_pilots_own_entities_what_is_stored_wins(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        birch = {"slug": "birch", "name": "Birch", "sponsor": SPONSOR, "reason": "asked"}
        await api.post("/v1/partners", birch)
        live = await api.post("/v1/grants", wanted())
        await api.capability("cyber.exploit", tier=3)
        await api.until(live["id"], "active")
        pending = await api.post(
            "/v1/grants", wanted(capabilities=["cyber.exploit"], models=["aurora-1"])
        )
        context = {"capability": "cyber.triage", "model": "aurora-1", "route": "messages", "x": 1}

        async def may(partner: str, grant: str, lie: dict[str, Any], **more: Any) -> bool:
            said = await api.ask(
                "POST",
                PATHS["access_evaluation"],
                {
                    "subject": {
                        "type": "partner",
                        "id": partner,
                        "properties": {"state": "active"},
                    },
                    "action": {"name": "call"},
                    "resource": {"type": "grant", "id": grant, "properties": lie},
                    "context": {**context, **more},
                },
            )
            assert said.status == 200
            return bool(said.body["decision"])

        assert await may("acme", live["id"], {})
        assert await may("acme", live["id"], {"state": "revoked"}), (
            "it is active, whoever says what"
        )
        assert not await may("acme", live["id"], {}, model="aurora-9")
        assert not await may("acme", live["id"], {"models": ["aurora-9"]}, model="aurora-9")
        lie = {"state": "active", "approval": "apv_1", "tier": 0, "partner": "birch"}
        assert not await may("acme", pending["id"], lie, capability="cyber.exploit")
        assert not await may("birch", live["id"], lie), "a prospect that says it is active"
        assert not await may("nobody", live["id"], lie)
        assert not await may("acme", "grt_none", lie)

        found = await api.post(
            PATHS["search_resource"],
            {
                "subject": {"type": "partner", "id": "acme"},
                "action": {"name": "call"},
                "resource": {"type": "grant"},
                "context": context,
            },
        )
        assert found["results"] == [{"type": "grant", "id": live["id"]}]
        who = await api.post(
            PATHS["search_subject"],
            {
                "subject": {"type": "partner"},
                "action": {"name": "hold"},
                "resource": {"type": "grant", "id": live["id"]},
            },
        )
        assert who["results"] == [{"type": "partner", "id": "acme"}]
        what = await api.post(
            PATHS["search_action"],
            {
                "subject": {"type": "partner", "id": "acme"},
                "resource": {"type": "grant", "id": live["id"]},
                "context": context,
            },
        )
        assert what["results"] == [{"name": "call"}, {"name": "hold"}]

    run(tmp_path, scenario)


def test_a_file_of_entities_cannot_speak_for_the_pilot(
    tmp_path: Path, cases: dict[str, Any]
) -> None:
    fixture(tmp_path, cases)
    forged = [{"uid": {"type": "Partner", "id": "x"}, "attrs": {"state": "active"}, "parents": []}]
    (tmp_path / "bundle" / "entities.json").write_text(json.dumps(forged))

    async def whole() -> None:
        async with policy(tmp_path, gateway=False):
            pass

    with pytest.raises(Exception, match="comes from the store"):
        asyncio.run(whole())
