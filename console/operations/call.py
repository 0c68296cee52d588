"""Calls: partner requests through the data plane, and why each went as it did."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.gateway import CALL_CONTENT, CALL_EXPLAIN, CALL_LIST, CALL_REDACT, CALL_SHOW
from console.model.content import CallContent, ReadContent, RedactContent
from console.model.operator import Role
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
    Why,
)
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation


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
def list_calls(p: ListCalls, _plan: Plan | None) -> Flow[Page[CallRecord]]:
    """List calls, newest first."""
    return pages(
        CALL_LIST,
        p,
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
    )


CallId = Annotated[
    str,
    Param(
        "The request id that the caller was given.",
        kind=Kind.ID,
        completes="call.list",
        positional=True,
    ),
]


class ShowCall(msgspec.Struct, kw_only=True, frozen=True):
    """Which call is shown."""

    call: CallId


@operation("call.show", title="Show call", result=CallRecord, subject="call")
def show(p: ShowCall, _plan: Plan | None) -> Flow[CallRecord]:
    """Show the record of a call: its decision, its usage, its times."""
    return CALL_SHOW(call=p.call)


@operation("call.explain", title="Explain call", result=Explanation, key="e", subject="call")
def explain(p: ShowCall, _plan: Plan | None) -> Flow[Explanation]:
    """Say why a call was let through or refused, check by check, and what would mend it."""
    return CALL_EXPLAIN(call=p.call)


class ReadOne(msgspec.Struct, kw_only=True, frozen=True):
    """Of which call the content is read, and why."""

    call: CallId
    reason: Why


def plan_content(p: ReadOne) -> Flow[Plan]:
    """Look at what is kept of the call."""
    call = yield from CALL_SHOW(call=p.call)
    return Plan(
        title=f"Read what {p.call} said",
        sections=[
            Section(
                "What it does",
                [
                    f"shows what {call.partner} sent and got ({_kept(call)})",
                    "that you read it, and why, goes into the log",
                ],
            )
        ],
        subject=call,
        partners=1,
    )


def _kept(call: CallRecord) -> str:
    return {"sealed": "kept sealed", "hashed": "only its hashes are kept"}.get(
        call.content, "nothing of it is kept"
    )


@operation(
    "call.content",
    title="Read content",
    result=CallContent,
    effect=Effect.CHANGE,
    role=Role.AUDITOR,
    plan=plan_content,
    subject="call",
)
def content(p: ReadOne, _plan: Plan | None) -> Flow[CallContent]:
    """Read what a call sent and got, where its pilot keeps that. Reading it is an event.

    The user that it named stands there by its hash. Only auditors can read content.
    """
    return CALL_CONTENT(ReadContent(reason=p.reason), call=p.call)


class RedactOne(msgspec.Struct, kw_only=True, frozen=True):
    """Of which call the content is deleted, and why."""

    call: CallId
    reason: Why


def plan_redact(p: RedactOne) -> Flow[Plan]:
    """Look at what is kept of the call."""
    call = yield from CALL_SHOW(call=p.call)
    return Plan(
        title=f"Redact what {p.call} said",
        sections=[
            Section("What ends", [f"what {call.partner} sent and got ({_kept(call)})"]),
            Section("What stays", ["its record, with its decision, usage and hashes"]),
        ],
        name=p.call,
        subject=call,
        partners=1,
        irreversible="Content that was redacted cannot be had again, by anybody.",
    )


@operation(
    "call.redact",
    title="Redact content",
    result=CallContent,
    effect=Effect.DESTRUCTIVE,
    role=Role.ADMIN,
    plan=plan_redact,
    subject="call",
)
def redact(p: RedactOne, _plan: Plan | None) -> Flow[CallContent]:
    """Delete what is kept of what a call sent and got, before its time. The record stays."""
    return CALL_REDACT(RedactContent(reason=p.reason), call=p.call)


OPERATIONS: tuple[Operation, ...] = (list_calls, show, explain, content, redact)
