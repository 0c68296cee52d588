"""What a pilot keeps of what is said: nothing, hashes, or sealed copies that go in time."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import sqlite3
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from console.services.gateway.control.calls.content_store import Contents
from console.services.gateway.control.migrations import STEPS
from console.services.gateway.control.state.schema import CONTENTS
from console.services.gateway.decision.content_crypto import (
    ContentKeys,
    UnsealableError,
    day_of,
    seal,
    unseal,
)
from console.services.home import Home, prepare
from console.services.store import Store
from console.services.wire.points import KeptContent, Said
from tests.services.gateway.rig import RefusedError, Rig, projection

WORDS = "swordfish 12 words"


def ask(rig: Rig, key: str, *, stream: bool = False, **more: Any) -> tuple[str, bytes, bytes]:
    """Call; return the request id, what was sent, and what was answered."""
    messages = [{"role": "user", "content": WORDS}]
    asked = {"model": "aurora-1", "messages": messages, "user": "ada@example.org", **more}
    sent = json.dumps({**asked, "stream": stream}).encode()
    conn = http.client.HTTPConnection(urlsplit(rig.url).netloc, timeout=60)
    try:
        conn.request("POST", "/v1/chat/completions", sent, {"Authorization": f"Bearer {key}"})
        answer = conn.getresponse()
        assert answer.status == 200
        return str(answer.headers["x-request-id"]), sent, answer.read()
    finally:
        conn.close()


def key_under(rig: Rig, **facts: Any) -> str:
    grant = projection(**facts)
    rig.project(grant)
    return rig.issue(grant)[1]


def read(rig: Rig, call: str) -> Any:
    return rig.call("POST", f"/v1/calls/{call}/content", {"reason": "audit"})


def files(rig: Rig) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(rig.home.glob("*.db*")))


def held(rig: Rig, call: str) -> bytes:
    def look() -> bytes | None:
        store = sqlite3.connect(rig.home / "gateway.db")
        try:
            row = store.execute("SELECT sealed FROM contents WHERE call = ?", (call,)).fetchone()
        finally:
            store.close()
        return row[0] if row else None

    found: bytes = rig.wait(look, "its content came")
    return found


def test_nothing_is_kept_where_the_pilot_keeps_nothing(gateway: Rig) -> None:
    call, _, answer = ask(gateway, key_under(gateway))
    record = gateway.record(call)
    assert (record["content"], record["request_sha256"], record["answer_sha256"]) == ("", "", "")
    with pytest.raises(RefusedError, match="nothing of what"):
        read(gateway, call)
    assert json.loads(answer)["choices"][0]["message"]["content"].encode() not in files(gateway)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content", ["hashed", "sealed"])
def test_hashes_are_of_exactly_what_was_sent_and_answered(
    gateway: Rig, content: str, *, stream: bool
) -> None:
    key = key_under(gateway, content=content, content_days=1)
    call, sent, answer = ask(gateway, key, stream=stream)
    record = gateway.record(call)
    assert record["content"] == content
    assert record["request_sha256"] == hashlib.sha256(sent).hexdigest()
    assert record["answer_sha256"] == hashlib.sha256(answer).hexdigest()
    if content == "hashed":
        with pytest.raises(RefusedError, match="only hashes are kept"):
            read(gateway, call)


def test_content_that_is_sealed_for_no_time_is_kept_as_its_hashes(gateway: Rig) -> None:
    call, _, _ = ask(gateway, key_under(gateway, content="sealed", content_days=0))
    assert gateway.record(call)["content"] == "hashed"
    with pytest.raises(RefusedError, match="only hashes are kept"):
        read(gateway, call)


def test_sealed_content_is_read_as_an_event_and_lies_nowhere_in_the_clear(gateway: Rig) -> None:
    key = key_under(gateway, content="sealed", content_days=3)
    call, _, answer = ask(gateway, key, stream=True)
    gateway.record(call)
    held(gateway, call)
    said = read(gateway, call)
    assert said["state"] == "kept"
    assert said["answer"].encode() == answer
    request = json.loads(said["request"])
    assert request["messages"][0]["content"] == WORDS
    assert len(request["user"]) == 64, "the user stands there by its hash"
    stored = datetime.fromisoformat(said["stored_at"])
    assert datetime.fromisoformat(said["expires_at"]) - stored == timedelta(days=3)
    everything = files(gateway)
    assert b"swordfish" not in everything
    assert b"ada@example.org" not in everything
    events = [e["unmapped"] for e in gateway.outbox() if e["unmapped"]["target"] == call]
    (noted,) = [each for each in events if each["action"] == "content.read"]
    assert noted["reason"] == "audit"
    assert "swordfish" not in json.dumps(gateway.outbox())
    headers = {"Idempotency-Key": f"again-{call}"}
    path = f"/v1/calls/{call}/content"
    _, first, _ = gateway.request("POST", path, {"reason": "audit"}, headers)
    _, again, told = gateway.request("POST", path, {"reason": "audit"}, headers)
    assert first["request"]
    assert (again["request"], again["replayed"]) == (None, True)
    assert told["Idempotent-Replayed"] == "true"
    assert b"swordfish" not in files(gateway)


def test_redacted_content_is_gone_from_the_files_and_the_record_stays(gateway: Rig) -> None:
    key = key_under(gateway, content="sealed", content_days=3)
    call, _, _ = ask(gateway, key)
    gateway.record(call)
    sealed = held(gateway, call)
    path = f"/v1/calls/{call}/redaction"
    told = gateway.call("POST", path, {"reason": "a patient's name"})
    assert (told["state"], told["gone_why"], told["request"]) == (
        "redacted", "a patient's name", None,
    )  # fmt: skip
    gateway.wait(lambda: sealed[:64] not in files(gateway), "no copy is left in any file")
    assert read(gateway, call)["answer"] is None
    assert gateway.record(call)["answer_sha256"]
    with pytest.raises(RefusedError, match="redacted already"):
        gateway.call("POST", path, {"reason": "again"})


def test_content_goes_by_the_clock_while_everything_runs(gateway: Rig) -> None:
    key = key_under(gateway, content="sealed", content_days=1)
    call, _, _ = ask(gateway, key)
    gateway.record(call)
    sealed = held(gateway, call)
    due = (datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    store = sqlite3.connect(gateway.home / "gateway.db", timeout=60)
    with store:
        store.execute("UPDATE contents SET expires_at = ? WHERE call = ?", (due, call))
    store.close()
    gateway.wait(lambda: sealed[:64] not in files(gateway), "no copy is left in any file")
    told = read(gateway, call)
    assert (told["state"], told["answer"]) == ("expired", None)
    noted = [e["unmapped"] for e in gateway.outbox() if e["unmapped"]["action"] == "content.expire"]
    assert call in noted[-1]["facts"]["calls"]


def test_what_is_long_is_cut_and_says_so(gateway: Rig) -> None:
    key = key_under(gateway, content="sealed", content_days=1)
    long = [{"role": "user", "content": "x" * 2_000_000 + " 5 words"}]
    call, sent, _ = ask(gateway, key, messages=long)
    record = gateway.record(call)
    held(gateway, call)
    said = read(gateway, call)
    assert said["truncated"]
    assert len(said["request"]) == 1024 * 1024
    assert record["request_sha256"] == hashlib.sha256(sent).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return prepare(tmp_path / "home")


def test_a_days_key_is_deleted_when_the_day_is_over_and_every_copy_with_it(home: Home) -> None:
    store = Store.open(home.store("gateway"), STEPS)
    keys = ContentKeys(home)
    contents = Contents(store, keys)
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)
    plain = msgspec.msgpack.encode(Said(request=b"swordfish", answer=b"a"))
    kept = {}
    for days in (1, 2):
        ends = now + timedelta(days=days)
        call = f"req_{days}"
        sealed = kept[call] = seal(keys.public(day_of(ends)), call, plain)
        item = KeptContent(
            call=call, pilot="p", partner="acme", stored_at=now, expires_at=ends,
            truncated=False, sealed=sealed,
        )  # fmt: skip
        store.write_now(
            lambda conn, item=item: conn.execute(
                CONTENTS.insert().values(
                    **msgspec.structs.asdict(item), gone="", gone_by="", gone_why=""
                )
            )
        )

    def left() -> list[str]:
        return [
            row.call
            for row in store.read_now(
                lambda conn: conn.execute(
                    CONTENTS.select().where(CONTENTS.c.sealed.is_not(None))
                ).all()
            )
        ]

    async def pass_by() -> None:
        assert await contents.sweep(now + timedelta(hours=23)) == 0
        assert left() == ["req_1", "req_2"]
        assert await contents.sweep(now + timedelta(hours=25)) == 1
        assert left() == ["req_2"]
        assert keys.private(date(2026, 5, 5)), "another's content may end later that day"
        assert await contents.sweep(now + timedelta(hours=37)) == 0
        assert keys.private(date(2026, 5, 5)) is None
        key = keys.private(date(2026, 5, 6))
        assert key is not None
        assert unseal(key, "req_2", kept["req_2"]) == plain
        with pytest.raises(UnsealableError):
            unseal(key, "req_1", kept["req_1"])

    asyncio.run(pass_by())
    store.close()


def test_keys_are_their_owners_alone(home: Home) -> None:
    keys = ContentKeys(home)
    first = keys.public(date(2026, 1, 1))
    assert ContentKeys(home).public(date(2026, 1, 1)) == first
    (path,) = (home.keys / "content").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@settings(max_examples=60)
@given(st.binary(max_size=400), st.integers(0, 10_000), st.integers(1, 255))
def test_sealed_content_opens_whole_for_its_call_or_not_at_all(
    plain: bytes, place: int, change: int
) -> None:
    private = b"\x07" * 32
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    sealed = seal(public, "req_a", plain)
    assert unseal(private, "req_a", sealed) == plain
    assert plain == b"" or len(plain) < 4 or plain not in sealed
    with pytest.raises(UnsealableError):
        unseal(private, "req_b", sealed)
    with pytest.raises(UnsealableError):
        unseal(b"\x08" * 32, "req_a", sealed)
    at = place % len(sealed)
    bent = sealed[:at] + bytes([sealed[at] ^ change]) + sealed[at + 1 :]
    # the highest bit of an X25519 point is not part of it (RFC 7748 §5)
    if at != 31 or change != 128:
        with pytest.raises(UnsealableError):
            unseal(private, "req_a", bent)
