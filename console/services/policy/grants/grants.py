"""Grants: planned, created, activated and decided anew."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from console.model.grant import ActivateGrant, Gap, Grant, GrantPlan, GrantState
from console.model.stored import Page
from console.services.cedar.engine import CedarBundle
from console.services.policy.grants.proposal import (
    at_reached_tier,
    holders,
    overlaps,
    plan,
    propose,
    stage_of,
    takes_another,
    takes_new,
)
from console.services.policy.grants.renewal import still_succeeds
from console.services.policy.judging.facts import Reader, shown
from console.services.policy.judging.grant_states import LIVE, OPENED, activates, settles
from console.services.policy.judging.settle import add, judged, moved, save
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.history import as_of, grant_at, grants_at
from console.services.policy.state.tables import GRANT_CAPABILITIES, GRANTS, PAST_GRANTS
from console.services.web import Ask, fresh, page
from console.services.web.strict_decoding import moment


def list_grants(conn: Connection, ask: Ask) -> Page[Grant]:
    """List the grants, newest first, as they are or as they were."""
    then = as_of(ask)
    kept = GRANTS if then is None else PAST_GRANTS
    asked = select(GRANTS) if then is None else grants_at(then)
    if name := ask.query.get("pilot"):
        asked = asked.where(kept.c.pilot == lookup.pilot(conn, name).slug)
    if name := ask.query.get("partner"):
        asked = asked.where(kept.c.partner == lookup.partner(conn, name).slug)
    if name := ask.query.get("capability"):
        held = select(GRANT_CAPABILITIES.c.grant_id).where(
            GRANT_CAPABILITIES.c.capability == lookup.capability(conn, name).slug
        )
        asked = asked.where(kept.c.id.in_(held))
    if state := ask.query.get("state"):
        asked = asked.where(kept.c.state == lookup.one_of("state", state, GrantState))
    reader = Reader(conn)
    found = page(
        conn,
        asked,
        ask,
        keys=[kept.c.created_at.desc(), kept.c.id.desc()],
        decode=lambda row: row.body if then else shown(row.body, reader, ask.now),
    )
    return found if then is None else msgspec.structs.replace(found, as_of=then)


def expiring_grants(conn: Connection, ask: Ask) -> Page[Grant]:
    """List the live grants that end before a moment, the soonest first."""
    asked = select(GRANTS).where(
        GRANTS.c.state.in_(LIVE), GRANTS.c.expires_at.is_not(None), GRANTS.c.expires_at > ask.now
    )
    if before := moment(ask.query.get("before", ""), "before"):
        asked = asked.where(GRANTS.c.expires_at <= before)
    if name := ask.query.get("pilot"):
        asked = asked.where(GRANTS.c.pilot == lookup.pilot(conn, name).slug)
    if name := ask.query.get("partner"):
        asked = asked.where(GRANTS.c.partner == lookup.partner(conn, name).slug)
    # a successor that is not open yet does not let its grant out of sight
    reader = Reader(conn)
    return page(
        conn,
        asked,
        ask,
        keys=[GRANTS.c.expires_at, GRANTS.c.id],
        decode=lambda row: shown(row.body, reader, ask.now),
    )


def show_grant(conn: Connection, ask: Ask) -> Grant:
    """Show one grant, and what is missing while it is not active; or as it was."""
    if then := as_of(ask):
        return grant_at(conn, ask.path["grant"], then)
    return shown(lookup.grant(conn, ask.path["grant"]), Reader(conn), ask.now)


def plan_grant(bundle: CedarBundle, conn: Connection, ask: Ask) -> GrantPlan:
    """Say what creating this grant would do. Nothing is stored."""
    return plan(conn, propose(conn, ask.body, bundle, Actor.of(ask)))


def create_grant(bundle: CedarBundle, conn: Connection, ask: Ask) -> Grant:
    """Create a grant: on its way to the gateway, or a draft with what it misses.

    From tier 3 up it waits for approval, whatever else is there.
    """
    actor = Actor.of(ask)
    grant, facts, _ = propose(conn, ask.body, bundle, actor)
    add(conn, grant, facts, actor.at)
    record(
        conn,
        actor,
        "grant.create",
        "grant",
        grant.id,
        partner=grant.partner,
        reason=ask.body.reason,
        after=msgspec.structs.replace(grant, gaps=[]),
    )
    return grant


def activate_grant(bundle: CedarBundle, conn: Connection, ask: Ask) -> Grant:
    """Let a draft go on whose gaps are mended: everything is judged anew."""
    body: ActivateGrant = ask.body
    actor = Actor.of(ask)
    grant = lookup.grant(conn, ask.path["grant"])
    fresh(ask, grant)
    facts = Reader(conn).of_grant(grant)
    judgement, missing = judged(at_reached_tier(conn, grant, facts), facts, bundle, actor.at)
    state = activates(judgement, missing)
    if state == grant.state:
        return grant
    still_succeeds(conn, grant)
    takes_new(facts.partner)
    takes_another(conn, facts.pilot, stage_of(facts.pilot, grant.stage), grant.partner)
    opened = moved(judgement, state, "", actor, facts)
    save(conn, opened, facts, actor.at)
    record(
        conn,
        actor,
        "grant.provision",
        "grant",
        grant.id,
        partner=grant.partner,
        reason=body.reason,
        before={"state": grant.state, "tier": grant.tier},
        after={"state": opened.state, "tier": opened.tier, "decision": opened.decision},
    )
    return opened


def decide_grant(bundle: CedarBundle, conn: Connection, ask: Ask) -> GrantPlan:
    """Decide a grant anew: what it would be now, and what is missing. Nothing is stored."""
    grant = lookup.grant(conn, ask.path["grant"])
    facts = Reader(conn).of_grant(grant)
    fresh_grant, missing = judged(at_reached_tier(conn, grant, facts), facts, bundle, ask.now)
    assert fresh_grant.decision is not None
    return GrantPlan(
        grant=shown(fresh_grant, Reader(conn), ask.now),
        becomes=_becomes(fresh_grant, missing, ask.now),
        gaps=missing,
        holders=holders(conn, grant),
        overlaps=overlaps(conn, grant),
        decision=fresh_grant.decision,
    )


def _becomes(grant: Grant, missing: list[Gap], at: datetime) -> GrantState:
    if grant.state == GrantState.DRAFT:
        state = GrantState.DRAFT if missing else GrantState.PROVISIONING
    else:
        state, _ = settles(grant, missing, at)
    return GrantState.ACTIVE if state in OPENED else state
