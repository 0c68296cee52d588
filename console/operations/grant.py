"""Grants: partners' access to capabilities on models, for a purpose and a time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.gateway import GRANT_QUIET, LOCK_BLAST, REVOKE
from console.api.policy import (
    GRANT_ACTIVATE,
    GRANT_CREATE,
    GRANT_DECIDE,
    GRANT_EXPIRING,
    GRANT_LIST,
    GRANT_PLAN,
    GRANT_SHOW,
)
from console.errors import ExitCode, PilotError
from console.model.access import StageKey
from console.model.enforcement import LockKind, LockTarget, Receipt, Revoke, TombstoneKind
from console.model.grant import (
    ActivateGrant,
    Grant,
    GrantPlan,
    GrantState,
    NewGrant,
    QuietGrant,
)
from console.model.operator import Direction, Role
from console.model.scope import DECLARED, shown_networks, shown_principals
from console.model.stored import Page
from console.model.text import Slug
from console.operations import limits_text
from console.operations.closing import ends, follow, stays
from console.operations.grant_life import (
    GrantId,
    LimitsOfAll,
    LimitsOfEach,
    amend,
    judged_higher,
    narrow,
    renew,
    resume,
    suspend,
    until_taken,
)
from console.operations.listing import pages
from console.operations.params import (
    AsOf,
    CapabilityFilter,
    Listing,
    PartnerFilter,
    PilotFilter,
    Why,
)
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import to_the_second


class ListGrants(Listing, kw_only=True, frozen=True):
    """Which grants are listed."""

    partner: PartnerFilter = ""
    pilot: PilotFilter = ""
    capability: CapabilityFilter = ""
    state: Annotated[
        str,
        Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(GrantState)),
    ] = ""
    as_of: AsOf = None


@operation("grant.list", title="List grants", result=Page[Grant])
def list_grants(p: ListGrants, _plan: Plan | None) -> Flow[Page[Grant]]:
    """List grants, newest first; with --as-of as they were: who held this on 3 March."""
    return pages(
        GRANT_LIST,
        p,
        pilot=p.pilot,
        partner=p.partner,
        capability=p.capability,
        state=p.state,
        as_of=p.as_of,
    )


class ListExpiring(Listing, kw_only=True, frozen=True):
    """How soon the listed grants end."""

    within: Annotated[
        datetime | None,
        Param("Only what ends before then: 30d, or a time.", kind=Kind.WHEN),
    ] = None
    partner: PartnerFilter = ""
    pilot: PilotFilter = ""


@operation("grant.expiring", title="List expiring grants", result=Page[Grant])
def list_expiring(p: ListExpiring, _plan: Plan | None) -> Flow[Page[Grant]]:
    """List the live grants that end soon, the soonest first: what to renew."""
    return pages(GRANT_EXPIRING, p, before=p.within, partner=p.partner, pilot=p.pilot)


class ListQuiet(Listing, kw_only=True, frozen=True):
    """Since when nobody used the listed grants."""

    since: Annotated[
        datetime | None,
        Param("Unused since then: a distance back, or a time; 30d without it.", kind=Kind.SINCE),
    ] = None
    partner: PartnerFilter = ""
    pilot: PilotFilter = ""


@operation("grant.quiet", title="List quiet grants", result=Page[QuietGrant])
def list_quiet(p: ListQuiet, _plan: Plan | None) -> Flow[Page[QuietGrant]]:
    """List the open grants that nobody used for a while: what to reclaim."""
    return pages(GRANT_QUIET, p, since=p.since, partner=p.partner, pilot=p.pilot)


class ShowGrant(msgspec.Struct, kw_only=True, frozen=True):
    """Which grant is shown."""

    grant: GrantId
    as_of: AsOf = None


class CheckGrant(msgspec.Struct, kw_only=True, frozen=True):
    """Which grant is decided anew."""

    grant: GrantId


@operation("grant.show", title="Show grant", result=Grant, subject="grant")
def show(p: ShowGrant, _plan: Plan | None) -> Flow[Grant]:
    """Show a grant: what it opens, until when, and what is missing while it does not."""
    return GRANT_SHOW(grant=p.grant, as_of=p.as_of)


@operation("grant.check", title="Check grant", result=GrantPlan, subject="grant")
def check(p: CheckGrant, _plan: Plan | None) -> Flow[GrantPlan]:
    """Decide a grant anew, and change nothing.

    Says what is missing, how to mend each of it, and what the policies decide now. With
    --exit-status, anything missing is exit 1.
    """
    return GRANT_DECIDE(grant=p.grant)


class CreateGrant(msgspec.Struct, kw_only=True, frozen=True):
    """What is granted to whom."""

    partner: Annotated[
        Slug,
        Param(
            "The partner that gets it.",
            kind=Kind.SLUG,
            completes="partner.list",
            positional=True,
        ),
    ]
    pilot: Annotated[Slug, Param("The pilot.", kind=Kind.SLUG, completes="pilot.list")]
    stage: Annotated[
        StageKey,
        Param("The stage of the pilot.", kind=Kind.CHOICE, choices=tuple(StageKey)),
    ]
    capabilities: Annotated[
        list[Slug],
        Param(
            "A capability it opens.",
            kind=Kind.SLUG,
            completes="capability.list",
            repeats=True,
            flag="capability",
        ),
    ]
    models: Annotated[
        list[str],
        Param(
            "A model; all of the capabilities' models without it, up to tier 1.",
            repeats=True,
            flag="model",
        ),
    ] = []
    networks: Annotated[
        list[str],
        Param(
            "A network that calls must come from; without it, what the partner declares (ALL below "
            "tier 2).",
            kind=Kind.NETWORK,
            repeats=True,
            flag="network",
        ),
    ] = []
    purpose: Annotated[str, Param("What the access is for.", kind=Kind.LONG_TEXT)]
    not_before: Annotated[
        datetime | None,
        Param("When it begins; at once without it.", kind=Kind.WHEN),
    ] = None
    expires_at: Annotated[
        datetime,
        Param("When it ends: 90d, or a time.", kind=Kind.WHEN, flag="expires"),
    ]
    limits: LimitsOfAll = None
    principal_limits: LimitsOfEach = None
    principals: Annotated[
        list[str],
        Param(
            "A principal, or service for the organisation: that from tier 2 without it, else ALL.",
            kind=Kind.ID,
            completes="principal.list",
            repeats=True,
            flag="principal",
        ),
    ] = []
    reason: Why


def _new(p: CreateGrant) -> NewGrant:
    return NewGrant(
        pilot=p.pilot,
        stage=p.stage,
        partner=p.partner,
        capabilities=p.capabilities,
        models=p.models,
        networks=p.networks,
        purpose=p.purpose,
        not_before=p.not_before,
        expires_at=p.expires_at,
        limits=p.limits,
        principal_limits=p.principal_limits,
        principals=p.principals,
        reason=p.reason,
    )


def _networks(plan: GrantPlan) -> str:
    """Return from where calls may come: what is declared is spelled out beside the word."""
    said = ", ".join(shown_networks(plan.grant.networks, plan.grant.tier))
    declared = said == DECLARED and plan.egress
    return f"{said}: {', '.join(plan.egress)}" if declared else said


def plan_create(p: CreateGrant) -> Flow[Plan]:
    """Ask policy what the grant would be, and what is missing for it."""
    plan = yield from GRANT_PLAN(_new(p))
    grant = plan.grant
    held = [
        f"{slug}: held by {count} other partner{'' if count == 1 else 's'}"
        for slug, count in plan.holders.items()
    ]
    return Plan(
        title=f"Grant {', '.join(grant.capabilities)} to {grant.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"{grant.partner} gets {', '.join(grant.capabilities)} (tier {grant.tier})",
                    *judged_higher(grant),
                    f"in {grant.pilot}, stage {grant.stage}",
                    f"models: {', '.join(grant.models) or 'ALL of the capabilities'}",
                    f"networks: {_networks(plan)}",
                    f"principals: {', '.join(shown_principals(grant.principals))}",
                    f"limits: {limits_text.write(grant.limits)}",
                    f"from {to_the_second(grant.not_before)} to {to_the_second(grant.expires_at)}",
                    f"it becomes {plan.becomes.replace('_', ' ')} at once",
                    *held,
                ],
            ),
            Section(
                "What stays",
                [f"{overlap} goes on beside it" for overlap in plan.overlaps]
                or ["no other grant of theirs over the same capabilities"],
            ),
            *(
                [Section(f"What stage {grant.stage} asks for, which you check", plan.criteria)]
                if plan.criteria
                else []
            ),
        ],
        gaps=plan.gaps,
        subject=plan.grant,
        partners=1,
    )


@operation(
    "grant.create",
    title="Create grant",
    result=Grant,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_create,
    key="n",
    converges=True,
)
def create(p: CreateGrant, _plan: Plan | None) -> Flow[Grant]:
    """Grant a partner access to capabilities.

    The plan says what is missing and how to mend it. Where something is, the grant is kept
    as a draft (exit 8), to be activated once it is mended. From tier 3 up it waits for
    approval (exit 8).
    """
    grant = yield from GRANT_CREATE(_new(p))
    return (yield from until_taken(grant))


class ActivateOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which draft goes on."""

    grant: GrantId
    reason: Why


def plan_activate(p: ActivateOne) -> Flow[Plan]:
    """Decide the draft anew, on its present revision."""
    grant = yield from GRANT_SHOW(grant=p.grant)
    decided = yield from GRANT_DECIDE(grant=p.grant)
    new = decided.grant
    return Plan(
        title=f"Activate {grant.id} of {grant.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"{grant.partner} gets {', '.join(grant.capabilities)} (tier {new.tier})",
                    *judged_higher(new),
                    f"it was {grant.state.replace('_', ' ')}",
                    f"it becomes {decided.becomes.replace('_', ' ')} at once",
                ],
            ),
        ],
        gaps=decided.gaps,
        revision=grant.revision,
        subject=grant,
        partners=1,
    )


@operation(
    "grant.activate",
    title="Activate grant",
    result=Grant,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_activate,
    key="a",
    subject="grant",
    converges=True,
)
def activate(p: ActivateOne, plan: Plan | None) -> Flow[Grant]:
    """Let a draft go on, now that what it missed is mended."""
    plan = plan or (yield from plan_activate(p))
    assert plan.revision is not None
    grant = yield from GRANT_ACTIVATE(
        ActivateGrant(reason=p.reason), grant=p.grant, if_match=plan.revision
    )
    return (yield from until_taken(grant))


class RevokeGrant(msgspec.Struct, kw_only=True, frozen=True):
    """Which grant is ended for ever."""

    grant: GrantId
    reason: Why


def plan_revoke(p: RevokeGrant) -> Flow[Plan]:
    """Ask the gateway what ends. Only of a grant that it does not know is policy asked."""
    blast = yield from LOCK_BLAST(LockTarget(kind=LockKind.GRANT, id=p.grant))
    partner, grant = ", ".join(blast.partners), None
    if not partner:
        grant, partner = yield from _whose(p.grant, known=bool(blast.grants))
    return Plan(
        title=f"Revoke {p.grant}{' of ' + partner if partner else ''}",
        sections=[
            Section(
                "What it does",
                [
                    "the grant never serves again",
                    "verified at every point, then in the log",
                ],
            ),
            ends(blast),
            stays(blast),
        ],
        name=partner or p.grant,
        name_is_guess=not partner,
        subject=grant,
        partners=len(blast.partners),
        irreversible="A revoked grant cannot come back. Re-access is a new grant.",
        blast=blast,
    )


def _whose(grant: str, *, known: bool) -> Flow[tuple[Grant | None, str]]:
    """Ask policy for a grant that the gateway has no keys of, and for its partner."""
    try:
        found = yield from GRANT_SHOW(grant=grant)
    except PilotError as error:
        if error.exit is ExitCode.NOT_FOUND and not known:
            raise
        return None, ""
    return found, found.partner


@operation(
    "grant.revoke",
    title="Revoke grant",
    result=Receipt,
    effect=Effect.DESTRUCTIVE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_revoke,
    key="x",
    subject="grant",
    converges=True,
)
def revoke(p: RevokeGrant, _plan: Plan | None) -> Flow[Receipt]:
    """End a grant for ever, and prove it.

    The gateway refuses every key of it from the next call on, and cuts its streams. Each
    point is probed through its own listener, or its lease has lapsed; then the event is
    proven to be in the log. Short of that: unverified, why, and exit 9. It needs the
    gateway alone, and one person.
    """
    receipt = yield from REVOKE(Revoke(kind=TombstoneKind.GRANT, id=p.grant, reason=p.reason))
    return (yield from follow(receipt))


OPERATIONS: tuple[Operation, ...] = (
    list_grants,
    list_expiring,
    list_quiet,
    show,
    check,
    create,
    activate,
    renew,
    amend,
    narrow,
    suspend,
    resume,
    revoke,
)
