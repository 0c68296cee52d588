"""Partners: who they are, until when that is verified, and what they declare."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import Connection, select, update

from console.api.problems import refusal
from console.model.access import (
    NewPartner,
    Partner,
    PartnerProjection,
    PartnerState,
    VerifyPartner,
)
from console.model.ids import new_id
from console.model.stored import Page
from console.services.cedar.engine import CedarBundle
from console.services.policy.judging.settle import settle_all, tell
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.history import as_of, keep_partner, partner_at, partners_at
from console.services.policy.state.tables import PARTNERS, PAST_PARTNERS, PROJECTION
from console.services.web import Ask, fresh, page

_PARTNER = msgspec.json.Decoder(PartnerProjection)


def list_partners(conn: Connection, ask: Ask) -> Page[Partner]:
    """List the partners, in one state where it is named, by slug."""
    moment = as_of(ask)
    kept = PARTNERS if moment is None else PAST_PARTNERS
    asked = select(PARTNERS) if moment is None else partners_at(moment)
    if state := ask.query.get("state"):
        asked = asked.where(kept.c.state == lookup.one_of("state", state, PartnerState))
    found = page(conn, asked, ask, keys=[kept.c.slug], decode=lambda row: row.body)
    return found if moment is None else msgspec.structs.replace(found, as_of=moment)


def show_partner(conn: Connection, ask: Ask) -> Partner:
    """Show one partner."""
    if moment := as_of(ask):
        return partner_at(conn, ask.path["partner"], moment)
    return lookup.partner(conn, ask.path["partner"])


def create_partner(operators: Callable[[], Sequence[str]], conn: Connection, ask: Ask) -> Partner:
    """Enter an organisation as a prospect: it becomes active when it is verified.

    Its sponsor must be one that `operators` names: whoever approves its grants is compared with it.
    """
    body: NewPartner = ask.body
    if there := lookup.by_slug(conn, PARTNERS, body.slug):
        raise lookup.exists("partner", body.slug, there)
    names = operators()
    if body.sponsor not in names:
        raise refusal(
            "invalid",
            f"sponsor: {body.sponsor!r} is no operator here: "
            f"they are {', '.join(names)}{lookup.nearest(body.sponsor, names)}",
        )
    actor = Actor.of(ask)
    partner = Partner(
        id=new_id("partner"),
        slug=body.slug,
        name=body.name,
        sponsor=body.sponsor,
        state=PartnerState.PROSPECT,
        verified_until=None,
        verification="",
        egress=lookup.networks("egress", body.egress),
        subprocessors=not_itself(body.slug, body.subprocessors),
        labels=lookup.labels(body.labels),
        **actor.stamp(),
    )
    conn.execute(
        PARTNERS.insert().values(
            id=partner.id,
            slug=partner.slug,
            state=partner.state,
            created_at=actor.at,
            body=partner,
        )
    )
    keep_partner(conn, partner)
    tell_partner(conn, partner)
    record(
        conn,
        actor,
        "partner.create",
        "partner",
        partner.id,
        name=partner.slug,
        partner=partner.slug,
        reason=body.reason,
        after=partner,
    )
    return partner


def verify_partner(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Record that a partner is who it says it is, and until when that holds."""
    body: VerifyPartner = ask.body
    partner = lookup.partner(conn, ask.path["partner"])
    fresh(ask, partner)
    if body.until <= ask.now:
        raise refusal("invalid", f"until: {body.until.isoformat()} is past")
    if partner.state in {PartnerState.OFFBOARDING, PartnerState.OFFBOARDED}:
        raise refusal("state", f"partner {partner.slug} is {partner.state}")
    first = partner.state in {PartnerState.PROSPECT, PartnerState.VETTING}
    actor = Actor.of(ask)
    changed = msgspec.structs.replace(
        partner,
        state=PartnerState.ACTIVE if first else partner.state,
        verified_until=body.until,
        verification=body.evidence,
        **actor.touch(partner),
    )
    keep(conn, changed)
    record(
        conn,
        actor,
        "partner.verify",
        "partner",
        partner.id,
        name=partner.slug,
        partner=partner.slug,
        reason=body.reason,
        before={"state": partner.state, "verified_until": partner.verified_until},
        after={
            "state": changed.state,
            "verified_until": changed.verified_until,
            "verification": changed.verification,
        },
    )
    settle_all(conn, bundle, actor, partner=partner.slug)
    return changed


def not_itself(slug: str, subprocessors: list[str]) -> list[str]:
    """Return the subprocessors, each once, or raise `invalid`: nobody is its own."""
    if slug in subprocessors:
        raise refusal("invalid", f"subprocessors: {slug} cannot be its own")
    return lookup.unique(subprocessors)


def keep(conn: Connection, partner: Partner) -> None:
    """Store a changed partner and what it was, and tell the gateway where it stands."""
    conn.execute(
        update(PARTNERS)
        .where(PARTNERS.c.id == partner.id)
        .values(state=partner.state, body=partner)
    )
    keep_partner(conn, partner)
    tell_partner(conn, partner)


def tell_partner(conn: Connection, partner: Partner) -> None:
    """Queue where a partner stands for the gateway, where that is news to it."""
    new = PartnerProjection(
        slug=partner.slug,
        revision=partner.revision,
        state=partner.state,
        resumed=partner.resumed,
    )
    asked = (
        select(PROJECTION.c.body)
        .where(PROJECTION.c.kind == "partner", PROJECTION.c.id == partner.id)
        .order_by(PROJECTION.c.seq.desc())
        .limit(1)
    )
    told = conn.execute(asked).scalar_one_or_none()
    if told is not None:
        last = _PARTNER.decode(told)
        if (last.state, last.resumed) == (new.state, new.resumed):
            return
    tell(conn, "partner", partner.id, new)


def tell_every_partner(conn: Connection) -> None:
    """Queue each partner of which the gateway was never told."""
    for partner in conn.execute(select(PARTNERS.c.body)).scalars().all():
        tell_partner(conn, partner)
