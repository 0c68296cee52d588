"""Receipts: what a closing verb promised, and how far it is proven."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.enforcement import PointProof, Receipt
from console.model.stored import Page
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import RECEIPTS
from console.services.store import signal
from console.services.web import Ask, page

PROBER = "gateway-control"
TOPIC = "receipts"


def find(conn: Connection, id: str) -> Receipt:
    """Return a receipt. Raises the problem `not-found`."""
    found = conn.execute(select(RECEIPTS.c.body).where(RECEIPTS.c.id == id)).scalar_one_or_none()
    if found is None:
        raise refusal("not-found", f"there is no receipt {id}")
    return found  # type: ignore[no-any-return]


def begin(
    conn: Connection,
    *,
    points: Points,
    id: str,
    action: str,
    kind: str,
    target: str,
    partner: str,
    reason: str,
    by: str,
    at: datetime,
    sequence: int,
    credentials: int,
    event_id: str,
    lock_id: str = "",
    only: str = "",
) -> Receipt:
    """Store the receipt of a closing in its own transaction: every point is yet to be proven,
    or `only` the one that it is about.
    """
    names = [only] if only else list(points.names(conn))
    receipt = Receipt(
        id=id,
        action=action,
        kind=kind,
        target=target,
        partner=partner,
        reason=reason,
        by=by,
        requested_at=at,
        recorded_at=at,
        sequence=sequence,
        credentials=credentials,
        points=[PointProof(point=name, state="waiting") for name in names],
        prober=PROBER,
        event_id=event_id,
        state="verifying",
        lock_id=lock_id,
    )
    conn.execute(
        RECEIPTS.insert().values(id=id, state=receipt.state, requested_at=at, body=receipt)
    )
    signal(conn, TOPIC)
    return receipt


def newest(conn: Connection, action: str, target: str) -> Receipt:
    """Return the last receipt of an action on a target. Raises the problem `not-found`."""
    rows = conn.execute(select(RECEIPTS.c.body).order_by(RECEIPTS.c.requested_at.desc())).scalars()
    for receipt in rows:
        if (receipt.action, receipt.target) == (action, target):
            return receipt  # type: ignore[no-any-return]
    raise refusal("not-found", f"there is no receipt of {action} {target}")


def listing(conn: Connection, ask: Ask) -> Page[Receipt]:
    """Answer `receipt.list`, newest first."""
    return page(
        conn,
        select(RECEIPTS),
        ask,
        keys=[RECEIPTS.c.requested_at.desc(), RECEIPTS.c.id.desc()],
        decode=lambda row: row.body,
    )


def show(conn: Connection, ask: Ask) -> Receipt:
    """Answer `receipt.show`."""
    return find(conn, ask.path["receipt"])
