"""Usage rows as FOCUS charges: a row for the input and one for the output of each model a day.

The recorded cost is what is billed, and never split so that its sum changes: the input is
billed at its price, and the output has the rest. The list cost is price times quantity: of a
day on which the first price was set, the pricing quantity is only what was used from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from console.model.focus import Charge
from console.model.price import MICROS, TOKENS_PRICED, Price, price_of
from console.model.traffic import UsageRow


def charges(
    pilot: str, partner: str, rows: Iterable[UsageRow], prices: Sequence[Price], currency: str
) -> list[Charge]:
    """Return the charges of a partner in a pilot; `rows` are by day and then by model."""
    out = []
    for row in rows:
        day = day_of(row)
        if day is None or not (row.tokens or row.cost_micros):
            continue
        price = price_of((each for each in prices if each.model == row.second), day)
        priced = _priced(row, price)
        known = 0 if price is None else int(row.input_tokens * price.input_micros * priced)
        known //= TOKENS_PRICED
        read = min(row.cost_micros, known) if row.output_tokens else row.cost_micros
        sku = price.id if price else ""
        line = _Line(pilot, partner, row.second, day, currency, sku, priced)
        shares = (
            ("Input", row.input_tokens, read, price.input_micros if price else None),
            ("Output", row.output_tokens, row.cost_micros - read,
             price.output_micros if price else None),
        )  # fmt: skip
        for side, tokens, billed, unit in shares:
            if tokens or billed:
                out.append(_charge(line, side, tokens, billed, unit))
    return out


def _priced(row: UsageRow, price: Price | None) -> Fraction:
    """Return the share of a day's tokens that was used while the price held, 0 to 1.

    A call's cost is rounded up, so that it is never below its price. A day that cost less had
    no price at first; input and output are taken to be spread alike over it.
    """
    if price is None:
        return Fraction(1)
    whole = row.input_tokens * price.input_micros + row.output_tokens * price.output_micros
    cost = row.cost_micros * TOKENS_PRICED
    return Fraction(cost, whole) if cost < whole else Fraction(1)


def day_of(row: UsageRow) -> date | None:
    """Return the day that a row's group names; None where an API names something else."""
    try:
        return date.fromisoformat(row.group)
    except ValueError:
        return None


_PLACES = 12
"""Decimals of a pricing quantity, in millions of tokens: a millionth of a token."""


class _Line(NamedTuple):
    """What the charges of one usage row share."""

    pilot: str
    partner: str
    model: str
    day: date
    currency: str
    price: str
    priced: Fraction


def _charge(line: _Line, side: str, tokens: int, billed: int, unit: int | None) -> Charge:
    pilot, partner, model, day, currency, price, priced = line
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    month = begins.replace(day=1)
    share = round(Fraction(tokens, TOKENS_PRICED) * priced, _PLACES)
    quantity = Decimal(share.numerator) / share.denominator
    listed = quantity * unit / MICROS if unit is not None else Decimal(billed) / MICROS
    sku = f"{model or 'none'}/{side.lower()}"
    return Charge(
        billed_cost=_plain(Decimal(billed) / MICROS),
        billing_account_id=pilot,
        billing_account_name=pilot,
        billing_currency=currency,
        billing_period_start=_time(month),
        billing_period_end=_time((month + timedelta(days=32)).replace(day=1)),
        charge_description=f"{side} tokens of {model or 'no model'}",
        charge_period_start=_time(begins),
        charge_period_end=_time(begins + timedelta(days=1)),
        consumed_quantity=tokens,
        contracted_cost=_plain(listed),
        contracted_unit_price=_unit(unit),
        effective_cost=_plain(Decimal(billed) / MICROS),
        invoice_issuer_name=pilot,
        list_cost=_plain(listed),
        list_unit_price=_unit(unit),
        pricing_currency=currency,
        pricing_quantity=_plain(quantity),
        provider_name=pilot,
        publisher_name=pilot,
        resource_id=model or "none",
        resource_name=model or "none",
        service_name=pilot,
        sku_id=sku,
        sku_meter=f"{side} Tokens",
        sku_price_details={"x_Model": model, "x_TokenType": side} if price else None,
        sku_price_id=f"{price}/{side.lower()}" if price else None,
        sub_account_id=partner,
        sub_account_name=partner or "unknown callers",
    )


def _unit(micros: int | None) -> str | None:
    return None if micros is None else _plain(Decimal(micros) / MICROS)


def _plain(value: Decimal) -> str:
    """Return a number without an exponent and without zeros that say nothing."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
