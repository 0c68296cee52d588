"""Usage terms by version, and the partners' acceptances of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from console.api.flow import Flow
from console.api.policy import (
    TERMS_ACCEPT,
    TERMS_ACCEPTANCES,
    TERMS_LIST,
    TERMS_PUBLISH,
    TERMS_SHOW,
)
from console.model.evidence import Acceptance, AcceptTerms, PublishTerms, UsageTerms
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.model.text import LongText, Name, Slug
from console.operations.listing import pages
from console.operations.params import Listing, PartnerFilter, PilotFilter, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import to_the_second


class ListTerms(Listing, kw_only=True, frozen=True):
    """Whose terms are listed."""

    pilot: PilotFilter = ""


@operation("terms.list", title="List terms", result=Page[UsageTerms])
def list_terms(p: ListTerms, _plan: Plan | None) -> Flow[Page[UsageTerms]]:
    """List the versions of the usage terms, and who accepted each."""
    return pages(TERMS_LIST, p, pilot=p.pilot)


class ShowTerms(msgspec.Struct, kw_only=True, frozen=True):
    """Which version is shown."""

    terms: Annotated[
        str, Param("The terms' id.", kind=Kind.ID, completes="terms.list", positional=True)
    ]


@operation("terms.show", title="Show terms", result=UsageTerms, subject="terms")
def show(p: ShowTerms, _plan: Plan | None) -> Flow[UsageTerms]:
    """Show one version of the terms: its text, its hash, and who accepted it."""
    return TERMS_SHOW(terms=p.terms)


class PublishOne(msgspec.Struct, kw_only=True, frozen=True):
    """What is published, and until when the version before still counts."""

    pilot: Annotated[
        Slug, Param("The pilot.", kind=Kind.SLUG, completes="pilot.list", positional=True)
    ]
    title: Annotated[Name, Param("Their title, one line.")]
    text: Annotated[
        LongText, Param("The file with their text.", kind=Kind.FILE, flag="file", metavar="FILE")
    ]
    reaccept_by: Annotated[
        datetime | None,
        Param(
            "Until when an acceptance of the version before still counts; not for the first.",
            kind=Kind.WHEN,
        ),
    ] = None
    reason: Why


def _new(p: PublishOne) -> PublishTerms:
    return PublishTerms(
        pilot=p.pilot, title=p.title, text=p.text, reaccept_by=p.reaccept_by, reason=p.reason
    )


def plan_publish(p: PublishOne) -> Flow[Plan]:
    """Let policy check the new version without publishing it."""
    made = yield from TERMS_PUBLISH(_new(p), validate=True)
    return Plan(
        title=f"Publish version {made.version} of the terms of {made.pilot}",
        sections=[
            Section(
                "What it does",
                [
                    f"{made.title}: {len(p.text)} characters, SHA-256 {made.sha256}",
                    f"acceptances of the one before count until {to_the_second(made.reaccept_by)}",
                ],
            ),
            Section(
                "What ends",
                [
                    "from then on, grants of partners that have not accepted it suspend",
                ],
            ),
        ],
        irreversible="A published version stays. Another can follow it.",
    )


@operation(
    "terms.publish",
    title="Publish terms",
    result=UsageTerms,
    effect=Effect.CHANGE,
    role=Role.OPERATOR,
    plan=plan_publish,
)
def publish(p: PublishOne, _plan: Plan | None) -> Flow[UsageTerms]:
    """Publish the next version of a pilot's usage terms.

    Grants of partners that have not accepted it by the end of the window suspend by
    themselves.
    """
    return TERMS_PUBLISH(_new(p))


class AcceptOne(msgspec.Struct, kw_only=True, frozen=True):
    """Who accepted which version, and on what evidence."""

    pilot: Annotated[
        Slug, Param("The pilot.", kind=Kind.SLUG, completes="pilot.list", positional=True)
    ]
    partner: Annotated[
        Slug,
        Param(
            "The partner that accepted.",
            kind=Kind.SLUG,
            completes="partner.list",
            positional=True,
        ),
    ]
    signatory: Annotated[Name, Param("Who signed for the partner.")]
    evidence: Annotated[Name, Param("Where the signed copy is.")]
    version: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Param("The version; the one in force without it.", kind=Kind.NUMBER),
    ] = None
    reason: Why


def _acceptance(p: AcceptOne) -> AcceptTerms:
    return AcceptTerms(
        partner=p.partner,
        signatory=p.signatory,
        evidence=p.evidence,
        version=p.version,
        reason=p.reason,
    )


def plan_accept(p: AcceptOne) -> Flow[Plan]:
    """Let policy check the acceptance without recording it."""
    made = yield from TERMS_ACCEPT(_acceptance(p), pilot=p.pilot, validate=True)
    return Plan(
        title=f"Record that {made.partner} accepted version {made.version}",
        sections=[
            Section(
                "What it does",
                [
                    f"{made.partner} accepted the terms of {made.pilot}, version {made.version}",
                    f"signed by {made.signatory}, on {made.evidence}",
                    "grants that only waited for this may resume, below tier 3",
                ],
            ),
        ],
        partners=1,
    )


@operation(
    "terms.accept",
    title="Record acceptance",
    result=Acceptance,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_accept,
)
def accept(p: AcceptOne, _plan: Plan | None) -> Flow[Acceptance]:
    """Record, on the partner's evidence, that it accepted the terms."""
    return TERMS_ACCEPT(_acceptance(p), pilot=p.pilot)


class ListAcceptances(Listing, kw_only=True, frozen=True):
    """Which acceptances are listed."""

    pilot: PilotFilter = ""
    partner: PartnerFilter = ""


@operation("terms.acceptances", title="List acceptances", result=Page[Acceptance])
def acceptances(p: ListAcceptances, _plan: Plan | None) -> Flow[Page[Acceptance]]:
    """List who accepted which version, newest first."""
    return pages(TERMS_ACCEPTANCES, p, pilot=p.pilot, partner=p.partner)


OPERATIONS: tuple[Operation, ...] = (list_terms, show, publish, accept, acceptances)
