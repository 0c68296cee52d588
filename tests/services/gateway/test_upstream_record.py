"""What the log is told of an upstream: each fault, and its end once somebody has seen it end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from console.model.enforcement import UpstreamHealth, UpstreamState
from console.services.gateway.control.migrations import STEPS
from console.services.gateway.control.state import upstream_health
from console.services.store import Store
from console.services.store.outbox import OUTBOX

AT = datetime(2026, 3, 1, tzinfo=UTC)


def health(state: UpstreamState, *, failed: bool = False) -> UpstreamHealth:
    return UpstreamHealth(
        name="lab", kind="openai", state=state.value, since=AT, why="answers 502",
        last_failure_at=AT if failed else None,
    )  # fmt: skip


def told(store: Store, *reports: UpstreamHealth) -> list[tuple[str, str]]:
    """Return the actions and reasons that come of a point's reports, in order."""

    def record(conn: Connection) -> list[tuple[str, str]]:
        for each in reports:
            upstream_health.record(conn, "gw-1", [each], AT)
        bodies = conn.execute(select(OUTBOX.c.body).order_by(OUTBOX.c.seq)).scalars()
        events = [json.loads(body) for body in bodies]
        return [(each["activity_name"], each["unmapped"]["reason"]) for each in events]

    return store.write_now(record)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "gateway.db", STEPS)
    yield opened
    opened.close()


DEAD = health(UpstreamState.DEAD, failed=True)
FAILED = ("upstream.fail", "at gw-1: answers 502")


def test_a_point_that_begins_anew_does_not_say_that_a_dead_upstream_answers(store: Store) -> None:
    assert told(store, DEAD, health(UpstreamState.UNTRIED)) == [FAILED]
    again = health(UpstreamState.FAILING, failed=True)
    assert told(store, again, DEAD) == [FAILED], "it is dead as before"


def test_the_end_of_a_fault_is_recorded_as_what_was_seen_of_it(store: Store) -> None:
    untried, serving = health(UpstreamState.UNTRIED), health(UpstreamState.SERVING, failed=True)
    reached = health(UpstreamState.UNTRIED, failed=True)
    key = health(UpstreamState.KEY_FAULT)
    assert told(store, DEAD, untried, serving, DEAD, reached, key, untried)[1:] == [
        ("upstream.recover", "at gw-1: it answers again"),
        FAILED,
        ("upstream.recover", "at gw-1: it takes connections again"),
        ("upstream.key-fault", "at gw-1: answers 502"),
        ("upstream.recover", "at gw-1: its key file can be used again"),
    ]
