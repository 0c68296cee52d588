"""A pilot as one text: exported whole, and imported so that it becomes what the text says."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from console.api.problems import refusal
from console.engines.cedar import CedarBundle
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
from console.model.ids import new_id
from console.services.policy import find
from console.services.policy.programme import in_order, with_terms
from console.services.policy.record import Actor, record
from console.services.policy.settle import settle_all
from console.services.policy.tables import CAPABILITIES, PILOTS
from console.services.web import Ask

_MEMBERS = (
    "title", "models", "grace_seconds", "credit_micros", "content", "content_days", "stages",
)  # fmt: skip


def export_pilot(conn: Connection, ask: Ask) -> PilotText:
    """Say all of a pilot that a file can hold: no partner, grant or secret is in it."""
    return text_of(conn, find.pilot(conn, ask.path["pilot"]))


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
    held: Pilot | None = find.by_slug(conn, PILOTS, text.slug)
    _planned_on(held, body.revision)
    actor = Actor.of(ask)
    pilot = _made(conn, actor, body) if held is None else _changed(conn, actor, body, held)
    for slug, said in text.capabilities.items():
        _capability(conn, actor, body, slug, said)
    if held is not None:
        settle_all(conn, bundle, actor, pilot=pilot.slug)
    return with_terms(conn, pilot)


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
                    f"{find.nearest(model, text.models)}",
                )


def _made(conn: Connection, actor: Actor, body: ImportPilot) -> Pilot:
    text = body.pilot
    pilot = Pilot(id=new_id("pilot"), slug=text.slug, **_of(text), **actor.stamp())
    conn.execute(
        PILOTS.insert().values(id=pilot.id, slug=pilot.slug, created_at=actor.at, body=pilot)
    )
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
    held: Capability | None = find.by_slug(conn, CAPABILITIES, slug)
    if held is None:
        members = msgspec.structs.asdict(said)
        new = Capability(
            id=new_id("capability"), slug=slug, pilot=body.pilot.slug, **members, **actor.stamp()
        )
        conn.execute(
            CAPABILITIES.insert().values(
                id=new.id, slug=slug, pilot=new.pilot, created_at=actor.at, body=new
            )
        )
        record(
            conn,
            actor,
            "capability.create",
            "capability",
            new.id,
            name=slug,
            reason=body.reason,
            after=new,
        )
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
    new = msgspec.structs.replace(new, **actor.touch(held))
    conn.execute(update(CAPABILITIES).where(CAPABILITIES.c.id == held.id).values(body=new))
    record(
        conn, actor, "capability.import", "capability", held.id, name=slug, reason=body.reason,
        before=_difference(held, new), after=_difference(new, held),
    )  # fmt: skip


def _of(text: PilotText) -> dict[str, Any]:
    members = {name: getattr(text, name) for name in _MEMBERS}
    return {**members, "models": find.unique(text.models), "stages": in_order(text.stages)}


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
