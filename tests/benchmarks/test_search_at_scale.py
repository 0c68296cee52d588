"""The first page of a filtered list of ten million calls beside ten thousand, and its memory.

`PILOTCTL_BENCH_CALLS` sets another large size.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from sqlalchemy import Connection

from console.model.text import now
from console.model.traffic import CallRecord
from console.services.gateway.control.calls import call_search, call_store
from console.services.gateway.control.migrations import STEPS
from console.services.home import prepare
from console.services.store import Store
from console.services.web import Ask
from tests.benchmarks.service_process import resident, serving
from tests.services.audit.audit_rig import START

pytestmark = [
    pytest.mark.benchmark,
    # httpcore leaves the socket open when the service does not listen yet
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LARGE = int(os.environ.get("PILOTCTL_BENCH_CALLS", "10000000"))
KINDS = 3000
RARE = 150
CODES = (("allowed", ""),) * 8 + (
    ("denied", "grant_expired"),
    ("denied", "model_out_of_scope"),
    ("blocked", "input_blocked"),
    ("error", "upstream_failed"),
)

QUERIES: tuple[dict[str, str], ...] = (
    {},
    {"partner": "partner-7"},
    {"partner": "nobody"},
    {"partner": "rare"},
    {"partner": "rare", "outcome": "allowed"},
    {"model": "aurora-1", "outcome": "denied", "code": "grant_expired"},
    {"partner": "partner-7", "model": "aurora-9"},
    {"partner": "partner-7", "code": "never_seen"},
    {"principal": "p-rare", "outcome": "allowed"},
    {"credential": "crd_rare", "network": "203.0.1.0/24"},
    {"text": "seldom"},
    {"text": "agent seldom*"},
    {"text": "nothing like this"},
    {"until": "2026-03-01T12:30:00Z"},
    {"since": "2026-03-01T12:10:00Z", "until": "2026-03-01T12:20:00Z", "partner": "partner-7"},
)
"""aurora-9 is only ever called by partner-8: two long lists that never meet."""


def kinds() -> Iterator[tuple[int, CallRecord, str]]:
    """So many kinds of calls; the one numbered 1 is rare in everything."""
    chance = random.Random(1)
    for number in range(KINDS):
        partner = "rare" if number == 1 else f"partner-{chance.randrange(100)}"
        model = "aurora-9" if partner == "partner-8" else f"aurora-{chance.randrange(5)}"
        outcome, code = chance.choice(CODES)
        subnet, rare = number % 200, number == 1
        if rare:
            outcome, code = CODES[0]
        yield (
            number,
            CallRecord(
                id="req_00000000000000000000000000",
                point="gw-1",
                sequence=1,
                started_at=START,
                partner=partner,
                grant_id=f"grt_{number % 500:06}",
                credential_id="crd_rare" if rare else f"crd_{number % 1000:06}",
                principal="p-rare" if rare else f"p-{number % 100}",
                capability=f"cyber.c{number % 4}",
                model=model,
                outcome=outcome,
                code=code,
                status=200,
                address=f"203.0.{subnet}.7",
                user_agent="agent/1 seldom" if rare else f"agent/1 build{number % 40}",
            ),
            f"203.0.{subnet}.0/24",
        )


def filled(path: Path, size: int) -> float:
    """Make a gateway's store with so many calls, by SQL; return the seconds it took."""
    Store.open(path, STEPS).close()
    start = time.perf_counter()
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -500000"):
            conn.execute(f"PRAGMA {pragma}")
        conn.execute(
            "CREATE TEMP TABLE kinds (k INTEGER PRIMARY KEY, partner, grant_id, credential_id, "
            "model, outcome, code, capability, principal, network, tokens, body)"
        )
        conn.executemany(
            "INSERT INTO kinds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    k, r.partner, r.grant_id, r.credential_id, r.model, r.outcome, r.code,
                    r.capability, r.principal, network, call_search.tokens(r, network),
                    msgspec.json.encode(r),
                )
                for k, r, network in kinds()
            ),
        )  # fmt: skip
        indexes = conn.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'calls' "
            "AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            conn.execute(f"DROP INDEX {name}")
        # As many rare ones in either size, so that what is compared is alike.
        which = f"k = CASE WHEN n % {size // RARE} = 0 THEN 1 ELSE 2 + (n * 7919) % {KINDS - 2} END"
        numbers = "WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < ?) "
        conn.execute("BEGIN")
        conn.execute(
            "INSERT INTO calls (row, id, point, sequence, partner, grant_id, credential_id, "
            "model, outcome, code, started_at, leaf, body, capability, principal, network) "
            + numbers
            + "SELECT n, printf('req_%026d', n), 'gw-1', n, partner, grant_id, credential_id, "
            "model, outcome, code, strftime('%Y-%m-%dT%H:%M:%S.000000Z', ? + n / 2, "
            "'unixepoch'), zeroblob(32), body, capability, principal, network "
            f"FROM seq JOIN kinds ON {which}",
            (size, int(START.timestamp())),
        )
        for _, sql in indexes:
            conn.execute(sql)
        conn.execute("INSERT INTO call_search(call_search, rank) VALUES ('hashsize', 67108864)")
        conn.execute(
            f"INSERT INTO call_search(rowid, tokens) {numbers} SELECT n, tokens FROM seq "
            f"JOIN kinds ON {which}",
            (size,),
        )
        conn.execute(
            "INSERT INTO call_hours SELECT (? + row / 2) / 3600, min(row), max(row) FROM calls "
            "GROUP BY 1",
            (int(START.timestamp()),),
        )
        conn.execute("COMMIT")
    return time.perf_counter() - start


def asked(**query: str) -> Ask:
    told = {"query": query, "route": None, "now": now(), "service": "gateway"}
    return cast("Ask", SimpleNamespace(**told))


def first_page(conn: Connection, query: dict[str, str]) -> tuple[float, int]:
    times, rows = [], 0
    for _ in range(15):
        start = time.perf_counter()
        page = call_store.listing(conn, asked(**query))
        times.append(time.perf_counter() - start)
        assert not page.partial
        rows = len(page.items)
    return min(times) * 1000, rows


def test_the_first_page_of_ten_million_calls_beside_ten_thousand(tmp_path: Path) -> None:
    measured: list[dict[int, Any]] = [{} for _ in QUERIES]
    for size in (10_000, LARGE):
        home = prepare(tmp_path / str(size)).path
        took = filled(home / "gateway.db", size)
        stored = (home / "gateway.db").stat().st_size / size
        print(f"\n{size:,} calls made in {took:.0f} s, {stored:.0f} bytes each")
        store = Store.open(home / "gateway.db", STEPS)
        for at, query in enumerate(QUERIES):
            measured[at][size] = store.read_now(lambda conn: first_page(conn, query))  # noqa: B023
        store.close()
        with serving("gateway", home) as (client, pid):
            before = resident(pid)
            for query in QUERIES:
                assert client.get("/v1/calls", params=query).status_code == 200
            print(f"gateway: {before:.0f} MiB, {resident(pid):.0f} MiB after the searches")
    ratios: list[float] = []
    for query, each in zip(QUERIES, measured, strict=True):
        (small, few), (large, many) = each[10_000], each[LARGE]
        ratios.append(large / max(small, 0.5))
        told = f"{large:7.2f} ms at {LARGE:,} ({many} rows)  {small:6.2f} ms at 10 k ({few})"
        print(f"{told}  {query}")
    print(f"worst ratio {max(ratios):.1f}")
    assert max(ratios) <= 3
