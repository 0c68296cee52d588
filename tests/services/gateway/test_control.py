"""Gateway control's routes: keys, locks, tombstones, records, usage; good input and bad."""

from __future__ import annotations

import hashlib
import http.client
import json
import sqlite3
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from console.model.grant import GrantedCapability
from console.services.audit.log.leaf import read_leaf
from tests.services.gateway.rig import RefusedError, Rig, projection


def refused(rig: Rig, method: str, path: str, body: Any, **headers: str) -> tuple[int, str, str]:
    with pytest.raises(RefusedError) as caught:
        rig.call(method, path, body, **headers)
    return caught.value.status, caught.value.name, str(caught.value.body.get("detail"))


def call(rig: Rig, key: str, words: str = "Hi.", model: str = "aurora-1") -> tuple[int, str]:
    conn = http.client.HTTPConnection(urlsplit(rig.url).netloc, timeout=60)
    try:
        said = json.dumps({"model": model, "messages": [{"role": "user", "content": words}]})
        conn.request("POST", "/v1/chat/completions", said, {"x-api-key": key})
        answer = conn.getresponse()
        answer.read()
        return answer.status, answer.headers["x-request-id"]
    finally:
        conn.close()


def test_a_key_is_shown_once_and_stored_only_as_its_hash(gateway: Rig) -> None:
    grant = projection()
    gateway.project(grant)
    body = {"grant_id": grant.id, "reason": "first"}
    first = gateway.call("POST", "/v1/credentials", body, Idempotency_Key="once")
    secret = first["secret"]
    assert secret.startswith("sk-pilot-")
    assert len(secret) == len("sk-pilot-") + 43
    assert first["base_urls"] == [gateway.url]
    again = gateway.call("POST", "/v1/credentials", body, Idempotency_Key="once")
    assert again["credential"] == first["credential"]
    assert (again["secret"], again["replayed"]) == (None, True)
    shown = gateway.get(f"/v1/credentials/{first['credential']['id']}")
    assert (shown["hint"], shown["state"], shown["version"]) == (secret[-4:], "issued", 1)
    assert gateway.call("POST", "/v1/credentials", body)["credential"]["version"] == 2
    stored = b"".join(path.read_bytes() for path in gateway.home.glob("*.db*"))
    assert secret.encode() not in stored
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in stored
    assert secret not in json.dumps(gateway.outbox())
    gateway.settled()
    _, request_id = call(gateway, secret)
    gateway.record(request_id)
    used = gateway.get(f"/v1/credentials/{first['credential']['id']}")
    assert (used["state"], used["last_network"]) == ("in_use", "127.0.0.1")


def test_no_key_is_issued_under_what_is_closed_or_to_a_stranger(gateway: Rig) -> None:
    def issue(id: str, **more: str) -> tuple[int, str, str]:
        return refused(gateway, "POST", "/v1/credentials", {"grant_id": id, "reason": "x", **more})

    suspended = projection(state="suspended", state_reason="terms_lapsed")
    locked, ended, good = projection(), projection(), projection()
    gateway.project(suspended, locked, ended, good)
    lock = gateway.lock("grant", locked.id)
    gateway.revoke("grant", ended.id)
    assert issue("grt_nothing")[:2] == (404, "not-found")
    for grant, why in ((suspended, "terms_lapsed"), (locked, lock["id"]), (ended, "revoked")):
        status, name, detail = issue(grant.id)
        assert (status, name) == (403, "refused")
        assert why in detail
    assert issue(good.id, holder="stranger")[:2] == (403, "refused")
    made = gateway.call(
        "POST", "/v1/credentials", {"grant_id": good.id, "reason": "x", "holder": "delta"}
    )
    assert made["credential"]["holder"] == "delta"


def test_writes_name_what_is_wrong_and_change_nothing(gateway: Rig) -> None:
    before = gateway.get("/v1/status")["sequence"]
    target = {"kind": "partner", "id": "acme"}

    def lock(kind: str, named: str) -> dict[str, Any]:
        return {"target": {"kind": kind, "id": named}, "reason": "x"}

    cases: list[tuple[str, str, Any, int, str]] = [
        ("POST", "/v1/locks", {"target": target}, 422, "reason"),
        ("POST", "/v1/locks", {"target": target, "reason": "x", "mesage": "y"}, 400, "mesage"),
        ("POST", "/v1/locks", lock("house", "x"), 422, "kind"),
        ("POST", "/v1/locks", lock("network", "x/9"), 422, "network"),
        ("POST", "/v1/locks", lock("stage", "x"), 422, "stage"),
        ("POST", "/v1/locks", lock("partner", "A B"), 422, "slug"),
        ("POST", "/v1/locks", lock("everything", "all"), 422, "*"),
        ("POST", "/v1/tombstones", {"kind": "grant", "id": "grt_x", "reason": "x"}, 404, "grt_x"),
        ("POST", "/v1/tombstones", {"kind": "house", "id": "x", "reason": "x"}, 422, "kind"),
        ("GET", "/v1/calls?since=yesterday", None, 422, "since"),
        ("GET", "/v1/usage?by=colour", None, 422, "by"),
        ("GET", "/v1/calls/req_nothing", None, 404, "req_nothing"),
        ("GET", "/v1/locks/lck_nothing", None, 404, "lck_nothing"),
        ("GET", "/v1/receipts/rcp_nothing", None, 404, "rcp_nothing"),
    ]  # fmt: skip
    for method, path, body, status, named in cases:
        got, _, detail = refused(gateway, method, path, body)
        assert got == status, (path, body, detail)
        assert named in detail
    assert gateway.get("/v1/status")["sequence"] == before


def test_a_lock_converges_shows_its_blast_and_is_released_with_care(gateway: Rig) -> None:
    one, other = projection("blast"), projection("blast")
    gateway.project(one, other)
    (_, key), (_, other_key) = gateway.issue(one), gateway.issue(other)
    blast = gateway.call("POST", "/v1/locks:blast", {"kind": "grant", "id": one.id})
    assert (blast["partners"], blast["grants"], blast["credentials"]) == (["blast"], [one.id], 1)
    assert other.id in blast["stays"][0]
    lock = gateway.lock("grant", one.id)
    assert gateway.lock("grant", one.id)["id"] == lock["id"]
    assert lock["blast"]["credentials"] == 1
    receipt = gateway.receipt(lock["receipt_id"])
    assert (receipt["action"], receipt["credentials"], receipt["lock_id"]) == (
        "lock.add", 1, lock["id"],
    )  # fmt: skip
    assert receipt["points"][0]["codes"] == ["locked"]
    assert call(gateway, key)[0] == 403
    assert call(gateway, other_key)[0] == 200
    path = f"/v1/locks/{lock['id']}/release"
    assert refused(gateway, "POST", path, {"reason": "x"})[:2] == (428, "revision-required")
    assert refused(gateway, "POST", path, {"reason": "x"}, If_Match='"7"')[:2] == (412, "stale")
    freed = gateway.call("POST", path, {"reason": "done"}, If_Match='"1"')
    assert (freed["state"], freed["revision"], freed["released"]["reason"]) == (
        "released",
        2,
        "done",
    )
    gateway.settled()
    assert call(gateway, key)[0] == 200
    assert gateway.lock("grant", one.id)["id"] != lock["id"]
    codes = [
        event["metadata"]["event_code"]
        for event in gateway.outbox()
        if lock["id"] in json.dumps(event["unmapped"].get("target", ""))
    ]
    assert codes == ["lock.add", "lock.release"]


def test_the_plan_of_a_lock_on_a_subprocessor_counts_the_keys_that_it_holds(gateway: Rig) -> None:
    held = projection("ash", subprocessors=["wharf"])
    beside = projection("ash", subprocessors=["wharf"])
    unheld = projection("birch", subprocessors=["wharf"])
    gateway.project(held, beside, unheld)
    _, theirs = gateway.issue(held, holder="wharf")
    own = [gateway.issue(each)[1] for each in (held, beside, unheld)]
    target = {"kind": "subprocessor", "id": "wharf"}
    blast = gateway.call("POST", "/v1/locks:blast", target)
    assert (blast["partners"], blast["grants"], blast["credentials"]) == (["ash"], [held.id], 1)
    kept = "\n".join(blast["stays"])
    assert all(f"({each.id}), 1 key" in kept for each in (held, beside))
    lock = gateway.lock("subprocessor", "wharf")
    assert lock["blast"] == blast
    gateway.receipt(lock["receipt_id"])
    assert call(gateway, theirs)[0] == 403
    assert [call(gateway, key)[0] for key in own] == [200, 200, 200]
    # The record names all whose subprocessor it is: none of them can give it a key now.
    told = next(e for e in gateway.outbox() if e["unmapped"]["target"] == lock["id"])
    touched = set(read_leaf(json.dumps(told).encode()).touches())
    assert touched >= {"ash", "birch", held.id, beside.id, unheld.id}


def test_a_lock_on_everything_stops_everyone_and_on_one_model_only_that(gateway: Rig) -> None:
    both = projection("wide", models=["aurora-1", "aurora-2"])
    gateway.project(both)
    _, key = gateway.issue(both)
    for kind, named, stopped in (
        ("model", "aurora-2", {"aurora-2"}),
        ("network", "127.0.0.0/8", {"aurora-1", "aurora-2"}),
        ("everything", "*", {"aurora-1", "aurora-2"}),
    ):
        lock = gateway.lock(kind, named)
        gateway.receipt(lock["receipt_id"])
        got = {m for m in ("aurora-1", "aurora-2") if call(gateway, key, model=m)[0] == 403}
        assert got == stopped, kind
        gateway.call("POST", f"/v1/locks/{lock['id']}/release", {"reason": "x"}, If_Match='"1"')
        gateway.settled()
        assert call(gateway, key)[0] == 200


def test_what_is_at_tier_three_is_not_released_by_one_person(gateway: Rig) -> None:
    guarded = GrantedCapability(
        slug="cyber.z", tier=3, category="dual-use", models=["z-1"], routes=["messages"]
    )
    high = projection("high", capabilities=[guarded], models=["z-1"], tier=3)
    gateway.project(high)
    for kind, named in (("capability", "cyber.z"), ("partner", "high"), ("model", "z-1")):
        lock = gateway.lock(kind, named)
        path = f"/v1/locks/{lock['id']}/release"
        got = refused(gateway, "POST", path, {"reason": "x"}, If_Match='"1"')
        assert got[:2] == (403, "needs-approval"), kind
    gateway.revoke("grant", high.id)  # it would hold whatever another test locks


def test_revoking_a_grant_ends_its_keys_and_again_is_the_same_receipt(gateway: Rig) -> None:
    grant = projection("twice")
    gateway.project(grant)
    ids = [gateway.issue(grant)[0] for _ in range(2)]
    receipt = gateway.revoke("grant", grant.id)
    assert receipt["credentials"] == 2
    assert gateway.revoke("grant", grant.id)["id"] == receipt["id"]
    assert gateway.revoke("credential", ids[0])["id"] == receipt["id"]
    assert {gateway.get(f"/v1/credentials/{each}")["state"] for each in ids} == {"revoked"}
    marks = gateway.get("/v1/tombstones?partner=twice")["items"]
    assert {(mark["kind"], mark["id"]) for mark in marks} == {
        ("grant", grant.id), ("credential", ids[0]), ("credential", ids[1]),
    }  # fmt: skip
    feed = gateway.get("/internal/v1/closings?after=0")["items"]
    assert [each["event_id"] for each in feed if each["id"] == grant.id] == [receipt["event_id"]]
    # Whatever policy says later, what carries a tombstone stays dead.
    gateway.project(projection("twice", id=grant.id, revision=99))
    status, name, _ = refused(
        gateway, "POST", "/v1/credentials", {"grant_id": grant.id, "reason": "x"}
    )
    assert (status, name) == (403, "refused")
    assert gateway.receipt(receipt["id"])["points"][0]["probes"] == 2
    events = [e for e in gateway.outbox() if e["metadata"]["uid"] == receipt["event_id"]]
    assert [e["metadata"]["event_code"] for e in events] == ["grant.revoke"]
    assert events[0]["class_uid"] == 3005


def test_calls_are_listed_by_filter_and_cursor_and_add_up_to_usage(gateway: Rig) -> None:
    grant = projection("counted")
    gateway.project(grant)
    credential, key = gateway.issue(grant)
    ids = [call(gateway, key, f"{n + 1} words")[1] for n in range(5)]
    ids.append(call(gateway, key, model="aurora-9")[1])
    gateway.record(ids[-1])
    path = "/v1/calls?partner=counted&limit=4"
    first = gateway.get(path)
    rest = gateway.get(f"{path}&cursor={first['next_cursor']}")
    assert [c["id"] for c in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] == ""
    for query, count in (
        (f"grant={grant.id}", 6),
        (f"credential={credential}", 6),
        ("partner=counted&outcome=denied", 1),
        ("partner=counted&code=model_out_of_scope", 1),
        ("partner=counted&model=aurora-9", 1),
        ("partner=counted&since=2099-01-01T00:00:00Z", 0),
    ):
        assert len(gateway.get(f"/v1/calls?{query}")["items"]) == count, query
    rows = gateway.get("/v1/usage?by=partner&partner=counted")["items"]
    assert len(rows) == 1
    assert {k: rows[0][k] for k in ("group", "calls", "allowed", "denied", "errors")} == {
        "group": "counted", "calls": 6, "allowed": 5, "denied": 1, "errors": 0,
    }  # fmt: skip
    assert rows[0]["output_tokens"] == 1 + 2 + 3 + 4 + 5
    by_model = gateway.get("/v1/usage?by=model&partner=counted")["items"]
    assert {row["group"]: row["calls"] for row in by_model} == {"": 1, "aurora-1": 5}
    for by in ("grant", "key", "capability", "hour"):
        rows = gateway.get(f"/v1/usage?by={by}&partner=counted")["items"]
        assert sum(row["calls"] for row in rows) == 6
    assert gateway.get("/v1/usage?partner=counted&until=2020-01-01T00:00:00Z")["items"] == []


def test_the_call_feed_is_in_order_and_waits_for_more(gateway: Rig) -> None:
    grant = projection("fed")
    gateway.project(grant)
    _, key = gateway.issue(grant)
    head = gateway.get("/internal/v1/calls?after=0&limit=1")["head"]
    _, request_id = call(gateway, key)
    page = gateway.wait(
        lambda: gateway.get(f"/internal/v1/calls?after={head}&limit=10&wait=5")["items"],
        "the feed has it",
    )
    assert page[-1]["call"]["id"] == request_id
    assert [each["seq"] for each in page] == list(range(head + 1, head + 1 + len(page)))


def test_call_records_are_committed_to_in_the_log_so_that_each_can_be_proven(
    gateway: Rig,
) -> None:
    from console.trust.merkle import leaf_hash, root_of

    grant = projection("digested")
    gateway.project(grant)
    _, key = gateway.issue(grant)
    gateway.record(call(gateway, key)[1])

    def newest() -> Any:
        digests = [
            e["unmapped"]["after"]
            for e in gateway.outbox()
            if e["metadata"]["event_code"] == "calls.digest"
        ]
        firsts = [digest["first"] for digest in digests]
        assert firsts == [1, *(digest["last"] + 1 for digest in digests[:-1])][: len(firsts)]
        return digests[-1] if digests else None

    digest = gateway.wait(newest, "there is a digest")
    store = sqlite3.connect(gateway.home / "gateway.db")
    rows = store.execute(
        "SELECT body FROM calls WHERE point = 'gw-1' AND sequence BETWEEN ? AND ? "
        "ORDER BY sequence",
        (digest["first"], digest["last"]),
    ).fetchall()
    store.close()
    assert len(rows) == digest["size"] == digest["last"] - digest["first"] + 1
    assert root_of([leaf_hash(bytes(row[0])) for row in rows]).hex() == digest["root"]


def test_a_change_reaches_a_follower_within_milliseconds(gateway: Rig) -> None:
    grant = projection("quick")
    gateway.project(grant)
    credential, key = gateway.issue(grant)
    assert call(gateway, key)[0] == 200
    receipt = gateway.revoke("credential", credential)
    began = time.monotonic()
    while call(gateway, key)[0] != 403:
        assert time.monotonic() - began < 60.0  # milliseconds, on a quiet machine
    proven = gateway.receipt(receipt["id"])
    assert proven["enforced_at"] >= proven["recorded_at"]
