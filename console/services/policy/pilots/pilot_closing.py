"""Closing a pilot: it ends at the gateway, and is closed here once every point has proven it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from console.model.access import Pilot, PilotProjection, PilotState
from console.services.events import SYSTEM
from console.services.policy.judging.settle import tell
from console.services.policy.partners.offboarding import revoke_all
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import CLOSED_PILOTS, GRANTS, PILOTS, PROJECTION
from console.services.store.upsert import insert_missing


def begin(conn: Connection, slug: str, actor: Actor, why: str) -> None:
    """Take over that the gateway ended a pilot for ever: all its grants are revoked.

    The gateway's own event records it: no other does.
    """
    insert_missing(conn, CLOSED_PILOTS, {"slug": slug, "closed_at": actor.at, "why": why})
    pilot: Pilot | None = lookup.by_slug(conn, PILOTS, slug)
    if pilot is None or pilot.state == PilotState.CLOSED:
        return
    if pilot.state != PilotState.CLOSING:
        _keep(conn, pilot, actor, state=PilotState.CLOSING, ending=why)
    revoke_all(conn, GRANTS.c.pilot == slug, actor, why)


def finish(conn: Connection, slug: str, receipt: str, at: datetime) -> None:
    """Note that every point refuses all that a pilot ever opened: it is closed."""
    pilot: Pilot | None = lookup.by_slug(conn, PILOTS, slug)
    if pilot is None or pilot.state == PilotState.CLOSED:
        return
    actor = Actor(SYSTEM, at)
    begin(conn, slug, actor, pilot.ending or receipt)
    closing: Pilot = lookup.by_slug(conn, PILOTS, slug)
    closed = _keep(conn, closing, actor, state=PilotState.CLOSED)
    record(
        conn,
        actor,
        "pilot.end",
        "pilot",
        pilot.id,
        name=slug,
        reason=f"every point refuses all that it opened: {receipt}",
        before={"state": closing.state},
        after={"state": closed.state},
    )


def tell_pilot(conn: Connection, slug: str) -> None:
    """Queue for the gateway that there is a pilot: it can then close it, whoever else is down."""
    tell(conn, "pilot", slug, PilotProjection(slug=slug))


def tell_every_pilot(conn: Connection) -> None:
    """Queue each pilot of which the gateway was never told."""
    told = select(PROJECTION.c.id).where(PROJECTION.c.kind == "pilot")
    unheard = select(PILOTS.c.slug).where(PILOTS.c.slug.not_in(told)).order_by(PILOTS.c.slug)
    for slug in conn.execute(unheard).scalars().all():
        tell_pilot(conn, slug)


def _keep(conn: Connection, pilot: Pilot, actor: Actor, **members: Any) -> Pilot:
    changed = msgspec.structs.replace(pilot, **members, **actor.touch(pilot))
    conn.execute(update(PILOTS).where(PILOTS.c.id == pilot.id).values(body=changed))
    return changed
