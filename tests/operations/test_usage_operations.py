"""Forecasts, exports and prices, by flows that are answered by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from console.model.price import BudgetState, Price
from console.model.stored import Page
from console.model.traffic import UsageRow
from console.operations import usage
from console.operations.index import find
from console.operations.usage import ExportUsage, ListBudgets, PlotUsage
from tests.operations.replay import AT, play


def row(group: str, cost: int = 0, **more: Any) -> UsageRow:
    usual: dict[str, Any] = {
        "calls": 1, "allowed": 1, "denied": 0, "errors": 0, "input_tokens": 0,
        "output_tokens": 0, "estimated_calls": 0,
    }  # fmt: skip
    return UsageRow(group=group, cost_micros=cost, **{**usual, **more})


def page(*items: Any) -> Page[Any]:
    return Page(as_of=AT, source="gateway", items=list(items))


def budget(**facts: Any) -> BudgetState:
    usual: dict[str, Any] = {
        "grant_id": "grt_1", "pilot": "aurora", "partner": "acme", "period": "month",
        "starts_at": AT, "ends_at": AT + timedelta(days=30), "budget_micros": 1000,
        "spent_micros": 300, "reserved_micros": 0, "left_micros": 700,
    }  # fmt: skip
    return BudgetState(**{**usual, **facts})


@pytest.fixture(autouse=True)
def at_a_known_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "now", lambda: AT)


def forecasts(answers: dict[str, Any], **typed: Any) -> dict[str, Any]:
    flow = find("usage.forecast").run(ListBudgets(**typed), None)
    played = play(flow, answers)
    return {each.name: each for each in played.result.items}


def test_a_pool_runs_out_at_the_rate_of_the_last_seven_days() -> None:
    def used(call: Any) -> Page[Any]:
        if call.query["by"] == "pilot":
            lately = bool(call.query.get("since"))
            return page(row("aurora", 700 if lately else 2000), row("borealis", 0))
        return page(row("grt_1", 70, second="ann"), row("grt_1", 70, second=""))

    pilots = page(
        SimpleNamespace(slug="aurora", credit_micros=3000),
        SimpleNamespace(slug="borealis", credit_micros=500),
        SimpleNamespace(slug="unbounded", credit_micros=None),
    )
    held = page(
        budget(),
        budget(grant_id="grt_1", scope="principal", principal="ann", budget_micros=100),
        budget(grant_id="grt_2", partner="northwind", reserved_micros=800),
    )
    found = forecasts({"usage.list": used, "pilot.list": pilots, "usage.budgets": held})
    assert set(found) == {"aurora", "borealis", "grt_1", "grt_1:ann", "grt_2"}
    aurora = found["aurora"]
    assert (aurora.left_micros, aurora.daily_micros, aurora.used) == (1000, 100, 0.6667)
    assert aurora.runs_out_at == AT + timedelta(days=10)
    assert found["borealis"].runs_out_at is None, "nothing is spent"
    assert found["grt_1"].daily_micros == 20
    assert found["grt_1"].runs_out_at is None, "35 days last longer than the month"
    assert found["grt_1:ann"].runs_out_at == AT, "it is over already"
    assert found["grt_2"].left_micros == -100, "what is reserved counts"
    assert next(iter(found)) in {"grt_1:ann", "grt_2"}, "the most urgent first"


def test_a_forecast_of_one_partner_leaves_the_pools_out() -> None:
    flow = find("usage.forecast").run(ListBudgets(partner="acme"), None)
    played = play(flow, {"usage.list": page(), "usage.budgets": page()})
    assert {call.route.id for call in played.calls} == {"usage.list", "usage.budgets"}
    assert all(call.query["partner"] == "acme" for call in played.calls)


def price(day: date, read: int, written: int) -> Price:
    return Price(
        id=f"prc_{day}", created_at=AT, created_by="root", updated_at=AT, updated_by="root",
        model="aurora-1", starts_on=day, input_micros=read, output_micros=written,
    )  # fmt: skip


def test_an_export_prices_each_day_by_its_own_price() -> None:
    def used(call: Any) -> Page[Any]:
        if "by" not in call.query:
            assert call.query["since"] == "2026-02-27T00:00:00Z", "whole days"
            return page(row("aurora", 30, second="acme"), row("aurora", 0, second="quiet"))
        assert (call.query["partner"], call.query["pilot"]) == ("acme", "aurora")
        tokens = {"input_tokens": 10**6, "output_tokens": 10**6, "second": "aurora-1"}
        return page(row("2026-02-27", 3, **tokens), row("2026-02-28", 27, **tokens))

    prices = page(price(date(2026, 1, 1), 1, 2), price(date(2026, 2, 28), 9, 18))
    since = datetime(2026, 2, 27, 15, tzinfo=UTC)
    flow = find("usage.export").run(ExportUsage(since=since), None)
    played = play(flow, {"usage.export": used, "usage.list": used, "price.list": prices})
    told = [
        (each.charge_period_start[:10], each.sku_meter, each.billed_cost, each.list_unit_price)
        for each in played.result.items
    ]
    assert told == [
        ("2026-02-27", "Input Tokens", "0.000001", "0.000001"),
        ("2026-02-27", "Output Tokens", "0.000002", "0.000002"),
        ("2026-02-28", "Input Tokens", "0.000009", "0.000009"),
        ("2026-02-28", "Output Tokens", "0.000018", "0.000018"),
    ]
    assert not played.result.partial


def test_a_row_that_names_no_day_makes_the_export_a_part() -> None:
    def used(call: Any) -> Page[Any]:
        name = "once" if "by" in call.query else "aurora"
        return page(row(name, 5, second="acme"))

    flow = find("usage.export").run(ExportUsage(), None)
    found = play(flow, {"usage.export": used, "usage.list": used, "price.list": page()}).result
    assert found.partial
    assert found.warnings == ["1 rows name no day: left out"]


def test_a_plot_is_of_the_last_seven_days_where_nothing_is_said() -> None:
    flow = find("usage.plot").run(PlotUsage(by="model"), None)
    played = play(flow, {"usage.list": page()})
    assert played.result.since == AT - timedelta(days=7)
    assert [call.query["by"] for call in played.calls] == ["hour", "model"]
