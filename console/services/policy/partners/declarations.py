"""What a partner declares: its contacts, its networks, and who may hold its keys."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.access import (
    AddContact,
    ChangeNetwork,
    ChangeSubprocessor,
    Contact,
    DeclarePartner,
    Partner,
    PartnerState,
    RemoveContact,
)
from console.model.scope import SCOPED_TIER, wildcard
from console.services.cedar.engine import CedarBundle
from console.services.policy.grants.amend import may_widen, within_any
from console.services.policy.judging.facts import Reader
from console.services.policy.judging.grant_states import LIVE
from console.services.policy.judging.settle import settle_all
from console.services.policy.partners.partners import keep, not_itself
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import GRANTS
from console.services.web import Ask, fresh

MAX_DECLARED = 200
"""Contacts, networks and subprocessors of one partner, each."""


def declare_partner(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Replace the networks, the subprocessors, or both, that a partner declared."""
    body: DeclarePartner = ask.body
    partner = _present(conn, ask)
    fresh(ask, partner)
    if body.egress is None and body.subprocessors is None:
        raise refusal("invalid", "name the egress networks, the subprocessors, or both")
    egress = partner.egress if body.egress is None else lookup.networks("egress", body.egress)
    others = partner.subprocessors
    if body.subprocessors is not None:
        others = not_itself(partner.slug, body.subprocessors)
    _may_declare(conn, partner, egress)
    actor = Actor.of(ask)
    changed = msgspec.structs.replace(
        partner, egress=egress, subprocessors=others, **actor.touch(partner)
    )
    keep(conn, changed)
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


def add_contact(conn: Connection, ask: Ask) -> Partner:
    """Add someone to reach, or replace who had the same address."""
    body: AddContact = ask.body
    partner = _present(conn, ask)
    new = Contact(name=body.contact.name, email=body.contact.email, role=body.contact.role)
    others = [each for each in partner.contacts if each.email != new.email]
    return _set(None, conn, ask, partner, contacts=[*others, new])


def remove_contact(conn: Connection, ask: Ask) -> Partner:
    """Remove a contact by its address."""
    body: RemoveContact = ask.body
    partner = _present(conn, ask)
    emails = [each.email for each in partner.contacts]
    _there("contact", body.email, emails)
    left = [each for each in partner.contacts if each.email != body.email]
    return _set(None, conn, ask, partner, contacts=left)


def add_network(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Declare one more network that a partner calls from."""
    body: ChangeNetwork = ask.body
    partner = _present(conn, ask)
    fresh(ask, partner)
    network = lookup.networks("network", [body.network])
    egress = lookup.unique([*partner.egress, *network])
    _may_declare(conn, partner, egress)
    return _set(bundle, conn, ask, partner, egress=egress)


def remove_network(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Take a declared network back: calls from it raise an alert from now on.

    The last one cannot be taken: none declared would let calls come from anywhere unseen.
    """
    body: ChangeNetwork = ask.body
    partner = _present(conn, ask)
    (network,) = lookup.networks("network", [body.network])
    _there("network", network, partner.egress)
    left = [each for each in partner.egress if each != network]
    if not left:
        raise refusal(
            "invalid",
            f"network: {network} is the last that {partner.slug} declared: with none, no call "
            "would raise an alert for where it comes from",
            mend=f"pilotctl partner declare {partner.slug} --egress OTHER",
        )
    return _set(bundle, conn, ask, partner, egress=left)


def add_subprocessor(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Let one more organisation hold a partner's keys."""
    body: ChangeSubprocessor = ask.body
    partner = _present(conn, ask)
    fresh(ask, partner)
    others = not_itself(partner.slug, [*partner.subprocessors, body.subprocessor])
    return _set(bundle, conn, ask, partner, subprocessors=others)


def remove_subprocessor(bundle: CedarBundle, conn: Connection, ask: Ask) -> Partner:
    """Take a subprocessor back: it gets no key any more."""
    body: ChangeSubprocessor = ask.body
    partner = _present(conn, ask)
    _there("subprocessor", body.subprocessor, partner.subprocessors)
    left = [each for each in partner.subprocessors if each != body.subprocessor]
    return _set(bundle, conn, ask, partner, subprocessors=left)


def _may_declare(conn: Connection, partner: Partner, egress: list[str]) -> None:
    """Raise the refusal of declared networks that grants which name none would get.

    From tier 2 up such a grant takes what is declared: more of it widens the grant, none and
    everything are no scope.
    """
    asked = select(GRANTS.c.body).where(GRANTS.c.partner == partner.slug, GRANTS.c.state.in_(LIVE))
    relying = [
        grant
        for grant in conn.execute(asked).scalars()
        if grant.tier >= SCOPED_TIER and not grant.networks
    ]
    if not relying or egress == partner.egress:
        return
    grant = max(relying, key=lambda each: each.tier)
    if not egress or wildcard(egress):
        said = "nearly every address" if egress else "none"
        raise refusal(
            "invalid",
            f"egress: {grant.id}, of tier {grant.tier}, takes its networks from it, and "
            f"{said} is no scope",
            mend=f"pilotctl grant amend {grant.id} --network NETWORK --reason WHY",
        )
    if any(not within_any(each, partner.egress) for each in egress):
        reader = Reader(conn)
        for each in relying:
            may_widen(conn, each, partner, reader.of_grant(each).capabilities)


def _present(conn: Connection, ask: Ask) -> Partner:
    partner = lookup.partner(conn, ask.path["partner"])
    if partner.state in {PartnerState.OFFBOARDING, PartnerState.OFFBOARDED}:
        raise refusal("state", f"partner {partner.slug} is {partner.state}", current=partner)
    return partner


def _there(kind: str, wanted: str, known: list[str]) -> None:
    if wanted not in known:
        raise refusal(
            "invalid",
            f"{kind}: {wanted!r} is not declared: it has {', '.join(known) or 'none'}"
            f"{lookup.nearest(wanted, known)}",
        )


def _set(
    bundle: CedarBundle | None, conn: Connection, ask: Ask, partner: Partner, **change: list[Any]
) -> Partner:
    """Store the one list that changes, with the event of the route; the same again is none."""
    ((name, new),) = change.items()
    old = getattr(partner, name)
    if len(new) > MAX_DECLARED:
        raise refusal("invalid", f"{name}: {len(new)} are more than {MAX_DECLARED}")
    if new == old:
        return partner
    actor = Actor.of(ask)
    changed = msgspec.structs.replace(partner, **{name: new}, **actor.touch(partner))
    keep(conn, changed)
    assert ask.route is not None
    record(
        conn,
        actor,
        ask.route.id,
        "partner",
        partner.id,
        name=partner.slug,
        partner=partner.slug,
        reason=ask.body.reason,
        before={name: old},
        after={name: new},
    )
    if bundle is not None:
        settle_all(conn, bundle, actor, partner=partner.slug)
    return changed
