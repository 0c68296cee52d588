"""Suspended and offboarded at the gateway alone: proven at every point, lifted by policy's word."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from console.model.access import PartnerProjection
from tests.services.gateway.rig import RefusedError, Rig, projection
from tests.services.gateway.test_kill_switch import post
from tests.services.gateway.test_moved_keys import Stream, successor


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    config = '[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 5\n'
    with Rig(tmp_path_factory.mktemp("p"), config, points=2) as rig:
        yield rig


def suspend(rig: Rig, noun: str, name: str) -> dict[str, Any]:
    made: dict[str, Any] = rig.call(
        "POST", f"/v1/{noun}s/{name}/suspension", {"reason": "looks odd"}
    )
    return made


def notices(rig: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rig.get("/internal/v1/notices?after=0")["items"]
    return found


def codes(rig: Rig, key: str) -> set[str]:
    return {
        post(url, key)[1].get("x-pilotctl-code", "served") or "served" for url in rig.urls.values()
    }


def test_a_suspended_grant_stops_at_once_and_only_its_own_resumption_lifts_it(pair: Rig) -> None:
    grant, beside = projection("one"), projection("one")
    pair.project(grant, beside)
    _, key = pair.issue(grant)
    _, other = pair.issue(beside)
    stream = Stream(pair.url, key, 9000)
    made = suspend(pair, "grant", grant.id)
    receipt = pair.receipt(made["id"])
    assert {each["method"] for each in receipt["points"]} == {"probe"}
    assert receipt["action"] == "grant.suspend"
    assert sum(each["streams_cut"] for each in receipt["points"]) == 1
    assert b"[DONE]" not in stream.rest()
    assert codes(pair, key) == {"grant_suspended"}
    assert codes(pair, other) == {"served"}, "the partner's other grant goes on"
    assert suspend(pair, "grant", grant.id)["id"] == made["id"], "again is the same receipt"
    (notice,) = [each for each in notices(pair) if each["target"] == grant.id]
    assert (notice["kind"], notice["reason"]) == ("grant-suspended", "looks odd")
    with pytest.raises(RefusedError):
        pair.issue(grant)
    pair.project(msgspec.structs.replace(grant, revision=2, egress=["10.0.0.0/8"]))
    pair.settled()
    assert codes(pair, key) == {"grant_suspended"}, "news of the grant lifts nothing"
    pair.project(msgspec.structs.replace(grant, revision=3, resumed="sus_ANOTHER"))
    pair.settled()
    assert codes(pair, key) == {"grant_suspended"}, "nor does the end of another suspension"
    pair.project(msgspec.structs.replace(grant, revision=4, resumed=notice["id"]))
    pair.settled()
    assert codes(pair, key) == {"served"}
    again = suspend(pair, "grant", grant.id)
    assert again["id"] != made["id"]
    pair.receipt(again["id"])
    pair.project(msgspec.structs.replace(grant, revision=5, resumed=notice["id"]))
    pair.settled()
    assert codes(pair, key) == {"grant_suspended"}, "an older resumption lifts no newer one"


def test_suspending_works_without_policy_and_outlives_every_process(pair: Rig) -> None:
    grant = projection("two")
    pair.project(grant)
    _, key = pair.issue(grant)
    pair.silence_policy()
    pair.receipt(suspend(pair, "grant", grant.id)["id"])
    pair.restart("control")
    pair.restart("gw-2")
    assert codes(pair, key) == {"grant_suspended"}
    pair._beating.set()


def test_a_suspension_holds_what_renews_the_grant(pair: Rig) -> None:
    old = projection("three")
    pair.project(old)
    _, key = pair.issue(old)
    suspend(pair, "grant", old.id)
    pair.project(successor(old))
    pair.settled()
    assert codes(pair, key) == {"grant_suspended"}


def test_a_suspended_partner_stops_whole_and_no_other(pair: Rig) -> None:
    grants = [projection("four"), projection("four"), projection("five")]
    pair.project(*grants)
    one, two, other = (pair.issue(each)[1] for each in grants)
    receipt = pair.receipt(suspend(pair, "partner", "four")["id"])
    assert (receipt["credentials"], receipt["kind"]) == (2, "partner")
    assert codes(pair, one) == codes(pair, two) == {"grant_suspended"}
    assert codes(pair, other) == {"served"}
    (notice,) = [each for each in notices(pair) if each["target"] == "four"]
    tell_partner(pair, "four", "active", notice["id"])
    assert codes(pair, one) == {"served"}
    with pytest.raises(RefusedError) as refusal:
        suspend(pair, "partner", "nobody")
    assert refusal.value.name == "not-found"


def tell_partner(rig: Rig, slug: str, state: str, resumed: str = "") -> None:
    """Tell the gateway of a partner, as policy would."""
    rig._seq += 1
    body = PartnerProjection(slug=slug, revision=rig._seq, state=state, resumed=resumed)
    rig.call(
        "PUT",
        "/internal/v1/projection",
        {
            "from": rig._seq - 1,
            "items": [{"seq": rig._seq, "kind": "partner", "body": body}],
            "as_of": datetime.now(UTC),
        },
    )
    rig.settled()


def test_an_offboarded_partner_never_serves_again_whatever_policy_says_later(pair: Rig) -> None:
    active, waits = projection("six"), projection("six", state="pending_approval")
    other = projection("seven")
    pair.project(active, waits, other)
    credential, key = pair.issue(active)
    _, spared = pair.issue(other)
    made = pair.call("POST", "/v1/partners/six/offboarding", {"reason": "over"})
    receipt = pair.receipt(made["id"])
    assert (receipt["action"], receipt["credentials"]) == ("partner.offboard", 1)
    assert codes(pair, key) == {"grant_revoked"}
    assert codes(pair, spared) == {"served"}
    ended = pair.get("/v1/tombstones?partner=six")["items"]
    assert {(each["kind"], each["id"]) for each in ended} == {
        ("partner", "six"),
        ("grant", active.id),
        ("grant", waits.id),
        ("credential", credential),
    }
    assert pair.get(f"/v1/credentials/{credential}")["state"] == "revoked"
    proven = [each for each in notices(pair) if each["target"] == "six"]
    assert [each["kind"] for each in proven] == ["partner-offboarded"]
    assert pair.call("POST", "/v1/partners/six/offboarding", {"reason": "x"})["id"] == made["id"]
    late = projection("six")
    pair.project(late, msgspec.structs.replace(waits, state="active", revision=9))
    tell_partner(pair, "six", "active")
    for grant in (late, waits):
        with pytest.raises(RefusedError):
            pair.issue(grant)
    pair.restart("gw-1")
    assert codes(pair, key) == {"grant_revoked"}


def test_a_partner_that_never_had_anything_can_be_suspended_and_offboarded(pair: Rig) -> None:
    tell_partner(pair, "bare", "prospect")
    assert pair.receipt(suspend(pair, "partner", "bare")["id"])["credentials"] == 0
    made = pair.call("POST", "/v1/partners/bare/offboarding", {"reason": "over"})
    assert pair.receipt(made["id"])["credentials"] == 0


def test_a_restricted_partner_gets_no_key_and_what_runs_goes_on(pair: Rig) -> None:
    grant = projection("eight")
    pair.project(grant)
    _, key = pair.issue(grant)
    pair.project(msgspec.structs.replace(grant, revision=2, partner_state="restricted"))
    pair.settled()
    assert codes(pair, key) == {"served"}
    with pytest.raises(RefusedError) as refusal:
        pair.issue(grant)
    assert "nothing new opens" in refusal.value.body["detail"]


def test_quiet_grants_are_those_that_nobody_used_for_a_while(pair: Rig) -> None:
    month = timedelta(days=40)
    begun = datetime.now(UTC) - month
    used, quiet, young = (
        projection("nine", not_before=begun),
        projection("nine", not_before=begun),
        projection("nine"),
    )
    renewed = successor(projection("nine", not_before=begun), not_before=datetime.now(UTC))
    pair.project(used, quiet, young, renewed)
    _, key = pair.issue(used)
    pair.issue(quiet)
    _, headers, _ = post(pair.url, key)
    pair.record(headers["x-request-id"])

    def listed(**query: str) -> list[str]:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return [each["id"] for each in pair.get(f"/v1/grants:quiet?partner=nine&{asked}")["items"]]

    assert listed() == [quiet.id]
    assert pair.get("/v1/grants:quiet?partner=nine")["items"][0]["credentials"] == 1
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert set(listed(since=ahead)) == {used.id, quiet.id, young.id, renewed.id}
    first = pair.get(f"/v1/grants:quiet?partner=nine&since={ahead}&limit=3")
    rest = pair.get(
        f"/v1/grants:quiet?partner=nine&since={ahead}&limit=3&cursor={first['next_cursor']}"
    )
    assert len(first["items"]) == 3
    assert len(rest["items"]) == 1
    status, said, _ = pair.request("GET", "/v1/grants:quiet?since=lately")
    assert (status, said["type"].rpartition(":")[2]) == (400, "malformed")


def test_an_amended_grant_cuts_what_it_no_longer_allows_and_leaves_the_rest(pair: Rig) -> None:
    grant = projection("ten", networks=["127.0.0.0/8"])
    pair.project(grant)
    _, key = pair.issue(grant)
    stays = Stream(pair.url, key, 300)
    pair.project(msgspec.structs.replace(grant, revision=2, networks=["127.0.0.0/24"]))
    pair.settled()
    assert stays.rest().rstrip().endswith(b"[DONE]"), "what is still allowed goes on"
    cut = Stream(pair.url, key, 9000)
    pair.project(msgspec.structs.replace(grant, revision=3, networks=["192.0.2.0/24"]))
    pair.settled()
    assert b"[DONE]" not in cut.rest()
    assert codes(pair, key) == {"network_not_allowed"}
