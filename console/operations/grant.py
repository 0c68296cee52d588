"""Grants: partners' access to capabilities on models, for a purpose and a time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from console.api.engines import Engines
from console.api.flow import Flow, Report
from console.errors import ExitCode, PilotError
from console.model.access import StageKey
from console.model.enforcement import LockKind, LockTarget, Receipt, Revoke, TombstoneKind
from console.model.grant import (
    ActivateGrant,
    Grant,
    GrantPlan,
    GrantState,
    NewGrant,
    RenewGrant,
)
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.model.text import Slug
from console.operations.closing import FIRST_PAUSE, LONGEST_PAUSE, ends, follow, pause, stays
from console.operations.listing import pages
from console.operations.params import (
    CapabilityFilter,
    Listing,
    PartnerFilter,
    PilotFilter,
    Why,
)
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import to_the_second

GrantId = Annotated[
    str,
    Param("The grant's id.", kind=Kind.ID, completes="grant.list", positional=True),
]


class ListGrants(Listing, kw_only=True, frozen=True):
    """Which grants are listed."""

    partner: PartnerFilter = ""
    pilot: PilotFilter = ""
    capability: CapabilityFilter = ""
    state: Annotated[
        str,
        Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(GrantState)),
    ] = ""


@operation("grant.list", title="List grants", result=Page[Grant])
def list_grants(p: ListGrants, at: Engines, _plan: Plan | None) -> Flow[Page[Grant]]:
    """List grants, newest first."""
    return pages(
        p,
        lambda paging: at.grants.find(
            paging, pilot=p.pilot, partner=p.partner, capability=p.capability, state=p.state
        ),
    )


class ShowGrant(msgspec.Struct, kw_only=True, frozen=True):
    """Which grant is shown."""

    grant: GrantId


@operation("grant.show", title="Show grant", result=Grant, subject="grant")
def show(p: ShowGrant, at: Engines, _plan: Plan | None) -> Flow[Grant]:
    """Show a grant: what it opens, until when, and what is missing while it does not."""
    return at.grants.show(p.grant)


@operation("grant.check", title="Check grant", result=GrantPlan, subject="grant")
def check(p: ShowGrant, at: Engines, _plan: Plan | None) -> Flow[GrantPlan]:
    """Decide a grant anew, and change nothing.

    Says what is missing, how to mend each of it, and what the policies decide now. With
    --exit-status, anything missing is exit 1.
    """
    return at.decisions.of_grant(p.grant)


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
            "A network that calls must come from; ALL without it.",
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
        reason=p.reason,
    )


def plan_create(p: CreateGrant, at: Engines) -> Flow[Plan]:
    """Ask policy what the grant would be, and what is missing for it."""
    plan = yield from at.grants.plan(_new(p))
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
                    f"in {grant.pilot}, stage {grant.stage}",
                    f"models: {', '.join(grant.models) or 'ALL of the capabilities'}",
                    f"networks: {', '.join(grant.networks) or 'ALL'}",
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
def create(p: CreateGrant, at: Engines, _plan: Plan | None) -> Flow[Grant]:
    """Grant a partner access to capabilities.

    The plan says what is missing and how to mend it. Where something is, the grant is kept
    as a draft (exit 8), to be activated once it is mended. From tier 3 up it waits for
    approval (exit 8).
    """
    grant = yield from at.grants.create(_new(p))
    return (yield from _until_taken(grant, at))


def _until_taken(grant: Grant, at: Engines) -> Flow[Grant]:
    """Wait until the gateway has taken a grant that is on its way there."""
    wait = FIRST_PAUSE
    yield Report(f"{grant.id} is {grant.state.replace('_', ' ')}", grant)
    if grant.state != GrantState.PROVISIONING or (yield from pause(0)) <= 0:
        return grant
    while grant.state == GrantState.PROVISIONING:
        if (yield from pause(wait)) <= 0:
            break
        wait = min(wait * 2, LONGEST_PAUSE)
        try:
            grant = yield from at.grants.show(grant.id)
        except PilotError as error:
            # It was created: not seeing it now is no reason to say that it was not.
            if error.exit is not ExitCode.UNAVAILABLE:
                break
    return grant


class ActivateOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which draft goes on."""

    grant: GrantId
    reason: Why


def plan_activate(p: ActivateOne, at: Engines) -> Flow[Plan]:
    """Decide the draft anew, on its present revision."""
    grant = yield from at.grants.show(p.grant)
    decided = yield from at.decisions.of_grant(p.grant)
    return Plan(
        title=f"Activate {grant.id} of {grant.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"{grant.partner} gets {', '.join(grant.capabilities)} (tier {grant.tier})",
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
def activate(p: ActivateOne, at: Engines, plan: Plan | None) -> Flow[Grant]:
    """Let a draft go on, now that what it missed is mended."""
    plan = plan or (yield from plan_activate(p, at))
    assert plan.revision is not None
    grant = yield from at.grants.activate(p.grant, ActivateGrant(reason=p.reason), plan.revision)
    return (yield from _until_taken(grant, at))


class RenewOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which grant is extended, and until when."""

    grant: GrantId
    expires_at: Annotated[
        datetime,
        Param("When the successor ends: 90d, or a time.", kind=Kind.WHEN, flag="expires"),
    ]
    reason: Why


def plan_renew(p: RenewOne, at: Engines) -> Flow[Plan]:
    """Let policy judge the successor without making it."""
    old = yield from at.grants.show(p.grant)
    change = RenewGrant(expires_at=p.expires_at, reason=p.reason)
    new = yield from at.grants.renew(p.grant, change, old.revision, validate=True)
    opens = new.state == GrantState.PROVISIONING
    return Plan(
        title=f"Renew {old.id} of {old.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"a successor: {', '.join(new.capabilities)} (tier {new.tier})",
                    f"until {to_the_second(new.expires_at)}, in stage {new.stage}",
                    f"it was until {to_the_second(old.expires_at)}",
                    "the keys go on under it, and calls in flight too: nobody changes a key"
                    if opens
                    else f"it is {new.state.replace('_', ' ')}: the keys move when it opens",
                ],
            ),
            Section(
                "What ends",
                [
                    f"{old.id}, as renewed, once the gateway has moved its keys"
                    if opens
                    else f"nothing now: {old.id} goes on to its own end"
                ],
            ),
        ],
        gaps=new.gaps,
        revision=old.revision,
        subject=old,
        partners=1,
    )


@operation(
    "grant.renew",
    title="Renew grant",
    result=Grant,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_renew,
    key="N",
    subject="grant",
    converges=True,
)
def renew(p: RenewOne, at: Engines, plan: Plan | None) -> Flow[Grant]:
    """Extend a grant by a successor that keeps its keys.

    The successor is judged anew. The gateway moves the keys in the change that opens it:
    no call is refused in between, and streams go on. Where evidence is missing it is a
    draft (exit 8), and from tier 3 up it waits for approval (exit 8): the old grant goes on
    until then. A lock on the old grant holds the successor as well.
    """
    plan = plan or (yield from plan_renew(p, at))
    assert plan.revision is not None
    change = RenewGrant(expires_at=p.expires_at, reason=p.reason)
    grant = yield from at.grants.renew(p.grant, change, plan.revision)
    return (yield from _until_taken(grant, at))


class RevokeGrant(msgspec.Struct, kw_only=True, frozen=True):
    """Which grant is ended for ever."""

    grant: GrantId
    reason: Why


def plan_revoke(p: RevokeGrant, at: Engines) -> Flow[Plan]:
    """Ask the gateway what ends. Only of a grant that it does not know is policy asked."""
    blast = yield from at.locks.blast(LockTarget(kind=LockKind.GRANT, id=p.grant))
    partner, grant = ", ".join(blast.partners), None
    if not partner:
        grant, partner = yield from _whose(p.grant, at, known=bool(blast.grants))
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
        subject=grant,
        partners=len(blast.partners),
        irreversible="A revoked grant cannot come back. Re-access is a new grant.",
        blast=blast,
    )


def _whose(grant: str, at: Engines, *, known: bool) -> Flow[tuple[Grant | None, str]]:
    """Ask policy for a grant that the gateway has no keys of, and for its partner."""
    try:
        found = yield from at.grants.show(grant)
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
def revoke(p: RevokeGrant, at: Engines, _plan: Plan | None) -> Flow[Receipt]:
    """End a grant for ever, and prove it.

    The gateway refuses every key of it from the next call on, and cuts its streams. Each
    point is probed through its own listener, or its lease has lapsed; then the event is
    proven to be in the log. Short of that: unverified, why, and exit 9. It needs the
    gateway alone, and one person.
    """
    receipt = yield from at.closings.revoke(
        Revoke(kind=TombstoneKind.GRANT, id=p.grant, reason=p.reason)
    )
    return (yield from follow(receipt, at))


OPERATIONS: tuple[Operation, ...] = (list_grants, show, check, create, activate, renew, revoke)
