"""How fast events are taken into the log, and the first page of a search in a long one."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from sqlalchemy import Connection

from console.model.text import now
from console.services.audit.alerts import detections
from console.services.audit.log import event_search, ledger
from console.services.audit.log.leaf import Leaf, read_leaf
from console.services.audit.log.signing_keys import log_key
from console.services.audit.migrations import STEPS
from console.services.audit.rules.rule_file import load_rules
from console.services.audit.state.schema import CURSORS, TREE
from console.services.home import prepare
from console.services.store import OutboxPage, Store
from console.services.web import Ask
from console.services.wire.call_feed import CallFeed, CallRow
from console.trust.merkle import CompactRange
from tests.benchmarks.service_process import resident, serving
from tests.services.audit.audit_rig import START, denials, item

pytestmark = pytest.mark.benchmark

ACTIONS = (
    "grant.create",
    "grant.revoke",
    "key.issue",
    "lock.add",
    "terms.accept",
    "partner.create",
)


def opened(folder: Path, *, durable: bool = True) -> Store:
    home = prepare(folder)
    store = Store.open(home.store("audit"), STEPS, durable=durable)
    told = {"log": 1, "state": CompactRange().to_bytes(), "key": str(log_key(home).verifier)}
    store.write_now(lambda conn: conn.execute(TREE.insert().values(**told)))
    return store


def history(size: int) -> Iterator[list[Leaf]]:
    """A history of `size` events, in batches: 100 partners, and 150 events of the rarest."""
    chance = random.Random(1)
    for start in range(0, size, 20_000):
        batch = []
        for at in range(start + 1, min(start + 20_000, size) + 1):
            partner = "rare" if at % (size // 150) == 1 else f"partner-{chance.randrange(100)}"
            action = ACTIONS[at % len(ACTIONS)]
            made = START + timedelta(seconds=at)
            reason = f"a change of the programme, number {at}, asked for by {partner}"
            told = {
                "metadata": {
                    "event_code": action,
                    "log_name": "policy",
                    "sequence": at,
                    "uid": f"evt_{at:026}",
                },
                "unmapped": {
                    "actor": f"operator-{at % 7}",
                    "at": made,
                    "kind": "grant",
                    "outcome": "success",
                    "partner": partner,
                    "reason": reason,
                    "target": f"grt_{at % 5000:05}",
                },
            }
            batch.append(read_leaf(msgspec.json.encode(told)))
        yield batch


def asked(**query: str) -> Ask:
    told = {"query": query, "route": None, "now": now(), "service": "audit"}
    return cast("Ask", SimpleNamespace(**told))


def first_page(conn: Connection, query: dict[str, str]) -> tuple[float, int]:
    times, rows = [], 0
    size = event_search.last_index(conn) + 1
    for _ in range(15):
        start = time.perf_counter()
        rows = len(event_search.events(conn, asked(**query), size).items)
        times.append(time.perf_counter() - start)
    return min(times) * 1000, rows


def test_events_are_ingested_at_this_rate(tmp_path: Path) -> None:
    store = opened(tmp_path)
    pages = [
        OutboxPage([item("policy", seq) for seq in range(start, start + 1000)], 20_000)
        for start in range(1, 20_001, 1000)
    ]
    start = time.perf_counter()
    for page in pages:
        store.write_now(lambda conn: ledger.take(conn, "policy", page))  # noqa: B023
    took = time.perf_counter() - start
    store.close()
    print(f"\ningest: {20_000 / took:,.0f} events/s (checked, indexed, durable, by 1,000)")
    assert 20_000 / took > 2_000


def test_calls_are_judged_at_this_rate(tmp_path: Path) -> None:
    store = opened(tmp_path)
    rules, calls = load_rules(), denials(50_000)
    start = time.perf_counter()
    for at in range(0, 50_000, 1000):
        items = [CallRow(seq=at + n, call=each) for n, each in enumerate(calls[at : at + 1000], 1)]
        page = CallFeed(items=items, head=50_000)
        store.write_now(lambda conn: detections.take_calls(conn, rules, page))  # noqa: B023
    took = time.perf_counter() - start
    store.close()
    print(f"\ndetections: 50,000 denied calls in {took:.2f} s, {50_000 / took:,.0f} calls/s")
    assert took < 20


QUERIES: tuple[dict[str, str], ...] = (
    {},
    {"partner": "partner-7"},
    {"partner": "rare"},
    {"actor": "operator-3", "action": "grant."},
    {"text": "programme rare"},
    {"partner": "rare", "action": "lock.add", "outcome": "success"},
    {"partner": "partner-7", "target": "grt_00001"},
    {"text": "nothing like this"},
    {"actor": "operator-3", "action": "no.such-action"},
    {"partner": "rare", "outcome": "failure"},
    {"actor": "nobody", "partner": "partner-7"},
    {"until": "2026-03-01T14:00:00Z"},
    {"since": "2026-03-01T12:10:00Z", "until": "2026-03-01T12:20:00Z", "partner": "partner-7"},
)


def test_the_first_page_of_a_search_in_a_million_events_beside_ten_thousand(tmp_path: Path) -> None:
    measured: list[dict[int, Any]] = [{} for _ in QUERIES]
    for size in (10_000, 1_000_000):
        folder = tmp_path / str(size)
        folder.mkdir()
        store = opened(folder, durable=False)
        start = time.perf_counter()
        for batch in history(size):
            store.write_now(lambda conn: ledger.append(conn, batch))  # noqa: B023
        print(f"\n{size:,} events appended in {time.perf_counter() - start:.0f} s")
        for at, query in enumerate(QUERIES):
            measured[at][size] = store.read_now(lambda conn: first_page(conn, query))  # noqa: B023
        # They are searched, not judged.
        store.write_now(
            lambda conn: conn.execute(CURSORS.insert().values(feed="events", position=size))  # noqa: B023
        )
        store.close()
        with serving("audit", folder) as (client, pid):
            before = resident(pid)
            for query in QUERIES:
                assert client.get("/v1/events", params=query).status_code == 200
            print(f"audit: {before:.0f} MiB, {resident(pid):.0f} MiB after the searches")
    for query, each in zip(QUERIES, measured, strict=True):
        (small, few), (large, many) = each[10_000], each[1_000_000]
        print(f"{large:7.2f} ms at 1 M ({many} rows)  {small:6.2f} ms at 10 k ({few})  {query}")
    worst = max(each[1_000_000][0] / max(each[10_000][0], 0.5) for each in measured)
    print(f"worst ratio {worst:.1f}")
    assert worst <= 3
