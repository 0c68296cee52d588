"""What becomes of a grant after it was made: renewed, amended, narrowed, suspended, resumed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from console.api.flow import Flow, Report
from console.api.gateway import GRANT_SUSPEND, LOCK_BLAST
from console.api.policy import GRANT_AMEND, GRANT_NARROW, GRANT_RENEW, GRANT_RESUME, GRANT_SHOW
from console.errors import ExitCode, PilotError
from console.model.access import StageKey
from console.model.enforcement import LockKind, LockTarget, Receipt
from console.model.grant import (
    AmendGrant,
    Grant,
    GrantState,
    RenewGrant,
    ResumeGrant,
    SuspendAccess,
)
from console.model.limits import Limits
from console.model.operator import Direction, Role
from console.model.scope import shown_networks, shown_principals
from console.operations import limits_text
from console.operations.closing import (
    FIRST_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    ends,
    follow,
    pause,
    stays,
)
from console.operations.params import Why
from console.operations.spec import Effect, Kind, Param, Plan, Section, operation
from console.operations.values import to_the_second

GrantId = Annotated[
    str,
    Param("The grant's id.", kind=Kind.ID, completes="grant.list", positional=True),
]

OF_ALL = "Over all its keys: requests=60,parallel=4,budget=250,per=month, or none."
OF_EACH = "For each of its principals alone, written the same."
LimitsOfAll = Annotated[Limits | None, Param(OF_ALL, kind=Kind.LIMITS)]
LimitsOfEach = Annotated[Limits | None, Param(OF_EACH, kind=Kind.LIMITS)]


def until_taken(grant: Grant) -> Flow[Grant]:
    """Wait until the gateway has taken a grant that is on its way there."""
    wait = FIRST_PAUSE_SECONDS
    yield Report(f"{grant.id} is {grant.state.replace('_', ' ')}", grant)
    if grant.state != GrantState.PROVISIONING or (yield from pause(0)) <= 0:
        return grant
    while grant.state == GrantState.PROVISIONING:
        if (yield from pause(wait)) <= 0:
            break
        wait = min(wait * 2, MAX_PAUSE_SECONDS)
        try:
            grant = yield from GRANT_SHOW(grant=grant.id)
        except PilotError as error:
            # It was created: not seeing it now is no reason to say that it was not.
            if error.exit is not ExitCode.UNAVAILABLE:
                break
    return grant


class RenewOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which grant is extended, and until when."""

    grant: GrantId
    expires_at: Annotated[
        datetime,
        Param("When the successor ends: 90d, or a time.", kind=Kind.WHEN, flag="expires"),
    ]
    stage: Annotated[
        StageKey | None,
        Param("Another stage of the pilot.", kind=Kind.CHOICE, choices=tuple(StageKey)),
    ] = None
    reason: Why


def plan_renew(p: RenewOne) -> Flow[Plan]:
    """Let policy judge the successor without making it."""
    old = yield from GRANT_SHOW(grant=p.grant)
    new = yield from GRANT_RENEW(_renewal(p), grant=p.grant, if_match=old.revision, validate=True)
    opens = new.state == GrantState.PROVISIONING
    moves = "the keys go on under it, and calls in flight too: nobody changes a key"
    waits = f"it is {new.state.replace('_', ' ')}: the keys move when it opens"
    goes = f"{old.id}, as renewed, once the gateway has moved its keys"
    if old.renewed_by == new.id:
        return Plan(
            title=f"Renew {old.id} of {old.partner}",
            sections=[Section("What it does", [f"nothing: {_already(old, new)}"])],
            revision=old.revision,
            subject=old,
            partners=1,
        )
    return Plan(
        title=f"Renew {old.id} of {old.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"until {new.expires_at:%Y-%m-%d}, it was {old.expires_at:%Y-%m-%d}",
                    f"a successor: {', '.join(new.capabilities)} (tier {new.tier})",
                    *judged_higher(new),
                    f"in stage {new.stage}, to {to_the_second(new.expires_at)}",
                    moves if opens else waits,
                ],
            ),
            Section(
                "What ends",
                [goes if opens else f"nothing now: {old.id} goes on to its own end"],
            ),
        ],
        gaps=new.gaps,
        revision=old.revision,
        subject=old,
        partners=1,
    )


def judged_higher(grant: Grant) -> list[str]:
    """Say why a grant's tier is above those of its capabilities, where it is."""
    if not grant.below:
        return []
    guards = ", ".join(grant.below)
    return [f"judged at tier {grant.tier}: its models and routes reach what {guards} guards"]


def _already(old: Grant, new: Grant) -> str:
    return f"{new.id} renews {old.id} already, until {new.expires_at:%Y-%m-%d}"


def _renewal(p: RenewOne) -> RenewGrant:
    return RenewGrant(expires_at=p.expires_at, stage=p.stage, reason=p.reason)


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
def renew(p: RenewOne, plan: Plan | None) -> Flow[Grant]:
    """Extend a grant by a successor that keeps its keys.

    The successor is judged anew. The gateway moves the keys in the change that opens it:
    no call is refused in between, and streams go on. Where evidence is missing it is a
    draft (exit 8), and from tier 3 up it waits for approval (exit 8): the old grant goes on
    until then. A lock on the old grant holds the successor as well. The same renewal again
    is the successor that is there.
    """
    plan = plan or (yield from plan_renew(p))
    assert plan.revision is not None
    grant = yield from GRANT_RENEW(_renewal(p), grant=p.grant, if_match=plan.revision)
    if isinstance(plan.subject, Grant) and plan.subject.renewed_by == grant.id:
        yield Report(_already(plan.subject, grant), grant)
        return grant
    return (yield from until_taken(grant))


class AmendOne(msgspec.Struct, kw_only=True, frozen=True):
    """What of the grant changes; what is not given stays."""

    grant: GrantId
    limits: Annotated[Limits | None, Param(OF_ALL, kind=Kind.LIMITS, asked=True)] = None
    principal_limits: Annotated[Limits | None, Param(OF_EACH, kind=Kind.LIMITS, asked=True)] = None
    networks: Annotated[
        list[str] | None,
        Param(
            "A network that calls must come from; empty: what is declared, or ALL below tier 2.",
            kind=Kind.NETWORK,
            repeats=True,
            flag="network",
            asked=True,
        ),
    ] = None
    principals: Annotated[
        list[str] | None,
        Param(
            "A principal, or service for the organisation; empty: service, or ALL below tier 2.",
            kind=Kind.ID,
            completes="principal.list",
            repeats=True,
            flag="principal",
            asked=True,
        ),
    ] = None
    purpose: Annotated[str | None, Param("What the access is for.", kind=Kind.LONG_TEXT)] = None
    reason: Why


class NarrowOne(AmendOne, kw_only=True, frozen=True):
    """What is taken away from the grant; what is not given stays."""


def _amendment(p: AmendOne) -> AmendGrant:
    return AmendGrant(
        limits=p.limits,
        principal_limits=p.principal_limits,
        networks=p.networks,
        principals=p.principals,
        purpose=p.purpose,
        reason=p.reason,
    )


def _compared(title: str, old: Grant, new: Grant) -> Plan:
    changes = [
        f"{what}: {_shown(before)} -> {_shown(after)}"
        for what, before, after in (
            ("limits", old.limits, new.limits),
            ("limits of each principal", old.principal_limits, new.principal_limits),
            ("networks", _networks(old), _networks(new)),
            ("principals", shown_principals(old.principals), shown_principals(new.principals)),
            ("purpose", old.purpose, new.purpose),
        )
        if before != after
    ]
    return Plan(
        title=f"{title} {old.id} of {old.partner}",
        sections=[
            Section("What it does", changes or ["nothing: it is so already"]),
            Section("What stays", ["its keys and its end; calls are judged again at once"]),
        ],
        revision=old.revision,
        subject=old,
        partners=1,
    )


def _shown(value: Limits | list[str] | str) -> str:
    if isinstance(value, Limits):
        return limits_text.write(value)
    return value if isinstance(value, str) else ", ".join(value)


def _networks(grant: Grant) -> list[str]:
    return shown_networks(grant.networks, grant.tier)


def plan_amend(p: AmendOne) -> Flow[Plan]:
    """Let policy check the amendment without making it."""
    old = yield from GRANT_SHOW(grant=p.grant)
    new = yield from GRANT_AMEND(_amendment(p), grant=p.grant, if_match=old.revision, validate=True)
    return _compared("Amend", old, new)


@operation(
    "grant.amend",
    title="Amend grant",
    result=Grant,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_amend,
    subject="grant",
)
def amend(p: AmendOne, plan: Plan | None) -> Flow[Grant]:
    """Change the limits, networks, principals or purpose of a live grant.

    What is changed is judged at every point from the next call on. It may widen the
    grant, so it is made on the revision that it was planned on; what only takes away is
    `grant narrow`, which nothing refuses.
    """
    plan = plan or (yield from plan_amend(p))
    assert plan.revision is not None
    return (yield from GRANT_AMEND(_amendment(p), grant=p.grant, if_match=plan.revision))


def plan_narrow(p: NarrowOne) -> Flow[Plan]:
    """Let policy check that it only takes away, without doing it."""
    old = yield from GRANT_SHOW(grant=p.grant)
    new = yield from GRANT_NARROW(_amendment(p), grant=p.grant, validate=True)
    return _compared("Narrow", old, new)


@operation(
    "grant.narrow",
    title="Narrow grant",
    result=Grant,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_narrow,
    subject="grant",
)
def narrow(p: NarrowOne, _plan: Plan | None) -> Flow[Grant]:
    """Take something away from a live grant: lower limits, fewer networks or principals.

    Refused where any of it would widen the grant. It closes, so it works where nothing may
    open: in a read-only profile, on old data, with a suspect log.
    """
    return GRANT_NARROW(_amendment(p), grant=p.grant)


class SuspendOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which grant stops for now."""

    grant: GrantId
    reason: Why


def plan_suspend(p: SuspendOne) -> Flow[Plan]:
    """Ask the gateway what stops."""
    blast = yield from LOCK_BLAST(LockTarget(kind=LockKind.GRANT, id=p.grant))
    partner = ", ".join(blast.partners)
    return Plan(
        title=f"Suspend {p.grant}{' of ' + partner if partner else ''}",
        sections=[
            Section(
                "What it does",
                [
                    "no call under it, or under what renews it, gets through",
                    "until it is resumed: pilotctl grant resume " + p.grant,
                    "verified at every point, then in the log",
                ],
            ),
            ends(blast),
            stays(blast),
        ],
        partners=len(blast.partners),
        blast=blast,
    )


@operation(
    "grant.suspend",
    title="Suspend grant",
    result=Receipt,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_suspend,
    key="u",
    subject="grant",
    converges=True,
)
def suspend(p: SuspendOne, _plan: Plan | None) -> Flow[Receipt]:
    """Stop a grant until it is resumed, and prove it.

    One write at the gateway, by one person, with or without policy: every key is refused
    from the next call on, and streams in flight are cut. Policy takes it over when it is
    there.
    """
    receipt = yield from GRANT_SUSPEND(SuspendAccess(reason=p.reason), grant=p.grant)
    return (yield from follow(receipt))


class ResumeOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which suspended grant opens again."""

    grant: GrantId
    reason: Why


def plan_resume(p: ResumeOne) -> Flow[Plan]:
    """Say who suspended it and why, and let policy check that it may open."""
    grant = yield from GRANT_SHOW(grant=p.grant)
    yield from GRANT_RESUME(
        ResumeGrant(reason=p.reason), grant=p.grant, if_match=grant.revision, validate=True
    )
    held = grant.suspension
    return Plan(
        title=f"Resume {grant.id} of {grant.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"{grant.partner} gets back {', '.join(grant.capabilities)} (T{grant.tier})",
                    f"{held.by} suspended it at {to_the_second(held.at)}: {held.reason}"
                    if held
                    else f"it was suspended: {grant.state_reason.replace('_', ' ')}",
                ],
            ),
        ],
        gaps=grant.gaps,
        revision=grant.revision,
        subject=grant,
        partners=1,
    )


@operation(
    "grant.resume",
    title="Resume grant",
    result=Grant,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_resume,
    subject="grant",
    converges=True,
)
def resume(p: ResumeOne, plan: Plan | None) -> Flow[Grant]:
    """Open a suspended grant again.

    Everything is judged anew; the gateway lifts the suspension last. From tier 3 up it
    takes two other people.
    """
    plan = plan or (yield from plan_resume(p))
    assert plan.revision is not None
    grant = yield from GRANT_RESUME(
        ResumeGrant(reason=p.reason), grant=p.grant, if_match=plan.revision
    )
    return (yield from until_taken(grant))
