"""Principals: the users of partners, known by a salted hash of what the partner calls them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.policy import PRINCIPAL_CREATE, PRINCIPAL_LIST, PRINCIPAL_RETIRE, PRINCIPAL_SHOW
from console.model.operator import Direction, Role
from console.model.principal import (
    Identifier,
    NewPrincipal,
    Principal,
    PrincipalKind,
    PrincipalState,
    RetirePrincipal,
)
from console.model.stored import Page
from console.model.text import Note, Slug
from console.operations.listing import pages
from console.operations.params import Listing, PartnerFilter, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation

PrincipalId = Annotated[
    str,
    Param("The principal's id.", kind=Kind.ID, completes="principal.list", positional=True),
]


class ListPrincipals(Listing, kw_only=True, frozen=True):
    """Which principals are listed."""

    partner: PartnerFilter = ""
    kind: Annotated[
        str, Param("Only of this kind.", kind=Kind.CHOICE, choices=tuple(PrincipalKind))
    ] = ""
    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(PrincipalState))
    ] = ""


@operation("principal.list", title="List principals", result=Page[Principal])
def list_principals(p: ListPrincipals, _plan: Plan | None) -> Flow[Page[Principal]]:
    """List the partners' users that are known, newest first."""
    return pages(PRINCIPAL_LIST, p, partner=p.partner, state=p.state, kind=p.kind)


class ShowPrincipal(msgspec.Struct, kw_only=True, frozen=True):
    """Which principal is shown."""

    principal: PrincipalId


@operation("principal.show", title="Show principal", result=Principal, subject="principal")
def show(p: ShowPrincipal, _plan: Plan | None) -> Flow[Principal]:
    """Show a principal. What the partner calls it is nowhere: only its salted hash is kept."""
    return PRINCIPAL_SHOW(principal=p.principal)


class CreatePrincipal(msgspec.Struct, kw_only=True, frozen=True):
    """Whose user it is, and what the partner calls it."""

    partner: Annotated[
        Slug,
        Param("The partner.", kind=Kind.SLUG, completes="partner.list", positional=True),
    ]
    identifier: Annotated[
        Identifier,
        Param("What the partner sends for this user in a call. It is hashed, never kept."),
    ]
    kind: Annotated[
        PrincipalKind,
        Param("Who stands behind it.", kind=Kind.CHOICE, choices=tuple(PrincipalKind)),
    ] = PrincipalKind.PERSON
    note: Annotated[Note, Param("What operators call it; never the identifier itself.")] = ""
    reason: Why


def _new(p: CreatePrincipal) -> NewPrincipal:
    return NewPrincipal(
        partner=p.partner, identifier=p.identifier, kind=p.kind, note=p.note, reason=p.reason
    )


def plan_create(p: CreatePrincipal) -> Flow[Plan]:
    """Let policy hash the identifier and check it, without taking it in."""
    made = yield from PRINCIPAL_CREATE(_new(p), validate=True)
    return Plan(
        title=f"Create principal of {made.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"a {made.kind} of {made.partner}, known as {made.hash[:12]}…",
                    "calls that name it are told apart: usage, limits, locks",
                ],
            ),
            Section("What stays", ["it may do nothing by itself: a grant names it, or any may"]),
        ],
        partners=1,
    )


@operation(
    "principal.create",
    title="Create principal",
    result=Principal,
    effect=Effect.CHANGE,
    role=Role.OPERATOR,
    plan=plan_create,
)
def create(p: CreatePrincipal, _plan: Plan | None) -> Flow[Principal]:
    """Take in a user of a partner by what the partner calls it in its calls.

    That is `safety_identifier` or `user` in chat completions and responses, and
    `metadata.user_id` in messages. Only its salted hash is stored. To cut one off at once:
    `lock add principal ID`.
    """
    return PRINCIPAL_CREATE(_new(p))


class RetireOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which principal is retired."""

    principal: PrincipalId
    reason: Why


def plan_retire(p: RetireOne) -> Flow[Plan]:
    """Say whose it is."""
    principal = yield from PRINCIPAL_SHOW(principal=p.principal)
    return Plan(
        title=f"Retire {principal.id} of {principal.partner}",
        sections=[
            Section(
                "What it does",
                [
                    "it serves no more under the grants that name it",
                    "it cannot be named by a grant any more",
                ],
            ),
            Section(
                "What stays",
                [
                    "grants that let anybody of the partner call let it, too:",
                    f"pilotctl lock add principal {principal.id} --reason WHY cuts it everywhere",
                ],
            ),
        ],
        subject=principal,
        partners=1,
    )


@operation(
    "principal.retire",
    title="Retire principal",
    result=Principal,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.OPERATOR,
    plan=plan_retire,
    subject="principal",
)
def retire(p: RetireOne, _plan: Plan | None) -> Flow[Principal]:
    """Let a principal serve no more under the grants that name it."""
    return PRINCIPAL_RETIRE(RetirePrincipal(reason=p.reason), principal=p.principal)


OPERATIONS: tuple[Operation, ...] = (list_principals, show, create, retire)
