"""What a scope means where it leaves something out, and which networks are a wildcard."""

from __future__ import annotations

import sqlite3
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_rig import Rig, ahead, run, wanted

from console.model.scope import networks_of, open_scope, wildcard


@pytest.mark.parametrize(
    ("networks", "family"),
    [
        (["0.0.0.0/0"], "IPv4"),
        (["::/0"], "IPv4"),
        (["0.0.0.0/1", "128.0.0.0/1"], "IPv4"),
        (["128.0.0.0/1"], "IPv4"),
        ([f"{n}.0.0.0/8" for n in range(1, 224) if n != 10], "IPv4"),
        ([f"{n * 16}.0.0.0/4" for n in range(14)], "IPv4"),
        (["::ffff:0:0/96"], "IPv4"),
        (["::ffff:0:0/97", "::ffff:128.0.0.0/97"], "IPv4"),
        (["64:ff9b::/96"], "IPv4"),
        (["::/64"], "IPv4"),
        (["2000::/3"], "IPv6"),
        (["2000::/4", "3000::/4"], "IPv6"),
        (["2002::/16"], "IPv6"),
        ([], ""),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], ""),
        (["127.0.0.0/8"], ""),
        (["203.0.113.0/24", "2001:db8::/32"], ""),
        (["::ffff:203.0.113.0/120"], ""),
    ],
)
def test_what_covers_an_address_family_or_nearly_is_a_wildcard(
    networks: list[str], family: str
) -> None:
    assert wildcard(networks) == family


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)), max_size=40))
def test_no_set_of_networks_holds_a_sixteenth_of_the_addresses_and_is_none(
    parts: list[tuple[int, int]],
) -> None:
    """By an oracle of its own: the share of the blocks of a /16 that are held."""
    networks = [IPv4Network((address, size), strict=False) for address, size in parts]
    held = set()
    for each in networks:
        if each.prefixlen <= 16:
            first = int(each.network_address) >> 16
            held |= set(range(first, first + (1 << (16 - each.prefixlen))))
    small = sum(1 << (32 - each.prefixlen) for each in networks if each.prefixlen > 16)
    if len(held) >= 2**12:
        assert wildcard(map(str, networks)) == "IPv4"
    elif len(held) * 2**16 + small < 2**28:
        assert wildcard(map(str, networks)) == ""


def lets(networks: Any, address: str) -> bool:
    return networks is None or any(ip_address(address) in ip_network(each) for each in networks)


@pytest.mark.parametrize("tier", range(5))
def test_an_empty_list_is_everything_below_tier_two_and_the_declared_egress_from_there_up(
    tier: int,
) -> None:
    egress = ["203.0.113.0/24"]
    assert lets(networks_of([], tier, egress), "203.0.113.7")
    assert lets(networks_of([], tier, egress), "198.51.100.7") is (tier < 2)
    assert lets(networks_of([], tier, []), "203.0.113.7") is (tier < 2)
    assert lets(networks_of([], tier, ["0.0.0.0/1", "128.0.0.0/1"]), "203.0.113.7") is (tier < 2)
    assert lets(networks_of(["198.51.100.0/24"], tier, egress), "198.51.100.7")
    assert bool(open_scope([], [], tier, egress)) is (tier >= 2)
    assert open_scope([], ["service"], tier, egress) == []


def test_no_scope_of_tier_two_stands_open_however_it_is_asked_for(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.capability("cyber.deep", tier=2)
        await api.assess("cyber.deep")
        deep = {"capabilities": ["cyber.deep"], "models": ["aurora-1"]}
        for networks in (["0.0.0.0/1", "128.0.0.0/1"], ["::ffff:0:0/96"]):
            said = await api.ask("POST", "/v1/grants", wanted(**deep, networks=networks))
            assert (said.status, said.problem) == (422, "invalid")
            assert "nearly every address of IPv4" in said.body["detail"]
        made = await api.post("/v1/grants", wanted(**deep))
        assert (made["networks"], made["principals"]) == ([], ["service"])
        told = await rig.gateway.hears(made["id"], lambda held: held.get("state") == "active")
        assert (told["networks"], told["principals"]) == (["127.0.0.0/8"], {"service": ""})
        grant = await api.until(made["id"], "active")
        path = f"/v1/grants/{grant['id']}"
        nobody = {"principals": [], "reason": "anybody"}
        same = await api.post(f"{path}/amendment", nobody, revision=grant["revision"])
        assert same["principals"] == ["service"]
        partner = await api.get("/v1/partners/acme")
        for egress, says in (([], "none is no scope"), (["0.0.0.0/0"], "nearly every address")):
            body = {"egress": egress, "reason": "moved"}
            said = await api.ask(
                "POST", "/v1/partners/acme/declarations", body, revision=partner["revision"]
            )
            assert (said.status, said.problem) == (422, "invalid")
            assert says in said.body["detail"]
        body = {"egress": ["203.0.113.0/24"], "reason": "moved"}
        await api.post("/v1/partners/acme/declarations", body, revision=partner["revision"])
        await rig.gateway.hears(made["id"], lambda held: held.get("networks") == ["203.0.113.0/24"])

    run(tmp_path, scenario)


def test_a_grant_of_before_keeps_its_users_until_it_is_renewed(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        api = rig.api
        await api.ready()
        await api.capability("cyber.deep", tier=2)
        await api.assess("cyber.deep")
        deep = {"capabilities": ["cyber.deep"], "models": ["aurora-1"]}
        made = await api.post("/v1/grants", wanted(**deep))
        await api.until(made["id"], "active")
        with sqlite3.connect(rig.home / "policy.db") as conn:
            none = "CAST(json_set(CAST(body AS TEXT), '$.principals', json('[]')) AS BLOB)"
            conn.execute(f"UPDATE grants SET body = {none}")
        grant = await api.get(f"/v1/grants/{made['id']}")
        assert grant["principals"] == []
        assert "any user may call" in open_scope([], [], 2, ["127.0.0.0/8"])[0]
        new = await api.post(
            f"/v1/grants/{made['id']}/renewal",
            {"expires_at": ahead(days=29), "reason": "goes on"},
            revision=grant["revision"],
        )
        assert new["principals"] == ["service"]

    run(tmp_path, scenario)
