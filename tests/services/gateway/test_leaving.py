"""Points that leave: with a goodbye, for good, and in again; and an upstream's key changed live."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import pytest

from console.errors import PilotError
from console.model.text import now
from console.services.gateway.control import migrations
from console.services.gateway.control.state.change_log import Views
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.decision.boot_clock import boottime
from console.services.gateway.point.lease import LeaseHeld
from console.services.gateway.point.upstream.upstream_key import UpstreamKey
from console.services.store import Store
from console.services.web import Ask
from console.services.wire.points import LeaseAsk, Register
from tests.services.gateway.conftest import Lab
from tests.services.gateway.rig import RefusedError, Rig, projection
from tests.services.gateway.test_kill_switch import post


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    config = 'drain_seconds = 60\n[upstreams.builtin]\nkind = "builtin"\nchunk_ms = 5\n'
    with Rig(tmp_path_factory.mktemp("l"), config, points=2) as rig:
        yield rig


def whole(rig: Rig) -> None:
    """Start what a test stopped."""
    for name in rig.names:
        if name not in rig.processes:
            rig.start(name)
    rig.wait(rig.all_serving, "both serve")
    rig.refresh()


def drain_within(rig: Rig, name: str, seconds: int) -> None:
    """Start a point anew that lets its calls go on for so long when it is told to stop."""
    settings = rig.home / "pilot.toml"
    text = settings.read_text()
    settings.write_text(re.sub(r"drain_seconds = \d+", f"drain_seconds = {seconds}", text))
    rig.restart(name)


def refuses_connections(url: str, key: str) -> bool:
    try:
        post(url, key)
    except ConnectionRefusedError:
        return True
    return False


def stream(url: str, key: str, words: int) -> tuple[http.client.HTTPConnection, Any]:
    conn = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    messages = [{"role": "user", "content": f"{words} words"}]
    body = json.dumps({"model": "aurora-1", "messages": messages, "stream": True})
    conn.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
    answer = conn.getresponse()
    assert answer.read(10)
    return conn, answer


def state_of(rig: Rig, name: str) -> str:
    points = rig.get("/v1/points")["items"]
    return next(str(p["state"]) for p in points if p["name"] == name)


def asked(body: Any) -> Ask:
    return Ask(
        service="gateway", route=None, operator=cast("Any", None), uid=0, path={"point": "gw-1"},
        query={}, body=body, raw=b"", revision=None, request_id="rid", validate_only=False,
        now=now(), request=cast("Any", None),
    )  # fmt: skip


def test_a_renewal_that_is_heard_after_the_goodbye_gives_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late() -> None:
        store = Store.open(tmp_path / "gateway.db", migrations.STEPS)
        points = Points(store, Views())
        hello = Register(name="gw-1", url="http://127.0.0.1:1", version="1", incarnation="a")
        await points.register(asked(hello))
        ask = asked(LeaseAsk(applied_sequence=0, incarnation="a"))
        assert (await points.lease(ask)).lease_seconds > 0
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def wait(*_: Any) -> None:
            reached.set()
            await go_on.wait()

        monkeypatch.setattr(points, "_note_upstreams", wait)
        renewal = asyncio.create_task(points.lease(ask))
        await reached.wait()
        await points.goodbye(ask)
        go_on.set()
        with pytest.raises(PilotError, match="gave its lease back"):
            await renewal
        assert not points.seen("gw-1").current
        await points.register(asked(msgspec.structs.replace(hello, incarnation="b")))
        again = asked(LeaseAsk(applied_sequence=0, incarnation="b"))
        assert (await points.lease(again)).lease_seconds > 0
        store.close()

    asyncio.run(late())


def test_a_point_told_to_stop_lets_calls_end_begins_none_and_gives_its_lease_back(
    pair: Rig,
) -> None:
    whole(pair)
    grant = projection()
    pair.project(grant)
    credential, key = pair.issue(grant)
    url = pair.urls["gw-2"]
    conn, answer = stream(url, key, 400)
    idle = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    idle.connect()
    stopping = threading.Thread(target=pair.stop, args=("gw-2",))
    stopping.start()
    pair.wait(lambda: refuses_connections(url, key), "it takes no connection")
    idle.request("POST", "/v1/chat/completions", "{}", {"Authorization": f"Bearer {key}"})
    refused = idle.getresponse()
    assert (refused.status, refused.headers["x-pilotctl-code"]) == (503, "point_fenced")
    idle.close()
    assert answer.read().endswith(b"data: [DONE]\n\n"), "the call in flight came to its end"
    conn.close()
    stopping.join()
    assert state_of(pair, "gw-2") != "serving", "its lease was given back"
    receipt = pair.receipt(pair.revoke("credential", credential)["id"])
    states = {p["point"]: (p["state"], p["method"]) for p in receipt["points"]}
    assert states == {"gw-1": ("refused", "probe"), "gw-2": ("lapsed", "lease")}
    whole(pair)
    assert post(pair.urls["gw-2"], key)[1]["x-pilotctl-code"] == "key_revoked"


def test_a_call_that_will_not_end_is_dropped_when_the_time_is_over_and_recorded(
    pair: Rig,
) -> None:
    whole(pair)
    drain_within(pair, "gw-2", 1)
    grant = projection()
    pair.project(grant)
    _, key = pair.issue(grant)
    conn, answer = stream(pair.urls["gw-2"], key, 9000)
    began = time.monotonic()
    pair.stop("gw-2")
    assert time.monotonic() - began > 0.9
    with suppress(http.client.HTTPException, ConnectionError):
        assert b"[DONE]" not in answer.read()
    conn.close()
    whole(pair)
    record = pair.wait(
        lambda: next(
            (c for c in pair.get(f"/v1/calls?grant={grant.id}")["items"] if c["ended_at"]), None
        ),
        "its record came",
    )
    assert (record["code"], record["outcome"]) == ("point_stopped", "error")
    assert record["estimated"]
    assert record["output_tokens"] > 0
    cut = [each for each in pair.outbox() if each["metadata"]["event_code"] == "point.cut-calls"]
    assert cut[-1]["unmapped"]["facts"]["calls"] == [record["id"]]
    assert cut[-1]["unmapped"]["facts"]["partners"] == ["acme"]


def test_a_point_is_deregistered_proven_by_its_lease_and_admitted_again(pair: Rig) -> None:
    whole(pair)
    grant = projection()
    pair.project(grant)
    credential, key = pair.issue(grant)
    url, path = pair.urls["gw-2"], "/v1/points/gw-2/deregistration"
    with pytest.raises(RefusedError, match="serves, with 0 calls in flight"):
        pair.call("POST", path, {"reason": "test"})
    conn, answer = stream(url, key, 9000)
    receipt = pair.call("POST", path, {"reason": "test", "serving": True})
    assert pair.processes.pop("gw-2").wait(60), "it was refused its lease"
    assert "was deregistered" in pair.said("gw-2")
    proven = pair.receipt(receipt["id"])
    assert [(p["point"], p["state"], p["method"]) for p in proven["points"]] == [
        ("gw-2", "lapsed", "lease")
    ]
    with suppress(http.client.HTTPException, ConnectionError):
        assert b"[DONE]" not in answer.read()
    conn.close()
    assert state_of(pair, "gw-2") == "gone"
    assert pair.call("POST", path, {"reason": "again"})["id"] == receipt["id"]
    ended = pair.receipt(pair.revoke("credential", credential)["id"])
    assert [p["point"] for p in ended["points"]] == ["gw-1"]
    pair.start("gw-2")
    again = {"name": "gw-2", "url": url, "version": "1", "incarnation": "another"}
    with pytest.raises(RefusedError, match="was deregistered"):
        pair.call("POST", "/internal/v1/points", again)
    assert state_of(pair, "gw-2") == "gone", "it cannot come back by itself"
    pair.kill("control")
    pair.start("control")
    pair.wait(lambda: state_of(pair, "gw-1") == "serving", "control is back")
    pair.wait(lambda: state_of(pair, "gw-2") == "gone", "it stays out")
    pair.call("POST", "/v1/points/gw-2/admission", {"reason": "test"})
    whole(pair)
    assert post(pair.urls["gw-2"], key)[1]["x-pilotctl-code"] == "key_revoked"
    actions = [e["unmapped"]["action"] for e in pair.outbox()]
    assert actions.count("point.deregister") == actions.count("point.admit") == 1
    with pytest.raises(RefusedError, match="was not deregistered"):
        pair.call("POST", "/v1/points/gw-2/admission", {"reason": "test"})
    with pytest.raises(RefusedError, match="no point gw-9"):
        pair.call("POST", "/v1/points/gw-9/deregistration", {"reason": "test"})


def test_a_lease_that_was_given_up_does_not_come_back_with_an_answer_on_its_way() -> None:
    lease = LeaseHeld()
    asked_at = boottime()
    lease.renew(asked_at, 3.0, 0.0)
    assert lease.holds
    lease.drop()
    lease.renew(asked_at, 3.0, 0.0)
    assert lease.holds, "a lease that was only dropped can be had again"
    lease.give_up()
    lease.renew(asked_at, 3.0, 0.0)
    assert not lease.holds


def test_an_upstreams_key_is_rotated_without_a_restart(gateway: Rig, lab: Lab) -> None:
    usual = projection()
    capability = msgspec.structs.replace(usual.capabilities[0], models=["lab-1"])
    grant = projection(capabilities=[capability], models=["lab-1"])
    gateway.project(grant)
    _, key = gateway.issue(grant)
    asked = {
        "model": "lab-1", "messages": [{"role": "user", "content": "x"}], "prompt_cache_key": "k",
    }  # fmt: skip

    def used() -> str:
        assert post(gateway.url, key, asked)[0] == 200
        return str(lab.said()["seen"][-1]["headers"]["authorization"])

    def fault_of_key() -> str:
        (point,) = gateway.get("/v1/points")["items"]
        return next(str(each["why"]) for each in point["upstreams"] if each["name"] == "lab")

    path = gateway.home / "keys" / "lab.key"
    before = path.read_text()
    try:
        assert used() == f"Bearer {before.strip()}"
        _replace(path, "another-key\n")
        gateway.wait(lambda: used() == "Bearer another-key", "the new key is used")
        path.chmod(0o644)
        path.write_text("open-to-all\n")
        gateway.wait(lambda: "can be read by others" in fault_of_key(), "the file is looked at")
        assert used() == "Bearer another-key", "a file that others can read is not taken"
    finally:
        path.unlink()
        _replace(path, before)


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.rename(path)


def test_a_refused_key_is_looked_for_at_once_and_a_broken_file_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "key"
    path.write_text("one")

    def read() -> str:
        text = path.read_text()
        if text == "broken":
            raise PilotError("bad-config", "broken")
        return text

    key = UpstreamKey(read, str(path))
    _replace(path, "two")
    assert key.current() == "one", "it is looked at once a second at most"
    key.doubt()
    assert key.current() == "two"
    for bad in ("broken", ""):
        _replace(path, bad)
        key.doubt()
        assert key.current() == "two"
    path.unlink()
    key.doubt()
    assert key.current() == "two"
