"""A pilot as one text: exported whole, and imported so that it becomes what the text says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from console.api.problems import refusal
from console.model.access import (
    Capability,
    CapabilityText,
    Category,
    ContentKeeping,
    ImportPilot,
    Pilot,
    PilotText,
    RouteName,
)
from console.model.grant import Grant, GrantProjection, GrantState
from console.model.ids import new_id
from console.model.scope import SCOPED_TIER
from console.services.cedar.engine import CedarBundle
from console.services.policy.grants import reach
from console.services.policy.grants.amend import needs_approval, needs_scope
from console.services.policy.grants.proposal import takes_new
from console.services.policy.judging.facts import Reader, projection
from console.services.policy.judging.gates import APPROVAL_TIER
from console.services.policy.judging.settle import settle_all
from console.services.policy.pilots.pilot_closing import tell_pilot
from console.services.policy.pilots.pilots import add_capability, in_order, with_terms
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import CAPABILITIES, GRANTS, PILOTS
from console.services.web import Ask

_LET_IN = frozenset({GrantState.PROVISIONING, GrantState.ACTIVE, GrantState.SUSPENDED})
"""The states of grants that have passed their gates once: what they reach is in force, or was."""

_MEMBERS = (
    "title", "models", "grace_seconds", "credit_micros", "content", "content_days", "stages",
)  # fmt: skip


def export_pilot(conn: Connection, ask: Ask) -> PilotText:
    """Say all of a pilot that a file can hold: no partner, grant or secret is in it."""
    return text_of(conn, lookup.pilot(conn, ask.path["pilot"]))


def text_of(conn: Connection, pilot: Pilot) -> PilotText:
    """Return a pilot and its capabilities as a text, in one order."""
    return PilotText(
        slug=pilot.slug,
        title=pilot.title,
        models=pilot.models,
        grace_seconds=pilot.grace_seconds,
        credit_micros=pilot.credit_micros,
        content=ContentKeeping(pilot.content),
        content_days=pilot.content_days,
        stages=pilot.stages,
        capabilities={each.slug: _said(each) for each in _capabilities(conn, pilot.slug)},
    )


def import_pilot(bundle: CedarBundle, conn: Connection, ask: Ask) -> Pilot:
    """Make a pilot what a text says: made where there is none, changed where they differ.

    Importing what was exported changes nothing. What the text leaves out stays: a
    capability with grants is never taken away by a file.
    """
    body: ImportPilot = ask.body
    text = body.pilot
    _sound(text)
    lookup.not_closed(conn, text.slug)
    held: Pilot | None = lookup.by_slug(conn, PILOTS, text.slug)
    _planned_on(held, body.revision)
    actor = Actor.of(ask)
    running = _running(conn, text.slug)
    guards = reach.every(conn)
    pilot = _made(conn, actor, body) if held is None else _changed(conn, actor, body, held)
    for slug, said in sorted(text.capabilities.items(), key=lambda each: each[1].tier):
        _capability(conn, actor, body, slug, said)
    if refused := reach.unguards(guards, reach.every(conn)):
        raise refused
    if held is not None:
        _judge_widened(conn, actor, body, running)
        settle_all(conn, bundle, actor, pilot=pilot.slug)
    return with_terms(conn, pilot)


def _running(conn: Connection, pilot: str) -> list[tuple[Grant, GrantProjection]]:
    """Return the grants of a pilot that were let in, with what the gateway knows of each."""
    reader = Reader(conn)
    asked = select(GRANTS.c.body).where(GRANTS.c.pilot == pilot, GRANTS.c.state.in_(_LET_IN))
    return [
        (grant, projection(grant, reader.of_grant(grant), grant.updated_at))
        for grant in conn.execute(asked.order_by(GRANTS.c.id)).scalars()
    ]


def _judge_widened(
    conn: Connection,
    actor: Actor,
    body: ImportPilot,
    running: Sequence[tuple[Grant, GrantProjection]],
) -> None:
    """Judge what the import adds to grants that run as a new grant of it would be judged.

    Raises the refusal of the first that may not have it. Each other has its own event.
    """
    reader = Reader(conn)
    for grant, before in running:
        facts = reader.of_grant(grant)
        after = projection(grant, facts, actor.at)
        was, now = reaches(before), reaches(after)
        wider = [f"{model} on {route}, as {slug}" for slug, model, route in sorted(now - was)]
        wider += _looser(before, after)
        if not wider:
            continue
        takes_new(facts.partner)
        judged_at = reach.reached_now(conn, grant, facts.capabilities)
        what = f"getting {wider[0]}"
        needs_approval(grant, judged_at, what)
        needs_scope(grant, judged_at, what, facts.partner.egress)
        record(
            conn,
            actor,
            "grant.widen",
            "grant",
            grant.id,
            partner=grant.partner,
            reason=body.reason,
            before={**_terms(before), "reaches": _lines(was)},
            after={
                "state": grant.state,
                "tier": grant.tier,
                **_terms(after),
                "reaches": _lines(now),
            },
        )


def _looser(before: GrantProjection, after: GrantProjection) -> list[str]:
    """Return, in words, what of a pilot's bounds on a grant is larger than it was."""
    out = []
    was, now = before.credit_micros, after.credit_micros
    if was is not None and (now is None or now > was):
        out.append("a larger credit pool")
    # from tier 3 up no call goes on without policy, however long the grace is
    if after.tier < APPROVAL_TIER and after.grace_seconds > before.grace_seconds:
        out.append("a longer grace without policy")
    return out


def _terms(grant: GrantProjection) -> dict[str, Any]:
    return {"credit_micros": grant.credit_micros, "grace_seconds": grant.grace_seconds}


def reaches(grant: GrantProjection) -> set[tuple[str, str, str]]:
    """Return what a grant reaches: capability, model and route."""
    return {
        (each.slug, model, route)
        for each in grant.capabilities
        for model in each.models
        for route in each.routes
        if model in grant.models or (not grant.models and each.tier < SCOPED_TIER)
    }


def _lines(reached: set[tuple[str, str, str]]) -> list[str]:
    return [f"{slug}: {model} on {route}" for slug, model, route in sorted(reached)]


def _planned_on(held: Pilot | None, revision: int | None) -> None:
    if held is None and revision is not None:
        raise refusal("stale", "the pilot that it was planned on is not there")
    if held is not None and revision is None:
        raise refusal(
            "revision-required",
            f"pilot {held.slug} exists: say which revision the import was planned on",
            current=held,
        )
    if held is not None and revision != held.revision:
        raise refusal(
            "stale",
            f"pilot {held.slug} is at revision {held.revision}, not {revision}",
            current=held,
        )


def _sound(text: PilotText) -> None:
    """Raise `invalid` where parts of a text do not go together."""
    keys = [stage.key for stage in text.stages]
    if len(set(keys)) != len(keys):
        raise refusal("invalid", "stages: one of them is there twice")
    if text.content != ContentKeeping.SEALED and text.content_days:
        raise refusal("invalid", "content_days: only sealed content is kept for a time")
    for slug, said in text.capabilities.items():
        for model in said.models:
            if model not in text.models:
                raise refusal(
                    "invalid",
                    f"capabilities.{slug}.models: {model!r} is none of the pilot's"
                    f"{lookup.nearest(model, text.models)}",
                )


def _made(conn: Connection, actor: Actor, body: ImportPilot) -> Pilot:
    text = body.pilot
    pilot = Pilot(id=new_id("pilot"), slug=text.slug, **_of(text), **actor.stamp())
    conn.execute(
        PILOTS.insert().values(id=pilot.id, slug=pilot.slug, created_at=actor.at, body=pilot)
    )
    tell_pilot(conn, pilot.slug)
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


def _changed(conn: Connection, actor: Actor, body: ImportPilot, held: Pilot) -> Pilot:
    new = msgspec.structs.replace(held, **_of(body.pilot))
    if new == held:
        return held
    new = msgspec.structs.replace(new, **actor.touch(held))
    conn.execute(update(PILOTS).where(PILOTS.c.id == held.id).values(body=new))
    record(
        conn, actor, "pilot.import", "pilot", held.id, name=held.slug, reason=body.reason,
        before=_difference(held, new), after=_difference(new, held),
    )  # fmt: skip
    return new


def _capability(
    conn: Connection, actor: Actor, body: ImportPilot, slug: str, said: CapabilityText
) -> None:
    held: Capability | None = lookup.by_slug(conn, CAPABILITIES, slug)
    if held is None:
        members = msgspec.structs.asdict(said)
        new = Capability(
            id=new_id("capability"), slug=slug, pilot=body.pilot.slug, **members, **actor.stamp()
        )
        others = reach.every(conn)
        if refused := reach.uncovers(new, None, others):
            raise refused
        add_capability(conn, actor, new, body.reason, others)
        return
    if held.pilot != body.pilot.slug:
        raise refusal("invalid", f"capabilities.{slug}: it belongs to pilot {held.pilot}")
    if held.tier != said.tier or held.category != said.category:
        raise refusal(
            "invalid",
            f"capabilities.{slug}: its tier {held.tier} and category {held.category} stay: "
            "grants were judged by them",
            mend="give the other tier another slug",
        )
    new = msgspec.structs.replace(held, **msgspec.structs.asdict(said))
    if new == held:
        return
    if refused := reach.uncovers(new, held, reach.every(conn)):
        raise refused
    new = msgspec.structs.replace(new, **actor.touch(held))
    conn.execute(update(CAPABILITIES).where(CAPABILITIES.c.id == held.id).values(body=new))
    record(
        conn, actor, "capability.import", "capability", held.id, name=slug, reason=body.reason,
        before=_difference(held, new), after=_difference(new, held),
    )  # fmt: skip


def _of(text: PilotText) -> dict[str, Any]:
    members = {name: getattr(text, name) for name in _MEMBERS}
    return {**members, "models": lookup.unique(text.models), "stages": in_order(text.stages)}


def _said(capability: Capability) -> CapabilityText:
    return CapabilityText(
        title=capability.title,
        category=Category(capability.category),
        tier=capability.tier,
        models=capability.models,
        routes=[RouteName(each) for each in capability.routes],
        longest_grant_seconds=capability.longest_grant_seconds,
    )


def _capabilities(conn: Connection, pilot: str) -> list[Capability]:
    asked = select(CAPABILITIES.c.body).where(CAPABILITIES.c.pilot == pilot)
    return list(conn.execute(asked.order_by(CAPABILITIES.c.slug)).scalars())


def _difference(of: Any, than: Any) -> dict[str, Any]:
    kept = {"revision", "updated_at", "updated_by"}
    return {
        name: getattr(of, name)
        for name in of.__struct_fields__
        if name not in kept and getattr(of, name) != getattr(than, name)
    }
