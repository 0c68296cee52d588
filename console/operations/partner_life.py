"""What becomes of a partner: vetted, restricted, suspended, resumed, offboarded."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.gateway import PARTNER_OFFBOARD, PARTNER_SUSPEND
from console.api.policy import PARTNER_RESTRICT, PARTNER_RESUME, PARTNER_SHOW, PARTNER_VET
from console.model.access import ChangePartner, Partner
from console.model.enforcement import LockKind, LockTarget, Receipt
from console.model.grant import OffboardPartner, SuspendAccess
from console.model.operator import Direction, Role
from console.operations.closing import ends, follow, reach, stays
from console.operations.params import Why
from console.operations.spec import Effect, Kind, Param, Plan, Section, operation
from console.operations.values import to_the_second

PartnerSlug = Annotated[
    str, Param("The partner.", kind=Kind.SLUG, completes="partner.list", positional=True)
]


class OnePartner(msgspec.Struct, kw_only=True, frozen=True):
    """Which partner, and why."""

    partner: PartnerSlug
    reason: Why


def _target(partner: str) -> LockTarget:
    return LockTarget(kind=LockKind.PARTNER, id=partner)


def _changed(title: str, partner: Partner, does: list[str]) -> Plan:
    """Return how a change of a partner's state is told, beside the state that it has."""
    return Plan(
        title=f"{title} {partner.slug}",
        sections=[Section("What it does", [f"it was {partner.state}", *does])],
        revision=partner.revision,
        subject=partner,
        partners=1,
    )


def plan_vet(p: OnePartner) -> Flow[Plan]:
    """Let policy check that it is a prospect."""
    partner = yield from PARTNER_SHOW(partner=p.partner)
    yield from PARTNER_VET(ChangePartner(reason=p.reason), partner=p.partner, validate=True)
    return _changed("Vet", partner, ["it is vetting: it becomes active when it is verified"])


@operation(
    "partner.vet",
    title="Vet partner",
    result=Partner,
    effect=Effect.CHANGE,
    role=Role.OPERATOR,
    plan=plan_vet,
    subject="partner",
)
def vet(p: OnePartner, _plan: Plan | None) -> Flow[Partner]:
    """Begin to vet a prospect. `partner verify` makes it active."""
    return PARTNER_VET(ChangePartner(reason=p.reason), partner=p.partner)


def plan_restrict(p: OnePartner) -> Flow[Plan]:
    """Let policy check that it is active."""
    partner = yield from PARTNER_SHOW(partner=p.partner)
    yield from PARTNER_RESTRICT(ChangePartner(reason=p.reason), partner=p.partner, validate=True)
    does = ["nothing new opens for it: no grant, renewal or key", "what runs goes on"]
    return _changed("Restrict", partner, does)


@operation(
    "partner.restrict",
    title="Restrict partner",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_restrict,
    subject="partner",
)
def restrict(p: OnePartner, _plan: Plan | None) -> Flow[Partner]:
    """Let nothing new open for a partner; what it has goes on."""
    return PARTNER_RESTRICT(ChangePartner(reason=p.reason), partner=p.partner)


def plan_suspend(p: OnePartner) -> Flow[Plan]:
    """Ask the gateway what stops."""
    blast = yield from reach(_target(p.partner))
    return Plan(
        title=f"Suspend partner {p.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"no call of {p.partner} gets through, under any grant or key",
                    f"until it is resumed: pilotctl partner resume {p.partner}",
                    "verified at every point, then in the log",
                ],
            ),
            ends(blast),
        ],
        partners=1,
        blast=blast,
    )


@operation(
    "partner.suspend",
    title="Suspend partner",
    result=Receipt,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_suspend,
    key="u",
    subject="partner",
    converges=True,
)
def suspend(p: OnePartner, _plan: Plan | None) -> Flow[Receipt]:
    """Stop everything of a partner until it is resumed, and prove it.

    One write at the gateway, by one person, with or without policy.
    """
    receipt = yield from PARTNER_SUSPEND(SuspendAccess(reason=p.reason), partner=p.partner)
    return (yield from follow(receipt))


def plan_resume(p: OnePartner) -> Flow[Plan]:
    """Say why it is stopped, and let policy check that it may open."""
    partner = yield from PARTNER_SHOW(partner=p.partner)
    change = ChangePartner(reason=p.reason)
    yield from PARTNER_RESUME(change, partner=p.partner, if_match=partner.revision, validate=True)
    held = partner.suspension
    why = f"{held.by} suspended it at {to_the_second(held.at)}: {held.reason}" if held else ""
    does = [*([why] if why else []), "its grants below tier 3 resume where nothing is missing"]
    return _changed("Resume partner", partner, does)


@operation(
    "partner.resume",
    title="Resume partner",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_resume,
    subject="partner",
)
def resume(p: OnePartner, plan: Plan | None) -> Flow[Partner]:
    """Let a suspended or restricted partner be served, and given grants, again."""
    plan = plan or (yield from plan_resume(p))
    assert plan.revision is not None
    change = ChangePartner(reason=p.reason)
    return (yield from PARTNER_RESUME(change, partner=p.partner, if_match=plan.revision))


def plan_offboard(p: OnePartner) -> Flow[Plan]:
    """Ask the gateway for everything that ends."""
    blast = yield from reach(_target(p.partner))
    return Plan(
        title=f"Offboard {p.partner}",
        sections=[
            Section(
                "What it does",
                [
                    f"nothing that {p.partner} has, had or could get ever serves again",
                    "every grant and key gets its permanent mark, in one change",
                    "offboarding, until every point has refused each key; then offboarded",
                ],
            ),
            ends(blast),
            stays(blast),
        ],
        name=p.partner,
        partners=1,
        irreversible="An offboarded partner never comes back. A new start is a new partner.",
        blast=blast,
    )


@operation(
    "partner.offboard",
    title="Offboard partner",
    result=Receipt,
    effect=Effect.DESTRUCTIVE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_offboard,
    subject="partner",
    converges=True,
)
def offboard(p: OnePartner, _plan: Plan | None) -> Flow[Receipt]:
    """End a partner for ever: all its grants and keys, and prove it.

    One write at the gateway, by one person, with or without policy. The partner is
    `offboarding` until every point has refused all of it, then `offboarded`.
    """
    receipt = yield from PARTNER_OFFBOARD(OffboardPartner(reason=p.reason), partner=p.partner)
    return (yield from follow(receipt))
