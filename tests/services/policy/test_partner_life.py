"""A partner from its first word to its end; its users; and a pilot as one text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from policy_rig import DAY, SPONSOR, Rig, ahead, run, until, wanted

SALT_FILE = "keys/principals.key"


def test_a_partner_is_a_prospect_then_vetted_then_verified(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        made = await api.post(
            "/v1/partners",
            {"slug": "acme", "name": "Acme", "sponsor": SPONSOR, "reason": "asked"},
        )
        assert made["state"] == "prospect"
        vetting = await api.post("/v1/partners/acme/vetting", {"reason": "papers came"})
        assert vetting["state"] == "vetting"
        assert (await api.post("/v1/partners/acme/vetting", {"reason": "x"})) == vetting
        active = await api.post(
            "/v1/partners/acme/verification",
            {"until": ahead(days=90), "evidence": "REF", "reason": "seen"},
            revision=vetting["revision"],
        )
        assert active["state"] == "active"
        said = await api.ask("POST", "/v1/partners/acme/vetting", {"reason": "again"})
        assert (said.status, said.problem) == (409, "state")
        told = [item["body"]["state"] for item in rig.gateway.items if item["kind"] == "partner"]
        assert await api.actions(made["id"]) == ["partner.create", "partner.vet", "partner.verify"]
        assert told[:1] == ["prospect"]

    run(tmp_path, scenario)


def test_contacts_networks_and_subprocessors_come_and_go_one_at_a_time(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        path = "/v1/partners/acme"
        grant = (await api.post("/v1/grants", wanted()))["id"]
        contact = {"name": "Security desk", "email": "security@acme.example", "role": "security"}
        partner = await api.post(f"{path}/contacts", {"contact": contact, "reason": "sent"})
        assert partner["contacts"] == [contact]
        renamed = {**contact, "name": "On call"}
        partner = await api.post(f"{path}/contacts", {"contact": renamed, "reason": "moved"})
        assert partner["contacts"] == [renamed], "the same address replaces who had it"
        for email in ("nobody", "a b@acme.example", "a@b\x1b[2J", "<x>@y"):
            wrong = {"contact": {**contact, "email": email}, "reason": "x"}
            assert (await api.ask("POST", f"{path}/contacts", wrong)).status == 422, email
        said = await api.ask("POST", f"{path}/contacts:remove", {"email": "secure", "reason": "x"})
        assert (said.status, said.problem) == (422, "invalid")
        gone = {"email": contact["email"], "reason": "left"}
        partner = await api.post(f"{path}/contacts:remove", gone)
        assert partner["contacts"] == []

        network = {"network": "203.0.113.0/24", "reason": "a second office"}
        assert (await api.ask("POST", f"{path}/networks", network)).problem == "revision-required"
        partner = await api.post(f"{path}/networks", network, revision=partner["revision"])
        assert partner["egress"] == ["127.0.0.0/8", "203.0.113.0/24"]
        await rig.gateway.hears(grant, lambda held: held.get("egress") == partner["egress"])
        partner = await api.post(f"{path}/networks:remove", network)
        last = {"network": "127.0.0.0/8", "reason": "x"}
        said = await api.ask("POST", f"{path}/networks:remove", last)
        assert "is the last that acme declared" in said.body["detail"]

        other = {"subprocessor": "datawharf", "reason": "hosts them"}
        partner = await api.post(f"{path}/subprocessors", other, revision=partner["revision"])
        assert partner["subprocessors"] == ["datawharf"]
        await rig.gateway.hears(grant, lambda held: held["subprocessors"] == ["datawharf"])
        itself = {"subprocessor": "acme", "reason": "x"}
        said = await api.ask("POST", f"{path}/subprocessors", itself, revision=partner["revision"])
        assert said.problem == "invalid"
        partner = await api.post(f"{path}/subprocessors:remove", other)
        assert partner["subprocessors"] == []
        assert await api.actions(partner["id"]) == [
            "partner.create", "partner.verify", "partner.add-contact", "partner.add-contact",
            "partner.remove-contact", "partner.add-network", "partner.remove-network",
            "partner.add-subprocessor", "partner.remove-subprocessor",
        ]  # fmt: skip

    run(tmp_path, scenario)


def test_nothing_new_opens_for_a_restricted_partner_and_what_runs_goes_on(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await api.until((await api.post("/v1/grants", wanted()))["id"], "active")
        await api.post("/v1/partners/acme/restriction", {"reason": "a question is open"})
        assert await api.state(grant["id"]) == "active"
        await rig.gateway.hears(grant["id"], lambda held: held["partner_state"] == "restricted")
        path = f"/v1/grants/{grant['id']}"
        tries: list[tuple[str, dict[str, Any]]] = [
            ("/v1/grants", wanted()),
            (f"{path}/renewal", {"expires_at": ahead(days=29), "reason": "x"}),
            (f"{path}/amendment", {"purpose": "more", "reason": "x"}),
        ]
        for where, body in tries:
            said = await api.ask("POST", where, body, revision=grant["revision"])
            assert (said.status, said.problem) == (403, "refused"), where
            assert "pilotctl partner resume acme" in said.body["mend"]
        narrower = {"limits": {"parallel": 1}, "reason": "x"}
        assert (await api.ask("POST", f"{path}/narrowing", narrower)).status == 200
        partner = await api.get("/v1/partners/acme")
        await api.post(
            "/v1/partners/acme/resumption", {"reason": "answered"}, revision=partner["revision"]
        )
        assert (await api.ask("POST", "/v1/grants", wanted())).status == 201

    run(tmp_path, scenario)


def test_a_partner_suspended_at_the_gateway_closes_whole_and_resumes_whole(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grants = [(await api.post("/v1/grants", wanted()))["id"] for _ in range(2)]
        for each in grants:
            await api.until(each, "active")
        rig.gateway.says("partner-suspended", "acme", "sus_7")
        for each in grants:
            await api.until(each, "suspended")
        partner = await api.get("/v1/partners/acme")
        assert (partner["state"], partner["suspension"]["reason"]) == ("suspended", "looked odd")
        said = await api.ask("POST", "/v1/partners/acme/resumption", {"reason": "x"})
        assert said.problem == "revision-required"
        back = await api.post(
            "/v1/partners/acme/resumption", {"reason": "explained"}, revision=partner["revision"]
        )
        assert (back["state"], back["suspension"]) == ("active", None)
        for each in grants:
            await api.until(each, "active")
        told = [item["body"] for item in rig.gateway.items if item["kind"] == "partner"]
        assert (told[-1]["state"], told[-1]["resumed"]) == ("active", "sus_7")

    run(tmp_path, scenario)


def test_an_offboarded_partner_is_so_only_when_proven_and_never_comes_back(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        active = await api.until((await api.post("/v1/grants", wanted()))["id"], "active")
        await api.capability("cyber.exploit", tier=3)
        waits = await api.post(
            "/v1/grants", wanted(capabilities=["cyber.exploit"], models=["aurora-1"])
        )
        rig.gateway.closings.append(
            {"seq": 1, "kind": "partner", "id": "acme", "reason": "over", "by": "r",
             "at": ahead(), "event_id": "evt_1"}
        )  # fmt: skip
        for each in (active, waits):
            await api.until(each["id"], "revoked")
        partner = await api.get("/v1/partners/acme")
        assert (partner["state"], partner["ending"]) == ("offboarding", "over [evt_1]")
        await rig.gateway.all_taken()
        assert (await api.get("/v1/partners/acme"))["state"] == "offboarding"
        rig.gateway.says("partner-offboarded", "acme", "rcp_1")

        async def offboarded() -> bool:
            return bool((await api.get("/v1/partners/acme"))["state"] == "offboarded")

        await until(offboarded, "the partner is offboarded")
        partner = await api.get("/v1/partners/acme")
        rig.gateway.says("partner-suspended", "acme")
        await rig.gateway.all_taken()
        revision = partner["revision"]
        tries: list[tuple[str, dict[str, Any]]] = [
            ("/v1/grants", wanted()),
            ("/v1/partners/acme/verification",
             {"until": ahead(days=9), "evidence": "E", "reason": "x"}),
            ("/v1/partners/acme/resumption", {"reason": "x"}),
            ("/v1/partners/acme/vetting", {"reason": "x"}),
            ("/v1/partners/acme/networks", {"network": "10.0.0.0/8", "reason": "x"}),
            (f"/v1/grants/{active['id']}/resumption", {"reason": "x"}),
            (f"/v1/grants/{active['id']}/renewal",
             {"expires_at": ahead(days=29), "reason": "x"}),
        ]  # fmt: skip
        for where, body in tries:
            wants = active["revision"] if "/grants/" in where else revision
            if "/grants/" in where:
                wants = (await api.get(f"/v1/grants/{active['id']}"))["revision"]
            said = await api.ask("POST", where, body, revision=wants)
            assert (said.status, said.problem) == (409, "state"), where
        assert (await api.get("/v1/partners/acme"))["state"] == "offboarded"
        said = await api.ask(
            "POST", "/v1/partners",
            {"slug": "acme", "name": "A", "sponsor": SPONSOR, "reason": "again"},
        )  # fmt: skip
        assert said.problem == "exists"
        ends = [each for each in await api.actions() if each == "partner.end"]
        assert len(ends) == 1

    run(tmp_path, scenario)


def test_a_principal_is_known_by_its_hash_and_its_identifier_is_nowhere(tmp_path: Path) -> None:
    identifier = "user-8341@people.acme.example"

    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        body = {"partner": "acme", "identifier": identifier, "kind": "agent", "reason": "sent"}
        made = await api.post("/v1/principals", {**body, "note": "the night agent"})
        assert len(made["hash"]) == 64
        said = await api.ask("POST", "/v1/principals", body)
        assert (said.status, said.problem) == (409, "exists")
        assert made["id"] in said.body["detail"]
        said = await api.ask("POST", "/v1/principals", {**body, "note": f"is {identifier}"})
        assert said.status in {409, 422}
        await api.partner("birch")
        other = await api.post("/v1/principals", {**body, "partner": "birch"})
        assert other["hash"] != made["hash"], "of two partners it is two"
        grant = await api.post("/v1/grants", wanted(principals=[made["id"]]))
        await api.until(grant["id"], "active")
        assert rig.gateway.last(grant["id"])["principals"] == {made["id"]: made["hash"]}
        told = [item["body"] for item in rig.gateway.items if item["kind"] == "principal"]
        assert [each["id"] for each in told] == [made["id"], other["id"]]
        said = await api.ask("POST", "/v1/grants", wanted(principals=[other["id"]]))
        assert (said.status, said.problem) == (422, "invalid")
        page = await api.get("/v1/principals?partner=acme")
        assert [each["note"] for each in page["items"]] == ["the night agent"]
        gone = await api.post(f"/v1/principals/{made['id']}/retirement", {"reason": "left"})
        assert gone["state"] == "retired"
        held = await rig.gateway.hears(
            grant["id"], lambda held: held["principals"].get(made["id"]) == "retired"
        )
        assert held["principals"], "a grant whose last principal left lets nobody, not anybody"
        said = await api.ask("POST", "/v1/grants", wanted(principals=[made["id"]]))
        assert (said.status, said.problem) == (422, "invalid")
        assert not [line for line in rig.dump() if identifier in line]
        salt = rig.home / SALT_FILE
        assert (salt.stat().st_mode & 0o777, len(salt.read_bytes())) == (0o600, 32)

    run(tmp_path, scenario)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert identifier.encode() not in file.read_bytes(), file


def test_a_pilot_becomes_what_its_text_says_and_its_own_text_changes_nothing(
    tmp_path: Path,
) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        grant = await api.until((await api.post("/v1/grants", wanted()))["id"], "active")
        text = await api.get("/v1/pilots/aurora/text")
        pilot = await api.get("/v1/pilots/aurora")
        before = len(await api.events())
        body = {"pilot": text, "revision": pilot["revision"], "reason": "the same"}
        assert (await api.post("/v1/pilots:import", body))["revision"] == pilot["revision"]
        assert len(await api.events()) == before
        (limited,) = [each for each in text["stages"] if each["key"] == "limited"]
        limited["limits"]["parallel"] = 2
        text["credit_micros"] = 5_000_000
        text["capabilities"]["cyber.report"] = {
            "title": "Report", "category": "general", "tier": 0, "models": ["aurora-1"],
            "routes": ["messages"], "longest_grant_seconds": DAY,
        }  # fmt: skip
        body = {"pilot": text, "reason": "the next round"}
        assert (await api.ask("POST", "/v1/pilots:import", body)).problem == "revision-required"
        body["revision"] = pilot["revision"] + 4
        assert (await api.ask("POST", "/v1/pilots:import", body)).problem == "stale"
        body["revision"] = pilot["revision"]
        new = await api.post("/v1/pilots:import", body)
        assert (new["credit_micros"], new["revision"]) == (5_000_000, pilot["revision"] + 1)
        said = await api.get("/v1/pilots/aurora/text")
        assert said == {**text, "capabilities": dict(sorted(text["capabilities"].items()))}
        assert (await api.actions())[-2:] == ["pilot.import", "capability.create"]
        await rig.gateway.hears(grant["id"], lambda held: held["credit_micros"] == 5_000_000)
        later = await api.post("/v1/grants", wanted())
        assert later["limits"]["parallel"] == 2, "the stage's own, where a grant names none"
        named = await api.post("/v1/grants", wanted(limits={"parallel": 9}))
        assert named["limits"]["parallel"] == 9
        text["slug"], text["capabilities"] = "borealis", {}
        other = await api.post("/v1/pilots:import", {"pilot": text, "reason": "another"})
        assert other["slug"] == "borealis"
        tier = await api.get("/v1/pilots/aurora/text")
        tier["capabilities"]["cyber.triage"]["tier"] = 0
        said = await api.ask(
            "POST", "/v1/pilots:import",
            {"pilot": tier, "revision": new["revision"], "reason": "x"},
        )  # fmt: skip
        assert (said.status, said.problem) == (422, "invalid")

    run(tmp_path, scenario)
