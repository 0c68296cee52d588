"""The kill switch when things go wrong: frozen, killed, cut off, forged."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from console.services.gateway.control.state.point_registry import LEASE_SECONDS
from console.services.gateway.decision import probe_token
from tests import nursery
from tests.services.gateway.conftest import Lab
from tests.services.gateway.rig import Rig, projection

ASK = [{"role": "user", "content": "Hello."}]


def post(
    url: str, key: str, body: dict[str, Any] | None = None, seconds: float = 60.0
) -> tuple[int, dict[str, str], bytes]:
    """Call the data plane with a raw key: status, headers, body."""
    conn = http.client.HTTPConnection(urlsplit(url).netloc, timeout=seconds)
    try:
        said = json.dumps(body or {"model": "aurora-1", "messages": ASK})
        head = {"Authorization": f"Bearer {key}"}
        conn.request("POST", "/v1/chat/completions", said, head)
        answer = conn.getresponse()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, headers, answer.read()
    finally:
        conn.close()


@pytest.fixture(scope="module")
def two_points(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    config = '[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 5\n'
    with Rig(tmp_path_factory.mktemp("p"), config, points=2) as rig:
        yield rig


@pytest.fixture
def pair(two_points: Rig) -> Rig:
    """A gateway with two points, whole again after what the test before did to it."""
    for name in ("control", *two_points.names):
        if name not in two_points.processes:
            two_points.start(name)
    two_points.wait(two_points.all_serving, "both points serve")
    two_points.refresh()
    return two_points


def test_a_frozen_point_is_never_counted_before_its_lease_is_over_and_serves_nothing_on_waking(
    pair: Rig,
) -> None:
    grant = projection()
    pair.project(grant)
    _, key = pair.issue(grant)
    url = pair.urls["gw-2"]
    conn = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    messages = [{"role": "user", "content": "9000 words"}]
    body = json.dumps({"model": "aurora-1", "messages": messages, "stream": True})
    conn.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
    stream = conn.getresponse()
    assert stream.read(200)
    pair.freeze("gw-2")
    frozen_at = time.time()
    lease_until = pair.get("/v1/points")["items"][1]["lease_until"]
    receipt = pair.revoke("grant", grant.id)
    unanswered: list[tuple[int, dict[str, str], bytes]] = []
    waiting = threading.Thread(
        target=lambda: unanswered.append(post(url, key, seconds=60)), daemon=True
    )
    waiting.start()
    stream.fp.raw._sock.setblocking(False)  # type: ignore[attr-defined]
    with suppress(BlockingIOError):
        while stream.fp.raw._sock.recv(65536):  # type: ignore[attr-defined]
            pass
    stream.fp.raw._sock.settimeout(60)  # type: ignore[attr-defined]
    seen = []
    while time.time() - frozen_at < 60:
        shown = pair.get(f"/v1/receipts/{receipt['id']}")
        states = {each["point"]: each for each in shown["points"]}
        seen.append(states["gw-2"]["state"])
        if shown["state"] == "verified":
            break
        time.sleep(0.05)
    assert "waiting" in seen
    assert "refused" not in seen
    assert shown["state"] == "verified"
    assert (states["gw-1"]["method"], states["gw-2"]["method"]) == ("probe", "lease")
    assert states["gw-2"]["at"] >= lease_until
    pair.wake("gw-2")
    waiting.join()
    status, headers, _ = unanswered[0]
    assert (status, headers["x-pilotctl-code"]) in {(503, "point_fenced"), (403, "grant_revoked")}
    rest = b""
    with suppress(ConnectionError):
        while more := stream.fp.raw._sock.recv(65536):  # type: ignore[attr-defined]
            rest += more
    assert b'"content"' not in rest, "a piece of the stream left the point after it woke"
    conn.close()
    pair.wait(pair.all_serving, "the point is back")
    assert post(url, key)[1]["x-pilotctl-code"] == "grant_revoked"


def test_a_point_without_control_fences_itself_and_comes_back_by_itself(pair: Rig) -> None:
    grant = projection()
    pair.project(grant)
    _, key = pair.issue(grant)
    assert post(pair.url, key)[0] == 200
    pair.kill("control")
    dead = time.monotonic()
    with suppress(ConnectionError):  # a call in flight when the lease ends is dropped
        asked = time.monotonic()
        while post(pair.url, key)[0] == 200:
            assert asked - dead < LEASE_SECONDS, "a call that began without a lease was served"
            time.sleep(0.02)
            asked = time.monotonic()
    assert post(pair.url, key)[1]["x-pilotctl-code"] == "point_fenced"
    pair.start("control")
    pair.wait(pair.all_serving, "both serve again")
    assert post(pair.url, key)[0] == 200


def test_a_point_that_is_gone_is_proven_by_its_lease_and_the_receipt_survives_control(
    pair: Rig,
) -> None:
    grant = projection()
    pair.project(grant)
    credential, key = pair.issue(grant)
    pair.kill("gw-2")
    receipt = pair.revoke("credential", credential)
    assert receipt["state"] == "verifying"
    assert [each["state"] for each in receipt["points"]] == ["waiting", "waiting"]
    pair.kill("control")
    pair.start("control")
    proven = pair.receipt(receipt["id"])
    assert [each["method"] for each in proven["points"]] == ["probe", "lease"]
    assert proven["enforced_at"] == max(each["at"] for each in proven["points"])
    assert pair.revoke("credential", credential)["id"] == receipt["id"]
    about = [
        event["metadata"]["event_code"]
        for event in pair.outbox()
        if event["metadata"]["uid"] == receipt["event_id"]
        or event["unmapped"].get("target") == receipt["id"]
    ]
    assert about == ["key.revoke", "receipt.verify"]
    assert post(pair.url, key)[1]["x-pilotctl-code"] == "key_revoked"


def test_a_point_that_cannot_be_proven_makes_the_receipt_unverified_with_the_reason(
    pair: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = {"console.services.gateway.control.closing.verifier:UNVERIFIED_AFTER_SECONDS": 1.5}
    monkeypatch.setenv(nursery.SETS, json.dumps(patience))
    pair.restart("control")
    grant = projection()
    pair.project(grant)
    pair.issue(grant)
    # Its control link works and its listener does not: neither a refusal nor a lapsed lease.
    with sqlite3.connect(pair.home / "gateway.db") as store:
        store.execute("UPDATE points SET url = 'http://127.0.0.1:9' WHERE name = 'gw-2'")
    store.close()
    receipt = pair.revoke("grant", grant.id)
    shown = pair.receipt(receipt["id"], "unverified")
    assert shown["enforced_at"] is None
    assert "gw-2: its listener did not answer" in shown["why"]
    assert [each["state"] for each in shown["points"]] == ["refused", "unproven"]
    with sqlite3.connect(pair.home / "gateway.db") as store:
        store.execute("UPDATE points SET url = ? WHERE name = 'gw-2'", (pair.urls["gw-2"],))
    store.close()
    pair.receipt(receipt["id"], "verified")
    pair.kill("control")  # the next is as patient as ever


@pytest.mark.long
def test_revoking_works_while_policy_is_silent_and_nothing_opens_at_tier_three(
    tmp_path: Path,
) -> None:
    from console.model.grant import GrantedCapability

    guarded = GrantedCapability(
        slug="cyber.x",
        tier=3,
        category="dual-use",
        models=["aurora-1"],
        routes=["chat.completions"],
    )
    high = projection(capabilities=[guarded], tier=3, approval_id="rid_1")
    low, other = projection(), projection("other")
    with Rig(tmp_path / "g") as rig:
        rig.project(high, low, other)
        high_key, low_key = rig.issue(high)[1], rig.issue(low)[1]
        lock = rig.lock("grant", high.id)
        rig.receipt(lock["receipt_id"])  # the leases of earlier processes are over
        rig.silence_policy()
        assert post(rig.url, low_key)[0] == 200
        receipt = rig.revoke("grant", low.id)
        assert rig.receipt(receipt["id"])["points"][0]["method"] == "probe"
        assert rig.lock("partner", "other")["blast"]["partners"] == ["other"]
        refused = rig.request(
            "POST", f"/v1/locks/{lock['id']}/release", {"reason": "x"}, {"If-Match": '"1"'}
        )
        assert (refused[0], refused[1]["type"].rpartition(":")[2]) == (403, "needs-approval")
        fresh = projection("third", capabilities=[guarded], tier=3, approval_id="rid_2")
        rig.wait(
            lambda: any(
                "policy unheard of" in note for note in rig.get("/v1/status")["dependency_notes"]
            ),
            "policy counts as silent",
        )
        with sqlite3.connect(rig.home / "gateway.db") as store:
            held = store.execute("SELECT count(*) FROM grants").fetchone()
        store.close()
        assert held == (3,)
        status, said, _ = rig.request(
            "POST", "/v1/credentials", {"grant_id": fresh.id, "reason": "x"}
        )
        assert status == 404, said
        assert post(rig.url, high_key)[1]["x-pilotctl-code"] == "locked"


def test_a_probe_cannot_be_forged_outlived_or_turned_into_a_call(gateway: Rig, lab: Lab) -> None:
    grant = projection()
    gateway.project(grant)
    credential, _ = gateway.issue(grant)
    key = (gateway.home / "keys" / "probe.key").read_bytes()

    def token(with_key: bytes = key, **facts: Any) -> str:
        usual: dict[str, Any] = {
            "credential": credential,
            "model": "aurora-1",
            "route": "chat.completions",
            "nonce": probe_token.nonce(),
            "exp": time.time() + 10,
        }
        return probe_token.mint(with_key, probe_token.Probe(**{**usual, **facts}))

    calls_before = len(gateway.get("/v1/calls?limit=500")["items"])
    status, headers, body = post(gateway.url, token())
    assert (status, headers["x-pilotctl-probe"], body) == (200, "would-serve", b"{}")
    assert headers["x-pilotctl-point"] == "gw-1"
    assert int(headers["x-pilotctl-sequence"]) > 0
    _, headers, _ = post(gateway.url, token(model="aurora-9"))
    assert headers["x-pilotctl-code"] == "model_out_of_scope"
    seen = len(lab.said()["seen"])
    good = token()
    prefix, said, mac = good.split(".")
    other = base64.urlsafe_b64encode(b'{"credential":"x"}').rstrip(b"=").decode()
    for forged in (
        token(os.urandom(32)),
        token(exp=time.time() - 1),
        token(exp=time.time() + 1e6),
        f"{prefix}.{said}.{'0' * 64}",
        f"{prefix}.{other}.{mac}",
        f"{prefix}.{said}",
        f"{prefix}..",
        "probe.",
    ):
        status, headers, _ = post(gateway.url, forged)
        assert (status, headers["x-pilotctl-code"]) == (401, "key_unknown"), forged
    assert len(lab.said()["seen"]) == seen
    gateway.wait(
        lambda: len(gateway.get("/v1/calls?limit=500")["items"]) >= min(500, calls_before + 8),
        "the forged ones are recorded as calls, the probes are not",
    )


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.long)])
def test_killed_at_random_moments_under_load_nothing_is_lost_doubled_or_let_through(
    tmp_path: Path, kills: int
) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    with Rig(tmp_path / "g", points=1) as rig:
        grant = projection()
        rig.project(grant)
        _, key = rig.issue(grant)
        answered: list[str] = []
        stop = threading.Event()

        def keep_calling() -> None:
            while not stop.is_set():
                with suppress(OSError, http.client.HTTPException):
                    status, headers, _ = post(rig.url, key)
                    if status == 200:
                        answered.append(headers["x-request-id"])

        callers = [threading.Thread(target=keep_calling) for _ in range(4)]
        for each in callers:
            each.start()
        dead: dict[str, str] = {}
        for victim in (["gw-1", "control"] * kills)[:kills]:
            time.sleep(chance.uniform(0.05, 0.4))
            credential, doomed = rig.issue(grant)
            receipt = rig.revoke("credential", credential)
            time.sleep(chance.uniform(0.0, 0.05))
            rig.restart(victim)
            rig.receipt(receipt["id"])
            dead[doomed] = post(rig.url, doomed)[1]["x-pilotctl-code"]
        stop.set()
        for each in callers:
            each.join()
        assert set(dead.values()) == {"key_revoked"}, seed
        rig.settled()
        rig.record(answered[-1])
        time.sleep(0.3)
        store = sqlite3.connect(rig.home / "gateway.db")
        rows = store.execute("SELECT sequence, id FROM calls ORDER BY sequence").fetchall()
        changes = store.execute("SELECT count(*) FROM tombstones").fetchone()[0]
        usage = store.execute("SELECT sum(calls) FROM used").fetchone()[0]
        store.close()
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1)), seed
        assert set(answered) <= {row[1] for row in rows}, seed
        assert len({row[1] for row in rows}) == len(rows) == usage, seed
        events = rig.outbox()
        assert [e["metadata"]["sequence"] for e in events] == list(range(1, len(events) + 1))
        actions = [e["metadata"]["event_code"] for e in events]
        assert actions.count("key.revoke") == changes == kills, seed
        print(f"seed {seed}: {len(rows)} calls, {len(answered)} answered, {len(events)} events")


def test_a_call_that_cannot_be_recorded_is_not_answered(pair: Rig) -> None:
    grant = projection()
    pair.project(grant)
    _, key = pair.issue(grant)
    store = sqlite3.connect(pair.home / "point-gw-1.db", timeout=60)
    for table in ("running", "finished"):
        store.execute(
            f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'no space'); END"
        )
    store.commit()
    try:
        for stream in (False, True):
            body = {"model": "aurora-1", "messages": ASK, "stream": stream}
            status, headers, said = post(pair.url, key, body)
            assert (status, headers["x-pilotctl-code"]) == (503, "record_failed")
            assert b"harbour" not in said
            assert b"choices" not in said
        # A refusal needs no record to be one.
        assert post(pair.url, "sk-pilot-nobody")[0] == 401
    finally:
        for table in ("running", "finished"):
            store.execute(f"DROP TRIGGER full_{table}")
        store.commit()
        store.close()
    assert post(pair.url, key)[0] == 200
