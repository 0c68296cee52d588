"""Principals: taken in by their identifier, which is hashed at once and never stored."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from console.api.problems import refusal
from console.model.ids import new_id
from console.model.principal import (
    NewPrincipal,
    Principal,
    PrincipalKind,
    PrincipalProjection,
    PrincipalState,
    RetirePrincipal,
)
from console.model.stored import Page
from console.services.cedar.engine import CedarBundle
from console.services.policy.judging.settle import settle_all, tell
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import PRINCIPALS
from console.services.safety_identifier import hash_of
from console.services.web import Ask, page


def list_principals(conn: Connection, ask: Ask) -> Page[Principal]:
    """List principals, newest first."""
    asked = select(PRINCIPALS)
    if name := ask.query.get("partner"):
        asked = asked.where(PRINCIPALS.c.partner == lookup.partner(conn, name).slug)
    if state := ask.query.get("state"):
        asked = asked.where(PRINCIPALS.c.state == lookup.one_of("state", state, PrincipalState))
    if kind := ask.query.get("kind"):
        asked = asked.where(PRINCIPALS.c.kind == lookup.one_of("kind", kind, PrincipalKind))
    return page(
        conn,
        asked,
        ask,
        keys=[PRINCIPALS.c.created_at.desc(), PRINCIPALS.c.id.desc()],
        decode=lambda row: row.body,
    )


def show_principal(conn: Connection, ask: Ask) -> Principal:
    """Show one principal."""
    return lookup.principal(conn, ask.path["principal"])


def create_principal(salt: bytes, conn: Connection, ask: Ask) -> Principal:
    """Take a user of a partner in. The same identifier again is the principal that is there."""
    body: NewPrincipal = ask.body
    partner = lookup.partner(conn, body.partner)
    known = hash_of(salt, partner.slug, body.identifier)
    there = conn.execute(
        select(PRINCIPALS.c.body).where(
            PRINCIPALS.c.partner == partner.slug, PRINCIPALS.c.hash == known
        )
    ).scalar_one_or_none()
    if there is not None:
        raise refusal(
            "exists",
            f"that identifier is {there.id} of {partner.slug} already",
            mend=f"pilotctl principal show {there.id}",
            current=there,
        )
    if body.identifier in body.note:
        raise refusal("invalid", "note: it holds the identifier, which is never stored")
    actor = Actor.of(ask)
    principal = Principal(
        id=new_id("principal"),
        partner=partner.slug,
        kind=body.kind,
        hash=known,
        note=body.note,
        state=PrincipalState.ACTIVE,
        labels=lookup.labels(body.labels),
        **actor.stamp(),
    )
    conn.execute(
        PRINCIPALS.insert().values(
            id=principal.id,
            partner=principal.partner,
            hash=principal.hash,
            kind=principal.kind,
            state=principal.state,
            created_at=actor.at,
            body=principal,
        )
    )
    _tell(conn, principal)
    record(
        conn,
        actor,
        "principal.create",
        "principal",
        principal.id,
        partner=principal.partner,
        reason=body.reason,
        after=principal,
    )
    return principal


def retire_principal(bundle: CedarBundle, conn: Connection, ask: Ask) -> Principal:
    """Let a principal serve no more under the grants that name it."""
    body: RetirePrincipal = ask.body
    principal = lookup.principal(conn, ask.path["principal"])
    if principal.state == PrincipalState.RETIRED:
        return principal
    actor = Actor.of(ask)
    gone = retire(conn, principal, actor)
    record(
        conn,
        actor,
        "principal.retire",
        "principal",
        principal.id,
        partner=principal.partner,
        reason=body.reason,
        before={"state": principal.state},
        after={"state": gone.state},
    )
    settle_all(conn, bundle, actor, partner=principal.partner)
    return gone


def retire(conn: Connection, principal: Principal, actor: Actor) -> Principal:
    """Store a principal as retired, and tell the gateway."""
    gone = msgspec.structs.replace(
        principal, state=PrincipalState.RETIRED, **actor.touch(principal)
    )
    conn.execute(
        update(PRINCIPALS).where(PRINCIPALS.c.id == gone.id).values(state=gone.state, body=gone)
    )
    _tell(conn, gone)
    return gone


def _tell(conn: Connection, principal: Principal) -> None:
    fact = PrincipalProjection(
        id=principal.id,
        revision=principal.revision,
        partner=principal.partner,
        hash=principal.hash,
        state=principal.state,
    )
    tell(conn, "principal", principal.id, fact)
