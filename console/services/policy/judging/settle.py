"""Storing what became of a grant: its state, its one event, and what the gateway is told.

Everything here runs inside the caller's transaction. A grant is settled whenever a fact
under it changes, and whenever time reaches its `look_at`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from console.model.grant import Gap, Grant, GrantProjection, GrantState
from console.model.text import rfc3339
from console.services.cedar.engine import CedarBundle, decide_hold
from console.services.policy.judging.facts import Reader, projection
from console.services.policy.judging.gates import (
    Facts,
    decided,
    grant_gaps,
    next_moment,
    warnings_due,
)
from console.services.policy.judging.grant_states import OPENED, WATCHED, may_become, settles
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.history import keep_grant
from console.services.policy.state.tables import GRANT_CAPABILITIES, GRANTS, PROJECTION, WARNINGS
from console.services.store import signal
from console.services.store.upsert import insert_missing

PROJECTED = "projection"
"""The topic that is signalled when there is more for the gateway."""

_GRANT = msgspec.json.Decoder(GrantProjection)

_VERBS = {
    GrantState.SUSPENDED: "grant.suspend",
    GrantState.EXPIRED: "grant.expire",
    GrantState.PROVISIONING: "grant.resume",
}


def judged(
    grant: Grant, facts: Facts, bundle: CedarBundle, at: datetime
) -> tuple[Grant, list[Gap]]:
    """Return `grant` with its decision made anew, and everything that is missing for it."""
    decision = decide_hold(bundle, projection(grant, facts, at, state=GrantState.ACTIVE))
    missing = grant_gaps(grant, facts, at)
    missing += decided(decision, missing)
    return msgspec.structs.replace(grant, decision=decision), missing


def settle(
    conn: Connection, grant: Grant, reader: Reader, bundle: CedarBundle, actor: Actor
) -> Grant:
    """Move `grant` to where time and evidence lead it, and tell the gateway what changed."""
    facts = reader.of_grant(grant)
    fresh, missing = judged(grant, facts, bundle, actor.at)
    state, why = settles(grant, missing, actor.at)
    if state != grant.state:
        fresh = moved(fresh, state, why, actor, facts)
        stored(conn, fresh, facts, actor.at)
        record(
            conn,
            actor,
            _VERBS[state],
            "grant",
            grant.id,
            partner=grant.partner,
            reason=why or "what had lapsed is mended",
            before={"state": grant.state},
            after={"state": state, "state_reason": why},
        )
        grant = fresh
    else:
        conn.execute(
            update(GRANTS)
            .where(GRANTS.c.id == grant.id)
            .values(look_at=_look_at(grant, facts, actor.at))
        )
    warn(conn, grant, facts, actor)
    project(conn, grant, facts, actor.at)
    return grant


def moved(grant: Grant, state: GrantState, why: str, actor: Actor, facts: Facts) -> Grant:
    """Return `grant` in `state`, one revision on. A transition the model lacks is a bug."""
    if not may_become(grant.state, state):
        raise RuntimeError(f"{grant.id} cannot go from {grant.state} to {state}")
    return msgspec.structs.replace(
        grant,
        state=state,
        state_reason=why,
        revision=grant.revision + 1,
        updated_at=actor.at,
        updated_by=actor.name,
        gaps=[],
        **(rests_on(facts) if state is GrantState.PROVISIONING else {}),
    )


def rests_on(facts: Facts) -> dict[str, Any]:
    """Return the ids of the terms and assessments under a grant: members of `Grant`."""
    accepted = [terms.id for terms in facts.terms if terms.version in facts.accepted]
    slugs = {capability.slug for capability in facts.capabilities}
    return {
        "terms_id": accepted[-1] if accepted else "",
        "assessment_ids": sorted(
            each.id
            for each in facts.assessments
            if each.capability in slugs and each.state == "accepted"
        ),
    }


def add(conn: Connection, grant: Grant, facts: Facts, at: datetime) -> None:
    """Store a new grant, and tell the gateway where it is on its way there."""
    conn.execute(
        GRANTS.insert().values(
            id=grant.id,
            pilot=grant.pilot,
            stage=grant.stage,
            partner=grant.partner,
            state=grant.state,
            look_at=_look_at(grant, facts, at),
            created_at=grant.created_at,
            expires_at=grant.expires_at,
            body=grant,
        )
    )
    keep_grant(conn, grant)
    conn.execute(
        GRANT_CAPABILITIES.insert(),
        [{"grant_id": grant.id, "capability": slug} for slug in grant.capabilities],
    )
    project(conn, grant, facts, at)


def save(conn: Connection, grant: Grant, facts: Facts, at: datetime) -> None:
    """Store a changed grant, and tell the gateway."""
    stored(conn, grant, facts, at)
    project(conn, grant, facts, at)


def project(conn: Connection, grant: Grant, facts: Facts, at: datetime) -> None:
    """Queue the grant for the gateway, where that would tell it something new.

    A draft is told too: the gateway can then end it, whoever else is down.
    """
    asked = (
        select(PROJECTION.c.body)
        .where(PROJECTION.c.kind == "grant", PROJECTION.c.id == grant.id)
        .order_by(PROJECTION.c.seq.desc())
        .limit(1)
    )
    told = conn.execute(asked).scalar_one_or_none()
    new = projection(grant, facts, at)
    if told is not None and _same(_GRANT.decode(told), new):
        return
    tell(conn, "grant", grant.id, new)


def tell(conn: Connection, kind: str, id: str, body: msgspec.Struct) -> None:
    """Queue something for the gateway, after everything that was queued before."""
    row = {"kind": kind, "id": id, "body": msgspec.Raw(msgspec.json.encode(body))}
    conn.execute(PROJECTION.insert().values(row))
    signal(conn, PROJECTED)


def settle_all(
    conn: Connection,
    bundle: CedarBundle,
    actor: Actor,
    *,
    partner: str | None = None,
    pilot: str | None = None,
    capability: str | None = None,
) -> None:
    """Settle every watched grant that the given slugs concern: all of them together."""
    asked = select(GRANTS.c.body).where(GRANTS.c.state.in_(WATCHED))
    if partner is not None:
        asked = asked.where(GRANTS.c.partner == partner)
    if pilot is not None:
        asked = asked.where(GRANTS.c.pilot == pilot)
    if capability is not None:
        held = select(GRANT_CAPABILITIES.c.grant_id).where(
            GRANT_CAPABILITIES.c.capability == capability
        )
        asked = asked.where(GRANTS.c.id.in_(held))
    settle_each(conn, conn.execute(asked).scalars().all(), bundle, actor)


def settle_each(
    conn: Connection, grants: Iterable[Grant], bundle: CedarBundle, actor: Actor
) -> None:
    """Settle these grants, reading each fact once."""
    reader = Reader(conn)
    for grant in grants:
        settle(conn, grant, reader, bundle, actor)


def stored(conn: Connection, grant: Grant, facts: Facts, at: datetime) -> None:
    """Store a changed grant, what it was, and when it is next looked at."""
    conn.execute(
        update(GRANTS)
        .where(GRANTS.c.id == grant.id)
        .values(state=grant.state, look_at=_look_at(grant, facts, at), body=grant)
    )
    keep_grant(conn, grant)


def _look_at(grant: Grant, facts: Facts, at: datetime) -> datetime | None:
    return next_moment(facts, grant.expires_at, at) if grant.state in WATCHED else None


def _same(last: GrantProjection, new: GrantProjection) -> bool:
    """Tell whether two projections say the same: a revision alone tells the gateway nothing."""
    return msgspec.structs.replace(last, revision=0) == msgspec.structs.replace(new, revision=0)


def warn(conn: Connection, grant: Grant, facts: Facts, actor: Actor) -> None:
    """Record each warning that is due, once: as an event of its own."""
    if grant.state not in OPENED:
        return
    for lapse, days in warnings_due(facts, grant.expires_at, grant.not_before, actor.at):
        row = {"grant_id": grant.id, "code": lapse.code, "lapse_at": lapse.at, "days": days}
        if not insert_missing(conn, WARNINGS, row):
            continue
        record(
            conn,
            actor,
            "grant.warn",
            "grant",
            grant.id,
            partner=grant.partner,
            reason=f"{lapse.code} at {rfc3339(lapse.at)}: within {days} days",
            facts={"code": lapse.code, "lapse_at": rfc3339(lapse.at), "days": days},
        )
