"""Whether limits leave room for a call, for who asks before anybody calls.

Counted by the store and on a ledger of its own: a question takes nothing of any limit.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection

from console.model.grant import GrantProjection
from console.services.gateway.control.calls.budgets import bounds_of, ledger_of
from console.services.gateway.control.calls.limit_ledger import Hold, When
from console.services.gateway.control.calls.spending import Spending
from console.services.gateway.decision.boot_clock import boottime
from console.services.gateway.decision.snapshot import Snapshot
from console.services.wire.points import Taken


def room_for(
    conn: Connection,
    snapshot: Snapshot,
    grant: GrantProjection,
    *,
    model: str,
    principal: str,
    at: datetime,
) -> Taken | None:
    """Return whether the smallest call has room, by its `code`; None where nothing limits it."""
    bounds = bounds_of(grant, principal)
    if not bounds:
        return None
    price = snapshot.price(model, at.astimezone(UTC).date())
    if price is None and any(bound.limits.budget_micros is not None for bound in bounds):
        return Taken(
            code="price_missing", found=f"{model} has no price, and the grant has a budget"
        )
    hold = Hold(
        call="",
        point="",
        incarnation="",
        accounts=tuple(bound.account for bound in bounds),
        began=boottime(),
        tokens=1,
        micros=price.cost(1, 1) if price else 0,
    )
    ledger, _ = ledger_of(conn, snapshot)
    return ledger.take(hold, bounds, When(hold.began, at), Spending(conn, grant, principal).since)
