"""Partners: who they are, until when that is verified, and what they declare."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select, update

from console.api.problems import refusal
from console.engines.cedar import CedarBundle
from console.model.access import (
    DeclarePartner,
    NewPartner,
    Partner,
    PartnerState,
    VerifyPartner,
)
from console.model.ids import new_id
from console.model.stored import Page
from console.services.policy import find
from console.services.policy.record import Actor, record
from console.services.policy.settle import settle_all
from console.services.policy.tables import PARTNERS
from console.services.web import Ask, fresh, page


def list_partners(conn: Connection, ask: Ask) -> Page[Partner]:
    """List the partners, in one state where it is named, by slug."""
    asked = select(PARTNERS)
    if state := ask.query.get("state"):
        asked = asked.where(PARTNERS.c.state == find.one_of("state", state, PartnerState))
    return page(conn, asked, ask, keys=[PARTNERS.c.slug], decode=lambda row: row.body)


def show_partner(conn: Connection, ask: Ask) -> Partner:
    """Show one partner."""
    return find.partner(conn, ask.path["partner"])


def create_partner(operators: Sequence[str], conn: Connection, ask: Ask) -> Partner:
    """Enter an organisation as a prospect: it becomes active when it is verified.

    Its sponsor must be one of `operators`: whoever approves its grants is compared with it.
    """
    body: NewPartner = ask.body
    if there := find.by_slug(conn, PARTNERS, body.slug):
        raise find.exists("partner", body.slug, there)
    if body.sponsor not in operators:
        raise refusal(
            "invalid",
            f"sponsor: {body.sponsor!r} is no operator here: "
            f"they are {', '.join(operators)}{find.nearest(body.sponsor, operators)}",
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
        egress=find.networks("egress", body.egress),
        subprocessors=_others(body.slug, body.subprocessors),
        labels=find.labels(body.labels),
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
    partner = find.partner(conn, ask.path["partner"])
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
    _store(conn, changed)
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


def declare_partner(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Replace the networks, the subprocessors, or both, that a partner declared."""
    body: DeclarePartner = ask.body
    partner = find.partner(conn, ask.path["partner"])
    fresh(ask, partner)
    if body.egress is None and body.subprocessors is None:
        raise refusal("invalid", "name the egress networks, the subprocessors, or both")
    actor = Actor.of(ask)
    changed = msgspec.structs.replace(
        partner,
        egress=partner.egress if body.egress is None else find.networks("egress", body.egress),
        subprocessors=partner.subprocessors
        if body.subprocessors is None
        else _others(partner.slug, body.subprocessors),
        **actor.touch(partner),
    )
    _store(conn, changed)
    record(
        conn,
        actor,
        "partner.declare",
        "partner",
        partner.id,
        name=partner.slug,
        partner=partner.slug,
        reason=body.reason,
        before={"egress": partner.egress, "subprocessors": partner.subprocessors},
        after={"egress": changed.egress, "subprocessors": changed.subprocessors},
    )
    settle_all(conn, bundle, actor, partner=partner.slug)
    return changed


def _others(slug: str, subprocessors: list[str]) -> list[str]:
    if slug in subprocessors:
        raise refusal("invalid", f"subprocessors: {slug} cannot be its own")
    return find.unique(subprocessors)


def _store(conn: Connection, partner: Partner) -> None:
    conn.execute(
        update(PARTNERS)
        .where(PARTNERS.c.id == partner.id)
        .values(state=partner.state, body=partner)
    )
