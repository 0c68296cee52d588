"""Usage: what calls add up to, what it costs, and when that runs out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

import msgspec

from console.api.flow import Flow
from console.api.gateway import BUDGETS, PRICE_LIST, USAGE, USAGE_EXPORT
from console.api.policy import PILOT_LIST
from console.model.focus import Charge
from console.model.price import BudgetState, Forecast
from console.model.stored import Page
from console.model.text import now
from console.model.traffic import UsageBy, UsagePicture, UsageRow
from console.operations.focus import charges, day_of
from console.operations.listing import whole
from console.operations.params import (
    CapabilityFilter,
    GrantFilter,
    PartnerFilter,
    PilotFilter,
    Since,
    Until,
)
from console.operations.spec import Kind, Operation, Param, Plan, operation

RATE_DAYS = 7
"""A forecast goes on at the mean of so many days."""
GROUPS_DRAWN = tuple(each for each in UsageBy if each not in {UsageBy.HOUR, UsageBy.DAY})
MAX_DAYS = 36_500
"""Further ahead than a hundred years is never."""


class ShowUsage(msgspec.Struct, kw_only=True, frozen=True):
    """How usage is grouped, and over which calls."""

    by: Annotated[
        UsageBy, Param("What it is grouped by.", kind=Kind.CHOICE, choices=tuple(UsageBy))
    ] = UsageBy.PARTNER
    also: Annotated[
        str,
        Param("What each group is grouped by again.", kind=Kind.CHOICE, choices=tuple(UsageBy)),
    ] = ""
    since: Since = None
    until: Until = None
    partner: PartnerFilter = ""
    grant: GrantFilter = ""
    key: Annotated[str, Param("Only with this key.", kind=Kind.ID, completes="key.list")] = ""
    model: Annotated[str, Param("Only of this model.")] = ""
    capability: CapabilityFilter = ""
    principal: Annotated[str, Param("Only of this principal, by its salted hash.")] = ""
    network: Annotated[
        str, Param("Only from this network: a /24, or a /48 of IPv6.", kind=Kind.NETWORK)
    ] = ""
    pilot: PilotFilter = ""


@operation("usage.show", title="Show usage", result=Page[UsageRow])
def show(p: ShowUsage, _plan: Plan | None) -> Flow[Page[UsageRow]]:
    """Show calls, tokens and cost by partner, principal, key, model, capability, network or time.

    The norm beside the tokens is what the seven days before `--since` come to for a time as
    long. Each call costs what the price that held as it began makes of it.
    """
    return USAGE(
        by=p.by,
        also=p.also,
        since=p.since,
        until=p.until,
        partner=p.partner,
        grant=p.grant,
        key=p.key,
        model=p.model,
        capability=p.capability,
        principal=p.principal,
        network=p.network,
        pilot=p.pilot,
    )


class PlotUsage(msgspec.Struct, kw_only=True, frozen=True):
    """What is drawn, and over which time."""

    by: Annotated[str, Param("What the bars are.", kind=Kind.CHOICE, choices=GROUPS_DRAWN)] = (
        UsageBy.PARTNER
    )
    since: Since = None
    until: Until = None
    partner: PartnerFilter = ""
    model: Annotated[str, Param("Only of this model.")] = ""
    pilot: PilotFilter = ""


@operation("usage.plot", title="Plot usage", result=UsagePicture)
def draw(p: PlotUsage, _plan: Plan | None) -> Flow[UsagePicture]:
    """Plot usage: tokens by the hour, bars by group, and a heat map of the week's hours.

    Over the last seven days where `--since` is left out. It reads without colour.
    """
    until = p.until or now()
    since = p.since or until - timedelta(days=RATE_DAYS)
    hours = yield from USAGE(
        by=UsageBy.HOUR, since=since, until=until, partner=p.partner, model=p.model, pilot=p.pilot
    )
    groups = yield from USAGE(
        by=p.by, since=since, until=until, partner=p.partner, model=p.model, pilot=p.pilot
    )
    return UsagePicture(
        as_of=groups.as_of,
        by=p.by,
        since=since,
        until=until,
        hours=hours.items,
        groups=groups.items,
    )


class ListBudgets(msgspec.Struct, kw_only=True, frozen=True):
    """Which budgets are listed."""

    partner: PartnerFilter = ""


@operation("usage.budgets", title="List budgets", result=Page[BudgetState])
def budgets(p: ListBudgets, _plan: Plan | None) -> Flow[Page[BudgetState]]:
    """List the budgets of active grants: spent, reserved by calls in flight, and left."""
    return BUDGETS(partner=p.partner)


@operation("usage.forecast", title="Forecast usage", result=Page[Forecast])
def forecast(p: ListBudgets, _plan: Plan | None) -> Flow[Page[Forecast]]:
    """Forecast when credit pools and budgets run out, at the rate of the last seven days."""
    moment = now()
    week = moment - timedelta(days=RATE_DAYS)
    items: list[Forecast] = []
    if not p.partner:
        spent = yield from USAGE(by=UsageBy.PILOT)
        lately = yield from USAGE(by=UsageBy.PILOT, since=week)
        pilots = yield from whole(PILOT_LIST)
        total = {row.group: row.cost_micros for row in spent.items}
        recent = {row.group: row.cost_micros for row in lately.items}
        for pilot in pilots:
            if pilot.credit_micros is None:
                continue
            used = total.get(pilot.slug, 0), recent.get(pilot.slug, 0)
            purse = _Purse(pilot.credit_micros, *used)
            items.append(_forecast("pilot", pilot.slug, "", purse, moment))
    held = yield from BUDGETS(partner=p.partner)
    grants = yield from USAGE(
        by=UsageBy.GRANT, also=UsageBy.PRINCIPAL, since=week, partner=p.partner
    )
    for budget in held.items:
        lately_spent = sum(
            row.cost_micros
            for row in grants.items
            if row.group == budget.grant_id
            and (budget.scope == "grant" or row.second == budget.principal)
        )
        alone = budget.scope == "grant"
        name = budget.grant_id if alone else f"{budget.grant_id}:{budget.principal}"
        purse = _Purse(
            budget.budget_micros,
            budget.spent_micros + budget.reserved_micros,
            lately_spent,
            budget.ends_at,
        )
        items.append(_forecast(budget.scope, name, budget.partner, purse, moment))
    items.sort(key=lambda each: (each.runs_out_at is None, each.runs_out_at or moment, each.name))
    return Page(as_of=held.as_of, source=held.source, items=items, warnings=held.warnings)


class _Purse(NamedTuple):
    """What may be spent, what was, and what of that in the last seven days."""

    limit: int
    spent: int
    lately: int
    ends_at: datetime | None = None


def _forecast(kind: str, name: str, partner: str, purse: _Purse, moment: datetime) -> Forecast:
    left = purse.limit - purse.spent
    daily = purse.lately // RATE_DAYS
    runs_out = None
    if left <= 0:
        runs_out = moment
    elif daily and left / daily < MAX_DAYS:
        runs_out = moment + timedelta(days=left / daily)
    if runs_out is not None and purse.ends_at is not None and runs_out >= purse.ends_at:
        runs_out = None
    return Forecast(
        kind=kind,
        name=name,
        partner=partner,
        limit_micros=purse.limit,
        spent_micros=purse.spent,
        left_micros=left,
        used=round(purse.spent / purse.limit, 4) if purse.limit else 1.0,
        daily_micros=daily,
        ends_at=purse.ends_at,
        runs_out_at=runs_out,
    )


class ExportUsage(msgspec.Struct, kw_only=True, frozen=True):
    """Which days are exported, and in which currency the prices are."""

    since: Since = None
    until: Until = None
    partner: PartnerFilter = ""
    pilot: PilotFilter = ""
    currency: Annotated[
        str, Param("The currency that the prices are in (ISO 4217).", metavar="CODE")
    ] = "USD"


@operation("usage.export", title="Export usage", result=Page[Charge])
def export(p: ExportUsage, _plan: Plan | None) -> Flow[Page[Charge]]:
    """Export cost and usage as FOCUS 1.2 charges; `-o csv` writes the file that tools read.

    A charge is a day (UTC) of one partner and model, input and output apart. Who exported
    what is recorded.
    """
    since = _midnight(p.since)
    whose = yield from USAGE_EXPORT(since=since, until=p.until, partner=p.partner, pilot=p.pilot)
    known = yield from whole(PRICE_LIST)
    items: list[Charge] = []
    lost = 0
    for each in whose.items:
        if not each.cost_micros and not each.tokens:
            continue
        rows = yield from USAGE(
            by=UsageBy.DAY, also=UsageBy.MODEL, since=since, until=p.until, partner=each.second,
            pilot=each.group,
        )  # fmt: skip
        items += charges(each.group, each.second, rows.items, known, p.currency)
        lost += sum(day_of(row) is None for row in rows.items)
    warnings = [*whose.warnings, *([f"{lost} rows name no day: left out"] if lost else [])]
    return Page(
        as_of=whose.as_of,
        source=whose.source,
        items=items,
        partial=whose.partial or lost > 0,
        warnings=warnings,
    )


def _midnight(since: datetime | None) -> datetime | None:
    """Return the beginning of the day (UTC): a charge is a whole day's."""
    if since is None:
        return None
    return since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


OPERATIONS: tuple[Operation, ...] = (show, draw, budgets, forecast, export)
