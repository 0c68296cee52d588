"""Usage adds up to the records, however it is grouped; prices have their day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from console.errors import PilotError
from console.model.operator import Operator
from console.model.price import Price, SetPrice, price_of
from console.model.traffic import CallRecord, Outcome, UsageBy, UsageRow
from console.operations.focus import charges
from console.services.gateway.control.calls import prices, usage_sums
from console.services.gateway.control.migrations import STEPS
from console.services.store import Store
from console.services.web import Ask

NOW = datetime(2026, 3, 20, 12, 30, tzinfo=UTC)
NAMES = st.sampled_from(["acme", "northwind", ""])


def record(at: int, **facts: Any) -> CallRecord:
    usual: dict[str, Any] = {
        "id": f"req_{at}", "point": "gw-1", "sequence": at, "outcome": "allowed", "status": 200,
        "started_at": NOW,
    }  # fmt: skip
    return CallRecord(**{**usual, **facts})


RECORDS = st.lists(
    st.builds(
        record,
        st.integers(0, 9),
        started_at=st.integers(0, 12 * 24 * 60).map(lambda m: NOW - timedelta(minutes=m)),
        partner=NAMES,
        pilot=st.sampled_from(["aurora", "borealis"]),
        model=st.sampled_from(["aurora-1", "aurora-2"]),
        capability=st.sampled_from(["text.general", ""]),
        grant_id=st.sampled_from(["grt_1", "grt_2"]),
        principal=st.sampled_from(["", "ab" * 32]),
        address=st.sampled_from(["203.0.113.7", "203.0.113.200", "2001:db8:1:2::3", "", "x"]),
        outcome=st.sampled_from([each.value for each in Outcome]),
        input_tokens=st.integers(0, 10**6),
        output_tokens=st.integers(0, 10**6),
        cost_micros=st.integers(0, 10**9),
        estimated=st.booleans(),
    ),
    max_size=40,
)
GROUPS = st.sampled_from(list(UsageBy))


class Asked:
    """A question to the usage table, asked without a service around it."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(path, STEPS, readers=1)

    def ask(self, **query: str) -> Ask:
        return Ask(
            service="gateway",
            route=None,
            operator=Operator(name="root", uid=0, roles=[]),
            uid=0,
            raw=b"",
            request=cast("web.Request", None),
            path={},
            query=query,
            body=None,
            revision=None,
            request_id="rid",
            validate_only=False,
            now=NOW,
        )

    def rows(self, **query: str) -> list[UsageRow]:
        return self.store.read_now(lambda conn: usage_sums.listing(conn, self.ask(**query)).items)

    def add(self, records: list[CallRecord]) -> None:
        def fresh(conn: Connection) -> None:
            conn.exec_driver_sql("DELETE FROM used")
            for half in (records[::2], records[1::2]):
                usage_sums.add(conn, half)

        self.store.write_now(fresh)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Asked(tmp_path_factory.mktemp("u") / "gateway.db")
    yield made
    made.store.close()


SUMS = ("input_tokens", "output_tokens", "cost_micros")


@settings(max_examples=40)
@given(RECORDS, GROUPS, GROUPS)
def test_the_sums_of_any_grouping_are_the_sums_of_the_records(
    asked: Asked, records: list[CallRecord], by: UsageBy, also: UsageBy
) -> None:
    asked.add(records)
    query = {"by": str(by)} if by is also else {"by": str(by), "also": str(also)}
    rows = asked.rows(**query)
    for name in SUMS:
        assert sum(getattr(row, name) for row in rows) == sum(getattr(r, name) for r in records)
    assert sum(row.calls for row in rows) == len(records)
    for row in rows:
        assert row.calls == row.allowed + row.denied + row.blocked + row.errors
    assert len({(row.group, row.second) for row in rows}) == len(rows)
    whole = sum(row.tokens for row in rows)
    assert abs(sum(row.share for row in rows) - (1 if whole else 0)) < 0.001 * (len(rows) + 1)


def test_filters_networks_and_the_norm(asked: Asked) -> None:
    asked.add(
        [
            record(1, partner="acme", address="203.0.113.7", input_tokens=70),
            record(2, partner="acme", address="203.0.113.9", output_tokens=70, outcome="blocked"),
            record(3, partner="acme", address="2001:db8:1:2::3", outcome="denied"),
            record(4, partner="acme", started_at=NOW - timedelta(days=3), input_tokens=490),
            record(5, partner="northwind", started_at=NOW - timedelta(days=2), input_tokens=70),
        ]
    )
    day = (NOW - timedelta(hours=24)).isoformat()
    rows = asked.rows(by="network", since=day)
    assert [(row.group, row.calls) for row in rows] == [
        ("2001:db8:1::/48", 1),
        ("203.0.113.0/24", 2),
    ]
    acme = asked.rows(by="partner", since=day)[0]
    assert (acme.tokens, acme.norm_tokens, acme.blocked, acme.denied) == (140, 70, 1, 1)
    assert asked.rows(by="hour", since=day)[0].norm_tokens == round(560 / 168)
    one = asked.rows(by="partner", also="day", network="203.0.113.0/24", since=day)
    assert [(row.group, row.second, row.calls) for row in one] == [("acme", "2026-03-20", 2)]
    with pytest.raises(PilotError, match="it is one of"):
        asked.rows(by="colour")
    with pytest.raises(PilotError, match="already"):
        asked.rows(by="hour", also="hour")


def test_a_store_from_before_principals_and_costs_keeps_what_it_counted(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    Store.open(path, STEPS[:4], readers=1).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as conn:
        conn.exec_driver_sql("DROP TABLE used")
        conn.exec_driver_sql(
            "CREATE TABLE usage (hour TEXT, partner TEXT, grant_id TEXT, credential_id TEXT, "
            "model TEXT, capability TEXT, calls INT, allowed INT, denied INT, errors INT, "
            "input_tokens INT, output_tokens INT, estimated_calls INT, first_at TEXT, last_at TEXT)"
        )
        at = "2026-03-20T10:00:00.000000Z"
        conn.exec_driver_sql(
            f"INSERT INTO usage VALUES ('{at}', 'acme', 'g', 'c', 'm', 'k', 3, 2, 1, 0, 5, 7, 0, "
            f"'{at}', '{at}')"
        )
        conn.exec_driver_sql("PRAGMA user_version = 2")
    engine.dispose()
    asked = Asked(path)
    try:
        assert [(r.group, r.calls, r.tokens, r.denied) for r in asked.rows()] == [
            ("acme", 3, 12, 1)
        ]
        asked.store.write_now(lambda conn: usage_sums.add(conn, [record(1, partner="acme")]))
        assert asked.rows()[0].calls == 4
    finally:
        asked.store.close()


def set_price(asked: Asked, **facts: Any) -> Price:
    usual = {"model": "aurora-1", "input_micros": 1, "output_micros": 2, "reason": "test"}
    body = SetPrice(**{**usual, **facts})
    ask = replace(asked.ask(), body=body)
    return asked.store.write_now(lambda conn: prices.put(conn, ask))


def test_a_price_never_changes_a_day_whose_calls_were_counted(asked: Asked) -> None:
    today = NOW.date()
    with pytest.raises(PilotError, match="is over"):
        set_price(asked, starts_on=today - timedelta(days=1))
    first = set_price(asked)
    assert first.starts_on == today, "the first price may begin today"
    with pytest.raises(PilotError, match="counted by the price"):
        set_price(asked, input_micros=9)
    ahead = set_price(asked, starts_on=today + timedelta(days=3), input_micros=5)
    again = set_price(asked, starts_on=today + timedelta(days=3), input_micros=6)
    assert (again.id, again.revision, again.input_micros) == (ahead.id, 2, 6)
    known = asked.store.read_now(lambda conn: prices.of_model(conn, "aurora-1"))
    assert [price.input_micros for price in known] == [1, 6]
    assert price_of(known, today + timedelta(days=2)) == first
    assert price_of(known, today + timedelta(days=3)) == again
    assert price_of(known, today - timedelta(days=1)) is None


_AMOUNT = st.integers(0, 10**9)


@given(_AMOUNT, _AMOUNT, _AMOUNT, _AMOUNT)
def test_a_cost_is_never_too_little_and_never_a_micro_too_much(
    a: int, b: int, i: int, o: int
) -> None:
    price = price_at(date(2026, 1, 1), a, b)
    exact = i * a + o * b
    assert 0 <= price.cost(i, o) * 10**6 - exact < 10**6


def price_at(day: date, read: int, written: int) -> Price:
    return Price(
        id="prc_1", created_at=NOW, created_by="root", updated_at=NOW, updated_by="root",
        model="aurora-1", starts_on=day, input_micros=read, output_micros=written,
    )  # fmt: skip


_MANDATORY = """
BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd
BillingPeriodStart ChargeCategory ChargeClass ChargeDescription ChargePeriodEnd
ChargePeriodStart ContractedCost EffectiveCost InvoiceIssuerName ListCost PricingQuantity
PricingUnit ProviderName PublisherName ServiceCategory ServiceName
"""
_OTHERS = """
BillingAccountType ChargeFrequency ConsumedQuantity ConsumedUnit ContractedUnitPrice
ListUnitPrice PricingCategory PricingCurrency RegionId ResourceId ResourceName ResourceType
ServiceSubcategory SkuId SkuMeter SkuPriceDetails SkuPriceId SubAccountId SubAccountName
SubAccountType Tags
"""
FOCUS_MANDATORY = _MANDATORY.split()
FOCUS_OTHERS = _OTHERS.split()


@settings(max_examples=60)
@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**8), st.integers(0, 10**8))
def test_a_focus_charge_has_the_columns_of_the_specification_and_loses_nothing(
    read: int, written: int, a: int, b: int
) -> None:
    price = price_at(date(2026, 3, 1), a, b)
    cost = price.cost(read, written)
    row = UsageRow(
        group="2026-03-20", second="aurora-1", calls=1, allowed=1, denied=0, errors=0,
        input_tokens=read, output_tokens=written, estimated_calls=0, cost_micros=cost,
    )  # fmt: skip
    made = [msgspec.to_builtins(each) for each in charges("aurora", "acme", [row], [price], "USD")]
    assert sum(Decimal(each["BilledCost"]) for each in made) * 10**6 == cost
    assert sum(each["ConsumedQuantity"] for each in made) == read + written
    for each in made:
        assert set(each) == {*FOCUS_MANDATORY, *FOCUS_OTHERS}
        listed = Decimal(each["ListUnitPrice"]) * Decimal(each["PricingQuantity"])
        assert listed == Decimal(each["ListCost"])
        assert abs(listed - Decimal(each["BilledCost"])) <= Decimal("0.000002")
        assert (each["ChargePeriodStart"], each["ChargePeriodEnd"]) == (
            "2026-03-20T00:00:00Z",
            "2026-03-21T00:00:00Z",
        )
        assert (each["BillingPeriodStart"], each["BillingPeriodEnd"]) == (
            "2026-03-01T00:00:00Z",
            "2026-04-01T00:00:00Z",
        )
        assert all(each[name] is not None for name in FOCUS_MANDATORY if name != "ChargeClass")


@settings(max_examples=60)
@given(
    before=st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)),
    after=st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)),
    read=st.integers(1, 10**8),
    written=st.integers(1, 10**8),
)
def test_what_was_used_before_a_day_had_its_price_is_no_quantity_that_is_priced(
    before: tuple[int, int], after: tuple[int, int], read: int, written: int
) -> None:
    price = price_at(date(2026, 3, 20), read, written)
    cost = price.cost(*after)
    row = UsageRow(
        group="2026-03-20", second="aurora-1", calls=2, allowed=2, denied=0, errors=0,
        input_tokens=before[0] + after[0], output_tokens=before[1] + after[1],
        estimated_calls=0, cost_micros=cost,
    )  # fmt: skip
    made = [msgspec.to_builtins(each) for each in charges("aurora", "acme", [row], [price], "USD")]
    assert sum(Decimal(each["BilledCost"]) for each in made) * 10**6 == cost
    assert sum(each["ConsumedQuantity"] for each in made) == sum(before) + sum(after)
    for each in made:
        listed = Decimal(each["ListUnitPrice"]) * Decimal(each["PricingQuantity"])
        assert listed == Decimal(each["ListCost"])
        assert abs(listed - Decimal(each["BilledCost"])) <= Decimal("0.000002")
