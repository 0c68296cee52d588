"""A grant's suspension: made at the gateway, taken over here, and lifted by a verb of its own."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from console.api.problems import refusal
from console.model.access import Suspension
from console.model.grant import Grant, GrantState, ResumeGrant
from console.services.cedar.engine import CedarBundle
from console.services.policy.grants.amend import opens
from console.services.policy.grants.renewal import successors
from console.services.policy.judging.facts import Reader
from console.services.policy.judging.grant_states import OPENED, SUSPENDED_BY, WATCHED, activates
from console.services.policy.judging.settle import judged, moved, save
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.web import Ask, fresh


def suspend_grant(conn: Connection, id: str, suspension: Suspension) -> None:
    """Take over that a grant was suspended at the gateway, and what succeeds it with it.

    The gateway's own event records it: no other does.
    """
    reader = Reader(conn)
    actor = Actor(suspension.by, suspension.at)
    for grant in successors(conn, id):
        if grant.state not in WATCHED or grant.suspension == suspension:
            continue
        facts = reader.of_grant(grant)
        if grant.state in OPENED:
            held = moved(grant, GrantState.SUSPENDED, SUSPENDED_BY, actor, facts)
        else:
            held = msgspec.structs.replace(grant, **actor.touch(grant))
        held = msgspec.structs.replace(held, suspension=suspension)
        save(conn, held, facts, actor.at)


def resume_grant(bundle: CedarBundle, conn: Connection, ask: Ask) -> Grant:
    """Open a suspended grant again, where nothing is missing; the gateway lifts it last."""
    body: ResumeGrant = ask.body
    actor = Actor.of(ask)
    grant = lookup.grant(conn, ask.path["grant"])
    fresh(ask, grant)
    if grant.state in OPENED and grant.suspension is None:
        return grant
    if grant.state != GrantState.SUSPENDED:
        raise refusal(
            "state",
            f"{grant.id} is {grant.state.replace('_', ' ')}: only a suspended grant is resumed",
            current=grant,
        )
    facts = Reader(conn).of_grant(grant)
    opens(grant, facts.partner.state)
    free = msgspec.structs.replace(grant, suspension=None)
    judgement, missing = judged(free, facts, bundle, actor.at)
    state = activates(judgement, missing)
    opened = msgspec.structs.replace(
        moved(judgement, state, "", actor, facts),
        resumed=grant.suspension.id if grant.suspension else grant.resumed,
    )
    save(conn, opened, facts, actor.at)
    record(
        conn,
        actor,
        "grant.resume",
        "grant",
        grant.id,
        partner=grant.partner,
        reason=body.reason,
        before={"state": grant.state, "suspension": grant.suspension},
        after={"state": opened.state, "decision": opened.decision},
    )
    return opened
