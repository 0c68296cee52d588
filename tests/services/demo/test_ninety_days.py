"""The demo's history: what its stores hold is what the services would have made of it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import oracle
import pytest
from made_home import MadeHome, made_home

from console.errors import ExitCode, PilotError
from console.services import audit, supervisor
from console.services.demo import incidents
from console.services.demo.cast import BY_SLUG, PERSONAS
from console.services.demo.live_traffic import ROUNDS, callers
from console.trust.merkle import CompactRange, leaf_hashes, root_of

SHIPPED = Path(audit.__file__).parent / "rules" / "shipped"
END = datetime(2026, 5, 20, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return made_home(tmp_path_factory.mktemp("demo"), day=8, end=END)


def rows(home: Path, name: str, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home / name}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def test_the_sums_of_usage_are_the_sums_of_the_calls(home: MadeHome) -> None:
    sums = rows(
        home.path, "gateway.db",
        "SELECT sum(calls), sum(allowed), sum(denied), sum(errors), sum(input_tokens),"
        " sum(output_tokens), sum(cost_micros) FROM used",
    )[0]  # fmt: skip
    calls = [json.loads(row[0]) for row in rows(home.path, "gateway.db", "SELECT body FROM calls")]
    outcomes = [call["outcome"] for call in calls]
    assert len(calls) > 400
    assert sums == (
        len(calls),
        *(outcomes.count(each) for each in ("allowed", "denied", "error")),
        *(sum(call[n] for call in calls) for n in ("input_tokens", "output_tokens", "cost_micros")),
    )


def test_every_call_lies_under_a_digest_that_the_log_holds(home: MadeHome) -> None:
    digests = [
        json.loads(row[0])["unmapped"]["after"]
        for row in rows(
            home.path, "audit.db", "SELECT body FROM leaves WHERE action = 'calls.digest'"
        )
    ]
    for point in ("gw-1", "gw-2"):
        leaves = [
            row[0]
            for row in rows(
                home.path, "gateway.db",
                f"SELECT leaf FROM calls WHERE point = '{point}' ORDER BY sequence",
            )
        ]  # fmt: skip
        mine = [each for each in digests if each["point"] == point]
        assert sum(each["size"] for each in mine) == len(leaves)
        for each in mine:
            assert root_of(leaves[each["first"] - 1 : each["last"]]).hex() == each["root"]


def test_the_log_holds_every_event_of_every_outbox_once_and_its_tree_fits(home: MadeHome) -> None:
    leaves = rows(home.path, "audit.db", "SELECT source, sequence, body FROM leaves ORDER BY idx")
    for source in ("policy", "gateway", "audit"):
        kept = rows(home.path, f"{source}.db", "SELECT seq, body FROM outbox ORDER BY seq")
        assert [leaf[1:] for leaf in leaves if leaf[0] == source] == kept
    state = CompactRange()
    state.extend(leaf_hashes(leaf[2] for leaf in leaves))
    stored = rows(home.path, "audit.db", "SELECT state FROM tree")[0][0]
    assert CompactRange.from_bytes(stored).root == state.root


def test_no_call_was_let_through_before_its_key_was_made(home: MadeHome) -> None:
    keys = dict(rows(home.path, "gateway.db", "SELECT id, created_at FROM credentials"))
    for key, at in rows(
        home.path, "gateway.db",
        "SELECT credential_id, started_at FROM calls WHERE outcome = 'allowed'",
    ):  # fmt: skip
        assert keys[key] < at


def test_no_call_was_let_through_while_its_partner_was_locked(home: MadeHome) -> None:
    locked = rows(
        home.path, "gateway.db",
        "SELECT target, created_at FROM locks WHERE kind = 'partner' AND state = 'active'",
    )  # fmt: skip
    assert locked
    for partner, at in locked:
        query = f"SELECT count(*), max(started_at) FROM calls WHERE partner = '{partner}'"
        count, last = rows(home.path, "gateway.db", query)[0]
        assert count
        assert last < at


def test_every_shipped_rule_has_something_planted_and_an_oracle() -> None:
    shipped = {path.stem for path in SHIPPED.glob("*.toml")}
    assert set(oracle.RULES) == shipped
    planted = set(
        re.findall(r'_plant\(\s*story, "([a-z-]+)"', Path(incidents.__file__).read_text())
    )
    assert planted == shipped - {"expiring-soon", "expiring-tomorrow"}, "time itself plants those"


def test_times_end_with_the_history_and_begin_with_its_first_day(home: MadeHome) -> None:
    first, last = rows(home.path, "audit.db", "SELECT min(at), max(at) FROM leaves")[0]
    assert first >= home.made.first.strftime("%Y-%m-%dT%H:%M:%S")
    assert last < END.strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.long
def test_the_same_seed_tells_the_same_story_and_another_one_another(tmp_path: Path) -> None:
    told = []
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        path = made_home(tmp_path / name, day=3, seed=seed, end=END).path
        calls = "SELECT started_at, point, partner, model, outcome, code, network FROM calls"
        events = "SELECT source, sequence, at, actor, action, kind, partner FROM leaves"
        told.append((rows(path, "gateway.db", calls), rows(path, "audit.db", events)))
    first, again, other = told
    assert first == again
    assert other[0] != first[0]


def test_up_refuses_a_store_that_holds_personas_and_changes_nothing(home: MadeHome) -> None:
    before = sorted(each.name for each in home.path.iterdir())
    with pytest.raises(PilotError) as caught:
        supervisor.start(home.path)
    assert (caught.value.code, caught.value.exit) == ("demo-store", ExitCode.REFUSED)
    assert "pilotctl demo" in caught.value.hint
    assert sorted(each.name for each in home.path.iterdir()) == before


def test_the_personas_are_accounts_of_the_store_and_their_tokens_are_hashes_there(
    home: MadeHome,
) -> None:
    names = {row[0] for row in rows(home.path, "policy.db", "SELECT name FROM operator_accounts")}
    assert {each.name for each in PERSONAS} <= names
    for path in home.path.rglob("*"):
        if path.is_file():
            told = path.read_bytes()
            assert not any(token.encode() in told for token in home.made.tokens.values())


def test_every_live_caller_of_a_round_is_somebody_of_the_cast() -> None:
    for each in callers(1, incident_after=20.0):
        slug, _, holder = each.key.partition("/")
        assert slug in BY_SLUG
        assert holder in {"", BY_SLUG[slug].subprocessor}
    for each in ROUNDS:
        assert each.wants not in BY_SLUG[each.probes].models
        assert "polaris-2" in BY_SLUG[each.spends].models
