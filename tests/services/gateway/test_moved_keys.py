"""A successor takes the keys over: no call is refused meanwhile, and what is closed stays so."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from console.model.grant import GrantProjection, Lapse
from console.model.ids import new_id
from tests.services.gateway.rig import RefusedError, Rig, projection
from tests.services.gateway.test_kill_switch import post


def successor(of: GrantProjection, **facts: Any) -> GrantProjection:
    """Return the projection of a grant that renews another."""
    usual: dict[str, Any] = {
        "id": new_id("grant"),
        "revision": 1,
        "renews": of.id,
        "lineage": [of.id, *of.lineage],
        "lapses": [Lapse(at=datetime.now(UTC) + timedelta(days=90), code="grant_expired")],
    }
    return msgspec.structs.replace(of, **{**usual, **facts})


def expired(grant: GrantProjection) -> GrantProjection:
    return msgspec.structs.replace(
        grant, state="expired", state_reason="renewed", revision=grant.revision + 1
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    config = '[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 5\n'
    with Rig(tmp_path_factory.mktemp("p"), config, points=2) as rig:
        yield rig


class Stream:
    """A long answer, read while other things happen."""

    def __init__(self, url: str, key: str, words: int) -> None:
        self._conn = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        ask = [{"role": "user", "content": f"{words} words"}]
        body = json.dumps({"model": "aurora-1", "messages": ask, "stream": True})
        self._conn.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
        self._answer = self._conn.getresponse()
        assert self._answer.status == 200
        self.id = self._answer.getheader("x-request-id") or ""
        assert self._answer.read(100)

    def rest(self) -> bytes:
        try:
            return self._answer.read()
        finally:
            self._conn.close()


def test_the_keys_go_on_under_the_successor_without_one_refusal_and_streams_with_them(
    pair: Rig,
) -> None:
    old = projection()
    pair.project(old)
    credential, key = pair.issue(old)
    _, dead = pair.issue(old)
    dead_id = next(
        each["id"]
        for each in pair.get(f"/v1/credentials?grant={old.id}")["items"]
        if each["id"] != credential
    )
    pair.revoke("credential", dead_id)
    stream = Stream(pair.url, key, 600)
    refused: list[tuple[int, str]] = []
    stop = threading.Event()
    count = [0]

    def keep_calling(url: str) -> None:
        while not stop.is_set():
            status, headers, _ = post(url, key)
            count[0] += 1
            if status != 200:
                refused.append((status, headers.get("x-pilotctl-code", "")))

    callers = [threading.Thread(target=keep_calling, args=(url,)) for url in pair.urls.values()]
    for each in callers:
        each.start()
    pair.wait(lambda: count[0] > 5, "calls are served before")
    new = successor(old)
    pair.project(new)
    pair.settled()
    pair.project(expired(old))
    pair.settled()
    before = count[0]
    pair.wait(lambda: count[0] > before + 5, "calls are served after")
    stop.set()
    for each in callers:
        each.join()
    assert refused == []
    assert stream.rest().rstrip().endswith(b"data: [DONE]")
    moved = pair.get(f"/v1/credentials/{credential}")
    assert (moved["grant_id"], moved["revision"]) == (new.id, 2)
    assert pair.get(f"/v1/credentials/{dead_id}")["grant_id"] == old.id
    assert post(pair.url, dead)[1]["x-pilotctl-code"] == "key_revoked"
    status, headers, _ = post(pair.url, key)
    assert status == 200
    assert pair.record(headers["x-request-id"])["grant_id"] == new.id
    moves = [
        each["unmapped"]
        for each in pair.outbox()
        if each["metadata"]["event_code"] == "key.move" and each["unmapped"]["target"] == credential
    ]
    assert [each["before"] for each in moves] == [{"grant_id": old.id}]
    assert f"{new.id} renews {old.id}" in moves[0]["reason"]


def test_told_again_of_the_successor_nothing_moves_twice(pair: Rig) -> None:
    old = projection()
    pair.project(old)
    credential, key = pair.issue(old)
    new = successor(old)
    pair.project(new)
    pair.project(msgspec.structs.replace(new, egress=["10.0.0.0/8"], revision=2))
    pair.settled()
    assert pair.get(f"/v1/credentials/{credential}")["revision"] == 2
    assert post(pair.url, key)[0] == 200
    with pytest.raises(RefusedError) as refusal:
        pair.issue(old)
    assert f"{new.id} renews {old.id}" in refusal.value.body["detail"]


def test_one_that_waits_for_approval_takes_nothing_until_it_opens(pair: Rig) -> None:
    old = projection()
    pair.project(old)
    credential, key = pair.issue(old)
    waits = successor(old, state="pending_approval")
    pair.project(waits)
    pair.settled()
    assert pair.get(f"/v1/credentials/{credential}")["grant_id"] == old.id
    assert post(pair.url, key)[0] == 200
    pair.project(msgspec.structs.replace(waits, state="active", revision=2))
    pair.settled()
    assert pair.get(f"/v1/credentials/{credential}")["grant_id"] == waits.id


def test_a_lock_on_the_old_grant_holds_what_succeeds_it(pair: Rig) -> None:
    old = projection()
    pair.project(old)
    _, key = pair.issue(old)
    lock = pair.lock("grant", old.id)
    new = successor(old)
    pair.project(new)
    pair.settled()
    for url in pair.urls.values():
        assert post(url, key)[1]["x-pilotctl-code"] == "locked"
    third = successor(new)
    pair.project(third)
    pair.settled()
    assert post(pair.url, key)[1]["x-pilotctl-code"] == "locked"
    with pytest.raises(RefusedError):
        pair.issue(third)
    pair.call("POST", f"/v1/locks/{lock['id']}/release", {"reason": "over"}, If_Match='"1"')
    pair.settled()
    assert post(pair.url, key)[0] == 200


def test_revoking_the_old_grant_ends_what_succeeds_it_and_the_receipt_proves_it(
    pair: Rig,
) -> None:
    old = projection()
    pair.project(old)
    credential, key = pair.issue(old)
    new = successor(old)
    waits = successor(new, state="pending_approval")
    pair.project(new, waits)
    pair.settled()
    asked = pair.call("POST", "/v1/locks:blast", {"kind": "grant", "id": old.id})
    assert (asked["credentials"], new.id in asked["grants"]) == (1, True)
    receipt = pair.receipt(pair.revoke("grant", old.id)["id"])
    assert receipt["credentials"] == 1
    assert {each["method"] for each in receipt["points"]} == {"probe"}
    assert post(pair.url, key)[1]["x-pilotctl-code"] == "grant_revoked"
    ended = {each["id"] for each in pair.get("/v1/tombstones?limit=500")["items"]}
    assert {old.id, new.id, waits.id, credential} <= ended
    pair.project(msgspec.structs.replace(waits, state="active", revision=2))
    pair.settled()
    assert post(pair.urls["gw-2"], key)[1]["x-pilotctl-code"] == "grant_revoked"
    with pytest.raises(RefusedError):
        pair.issue(waits)


def test_overlapping_grants_do_not_end_each_other(pair: Rig) -> None:
    old, beside = projection(), projection()
    pair.project(old, beside)
    _, key = pair.issue(old)
    other_id, other = pair.issue(beside)
    new = successor(old)
    pair.project(new, expired(old))
    pair.settled()
    pair.receipt(pair.revoke("grant", new.id)["id"])
    assert post(pair.url, key)[1]["x-pilotctl-code"] == "grant_revoked"
    assert post(pair.url, other)[0] == 200
    assert pair.get(f"/v1/credentials/{other_id}")["grant_id"] == beside.id


def test_a_point_that_starts_afresh_or_control_that_was_killed_knows_the_move(
    pair: Rig,
) -> None:
    old = projection()
    pair.project(old)
    credential, key = pair.issue(old)
    new = successor(old)
    pair.project(new, expired(old))
    pair.restart("control")
    pair.restart("gw-2")
    for url in pair.urls.values():
        assert post(url, key)[0] == 200
    assert pair.get(f"/v1/credentials/{credential}")["grant_id"] == new.id


def test_control_killed_while_it_moves_keys_has_moved_each_once_or_not_at_all(
    tmp_path: Path,
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Rig(tmp_path / "g") as rig:
        grant = projection()
        rig.project(grant)
        held = [rig.issue(grant) for _ in range(5)]
        chain = [grant.id]
        for _ in range(2):
            grant = successor(grant)
            chain.append(grant.id)
            killer = threading.Timer(chance.uniform(0.0, 0.03), rig.kill, ["control"])
            killer.start()
            with suppress(OSError, http.client.HTTPException, RefusedError):
                rig.project(grant)
            killer.join()
            rig.start("control")
            rig.wait(lambda: rig.get("/v1/status"), "control answers")
            # policy sends what was not acknowledged again, under the number that it had
            rig._seq -= 1
            rig.project(grant)
            rig.wait(rig.all_serving, "the point serves")
            rig.settled()
            for credential, key in held:
                assert rig.get(f"/v1/credentials/{credential}")["grant_id"] == grant.id
                assert post(rig.url, key)[0] == 200
        moves = [
            (each["unmapped"]["target"], each["unmapped"]["before"]["grant_id"])
            for each in rig.outbox()
            if each["metadata"]["event_code"] == "key.move"
        ]
        assert sorted(moves) == sorted((c, old) for c, _ in held for old in chain[:-1])
