"""What accounts spent, by the store: recorded costs, and what is held for cut calls."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, ColumnElement, Connection, Table, func, select

from console.model.grant import GrantProjection
from console.model.limits import Limits, Period
from console.model.price import BudgetState
from console.services.gateway.control.calls.limit_ledger import period_end, period_start
from console.services.gateway.control.state.schema import HOLDS, USAGE

SEPARATOR = "\x00"
"""Stands in an account's key between its grant and its principal."""


def account_of(grant: GrantProjection, limits: Limits) -> str:
    """Return the account of a grant: a renewed grant goes on in that of the first.

    A budget for the grant's whole life is that of one grant alone.
    """
    alone = limits.budget_micros is not None and limits.budget_period == Period.GRANT
    return grant.id if alone or not grant.lineage else grant.lineage[-1]


class Spending:
    """Asks the store what an account spent, and what calls without figures may have cost beyond."""

    def __init__(self, conn: Connection, grant: GrantProjection, principal: str | None) -> None:
        self._conn = conn
        self._grant = grant
        self._principal = principal

    def since(self, account: str, start: datetime) -> int:
        """Return micro-units spent, or held beyond that, in calls that began since `start`."""
        return self.recorded(account, start) + self.kept(account, start)

    def recorded(self, account: str, start: datetime) -> int:
        """Return micro-units that calls' records tell of."""
        return self._sum(USAGE, USAGE.c.cost_micros, USAGE.c.hour, account, start)

    def kept(self, account: str, start: datetime) -> int:
        """Return micro-units that calls without figures may have cost beyond their records."""
        where = HOLDS.c.kept == 1
        return self._sum(HOLDS, HOLDS.c.micros, HOLDS.c.began_at, account, start, where)

    def _sum(
        self,
        table: Table,
        micros: Column[int],
        began: Column[datetime],
        account: str,
        start: datetime,
        *more: ColumnElement[bool],
    ) -> int:
        principal = self._principal if SEPARATOR in account else None
        life = start.year == 1
        grants = [self._grant.id] if life else [self._grant.id, *self._grant.lineage]
        asked = select(func.coalesce(func.sum(micros), 0)).where(
            table.c.grant_id.in_(grants), *more
        )
        if not life:
            asked = asked.where(began >= start)
        if principal is not None:
            asked = asked.where(table.c.principal == principal)
        return int(self._conn.execute(asked).scalar() or 0)


def budget_state(
    conn: Connection, grant: GrantProjection, limits: Limits, principal: str | None, at: datetime
) -> BudgetState:
    """Return how much of a budget is used: that of a grant, or of one of its principals."""
    period = str(limits.budget_period)
    start = period_start(period, at)
    account = account_of(grant, limits) + ("" if principal is None else SEPARATOR + principal)
    asking = Spending(conn, grant, principal)
    spent = asking.recorded(account, start)
    held = select(func.coalesce(func.sum(HOLDS.c.micros), 0)).where(
        HOLDS.c.grant_id.in_([grant.id, *grant.lineage]), HOLDS.c.kept == 0
    )
    if principal is not None:
        held = held.where(HOLDS.c.principal == principal)
    reserved = int(conn.execute(held).scalar() or 0) + asking.kept(account, start)
    budget = limits.budget_micros or 0
    return BudgetState(
        grant_id=grant.id,
        pilot=grant.pilot,
        partner=grant.partner,
        scope="grant" if principal is None else "principal",
        principal=principal or "",
        period=period,
        starts_at=grant.not_before if period == Period.GRANT else start,
        ends_at=period_end(period, at),
        budget_micros=budget,
        spent_micros=spent,
        reserved_micros=reserved,
        left_micros=budget - spent - reserved,
    )


def spenders(conn: Connection, grant: GrantProjection, at: datetime) -> list[str]:
    """Return the principals that spent most in the budget's period, 200 at most."""
    start = period_start(str(grant.principal_limits.budget_period), at)
    asked = (
        select(USAGE.c.principal)
        .where(USAGE.c.grant_id.in_([grant.id, *grant.lineage]), USAGE.c.cost_micros > 0)
        .group_by(USAGE.c.principal)
        .order_by(func.sum(USAGE.c.cost_micros).desc())
        .limit(200)
    )
    if start.year > 1:
        asked = asked.where(USAGE.c.hour >= start)
    return list(conn.execute(asked).scalars())
