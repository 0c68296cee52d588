"""Limits, prices, budgets and usage on the command line, over a whole pilot."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.thread.pilot_rig import Rig, granted, key_of, programme, running, short_folder


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        programme(rig, tier=1, partners=("acme", "northwind"))
        yield rig


def rows_of(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV by their heads."""
    return list(csv.DictReader(io.StringIO(text)))


def settled(rig: Rig) -> Any:
    """Wait until no call holds anything of a budget, and return the budgets."""

    def look() -> Any:
        items = rig.json("usage", "budgets")["items"]
        return items if items and all(not each["reserved_micros"] for each in items) else None

    return rig.until(look, what="every call is settled")


def test_a_day_of_money(rig: Rig) -> None:
    # a price, from today on, and another to come; never one for what is over
    dry = rig.ok("price", "set", "aurora-1", "--input-price", "3", "--output-price", "15.50",
                 "--max-output", "100", "--reason", "the list", "--dry-run")  # fmt: skip
    assert "3 in, 15.5 out a million tokens, the first price it has" in dry
    rig.ok("price", "set", "aurora-1", "--input-price", "3", "--output-price", "15.50",
           "--max-output", "100", "--reason", "the list", "--yes")  # fmt: skip
    past = rig.cli("price", "set", "aurora-1", "--input-price", "1", "--output-price", "1",
                   "--from", "2026-01-01", "--reason", "cheaper", "--yes")  # fmt: skip
    assert (past.exit, "is over" in past.err) == (2, True)
    again = rig.cli("price", "set", "aurora-1", "--input-price", "1", "--output-price", "1",
                    "--reason", "cheaper", "--yes")  # fmt: skip
    assert (again.exit, "begin tomorrow" in again.err) == (5, True)
    rig.ok("price", "set", "aurora-1", "--input-price", "2", "--output-price", "9",
           "--from", "2d", "--reason", "cheaper soon", "--yes")  # fmt: skip
    listed = rig.json("price", "list")["items"]
    assert [each["input_micros"] for each in listed] == [2_000_000, 3_000_000]
    assert rig.json("price", "show", "aurora-1")["output_micros"] == 15_500_000
    assert "15.50" in rig.ok("price", "list")
    assert "price.set" in rig.actions()

    # limits on a grant, and what its callers get
    grant = granted(rig, limits="requests=3,budget=1,per=day")
    _, key = key_of(rig, grant.id)
    free = granted(rig, "northwind")
    _, other = key_of(rig, free.id)
    answers = [rig.call(key) for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429] or [
        each.status_code for each in answers
    ] == [200, 200, 429, 429], "the first call may have come while the key was awaited"
    late = answers[-1]
    assert late.json()["error"]["code"] == "rate_limited"
    explained = rig.until(
        lambda: rig.cli("call", "explain", late.headers["x-request-id"]), what="its record"
    )
    assert rig.call(other).status_code == 200

    # usage and cost, in every format
    budget = next(each for each in settled(rig) if each["grant_id"] == grant.id)
    assert budget["spent_micros"] > 0
    assert budget["left_micros"] == 1_000_000 - budget["spent_micros"]
    rows = rig.json("usage", "show", "--by", "partner", "--also", "model")["items"]
    acme = next(each for each in rows if each["group"] == "acme" and each["second"])
    assert acme["second"] == "aurora-1"
    assert acme["cost_micros"] == budget["spent_micros"]
    table = rig.ok("usage", "show", "--since", "24h")
    assert "COST" in table.splitlines()[0]
    assert "VS 7 D" in table.splitlines()[0]
    sheet = list(
        csv.DictReader(io.StringIO(rig.ok("usage", "show", "--by", "network", "-o", "csv")))
    )
    assert {each["group"] for each in sheet} == {"127.0.0.0/24"}
    narrowed = rig.json("usage", "show", "--network", "198.51.100.0/24")["items"]
    assert narrowed == []
    drawn = rig.ok("usage", "plot", "--since", "24h")
    assert "by partner" in drawn
    assert "tokens an hour" in drawn
    assert "\x1b" not in drawn

    # the same as FOCUS charges: what is billed is what was recorded
    focus = rows_of(rig.ok("usage", "export", "-o", "csv"))
    billed = sum(round(float(each["BilledCost"]) * 1e6) for each in focus)
    whole = sum(each["cost_micros"] for each in rig.json("usage", "show")["items"])
    assert billed == whole
    assert {each["SubAccountId"] for each in focus} == {"acme", "northwind"}
    assert {each["SkuMeter"] for each in focus} == {"Input Tokens", "Output Tokens"}
    for each in focus:
        details = json.loads(each["SkuPriceDetails"]) if each["SkuPriceDetails"] else None
        assert (details is None) == (each["SkuPriceId"] == "")
        assert details is None or details["x_TokenType"] == each["SkuMeter"].split()[0]
    assert explained.exit in {0, 3}

    # how long it lasts
    said = rig.json("usage", "forecast")["items"]
    of_grant = next(each for each in said if each["name"] == grant.id)
    assert of_grant["spent_micros"] == budget["spent_micros"]
    assert of_grant["runs_out_at"] is None, "the day is over before the budget is"


def test_a_credit_pool_is_spent_by_the_calls_of_its_pilot(rig: Rig) -> None:
    rig.do(
        "pilot.create", slug="borealis", title="Borealis", models=["aurora-2"],
        stages=["limited:most-partners=9,longest=90d"], credit_micros="0.5", reason="agreed",
    )  # fmt: skip
    said = rig.json("usage", "forecast")["items"]
    pool = next(each for each in said if each["name"] == "borealis")
    assert (pool["kind"], pool["limit_micros"], pool["left_micros"]) == ("pilot", 500_000, 500_000)
    assert pool["runs_out_at"] is None
    assert "holds" in rig.ok("usage", "forecast")
