"""Pilots, their stages and capabilities."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, func, select, update

from console.api.problems import refusal
from console.model.access import (
    Capability,
    NewCapability,
    NewPilot,
    Pilot,
    SetStage,
    Stage,
    StageKey,
)
from console.model.ids import new_id
from console.model.stored import Page
from console.services.policy.grants import reach
from console.services.policy.pilots import pilot_closing
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import CAPABILITIES, PILOTS, TERMS
from console.services.web import Ask, fresh, page

_ORDER = list(StageKey)


def list_pilots(conn: Connection, ask: Ask) -> Page[Pilot]:
    """List the pilots, by slug."""
    return page(
        conn,
        select(PILOTS),
        ask,
        keys=[PILOTS.c.slug],
        decode=lambda row: with_terms(conn, row.body),
    )


def show_pilot(conn: Connection, ask: Ask) -> Pilot:
    """Show one pilot."""
    return with_terms(conn, lookup.pilot(conn, ask.path["pilot"]))


def create_pilot(conn: Connection, ask: Ask) -> Pilot:
    """Set up a pilot with its models and stages."""
    body: NewPilot = ask.body
    lookup.not_closed(conn, body.slug)
    if there := lookup.by_slug(conn, PILOTS, body.slug):
        raise lookup.exists("pilot", body.slug, with_terms(conn, there))
    keys = [stage.key for stage in body.stages]
    for key in keys:
        if keys.count(key) > 1:
            raise refusal("invalid", f"stages: {key} is there twice")
    actor = Actor.of(ask)
    pilot = Pilot(
        id=new_id("pilot"),
        slug=body.slug,
        title=body.title,
        models=lookup.unique(body.models),
        stages=in_order(body.stages),
        grace_seconds=body.grace_seconds,
        credit_micros=body.credit_micros,
        content=body.content,
        content_days=body.content_days,
        labels=lookup.labels(body.labels),
        **actor.stamp(),
    )
    conn.execute(
        PILOTS.insert().values(id=pilot.id, slug=pilot.slug, created_at=actor.at, body=pilot)
    )
    pilot_closing.tell_pilot(conn, pilot.slug)
    record(
        conn,
        actor,
        "pilot.create",
        "pilot",
        pilot.id,
        name=pilot.slug,
        reason=body.reason,
        after=pilot,
    )
    return pilot


def set_stage(conn: Connection, ask: Ask) -> Pilot:
    """Add a stage to a pilot, or replace its bounds. Grants that run keep theirs."""
    body: SetStage = ask.body
    pilot = lookup.open_pilot(conn, ask.path["pilot"])
    fresh(ask, with_terms(conn, pilot))
    actor = Actor.of(ask)
    changed = msgspec.structs.replace(
        pilot,
        stages=in_order([*(s for s in pilot.stages if s.key != body.stage.key), body.stage]),
        **actor.touch(pilot),
    )
    conn.execute(update(PILOTS).where(PILOTS.c.id == pilot.id).values(body=changed))
    record(
        conn,
        actor,
        "pilot.stage",
        "pilot",
        pilot.id,
        name=pilot.slug,
        reason=body.reason,
        before={"stages": pilot.stages},
        after={"stages": changed.stages},
    )
    return with_terms(conn, changed)


def list_capabilities(conn: Connection, ask: Ask) -> Page[Capability]:
    """List the capabilities, of one pilot where it is named, by slug."""
    asked = select(CAPABILITIES)
    if name := ask.query.get("pilot"):
        asked = asked.where(CAPABILITIES.c.pilot == lookup.pilot(conn, name).slug)
    others = reach.every(conn)
    return page(
        conn,
        asked,
        ask,
        keys=[CAPABILITIES.c.slug],
        decode=lambda row: reach.shown(row.body, others),
    )


def show_capability(conn: Connection, ask: Ask) -> Capability:
    """Show one capability, and those of a higher tier that reach some of the same."""
    return reach.shown(lookup.capability(conn, ask.path["capability"]), reach.every(conn))


def create_capability(conn: Connection, ask: Ask) -> Capability:
    """Set up a capability: what may be done with which of the pilot's models.

    Below one of tier 3 or above, over the same model and route, it would open what that one
    guards, and is refused until approvals exist.
    """
    body: NewCapability = ask.body
    pilot = lookup.open_pilot(conn, body.pilot)
    if there := lookup.by_slug(conn, CAPABILITIES, body.slug):
        raise lookup.exists("capability", body.slug, there)
    for model in body.models:
        if model not in pilot.models:
            raise refusal(
                "invalid",
                f"models: {model!r} is none of pilot {pilot.slug}: "
                f"it has {', '.join(pilot.models)}"
                f"{lookup.nearest(model, pilot.models)}",
            )
    actor = Actor.of(ask)
    capability = Capability(
        id=new_id("capability"),
        slug=body.slug,
        title=body.title,
        pilot=pilot.slug,
        category=body.category,
        tier=body.tier,
        models=lookup.unique(body.models),
        routes=lookup.unique(body.routes),
        longest_grant_seconds=body.longest_grant_seconds,
        labels=lookup.labels(body.labels),
        **actor.stamp(),
    )
    others = reach.every(conn)
    if refused := reach.uncovers(capability, None, others):
        raise refused
    add_capability(conn, actor, capability, body.reason, others)
    return reach.shown(capability, others)


def add_capability(
    conn: Connection,
    actor: Actor,
    capability: Capability,
    reason: str,
    others: Sequence[Capability],
) -> None:
    """Store a new capability. Its event names those of a higher tier that it lies below."""
    conn.execute(
        CAPABILITIES.insert().values(
            id=capability.id,
            slug=capability.slug,
            pilot=capability.pilot,
            created_at=actor.at,
            body=capability,
        )
    )
    below = [each.slug for each in reach.above(capability, others)]
    record(
        conn,
        actor,
        "capability.create",
        "capability",
        capability.id,
        name=capability.slug,
        reason=reason,
        after=capability,
        facts={"below": below} if below else None,
    )


def in_order(stages: list[Stage]) -> list[Stage]:
    """Return stages in the order of a release."""
    return sorted(stages, key=lambda stage: _ORDER.index(stage.key))


def with_terms(conn: Connection, pilot: Pilot) -> Pilot:
    """Return `pilot` with the id of its newest terms, which have a life of their own."""
    newest = (
        select(TERMS.c.id)
        .where(TERMS.c.pilot == pilot.slug)
        .where(
            TERMS.c.version
            == select(func.max(TERMS.c.version))
            .where(TERMS.c.pilot == pilot.slug)
            .scalar_subquery()
        )
    )
    found = conn.execute(newest).scalar_one_or_none()
    return msgspec.structs.replace(pilot, terms_id=found or "")
