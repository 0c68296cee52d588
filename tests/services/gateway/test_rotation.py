"""Rotation: two versions of a key side by side, and the old one ended by the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.services.gateway.decision.decide import Asked, Moment, decide
from console.services.gateway.decision.snapshot import Snapshot
from console.services.wire.changes import (
    Change,
    KeyChange,
    KeyFact,
    RotateChange,
    State,
    TombstoneChange,
    TombstoneFact,
)
from tests.sdks import openai
from tests.services.gateway.rig import RefusedError, Rig, projection
from tests.services.gateway.test_kill_switch import post


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    config = '[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 5\n'
    with Rig(tmp_path_factory.mktemp("r"), config, points=2) as rig:
        yield rig


def rotate(rig: Rig, credential: str, grace: int, **more: Any) -> Any:
    revision = rig.get(f"/v1/credentials/{credential}")["revision"]
    body = {"grace_seconds": grace, "reason": "test", **more}
    return rig.call(
        "POST", f"/v1/credentials/{credential}/rotation", body, If_Match=f'"{revision}"'
    )


def ready(rig: Rig) -> tuple[str, str]:
    grant = projection()
    rig.project(grant)
    return rig.issue(grant)


def test_both_versions_serve_in_the_grace_and_the_old_ones_use_is_counted(pair: Rig) -> None:
    old, old_key = ready(pair)
    assert post(pair.url, old_key)[0] == 200
    pair.wait(lambda: pair.get(f"/v1/credentials/{old}")["last_used_at"], "its use is noted")
    made = rotate(pair, old, 3600)
    new, new_key = made["credential"], made["secret"]
    pair.settled()
    assert (new["version"], new["replaces"], new["holder"]) == (2, old, "acme")
    assert made["replaced"]["state"] == "rotating"
    assert made["replaced"]["calls_since_rotation"] == 0
    for url in pair.urls.values():
        assert post(url, old_key)[0] == 200
        assert post(url, new_key)[0] == 200
    shown = pair.wait(
        lambda: (s := pair.get(f"/v1/credentials/{old}"))["calls_since_rotation"] == 2 and s,
        "who still uses the old version is counted",
    )
    assert (shown["replaced_by"], shown["last_network"]) == (new["id"], "127.0.0.1")
    assert pair.get(f"/v1/credentials/{new['id']}")["rotated_at"] is None
    assert [each["id"] for each in pair.get("/v1/credentials?state=rotating")["items"]] == [old]
    with pytest.raises(RefusedError, match="replaced by"):
        rotate(pair, old, 60)
    pair.revoke("credential", old)


def test_the_clock_ends_the_old_version_and_proves_it_at_every_point(pair: Rig) -> None:
    old, old_key = ready(pair)
    client = openai.OpenAI(base_url=pair.url + "/v1", api_key=old_key, max_retries=0)
    words = [{"role": "user", "content": "9000 words"}]
    stream = client.chat.completions.create(model="aurora-1", messages=words, stream=True)  # type: ignore[call-overload]
    made = rotate(pair, old, 2)
    pair.settled()
    # on a busy machine the answer may come after the end: then it says nothing
    status = post(pair.url, old_key)[0]
    assert status == 200 or datetime.now(UTC) >= datetime.fromisoformat(made["replaced"]["ends_at"])
    with pytest.raises(openai.APIError, match="replaced"):
        for _ in stream:
            pass
    for url in pair.urls.values():
        status, headers, _ = post(url, old_key)
        assert (status, headers["x-pilotctl-code"]) == (403, "key_rotated")
    shown = pair.wait(
        lambda: (s := pair.get(f"/v1/credentials/{old}"))["state"] == "revoked" and s,
        "control has ended it",
    )
    assert shown["ends_at"] == made["replaced"]["ends_at"]
    receipt = next(r for r in pair.get("/v1/receipts")["items"] if r["target"] == old)
    assert (receipt["action"], receipt["by"]) == ("key.retire", "system")
    proven = pair.receipt(receipt["id"])
    assert {p["point"]: p["codes"] for p in proven["points"]} == {
        "gw-1": ["key_rotated"],
        "gw-2": ["key_rotated"],
    }
    assert post(pair.url, made["secret"])[0] == 200
    events = [e["unmapped"] for e in pair.outbox() if e["unmapped"]["target"] == old]
    assert [e["action"] for e in events] == ["key.issue", "key.rotate", "key.retire"]
    assert made["secret"] not in str(pair.outbox())


def test_no_grace_ends_the_old_version_in_the_same_change(pair: Rig) -> None:
    old, old_key = ready(pair)
    made = rotate(pair, old, 0)
    assert pair.receipt(made["receipt_id"])["credentials"] == 1
    assert made["replaced"]["state"] == "revoked"
    for url in pair.urls.values():
        assert post(url, old_key)[1]["x-pilotctl-code"] == "key_rotated"
        assert post(url, made["secret"])[0] == 200


def test_the_old_version_ends_on_time_though_control_is_gone_and_is_ended_when_it_is_back(
    pair: Rig,
) -> None:
    old, old_key = ready(pair)
    rotate(pair, old, 2)
    pair.settled()
    ends = time.monotonic() + 2.0
    pair.kill("control")
    asked = time.monotonic()
    while (answer := post(pair.url, old_key))[0] == 200:
        assert asked < ends, "a call that began after its end was served"
        asked = time.monotonic()
    assert answer[1]["x-pilotctl-code"] in {"key_rotated", "point_fenced"}
    pair.start("control")
    pair.wait(pair.all_serving, "both serve again")
    pair.wait(
        lambda: pair.get(f"/v1/credentials/{old}")["state"] == "revoked", "it is ended after all"
    )


def test_nothing_is_rotated_under_what_is_closed(pair: Rig) -> None:
    grant = projection()
    pair.project(grant)
    old, _ = pair.issue(grant)
    lock = pair.lock("credential", old)
    with pytest.raises(RefusedError, match="is locked"):
        rotate(pair, old, 60)
    pair.call("POST", f"/v1/locks/{lock['id']}/release", {"reason": "test"}, If_Match=f'"{1}"')
    pair.revoke("credential", old)
    with pytest.raises(RefusedError, match="no next version"):
        rotate(pair, old, 60)
    with pytest.raises(RefusedError) as refused:
        pair.call("POST", f"/v1/credentials/{old}/rotation", {"reason": "test"})
    assert refused.value.status == 428


def test_a_replayed_rotation_makes_one_key_and_tells_none(pair: Rig) -> None:
    old, _ = ready(pair)
    headers = {"If-Match": '"1"', "Idempotency-Key": "same"}
    body = {"grace_seconds": 60, "reason": "test"}
    path = f"/v1/credentials/{old}/rotation"
    _, first, _ = pair.request("POST", path, body, headers)
    _, again, told = pair.request("POST", path, body, headers)
    assert first["secret"]
    assert again["secret"] is None
    assert again["credential"]["id"] == first["credential"]["id"]
    assert told["Idempotent-Replayed"] == "true"


def test_a_grace_only_ever_gets_shorter_in_whatever_order_changes_are_read() -> None:
    now = datetime.now(UTC)
    grant = projection()
    old = KeyFact(id="crd_a", sha256="a", grant_id=grant.id, partner="acme", holder="acme")
    new = KeyFact(id="crd_b", sha256="b", grant_id=grant.id, partner="acme", holder="acme")

    def ending(seconds: int) -> RotateChange:
        moment = now + timedelta(seconds=seconds)
        fact = KeyFact(
            id="crd_a", sha256="a", grant_id=grant.id, partner="acme", holder="acme",
            ends_at=moment,
        )  # fmt: skip
        return RotateChange(old=fact, new=new)

    snapshot = Snapshot(State(sequence=0, grants=[grant], keys=[old])).after(
        [
            Change(seq=1, body=ending(10)),
            Change(seq=2, body=ending(60)),
            Change(seq=3, body=KeyChange(key=old)),
        ]
    )

    def code(after: int, at: Snapshot = snapshot) -> str:
        moment = Moment(now + timedelta(seconds=after), True, 0.0)
        asked = Asked(route="models", key_sha256="a", address="127.0.0.1")
        return decide(at, asked, moment, lambda *_: pytest.fail("not asked")).code

    assert (code(9), code(10), code(70)) == ("", "key_rotated", "key_rotated")
    revoked = snapshot.after(
        [Change(seq=4, body=TombstoneChange(ends=[TombstoneFact(kind="credential", id="crd_a")]))]
    )
    assert (code(5, revoked), code(20, revoked)) == ("key_revoked", "key_rotated")
    assert Snapshot(revoked.state()).key_by_hash("a") == snapshot.key("crd_a")
