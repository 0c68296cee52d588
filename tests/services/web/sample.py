"""A small service on the real contract's routes, for the tests of store, web and supervisor."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, Text, select

from console import __version__
from console.api import policy
from console.api.problems import refusal
from console.model.access import Partner, PartnerState
from console.model.ids import new_id
from console.model.operator import Operator, ServiceStatus
from console.model.stored import Page
from console.services.events import event
from console.services.operators.identities import Identities
from console.services.operators.tables import EVERYWHERE
from console.services.runner import run
from console.services.settings import Settings
from console.services.store import SHARED, Document, Instant, Store, emit, tables
from console.services.web import Ask, Web, fresh, page

PARTNERS = Table(
    "partners",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Partner), nullable=False),
)
STEPS = (SHARED, tables(PARTNERS), tables(*EVERYWHERE))


def create(conn: Connection, ask: Ask) -> Partner:
    """Store a partner and its event."""
    if conn.execute(select(PARTNERS.c.id).where(PARTNERS.c.slug == ask.body.slug)).first():
        raise refusal("exists", f"there is a partner {ask.body.slug} already")
    who = ask.operator.name
    partner = Partner(
        id=new_id("partner"),
        slug=ask.body.slug,
        name=ask.body.name,
        sponsor=ask.body.sponsor,
        state=PartnerState.PROSPECT,
        verified_until=None,
        verification="",
        egress=ask.body.egress,
        subprocessors=ask.body.subprocessors,
        created_at=ask.now,
        created_by=who,
        updated_at=ask.now,
        updated_by=who,
    )
    values = {"id": partner.id, "slug": partner.slug, "created_at": ask.now, "body": partner}
    conn.execute(PARTNERS.insert(), values)
    emit(conn, told("partner.create", ask, partner))
    return partner


def verify(conn: Connection, ask: Ask) -> Partner:
    """Change a partner, if it is the revision that was looked at."""
    import msgspec

    found = show(conn, ask)
    fresh(ask, found)
    changed: Partner = msgspec.structs.replace(
        found, revision=found.revision + 1, verified_until=ask.body.until
    )
    conn.execute(PARTNERS.update().where(PARTNERS.c.id == found.id), {"body": changed})
    emit(conn, told("partner.verify", ask, changed))
    return changed


def show(conn: Connection, ask: Ask) -> Partner:
    """Find a partner by its slug."""
    row = conn.execute(select(PARTNERS).where(PARTNERS.c.slug == ask.path["partner"])).first()
    if row is None:
        raise refusal("not-found", "there is no such partner")
    partner: Partner = row.body
    return partner


def listing(conn: Connection, ask: Ask) -> Page[Partner]:
    """List partners, oldest first."""
    return page(
        conn,
        select(PARTNERS),
        ask,
        keys=[PARTNERS.c.created_at, PARTNERS.c.id],
        decode=lambda row: row.body,
    )


def told(action: str, ask: Ask, partner: Partner) -> dict[str, Any]:
    """Build the event of a change."""
    return event(
        action,
        service="policy",
        actor=ask.operator.name,
        kind="partner",
        target=partner.id,
        name=partner.slug,
        partner=partner.slug,
        request_id=ask.request_id,
        after=partner,
        at=ask.now,
    )


def mounted(store: Store, operators: Sequence[Operator] | Identities) -> Web:
    """The service, ready to start."""
    known = operators if isinstance(operators, Identities) else Identities("policy", operators)
    web = Web("policy", store, known)

    def status(_conn: Connection, ask: Ask) -> ServiceStatus:
        return ServiceStatus(
            service="policy", version=__version__, as_of=ask.now, operator=ask.operator
        )

    web.mount(policy.STATUS, status)
    web.mount(policy.PARTNER_CREATE, create)
    web.mount(policy.PARTNER_VERIFY, verify)
    web.mount(policy.PARTNER_SHOW, show)
    web.mount(policy.PARTNER_LIST, listing)
    return web


async def serve(settings: Settings, _args: argparse.Namespace, stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    store = Store.open(settings.home.store("policy"), STEPS)
    web = mounted(store, settings.operators)
    try:
        await web.start(socket=settings.home.socket("policy"))
        await stop.wait()
    finally:
        await web.stop()
        store.close()


if __name__ == "__main__":
    sys.exit(run("policy", serve))
