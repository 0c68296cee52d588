"""Usage: what calls add up to."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.engines import Engines
from console.api.flow import Flow
from console.model.stored import Page
from console.model.traffic import UsageBy, UsageRow
from console.operations.params import PartnerFilter, Since, Until
from console.operations.spec import Kind, Operation, Param, Plan, operation


class ShowUsage(msgspec.Struct, kw_only=True, frozen=True):
    """How usage is grouped, and over which calls."""

    by: Annotated[
        UsageBy, Param("What it is grouped by.", kind=Kind.CHOICE, choices=tuple(UsageBy))
    ] = UsageBy.PARTNER
    since: Since = None
    until: Until = None
    partner: PartnerFilter = ""


@operation("usage.show", title="Show usage", result=Page[UsageRow])
def show(p: ShowUsage, at: Engines, _plan: Plan | None) -> Flow[Page[UsageRow]]:
    """Show calls and tokens by partner, grant, key, model, capability or hour."""
    return at.usage.by(p.by, since=p.since, until=p.until, partner=p.partner)


OPERATIONS: tuple[Operation, ...] = (show,)
