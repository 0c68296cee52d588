"""What is made of an upstream's calls: when it fails, when it is dead, and when it is back."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.services.gateway.point.upstream.upstream_key import UpstreamKey
from console.services.gateway.point.upstream.upstream_watch import (
    DEAD_AFTER,
    UpstreamWatch,
    look_at_idle,
)
from console.services.settings import Upstream

START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """A clock that is put ahead by hand."""

    at = START

    def __call__(self) -> datetime:
        return self.at


def watch(url: str = "http://127.0.0.1:9/v1", key: UpstreamKey | None = None) -> UpstreamWatch:
    return UpstreamWatch("lab", "openai", url, key or UpstreamKey(str), now=Clock())


@given(st.lists(st.booleans(), max_size=20))
def test_it_is_dead_exactly_while_its_last_calls_all_failed(calls: list[bool]) -> None:
    seen = watch()
    assert seen.report().state == "untried"
    for at, good in enumerate(calls):
        if good:
            seen.succeeded()
        else:
            seen.failed("answers 502")
        run = calls[: at + 1][::-1]
        failures = run.index(True) if True in run else len(run)
        wanted = "dead" if failures >= DEAD_AFTER else "failing" if failures else "serving"
        health = seen.report()
        assert (health.state, health.failures) == (wanted, failures)
        assert bool(health.why) == bool(failures)


def test_since_when_is_kept_while_the_state_holds() -> None:
    clock = Clock()
    seen = UpstreamWatch("lab", "openai", "http://127.0.0.1:9", UpstreamKey(str), now=clock)
    for _ in range(DEAD_AFTER + 2):
        clock.at += timedelta(seconds=10)
        seen.failed("answers 502")
        health = seen.report()
    assert health.since == START + timedelta(seconds=10 * DEAD_AFTER)
    assert health.last_failure_at == clock.at
    assert health.last_success_at is None


def test_an_idle_upstream_that_takes_no_connection_is_dead_and_back_once_it_does() -> None:
    async def check() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
            seen = watch(f"http://127.0.0.1:{port}/v1")
            for _ in range(DEAD_AFTER):
                await seen.connect()
            assert seen.report().state == "dead"
            assert "cannot be reached" in seen.report().why
            held.listen()
            await seen.connect()
        assert seen.report().state == "untried", "it takes connections, and no call went there"
        seen.failed("answers 502")
        with socket.create_server(("127.0.0.1", port)):
            await seen.connect()
        assert seen.report().state == "failing", "a connection is no answer"

    asyncio.run(check())


def test_only_idle_upstreams_elsewhere_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "console.services.gateway.point.upstream.upstream_watch._LOOK_SECONDS", 0.001
    )
    looked: list[str] = []

    async def check() -> None:
        done = asyncio.Event()

        async def note(self: UpstreamWatch) -> None:
            looked.append(self.name)
            done.set()

        monkeypatch.setattr(UpstreamWatch, "connect", note)
        away = watch()
        ours = UpstreamWatch("builtin", "builtin", "", UpstreamKey(str))
        task = asyncio.create_task(look_at_idle([away, ours], idle=0.0))
        await asyncio.wait_for(done.wait(), 60)
        task.cancel()

    asyncio.run(check())
    assert set(looked) == {"lab"}


def test_a_key_file_that_cannot_be_used_is_a_state_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "lab.key"
    path.write_text("one")
    path.chmod(0o600)
    key = UpstreamKey(Upstream(name="lab", kind="openai", key_file=str(path)).key, str(path))
    seen = watch(key=key)

    def state() -> tuple[str, str]:
        key.doubt()  # it is looked at once a second at most
        health = seen.report()
        return health.state, health.why

    assert state() == ("untried", "")
    new = tmp_path / "new"
    new.write_text("two")
    new.chmod(0o644)
    new.rename(path)
    assert state()[0] == "key_fault"
    assert "chmod 600" in state()[1]
    assert key.current() == "one"
    path.chmod(0o600)
    assert state() == ("untried", "")
    assert key.current() == "two"
    path.chmod(0o640)
    assert state()[0] == "key_fault", "the key in use can be read by others, too"
    path.chmod(0o600)
    path.write_text("")
    assert "empty" in state()[1]
    path.unlink()
    assert "cannot be read" in state()[1]
    seen.failed("refuses our key: it answers 401")
    assert state()[0] == "key_fault"
    for _ in range(DEAD_AFTER):
        seen.failed("refuses our key: it answers 401")
    health = seen.report()
    assert health.state == "dead"
    assert "401" in health.why
    assert "cannot be read" in health.why
    assert key.current() == "two"
