"""A partner's life between its first word and its end: vetted, restricted, suspended, resumed.

It is suspended at the gateway, which is taken over here, and offboarded there: see `offboarding`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.access import Partner, PartnerState, Suspension
from console.services.cedar.engine import CedarBundle
from console.services.policy.judging.gates import APPROVAL_TIER
from console.services.policy.judging.grant_states import WATCHED
from console.services.policy.judging.settle import settle_all
from console.services.policy.partners.partners import keep
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import GRANTS, PARTNERS
from console.services.web import Ask, fresh

_GONE = frozenset({PartnerState.OFFBOARDING, PartnerState.OFFBOARDED})


def vet_partner(conn: Connection, ask: Ask) -> Partner:
    """Begin to vet a prospect. It becomes active when it is verified."""
    partner = lookup.partner(conn, ask.path["partner"])
    if partner.state == PartnerState.VETTING:
        return partner
    _from(partner, "vetted", PartnerState.PROSPECT)
    return _move(conn, ask, partner, "partner.vet", PartnerState.VETTING)


def restrict_partner(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Let nothing new open for a partner: no grant, no renewal, no key. What runs goes on."""
    partner = lookup.partner(conn, ask.path["partner"])
    if partner.state == PartnerState.RESTRICTED:
        return partner
    _from(partner, "restricted", PartnerState.ACTIVE)
    changed = _move(conn, ask, partner, "partner.restrict", PartnerState.RESTRICTED)
    settle_all(conn, bundle, Actor.of(ask), partner=partner.slug)
    return changed


def suspend_partner(
    conn: Connection, bundle: CedarBundle, slug: str, suspension: Suspension
) -> None:
    """Take over that a partner was suspended at the gateway: its grants close with it."""
    partner: Partner | None = lookup.by_slug(conn, PARTNERS, slug)
    if partner is None or partner.state in _GONE or partner.suspension == suspension:
        return
    actor = Actor(suspension.by, suspension.at)
    held = msgspec.structs.replace(
        partner, state=PartnerState.SUSPENDED, suspension=suspension, **actor.touch(partner)
    )
    keep(conn, held)
    settle_all(conn, bundle, actor, partner=slug)


def resume_partner(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Let a suspended or restricted partner be served and given grants again.

    Its grants below tier 3 resume by themselves, where nothing is missing.
    """
    partner = lookup.partner(conn, ask.path["partner"])
    fresh(ask, partner)
    if partner.state == PartnerState.ACTIVE:
        return partner
    _from(partner, "resumed", PartnerState.SUSPENDED, PartnerState.RESTRICTED)
    if partner.verified_until is None or partner.verified_until <= ask.now:
        raise refusal(
            "refused",
            f"the verification of {partner.slug} is over",
            mend=f"pilotctl partner verify {partner.slug} --until 180d --evidence REF --reason WHY",
        )
    tier = max((each.tier for each in _running(conn, partner.slug)), default=0)
    if partner.state == PartnerState.SUSPENDED and tier >= APPROVAL_TIER:
        raise refusal(
            "needs-approval",
            f"resuming {partner.slug} would open tier {tier}: that takes two other people",
            mend="approvals do not exist yet, so it stays suspended",
        )
    lifted = partner.suspension.id if partner.suspension else partner.resumed
    changed = _move(
        conn, ask, partner, "partner.resume", PartnerState.ACTIVE, suspension=None, resumed=lifted
    )
    settle_all(conn, bundle, Actor.of(ask), partner=partner.slug)
    return changed


def _running(conn: Connection, slug: str) -> list[Any]:
    asked = select(GRANTS.c.body).where(GRANTS.c.partner == slug, GRANTS.c.state.in_(WATCHED))
    return [each for each in conn.execute(asked).scalars() if each.state != "pending_approval"]


def _from(partner: Partner, verb: str, *states: PartnerState) -> None:
    if partner.state not in states:
        raise refusal(
            "state",
            f"partner {partner.slug} is {partner.state}: "
            f"only one that is {' or '.join(states)} can be {verb}",
            current=partner,
        )


def _move(
    conn: Connection, ask: Ask, partner: Partner, action: str, state: PartnerState, **more: Any
) -> Partner:
    actor = Actor.of(ask)
    changed = msgspec.structs.replace(partner, state=state, **more, **actor.touch(partner))
    keep(conn, changed)
    record(
        conn,
        actor,
        action,
        "partner",
        partner.id,
        name=partner.slug,
        partner=partner.slug,
        reason=ask.body.reason,
        before={"state": partner.state},
        after={"state": state},
    )
    return changed
