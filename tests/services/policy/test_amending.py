"""A live grant is amended, narrowed, suspended and resumed; what was is told as it was."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_rig import Clock, Rig, ahead, run, until, wanted

from console.model.limits import Limits, Period
from console.services.policy.grants.amend import widens
from tests.operations.replay import a_grant


async def active(rig: Rig, **changes: Any) -> dict[str, Any]:
    grant = (await rig.api.post("/v1/grants", wanted(**changes)))["id"]
    return await rig.api.until(grant, "active")


def test_an_amendment_is_made_on_its_revision_and_reaches_the_gateway(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await active(rig, networks=["10.0.0.0/8"], limits={"requests_per_minute": 60})
        assert grant["limits"]["requests_per_minute"] == 60
        path = f"/v1/grants/{grant['id']}/amendment"
        body = {"limits": {"requests_per_minute": 90}, "networks": [], "reason": "more work"}
        blind = await api.ask("POST", path, body)
        assert blind.problem == "revision-required"
        stale = await api.ask("POST", path, body, revision=grant["revision"] - 1)
        assert stale.problem == "stale"
        new = await api.post(path, body, revision=grant["revision"])
        assert (new["state"], new["revision"]) == ("active", grant["revision"] + 1)
        told = await rig.gateway.hears(
            grant["id"], lambda held: held["limits"]["requests_per_minute"] == 90
        )
        assert told["networks"] == []
        (event,) = [
            each["unmapped"]
            for each in await api.events()
            if each["metadata"]["event_code"] == "grant.amend"
        ]
        assert event["before"]["networks"] == ["10.0.0.0/8"]
        assert set(event["after"]) == {"limits", "networks"}
        for wrong in (
            {"limits": {"requests": 3}},
            {"limits": {"requests_per_minute": 0}},
            {"networks": ["10.0.0.1/8"]},
            {"principals": ["prn_00000000000000000000000000"]},
            {},
        ):
            said = await api.ask("POST", path, {**wrong, "reason": "x"}, revision=new["revision"])
            assert said.status in {400, 422}, said

    run(tmp_path, scenario)


def test_narrowing_needs_no_revision_and_never_widens(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await active(
            rig, networks=["10.0.0.0/8"], limits={"parallel": 4, "budget_micros": 100}
        )
        path = f"/v1/grants/{grant['id']}/narrowing"
        for wider in (
            {"limits": {"parallel": 5, "budget_micros": 100}},
            {"limits": {"parallel": 4}},
            {"limits": {"parallel": 4, "budget_micros": 100, "budget_period": "day"}},
            {"networks": []},
            {"networks": ["10.0.0.0/8", "192.0.2.0/24"]},
            {"purpose": "something else"},
        ):
            said = await api.ask("POST", path, {**wider, "reason": "x"})
            assert (said.status, said.problem) == (422, "invalid"), wider
            assert "not only narrower" in said.body["detail"]
        less = {
            "limits": {"parallel": 2, "budget_micros": 100, "requests_per_minute": 9},
            "networks": ["10.1.0.0/16"],
            "reason": "less will do",
        }
        new = await api.post(path, less)
        assert new["networks"] == ["10.1.0.0/16"]
        assert (await api.post(path, less))["revision"] == new["revision"], "again is no change"
        assert (await api.actions(grant["id"])).count("grant.narrow") == 1

    run(tmp_path, scenario)


def test_a_suspension_is_taken_over_from_the_gateway_and_lasts_until_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)

    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await active(rig)
        rig.gateway.says("grant-suspended", grant["id"], "sus_1")
        held = await api.until(grant["id"], "suspended")
        assert held["state_reason"] == "suspended_by_operator"
        assert (held["suspension"]["id"], held["suspension"]["by"]) == ("sus_1", "responder")
        await api.assess()
        await clock.settled()
        beats = rig.gateway.beats + 2
        await until(lambda: rig.gateway.beats >= beats, "the gateway was told")
        assert await api.state(grant["id"]) == "suspended", "no clock and no evidence opens it"
        path = f"/v1/grants/{grant['id']}"
        for verb in ("activation", "renewal"):
            body = {"reason": "x"} | ({"expires_at": ahead(days=29)} if verb == "renewal" else {})
            said = await api.ask("POST", f"{path}/{verb}", body, revision=held["revision"])
            assert (said.status, said.problem) == (409, "state"), verb
        back = await api.post(
            f"{path}/resumption", {"reason": "explained"}, revision=held["revision"]
        )
        assert (back["state"], back["suspension"], back["resumed"]) == (
            "provisioning", None, "sus_1",
        )  # fmt: skip
        await api.until(grant["id"], "active")
        assert rig.gateway.last(grant["id"])["resumed"] == "sus_1"
        assert await api.actions(grant["id"]) == [
            "grant.create", "grant.activate", "grant.resume", "grant.activate",
        ]  # fmt: skip

    run(tmp_path, scenario)


def test_what_is_missing_keeps_a_suspended_grant_from_being_resumed(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await active(rig)
        rig.gateway.says("grant-suspended", grant["id"])
        await api.until(grant["id"], "suspended")
        (assessment,) = (await api.get("/v1/assessments"))["items"]
        await api.post(f"/v1/assessments/{assessment['id']}/withdrawal", {"reason": "new facts"})
        held = await api.get(f"/v1/grants/{grant['id']}")
        said = await api.ask(
            "POST", f"/v1/grants/{grant['id']}/resumption", {"reason": "x"},
            revision=held["revision"],
        )  # fmt: skip
        assert (said.status, said.problem) == (403, "refused")
        assert "pilotctl assessment create" in said.body["mend"]

    run(tmp_path, scenario)


def test_who_held_what_at_a_moment_is_told_as_it_was_then(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        empty = datetime.now(UTC)
        await api.ready()
        grant = await active(rig, limits={"parallel": 4})
        held = datetime.now(UTC)
        await asyncio.sleep(0.01)
        await api.post(
            f"/v1/grants/{grant['id']}/narrowing", {"limits": {"parallel": 1}, "reason": "x"}
        )
        narrowed = datetime.now(UTC)
        rig.gateway.closings.append(
            {"seq": 1, "kind": "grant", "id": grant["id"], "reason": "over", "by": "r",
             "at": ahead(), "event_id": "evt_1"}
        )  # fmt: skip
        await api.until(grant["id"], "revoked")

        async def at(moment: datetime, query: str = "") -> list[Any]:
            text = moment.isoformat().replace("+00:00", "Z")
            page = await api.get(f"/v1/grants?as_of={text}{query}")
            assert page["as_of"] == text
            return [(each["state"], each["limits"]["parallel"]) for each in page["items"]]

        assert await at(empty) == []
        assert await at(held, "&capability=cyber.triage&state=active") == [("active", 4)]
        assert await at(narrowed, "&partner=acme") == [("active", 1)]
        assert await at(datetime.now(UTC)) == [("revoked", 1)]
        text = held.isoformat().replace("+00:00", "Z")
        one = await api.get(f"/v1/grants/{grant['id']}?as_of={text}")
        assert (one["state"], one["limits"]["parallel"]) == ("active", 4)
        partners = await api.get(f"/v1/partners?as_of={text}")
        assert [each["state"] for each in partners["items"]] == ["active"]
        text = empty.isoformat().replace("+00:00", "Z")
        assert (await api.get(f"/v1/partners?as_of={text}"))["items"] == []
        assert (await api.ask("GET", f"/v1/partners/acme?as_of={text}")).status == 404
        for no_time in ("lately", "2026-03-03", "0001-01-01T00:00:00%2B12:00", "%00"):
            for where in ("grants?as_of", "partners?as_of", "grants:expiring?before"):
                said = await api.ask("GET", f"/v1/{where}={no_time}")
                assert said.problem == "malformed", (where, no_time)
        ahead_of = (datetime.now(UTC) + timedelta(days=1)).isoformat().replace("+00:00", "Z")
        assert (await api.ask("GET", f"/v1/grants?as_of={ahead_of}")).problem == "invalid"

    run(tmp_path, scenario)


def test_the_history_of_an_older_store_is_rebuilt_from_its_events(tmp_path: Path) -> None:
    moments: list[datetime] = []
    names: list[str] = []

    async def first(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await active(rig)
        names.append(grant["id"])
        moments.append(datetime.now(UTC))
        (assessment,) = (await api.get("/v1/assessments"))["items"]
        await api.post(f"/v1/assessments/{assessment['id']}/withdrawal", {"reason": "new facts"})
        await api.until(grant["id"], "suspended")
        moments.append(datetime.now(UTC))
        await api.assess()
        await api.until(grant["id"], "active")
        moments.append(datetime.now(UTC))

    async def second(rig: Rig) -> None:
        for moment, state in zip(moments, ("active", "suspended", "active"), strict=True):
            text = moment.isoformat().replace("+00:00", "Z")
            page = await rig.api.get(f"/v1/grants?as_of={text}")
            assert [(each["id"], each["state"]) for each in page["items"]] == [(names[0], state)]
        found = await rig.api.get("/v1/grants:expiring")
        assert [each["id"] for each in found["items"]] == names

    run(tmp_path, first)
    conn = sqlite3.connect(tmp_path / "policy.db")
    later = ("past_grants", "past_partners", "principals", "operator", "closed_pilots")
    named = conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in named:
        if table.startswith(later):
            conn.execute(f"DROP TABLE {table}")
    conn.execute("DROP INDEX grants_ending")
    conn.execute("ALTER TABLE grants DROP COLUMN expires_at")
    conn.execute("PRAGMA user_version = 2")
    conn.commit()
    conn.close()
    run(tmp_path, second)


def test_what_ends_soon_is_listed_soonest_first(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        late = await active(rig, expires_at=ahead(days=20))
        soon = await active(rig, expires_at=ahead(days=2))
        before = ahead(days=10).replace("+00:00", "Z")
        found = await api.get(f"/v1/grants:expiring?before={before}")
        assert [each["id"] for each in found["items"]] == [soon["id"]]
        found = await api.get("/v1/grants:expiring?partner=acme")
        assert [each["id"] for each in found["items"]] == [soon["id"], late["id"]]
        page = await api.get("/v1/grants:expiring?limit=1")
        rest = await api.get(f"/v1/grants:expiring?limit=1&cursor={page['next_cursor']}")
        assert [each["id"] for each in rest["items"]] == [late["id"]]
        new = await api.post(
            f"/v1/grants/{soon['id']}/renewal",
            {"expires_at": ahead(days=29), "reason": "goes on"},
            revision=soon["revision"],
        )
        await api.until(soon["id"], "expired")
        found = await api.get(f"/v1/grants:expiring?before={before}")
        assert found["items"] == [], f"{new['id']} has the keys now"

    run(tmp_path, scenario)


COUNTS = st.one_of(st.none(), st.integers(1, 3))
LIMITS = st.builds(
    Limits,
    requests_per_minute=COUNTS,
    tokens_per_minute=COUNTS,
    parallel=COUNTS,
    budget_micros=COUNTS,
    budget_period=st.sampled_from(Period),
)
NETWORKS = st.lists(
    st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "2001:db8::/32"]),
    unique=True,
)
PRINCIPALS = st.lists(st.sampled_from(["prn_a", "prn_b", "prn_c"]), unique=True)
ADDRESSES = ("10.9.9.9", "10.1.9.9", "10.1.2.9", "192.0.2.9", "2001:db8::9", "198.51.100.1")


ACCESS = st.tuples(LIMITS, NETWORKS, PRINCIPALS)


@given(was=ACCESS, now=ACCESS, egress=NETWORKS, tier=st.integers(0, 4))
@settings(max_examples=400)
def test_what_is_called_narrower_lets_nothing_through_that_was_not(
    was: tuple[Limits, list[str], list[str]],
    now: tuple[Limits, list[str], list[str]],
    egress: list[str],
    tier: int,
) -> None:
    """By an oracle of its own: every address, caller and amount that is let through."""
    old = a_grant(limits=was[0], networks=was[1], principals=was[2], tier=tier)
    new = a_grant(limits=now[0], networks=now[1], principals=now[2], tier=tier)
    assert widens(old, old, egress) == []
    if widens(old, new, egress):
        return

    def let(networks: list[str], address: str) -> bool:
        if not networks and tier < 2:
            return True
        return any(ip_address(address) in ip_network(each) for each in networks or egress)

    for address in ADDRESSES:
        assert let(was[1], address) or not let(now[1], address)
    for who in ("prn_a", "prn_b", "prn_c", ""):
        assert not was[2] or who in was[2] or (bool(now[2]) and who not in now[2])
    for name in ("requests_per_minute", "tokens_per_minute", "parallel", "budget_micros"):
        before, after = getattr(was[0], name), getattr(now[0], name)
        assert before is None or (after is not None and after <= before)
