"""Offboarding: a partner ends at the gateway, and here once every point has proven it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, select

from console.model.access import Partner, PartnerState
from console.model.grant import GrantState
from console.services.events import SYSTEM
from console.services.policy.judging.facts import Reader
from console.services.policy.judging.grant_states import may_become
from console.services.policy.judging.settle import moved, save
from console.services.policy.partners.partners import keep
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import GRANTS, PARTNERS


def begin(conn: Connection, slug: str, actor: Actor, why: str) -> None:
    """Take over that the gateway ended a partner for ever: all its grants are revoked.

    The gateway's own event records it: no other does.
    """
    partner: Partner | None = lookup.by_slug(conn, PARTNERS, slug)
    if partner is None or partner.state == PartnerState.OFFBOARDED:
        return
    if partner.state != PartnerState.OFFBOARDING:
        leaving = msgspec.structs.replace(
            partner, state=PartnerState.OFFBOARDING, ending=why, **actor.touch(partner)
        )
        keep(conn, leaving)
    revoke_all(conn, GRANTS.c.partner == slug, actor, why)


def revoke_all(conn: Connection, which: ColumnElement[bool], actor: Actor, why: str) -> None:
    """Revoke the grants that a condition selects, which the gateway has ended already."""
    reader = Reader(conn)
    for grant in conn.execute(select(GRANTS.c.body).where(which)).scalars().all():
        if may_become(grant.state, GrantState.REVOKED):
            facts = reader.of_grant(grant)
            save(conn, moved(grant, GrantState.REVOKED, why, actor, facts), facts, actor.at)


def finish(conn: Connection, slug: str, receipt: str, at: datetime) -> None:
    """Note that every point refuses all that a partner ever had: it is offboarded."""
    partner: Partner | None = lookup.by_slug(conn, PARTNERS, slug)
    if partner is None or partner.state == PartnerState.OFFBOARDED:
        return
    actor = Actor(SYSTEM, at)
    begin(conn, slug, actor, partner.ending or receipt)
    leaving: Partner = lookup.by_slug(conn, PARTNERS, slug)
    gone = msgspec.structs.replace(
        leaving, state=PartnerState.OFFBOARDED, suspension=None, **actor.touch(leaving)
    )
    keep(conn, gone)
    record(
        conn,
        actor,
        "partner.end",
        "partner",
        partner.id,
        name=slug,
        partner=slug,
        reason=f"every point refuses all that it had: {receipt}",
        before={"state": leaving.state},
        after={"state": gone.state},
    )
