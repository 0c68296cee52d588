"""Partners: the vetted organisations that grants are for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.policy import (
    PARTNER_CREATE,
    PARTNER_DECLARE,
    PARTNER_LIST,
    PARTNER_SHOW,
    PARTNER_VERIFY,
)
from console.model.access import DeclarePartner, NewPartner, Partner, PartnerState, VerifyPartner
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.model.text import Name, Slug
from console.operations.listing import pages
from console.operations.params import AsOf, Listing, Why
from console.operations.partner_declares import (
    add_contact,
    add_network,
    add_subprocessor,
    remove_contact,
    remove_network,
    remove_subprocessor,
)
from console.operations.partner_life import (
    PartnerSlug,
    offboard,
    restrict,
    resume,
    suspend,
    vet,
)
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import to_the_second


class ListPartners(Listing, kw_only=True, frozen=True):
    """Which partners are listed."""

    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(PartnerState))
    ] = ""
    as_of: AsOf = None


@operation("partner.list", title="List partners", result=Page[Partner])
def list_partners(p: ListPartners, _plan: Plan | None) -> Flow[Page[Partner]]:
    """List the partners, as they are or with --as-of as they were."""
    return pages(PARTNER_LIST, p, state=p.state, as_of=p.as_of)


class ShowPartner(msgspec.Struct, kw_only=True, frozen=True):
    """Which partner is shown."""

    partner: PartnerSlug
    as_of: AsOf = None


@operation("partner.show", title="Show partner", result=Partner, subject="partner")
def show(p: ShowPartner, _plan: Plan | None) -> Flow[Partner]:
    """Show a partner: its verification, its declared networks and subprocessors."""
    return PARTNER_SHOW(partner=p.partner, as_of=p.as_of)


class CreatePartner(msgspec.Struct, kw_only=True, frozen=True):
    """Who the new partner is."""

    slug: Annotated[Slug, Param("Its short name.", kind=Kind.SLUG, positional=True)]
    name: Annotated[Name, Param("Its name, one line.")]
    sponsor: Annotated[Name, Param("The operator who answers for it.")]
    egress: Annotated[
        list[str],
        Param(
            "A network its calls come from; others raise an alert.",
            kind=Kind.NETWORK,
            repeats=True,
        ),
    ] = []
    subprocessors: Annotated[
        list[Slug],
        Param(
            "An organisation that may hold its keys.",
            kind=Kind.SLUG,
            repeats=True,
            flag="subprocessor",
        ),
    ] = []
    reason: Why


def _new(p: CreatePartner) -> NewPartner:
    return NewPartner(
        slug=p.slug,
        name=p.name,
        sponsor=p.sponsor,
        egress=p.egress,
        subprocessors=p.subprocessors,
        reason=p.reason,
    )


def _declared(egress: list[str], subprocessors: list[str]) -> list[str]:
    return [
        f"networks: {', '.join(egress) or 'none declared'}",
        f"subprocessors: {', '.join(subprocessors) or 'none'}",
    ]


def plan_create(p: CreatePartner) -> Flow[Plan]:
    """Let policy check the partner without making it."""
    made = yield from PARTNER_CREATE(_new(p), validate=True)
    return Plan(
        title=f"Create partner {made.slug}",
        sections=[
            Section(
                "What it does",
                [
                    f"{made.slug} ({made.name}), sponsored by {made.sponsor}: {made.state}",
                    *_declared(made.egress, made.subprocessors),
                ],
            ),
            Section("What stays", ["it has no access before it is verified and has a grant"]),
        ],
        partners=1,
    )


@operation(
    "partner.create",
    title="Create partner",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_create,
)
def create(p: CreatePartner, _plan: Plan | None) -> Flow[Partner]:
    """Take up an organisation as a prospect. It is verified next."""
    return PARTNER_CREATE(_new(p))


class VerifyOne(msgspec.Struct, kw_only=True, frozen=True):
    """Whose verification holds until when, and on what evidence."""

    partner: PartnerSlug
    until: Annotated[datetime, Param("Until when it holds: 180d, or a time.", kind=Kind.WHEN)]
    evidence: Annotated[Name, Param("Where the evidence is.")]
    reason: Why


def plan_verify(p: VerifyOne) -> Flow[Plan]:
    """Compare with the verification that there is."""
    partner = yield from PARTNER_SHOW(partner=p.partner)
    before = partner.verified_until
    return Plan(
        title=f"Verify {partner.slug} until {to_the_second(p.until)}",
        sections=[
            Section(
                "What it does",
                [
                    f"verified until {to_the_second(p.until)}, on {p.evidence}",
                    f"before: {'until ' + to_the_second(before) if before else 'never verified'}",
                    "grants that only waited for this may resume, below tier 3",
                ],
            ),
        ],
        revision=partner.revision,
        subject=partner,
        partners=1,
    )


@operation(
    "partner.verify",
    title="Verify partner",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_verify,
    subject="partner",
)
def verify(p: VerifyOne, plan: Plan | None) -> Flow[Partner]:
    """Record that a partner was verified, and until when that holds.

    When it ends, the partner's grants suspend by themselves.
    """
    plan = plan or (yield from plan_verify(p))
    assert plan.revision is not None
    change = VerifyPartner(until=p.until, evidence=p.evidence, reason=p.reason)
    return (yield from PARTNER_VERIFY(change, partner=p.partner, if_match=plan.revision))


class DeclareOne(msgspec.Struct, kw_only=True, frozen=True):
    """The whole new lists; one that is not given stays as it is."""

    partner: PartnerSlug
    egress: Annotated[
        list[str] | None,
        Param(
            "A network its calls come from; none at all with an empty value.",
            kind=Kind.NETWORK,
            repeats=True,
        ),
    ] = None
    subprocessors: Annotated[
        list[Slug] | None,
        Param(
            "An organisation that may hold its keys; none at all with an empty value.",
            kind=Kind.SLUG,
            repeats=True,
            flag="subprocessor",
        ),
    ] = None
    reason: Why


def plan_declare(p: DeclareOne) -> Flow[Plan]:
    """Compare with what is declared now."""
    partner = yield from PARTNER_SHOW(partner=p.partner)
    egress = partner.egress if p.egress is None else p.egress
    held = partner.subprocessors if p.subprocessors is None else p.subprocessors
    return Plan(
        title=f"Declare networks and subprocessors of {partner.slug}",
        sections=[
            Section("What it does", _declared(egress, held)),
            Section("What it replaces", _declared(partner.egress, partner.subprocessors)),
        ],
        revision=partner.revision,
        subject=partner,
        partners=1,
    )


@operation(
    "partner.declare",
    title="Declare networks",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_declare,
    subject="partner",
)
def declare(p: DeclareOne, plan: Plan | None) -> Flow[Partner]:
    """Replace the networks that a partner calls from, and who may hold its keys."""
    plan = plan or (yield from plan_declare(p))
    assert plan.revision is not None
    change = DeclarePartner(egress=p.egress, subprocessors=p.subprocessors, reason=p.reason)
    return (yield from PARTNER_DECLARE(change, partner=p.partner, if_match=plan.revision))


OPERATIONS: tuple[Operation, ...] = (
    list_partners,
    show,
    create,
    vet,
    verify,
    declare,
    add_contact,
    remove_contact,
    add_network,
    remove_network,
    add_subprocessor,
    remove_subprocessor,
    restrict,
    suspend,
    resume,
    offboard,
)
