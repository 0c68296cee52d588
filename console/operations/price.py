"""Prices: what a model's tokens cost, from which day on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.gateway import PRICE_LIST, PRICE_SET, PRICE_SHOW
from console.model.operator import Role
from console.model.price import USUAL_CONTEXT, USUAL_OUTPUT, Output, PerMillion, Price, SetPrice
from console.model.stored import Page
from console.model.text import Slug
from console.operations.limits_text import shown_money
from console.operations.listing import pages, whole
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation


class ListPrices(Listing, kw_only=True, frozen=True):
    """Which prices are listed."""

    model: Annotated[str, Param("Only of this model.", kind=Kind.SLUG)] = ""


@operation("price.list", title="List prices", result=Page[Price])
def list_prices(p: ListPrices, _plan: Plan | None) -> Flow[Page[Price]]:
    """List prices by model, the newest first; those to come too."""
    return pages(PRICE_LIST, p, model=p.model)


class ShowPrice(msgspec.Struct, kw_only=True, frozen=True):
    """Of which model the price is shown."""

    model: Annotated[
        str, Param("The model.", kind=Kind.SLUG, completes="price.list", positional=True)
    ]


@operation("price.show", title="Show price", result=Price)
def show(p: ShowPrice, _plan: Plan | None) -> Flow[Price]:
    """Show what a model's tokens cost today, or from when on they will cost anything."""
    return PRICE_SHOW(model=p.model)


class NewPrice(msgspec.Struct, kw_only=True, frozen=True):
    """What a model's tokens will cost."""

    model: Annotated[Slug, Param("The model.", kind=Kind.SLUG, positional=True)]
    input_micros: Annotated[
        PerMillion,
        Param("For a million input tokens, in units: 3.50.", kind=Kind.MONEY, flag="input-price"),
    ]
    output_micros: Annotated[
        PerMillion,
        Param("For a million output tokens, in units.", kind=Kind.MONEY, flag="output-price"),
    ]
    starts: Annotated[
        datetime | None,
        Param("The first day (UTC) that it holds: a date, or 1d; from now on without it.",
              kind=Kind.WHEN, flag="from"),
    ] = None  # fmt: skip
    max_output_tokens: Annotated[
        Output,
        Param("Output tokens that are reserved where a limited caller names no maximum.",
              kind=Kind.NUMBER, flag="max-output"),
    ] = USUAL_OUTPUT  # fmt: skip
    context_tokens: Annotated[
        Output,
        Param("Input tokens that are reserved where a call goes on from an earlier answer.",
              kind=Kind.NUMBER, flag="context"),
    ] = USUAL_CONTEXT  # fmt: skip
    reason: Why


def _new(p: NewPrice) -> SetPrice:
    return SetPrice(
        model=p.model,
        starts_on=p.starts.astimezone(UTC).date() if p.starts else None,
        input_micros=p.input_micros,
        output_micros=p.output_micros,
        max_output_tokens=p.max_output_tokens,
        context_tokens=p.context_tokens,
        reason=p.reason,
    )


def plan_set(p: NewPrice) -> Flow[Plan]:
    """Let the gateway check the price without setting it."""
    new = yield from PRICE_SET(_new(p), validate=True)
    known = yield from whole(PRICE_LIST, model=p.model)
    before = [price for price in known if price.starts_on < new.starts_on]
    held = max(before, key=lambda price: price.starts_on, default=None)
    was = f", until then {_said(held)}" if held else ", the first price it has"
    today = new.starts_on <= new.updated_at.astimezone(UTC).date()
    begins = "from now on" if today else f"from {new.starts_on}, 00:00 UTC"
    return Plan(
        title=f"Set the price of {new.model}",
        sections=[
            Section("What it does", [f"{begins}: {_said(new)}{was}"]),
            Section("What stays", ["calls that began before then cost what they cost"]),
        ],
    )


def _said(price: Price) -> str:
    read, written = shown_money(price.input_micros), shown_money(price.output_micros)
    return f"{read} in, {written} out a million tokens"


@operation(
    "price.set",
    title="Set price",
    result=Price,
    effect=Effect.CHANGE,
    role=Role.ADMIN,
    plan=plan_set,
)
def set_price(p: NewPrice, _plan: Plan | None) -> Flow[Price]:
    """Set what a model's tokens cost from a day on. What was used before is never changed.

    A price for today holds from the moment at which it is set: calls of today that began
    before had no price, and cost nothing.
    """
    return PRICE_SET(_new(p))


OPERATIONS: tuple[Operation, ...] = (list_prices, show, set_price)
