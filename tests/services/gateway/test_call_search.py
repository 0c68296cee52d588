"""Finding calls by index is finding them by looking at each; old ones go, proven ones first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.errors import PilotError
from console.model.ids import new_id
from console.model.traffic import CallRecord
from console.services.gateway.control.calls import call_search, call_store
from console.services.gateway.control.calls.retention import forget
from console.services.gateway.control.migrations import STEPS
from console.services.gateway.control.state.schema import CALL_HOURS, CALLS, POINTS
from console.services.store import Store, outbox
from console.services.web import Ask

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(tmp_path_factory.mktemp("s") / "gateway.db", STEPS)
    yield opened
    opened.close()


def asked(**query: str) -> Ask:
    told = {"query": query, "route": None, "now": T0, "service": "gateway"}
    return cast("Ask", SimpleNamespace(**told))


def record(sequence: int, **facts: Any) -> CallRecord:
    usual: dict[str, Any] = {
        "id": new_id("call"), "point": "gw-1", "sequence": sequence, "status": 200,
        "started_at": T0 + timedelta(minutes=sequence), "outcome": "allowed",
    }  # fmt: skip
    return CallRecord(**{**usual, **facts})


def keep(store: Store, records: list[CallRecord]) -> None:
    """Begin with an empty store of calls, and take these in as from a point."""

    def fill(conn: Any) -> None:
        for table in (CALLS, POINTS):
            conn.execute(table.delete())
        call_search.reindex(conn)
        conn.execute(
            POINTS.insert().values(
                name="gw-1", url="", version="", incarnation="", registered_at=T0, calls_held=0,
                calls_digested=0,
            )
        )  # fmt: skip
        call_store.take(conn, "gw-1", records, [msgspec.json.encode(each) for each in records])

    store.write_now(fill)


def found(store: Store, **query: str) -> list[int]:
    """Walk every page of a filter; return the calls' sequences."""
    out: list[int] = []
    cursor = ""
    while True:
        told = {**query, "limit": "3", **({"cursor": cursor} if cursor else {})}
        page = store.read_now(lambda conn: call_store.listing(conn, asked(**told)))  # noqa: B023
        out += [each.sequence for each in page.items]
        cursor = page.next_cursor
        if not cursor:
            return out


few = st.sampled_from(["", "a", "b", "c-1"])
texts = st.sampled_from(["", "Aurora-1", "curl/8 Python", "q_beef", "Ünïcode wörd", "x\x1b[31my"])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "partner": few, "model": texts, "capability": few, "outcome": few, "code": few,
                "principal": few, "user_agent": texts, "grant_id": few, "credential_id": few,
                "address": st.sampled_from(["", "203.0.113.7", "203.0.113.9", "2001:db8::1"]),
            }
        ),
        max_size=12,
    ),
    query=st.fixed_dictionaries(
        {},
        optional={
            "partner": few, "model": texts, "capability": few, "outcome": few, "code": few,
            "principal": few, "grant": few, "credential": few,
            "network": st.sampled_from(["203.0.113.0/24", "203.0.113.7", "203.0.113.7/32"]),
        },
    ),
)  # fmt: skip
def test_the_index_finds_what_looking_at_each_call_finds(
    store: Store, rows: list[dict[str, str]], query: dict[str, str]
) -> None:
    records = [record(n, **row) for n, row in enumerate(rows, start=1)]
    keep(store, records)

    def wanted(call: CallRecord) -> bool:
        names = {"grant": "grant_id", "credential": "credential_id"}
        for name, value in query.items():
            if name == "network":
                address = value.removesuffix("/32")
                there = call.address == address or (
                    value.endswith("/24") and call.address.startswith("203.0.113.")
                )
            else:
                there = not value or getattr(call, names.get(name, name)) == value
            if not there:
                return False
        return True

    expected = [each.sequence for each in records if wanted(each)][::-1]
    assert found(store, **query) == expected


def test_words_of_the_model_and_the_agent_are_found_and_cannot_pass_for_a_facet(
    store: Store,
) -> None:
    forged = call_search.facet("partner", "acme")
    keep(
        store,
        [
            record(1, model="Aurora-1 secret-Door", user_agent="curl/8.1 Wörter"),
            record(2, model=forged, partner="zenith"),
            record(3, partner="acme"),
        ],
    )
    assert found(store, text="AURORA door") == [1]
    assert found(store, text="wört") == []
    assert found(store, text="wörter") == [1]
    assert found(store, text="auro*") == [1]
    assert found(store, partner="acme") == [3]
    with pytest.raises(PilotError, match="no word"):
        found(store, text="--- ***")


def test_periods_and_pages_stay_right_while_calls_come_in(store: Store) -> None:
    keep(store, [record(n, partner="acme") for n in range(1, 11)])
    since, until = ((T0 + timedelta(minutes=n)).isoformat() for n in (3, 7))
    assert found(store, partner="acme", since=since, until=until) == [6, 5, 4, 3]
    assert found(store, until="2020-01-01T00:00:00Z") == []
    assert found(store, since="2030-01-01T00:00:00Z", partner="acme") == []
    query = {"partner": "acme", "limit": "4"}
    page = store.read_now(lambda conn: call_store.listing(conn, asked(**query)))
    more = [record(n, partner="acme") for n in range(11, 14)]
    raw = [msgspec.json.encode(each) for each in more]
    store.write_now(lambda conn: call_store.take(conn, "gw-1", more, raw))
    rest = store.read_now(
        lambda conn: call_store.listing(conn, asked(**query, cursor=page.next_cursor))
    )
    assert [each.sequence for each in (*page.items, *rest.items)] == [10, 9, 8, 7, 6, 5, 4, 3]
    with pytest.raises(PilotError, match="cursor"):
        store.read_now(
            lambda conn: call_store.listing(conn, asked(partner="other", cursor=page.next_cursor))
        )


def test_old_calls_go_once_their_digest_is_recorded_and_numbers_are_not_used_again(
    store: Store,
) -> None:
    keep(store, [record(n, partner="acme") for n in range(1, 11)])
    before = T0 + timedelta(minutes=6)
    assert store.write_now(lambda conn: forget(conn, before)) == 0, "nothing was digested yet"
    store.write_now(lambda conn: call_store.digest(conn, T0))
    assert store.write_now(lambda conn: forget(conn, before)) == 5
    assert store.write_now(lambda conn: forget(conn, before)) == 0
    assert found(store, partner="acme") == [10, 9, 8, 7, 6]
    # However old, the newest stays: its row number must not come again.
    assert store.write_now(lambda conn: forget(conn, T0 + timedelta(days=9))) == 4
    assert found(store, partner="acme") == [10]
    more = [record(11, partner="acme")]
    raw = [msgspec.json.encode(each) for each in more]
    store.write_now(lambda conn: call_store.take(conn, "gw-1", more, raw))
    assert found(store, partner="acme") == [11, 10]
    events = store.read_now(lambda conn: outbox.after(conn, 0, 2000)).items
    told = [each for each in events if '"calls.forget"' in each.body]
    assert len(told) == 2
    assert '"count":5' in told[0].body
    assert store.read_now(lambda conn: conn.execute(CALL_HOURS.select()).all())
