"""Principals at the points: known by a hash, let in or not, and cut alone."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.model.grant import Decision
from console.model.ids import new_id
from console.model.principal import PrincipalProjection
from console.services.gateway.decision.decide import Asked, Moment, decide
from console.services.gateway.decision.snapshot import Snapshot
from console.services.home import Home
from console.services.safety_identifier import hash_of, salt_of
from console.services.wire.changes import KeyFact, LockFact, State
from tests.sdks import anthropic, openai
from tests.services.gateway.conftest import Lab
from tests.services.gateway.rig import RefusedError, Rig, projection
from tests.services.gateway.test_gateway_sdks import ASK, anthropic_at, openai_at

LASTING: Any = [{"role": "user", "content": "Write 9000 words."}]


def hashed(rig: Rig, identifier: str, partner: str = "acme") -> str:
    return hash_of(salt_of(Home(rig.home)), partner, identifier)


def principal(rig: Rig, identifier: str, **more: Any) -> PrincipalProjection:
    facts = {
        "id": new_id("principal"), "revision": 1, "partner": "acme",
        "hash": hashed(rig, identifier), "state": "active",
    }  # fmt: skip
    made = PrincipalProjection(**{**facts, **more})
    rig.project_principal(made)
    return made


def key_for(rig: Rig, *allowed: PrincipalProjection, **facts: Any) -> str:
    grant = projection(principals={each.id: each.hash for each in allowed}, **facts)
    rig.project(grant)
    return rig.issue(grant)[1]


def test_a_user_is_recorded_and_sent_on_by_its_hash_only(gateway: Rig, lab: Lab) -> None:
    capability = projection().capabilities[0]
    models = ["lab-1", "lab-2"]
    key = key_for(gateway, capabilities=[capability_of(capability, models)], models=models)
    with openai_at(gateway, key) as client:
        create = client.chat.completions.with_raw_response.create
        for named in ({"user": "ada@example.org"}, {"safety_identifier": "ada@example.org"}):
            raw = create(model="lab-1", messages=ASK, prompt_cache_key="x", **named)
            record = gateway.record(raw.headers["x-request-id"])
            assert record["principal"] == hashed(gateway, "ada@example.org")
            body = lab.said()["seen"][-1]["body"]
            assert body[next(iter(named))] == hashed(gateway, "ada@example.org")
        raw = create(model="lab-1", messages=ASK, user="")
        assert gateway.record(raw.headers["x-request-id"])["principal"] == ""
    with anthropic_at(gateway, key) as other:
        answer = other.messages.with_raw_response.create(
            model="lab-2", max_tokens=5, messages=ASK, metadata={"user_id": "ada@example.org"}
        )
        record = gateway.record(answer.headers["x-request-id"])
    assert record["principal"] == hashed(gateway, "ada@example.org")
    body = lab.said()["seen"][-1]["body"]
    assert body["metadata"] == {"user_id": hashed(gateway, "ada@example.org")}
    kept = b"".join(each.read_bytes() for each in gateway.home.glob("*.db*"))
    assert b"ada@example.org" not in kept
    assert hashed(gateway, "x", "acme") != hashed(gateway, "x", "other")


def capability_of(capability: Any, models: list[str]) -> Any:
    return msgspec.structs.replace(capability, models=models)


def test_a_grant_for_named_users_refuses_others_and_those_who_name_none(gateway: Rig) -> None:
    ada = principal(gateway, "ada")
    key = key_for(gateway, ada)
    with openai_at(gateway, key) as client:
        chat = client.chat.completions
        assert chat.create(model="aurora-1", messages=ASK, user="ada").choices
        with pytest.raises(openai.PermissionDeniedError) as refused:
            chat.create(model="aurora-1", messages=ASK)
        assert refused.value.code == "principal_missing"
        with pytest.raises(openai.PermissionDeniedError) as refused:
            chat.create(model="aurora-1", messages=ASK, user="bob")
        assert refused.value.code == "principal_not_allowed"
        assert [model.id for model in client.models.list()] == ["aurora-1"]
        with pytest.raises(openai.BadRequestError):
            chat.create(model="aurora-1", messages=ASK, user="x" * 257)
        with pytest.raises(openai.BadRequestError):
            chat.create(model="aurora-1", messages=ASK, user=7)  # type: ignore[arg-type]
    record = gateway.record(refused.value.response.headers["x-request-id"])
    assert (record["code"], record["principal"]) == (
        "principal_not_allowed", hashed(gateway, "bob"),
    )  # fmt: skip


def test_a_retired_principal_is_refused_everywhere_of_its_partner(gateway: Rig) -> None:
    gone = principal(gateway, "gone", state="retired")
    for key in (key_for(gateway), key_for(gateway, gone)):
        with (
            openai_at(gateway, key) as client,
            pytest.raises(openai.PermissionDeniedError) as refused,
        ):
            client.chat.completions.create(model="aurora-1", messages=ASK, user="gone")
        assert refused.value.code == "principal_not_allowed"


@pytest.mark.parametrize("by", ["id", "hash"])
def test_a_lock_on_a_principal_cuts_its_streams_and_nobody_elses(gateway: Rig, by: str) -> None:
    mallory = principal(gateway, f"mallory-{by}")
    key = key_for(gateway)
    ended: dict[str, Any] = {}
    begun, locked = threading.Barrier(3), threading.Event()

    def run(user: str) -> None:
        with openai_at(gateway, key) as client:
            stream = client.chat.completions.create(
                model="aurora-1", messages=LASTING, user=user, stream=True
            )
            try:
                next(stream)
                begun.wait(60)
                told_since = 0
                for _ in stream:
                    told_since += locked.is_set()
                    if told_since == 20:
                        break
                ended[user] = told_since
                stream.close()
            except openai.APIError as error:
                ended[user] = error.code

    users = (f"mallory-{by}", f"ada-{by}")
    threads = [threading.Thread(target=run, args=(user,)) for user in users]
    for each in threads:
        each.start()
    begun.wait(60)
    target = mallory.id if by == "id" else mallory.hash
    gateway.wait(
        lambda: (
            gateway.call("POST", "/v1/locks:blast", {"kind": "principal", "id": target})["streams"]
            == 1
        ),
        "one stream of it is counted",
    )
    lock = gateway.lock("principal", target)
    proven = gateway.receipt(lock["receipt_id"])
    assert proven["points"][0]["codes"] in (["locked"], ["key_unknown"])
    assert proven["points"][0]["streams_cut"] == 1
    if by == "id":
        assert proven["points"][0]["codes"] == ["locked"]
        assert proven["credentials"] >= 1
    locked.set()
    for each in threads:
        each.join(60)
    assert ended == {users[0]: "locked", users[1]: 20}, "the other stream goes on"
    with openai_at(gateway, key) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="aurora-1", messages=ASK, user=users[0])
        assert client.chat.completions.create(model="aurora-1", messages=ASK, user=users[1])
    released = gateway.call(
        "POST", f"/v1/locks/{lock['id']}/release", {"reason": "test"}, If_Match='"1"'
    )
    assert released["state"] == "released"
    gateway.settled()
    with openai_at(gateway, key) as client:
        assert client.chat.completions.create(model="aurora-1", messages=ASK, user=users[0])


def test_a_lock_on_a_principal_that_nobody_knows_is_refused(gateway: Rig) -> None:
    with pytest.raises(RefusedError, match="there is nothing to stop"):
        gateway.lock("principal", new_id("principal"))
    with pytest.raises(RefusedError, match="names no principal"):
        gateway.lock("principal", "ada")


def test_releasing_a_principal_at_tier_3_takes_others(gateway: Rig) -> None:
    high = principal(gateway, "high")
    base = projection()
    capability = msgspec.structs.replace(base.capabilities[0], tier=3)
    key_for(gateway, high, capabilities=[capability], tier=3)
    lock = gateway.lock("principal", high.id)
    with pytest.raises(RefusedError) as refused:
        gateway.call("POST", f"/v1/locks/{lock['id']}/release", {"reason": "test"}, If_Match='"1"')
    assert refused.value.name == "needs-approval"
    for grant in lock["blast"]["grants"]:
        gateway.revoke("grant", grant)  # it would hold whatever another test locks


def test_anthropics_sdk_is_told_in_its_own_shape(gateway: Rig) -> None:
    key = key_for(gateway, principal(gateway, "ada-2"))
    with (
        anthropic_at(gateway, key) as client,
        pytest.raises(anthropic.PermissionDeniedError, match="named users"),
    ):
        client.messages.create(model="aurora-1", max_tokens=5, messages=ASK)


USERS = ["u1", "u2", "u3"]


@settings(max_examples=200)
@given(
    st.sets(st.sampled_from(USERS)),
    st.sampled_from(["", *USERS, "stranger"]),
    st.sets(st.sampled_from(USERS)),
    st.sets(st.sampled_from([*USERS, "stranger"])),
    st.sets(st.sampled_from(USERS)),
)
def test_a_user_gets_through_only_where_nothing_names_it_for_refusal(
    allowed: set[str], named: str, locked: set[str], locked_hashes: set[str], retired: set[str]
) -> None:
    known = [
        PrincipalProjection(
            id=f"prn_{each}", revision=1, partner="acme", hash=each,
            state="retired" if each in retired else "active",
        )
        for each in USERS
    ]  # fmt: skip
    grant = projection(principals={f"prn_{each}": each for each in allowed})
    key = KeyFact(id="crd_a", sha256="a", grant_id=grant.id, partner="acme", holder="acme")
    locks = [
        LockFact(id=f"lck_{n}", kind="principal", target=target, message="")
        for n, target in enumerate([*(f"prn_{each}" for each in locked), *locked_hashes])
    ]
    snapshot = Snapshot(
        State(sequence=1, grants=[grant], keys=[key], locks=locks, principals=known)
    )
    asked = Asked(
        route="chat.completions", model="aurora-1", key_sha256="a", address="127.0.0.1",
        principal=named,
    )  # fmt: skip
    yes = Decision(id="dec_a", allow=True, bundle_revision="r", at=datetime.now(UTC))
    verdict = decide(snapshot, asked, Moment(datetime.now(UTC), True, 0.0), lambda *_: yes)
    if named in locked or named in locked_hashes:
        assert verdict.code == "locked"
    elif named in retired or (allowed and named and named not in allowed):
        assert verdict.code == "principal_not_allowed"
    elif allowed and not named:
        assert verdict.code == "principal_missing"
    else:
        assert (verdict.allow, verdict.code) == (True, "")
    assert Snapshot(snapshot.state()).principal("u1") == snapshot.principal("prn_u1")
