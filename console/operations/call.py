"""Calls: partner requests through the data plane, and why each went as it did."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.engines import Engines
from console.api.flow import Flow
from console.model.stored import Page
from console.model.traffic import CallRecord, Explanation, Outcome
from console.operations.listing import pages
from console.operations.params import (
    CapabilityFilter,
    GrantFilter,
    Listing,
    PartnerFilter,
    Since,
    Until,
)
from console.operations.spec import Kind, Operation, Param, Plan, operation


class ListCalls(Listing, kw_only=True, frozen=True):
    """Which calls are listed."""

    partner: PartnerFilter = ""
    grant: GrantFilter = ""
    credential: Annotated[
        str, Param("Only with this key.", kind=Kind.ID, completes="key.list", flag="key")
    ] = ""
    model: Annotated[str, Param("Only of this model.")] = ""
    capability: CapabilityFilter = ""
    principal: Annotated[str, Param("Only of this principal, by its salted hash.")] = ""
    network: Annotated[
        str,
        Param("Only from this address, /24, or /48 of IPv6.", kind=Kind.NETWORK),
    ] = ""
    outcome: Annotated[
        str, Param("Only with this outcome.", kind=Kind.CHOICE, choices=tuple(Outcome))
    ] = ""
    code: Annotated[str, Param("Only with this code, like grant_revoked.")] = ""
    text: Annotated[
        str, Param("Only with these words in the model or the user agent; `word*` begins with.")
    ] = ""
    since: Since = None
    until: Until = None


@operation("call.list", title="List calls", result=Page[CallRecord])
def list_calls(p: ListCalls, at: Engines, _plan: Plan | None) -> Flow[Page[CallRecord]]:
    """List calls, newest first."""
    return pages(
        p,
        lambda paging: at.calls.find(
            paging,
            partner=p.partner,
            grant=p.grant,
            credential=p.credential,
            model=p.model,
            capability=p.capability,
            principal=p.principal,
            network=p.network,
            outcome=p.outcome,
            code=p.code,
            text=p.text,
            since=p.since,
            until=p.until,
        ),
    )


class ShowCall(msgspec.Struct, kw_only=True, frozen=True):
    """Which call is shown."""

    call: Annotated[
        str,
        Param(
            "The request id that the caller was given.",
            kind=Kind.ID,
            completes="call.list",
            positional=True,
        ),
    ]


@operation("call.show", title="Show call", result=CallRecord, subject="call")
def show(p: ShowCall, at: Engines, _plan: Plan | None) -> Flow[CallRecord]:
    """Show the record of a call: its decision, its usage, its times."""
    return at.calls.show(p.call)


@operation("call.explain", title="Explain call", result=Explanation, key="e", subject="call")
def explain(p: ShowCall, at: Engines, _plan: Plan | None) -> Flow[Explanation]:
    """Say why a call was let through or refused, check by check, and what would mend it."""
    return at.calls.explain(p.call)


OPERATIONS: tuple[Operation, ...] = (list_calls, show, explain)
