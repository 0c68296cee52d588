"""The dated price table: what a model's tokens cost from a day on.

A price is set for a day that has not ended yet, and never for one whose calls were
counted by another: what was used is never priced again.
"""

from __future__ import annotations

from datetime import UTC, date, timedelta

from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.ids import new_id
from console.model.price import Price, SetPrice, price_of
from console.model.stored import Page
from console.services.events import event
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.schema import PRICES
from console.services.store import emit
from console.services.web import Ask, page
from console.services.wire.changes import PriceChange


def listing(conn: Connection, ask: Ask) -> Page[Price]:
    """Answer `price.list`: by model, the newest first."""
    query = select(PRICES)
    if model := ask.query.get("model"):
        query = query.where(PRICES.c.model == model)
    return page(
        conn,
        query,
        ask,
        keys=[PRICES.c.model, PRICES.c.starts_on.desc()],
        decode=lambda row: row.body,
    )


def show(conn: Connection, ask: Ask) -> Price:
    """Answer `price.show`: the price that holds today, or the first that will."""
    model = ask.path["model"]
    known = of_model(conn, model)
    found = price_of(known, ask.now.astimezone(UTC).date()) or min(
        known, key=lambda price: price.starts_on, default=None
    )
    if found is None:
        raise refusal(
            "not-found",
            f"no price is set for {model}",
            mend=f"pilotctl price set {model} --input-price … --output-price …",
        )
    return found


def of_model(conn: Connection, model: str) -> list[Price]:
    """Return every price of a model, the oldest first."""
    return list(
        conn.execute(
            select(PRICES.c.body).where(PRICES.c.model == model).order_by(PRICES.c.starts_on)
        ).scalars()
    )


def put(conn: Connection, ask: Ask) -> Price:
    """Answer `price.set`."""
    body: SetPrice = ask.body
    today = ask.now.astimezone(UTC).date()
    known = of_model(conn, body.model)
    starts_on = body.starts_on or today
    _refuse_past(body.model, starts_on, today, known)
    before = next((price for price in known if price.starts_on == starts_on), None)
    price = Price(
        id=before.id if before else new_id("price"),
        revision=before.revision + 1 if before else 1,
        created_at=before.created_at if before else ask.now,
        created_by=before.created_by if before else ask.operator.name,
        updated_at=ask.now,
        updated_by=ask.operator.name,
        model=body.model,
        starts_on=starts_on,
        input_micros=body.input_micros,
        output_micros=body.output_micros,
        max_output_tokens=body.max_output_tokens,
        context_tokens=body.context_tokens,
    )
    store(conn, price)
    change_log.append(conn, PriceChange(price=price))
    emit(
        conn,
        event(
            "price.set",
            service="gateway",
            actor=ask.operator.name,
            kind="price",
            target=price.id,
            name=price.model,
            reason=body.reason,
            request_id=ask.request_id,
            before=before,
            after=price,
            at=ask.now,
        ),
    )
    return price


def store(conn: Connection, price: Price) -> None:
    """Keep a price, in place of one of the same model and day."""
    conn.execute(
        PRICES.delete().where(
            PRICES.c.model == price.model, PRICES.c.starts_on == price.starts_on.isoformat()
        )
    )
    conn.execute(
        PRICES.insert().values(
            id=price.id, model=price.model, starts_on=price.starts_on.isoformat(), body=price
        )
    )


def _refuse_past(model: str, starts_on: date, today: date, known: list[Price]) -> None:
    if starts_on < today:
        raise refusal(
            "invalid",
            f"starts_on: {starts_on} is over; a price never changes what was used before",
            mend=f"leave --from out, or begin on {today} or later",
        )
    if starts_on == today and (held := price_of(known, today)) is not None:
        raise refusal(
            "refused",
            f"calls of today are counted by the price of {model} that began on {held.starts_on}",
            mend=f"begin tomorrow: --from {today + timedelta(days=1)}",
        )
