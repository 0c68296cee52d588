"""The policy service: its routes, its tasks, and its start and stop."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, func, select

from console import __version__
from console.api import policy as routes
from console.model.operator import ServiceStatus
from console.model.policy import Bundle
from console.model.text import now
from console.services.cedar.engine import CedarBundle
from console.services.cedar.shipped import bundle_in
from console.services.client import Client
from console.services.events import SYSTEM
from console.services.operators import accounts, break_glass, cutoff, owner
from console.services.operators.configured import sync_configured_operators
from console.services.operators.identities import Identities
from console.services.operators.roster_push import spread, tell_all
from console.services.policy.clock import tick_for_ever
from console.services.policy.decisions.authzen import Api
from console.services.policy.decisions.directory import Directory
from console.services.policy.evidence import terms
from console.services.policy.gateway_link import Gateway
from console.services.policy.grants import amend, grants, renewal, suspension
from console.services.policy.judging.settle import settle_all, tell
from console.services.policy.migrations import STEPS
from console.services.policy.partners import declarations, partners, principals, standing
from console.services.policy.pilots import pilot_closing, pilot_import, pilots
from console.services.policy.state.event_record import SERVICE, Actor, record
from console.services.policy.state.tables import BUNDLES, PROJECTION
from console.services.safety_identifier import salt_of
from console.services.settings import Settings
from console.services.store import Store
from console.services.web import Ask, Reads, Web
from console.services.wire.projections import BundleFact


async def serve(settings: Settings, _args: argparse.Namespace, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises PilotError where the store or the bundle is refused, or the socket is taken.
    """
    folder = settings.policy.folder
    bundle = bundle_in(folder)
    directory = Directory(bundle, folder)
    store = Store.open(settings.home.store(SERVICE), STEPS)
    client = Client(socket=settings.home.socket("gateway"))
    gateway = Gateway(store, client, bundle)
    identities = Identities(SERVICE, settings.operators)
    web = Web(SERVICE, store, identities)
    audit = Client(socket=settings.home.socket("audit"))
    peers = {"gateway": client, "audit": audit}

    async def known_everywhere() -> list[str]:
        """Make operators known here and at every other service; return where they are not."""
        await store.read(identities.refresh)
        web.end_refused()
        return await tell_all(store, peers)

    try:
        await store.write(lambda conn: put_in_force(conn, bundle))
        await store.write(partners.tell_every_partner)
        await store.write(
            lambda conn: sync_configured_operators(
                conn, settings.operators, now(), by_default=not settings.names_operators
            )
        )
        await store.write(pilot_closing.tell_every_pilot)
        await store.read(identities.refresh)
        mount(web, bundle, gateway, identities.names, salt_of(settings.home))
        reads = Reads(SERVICE, store)
        web.mount_async(routes.PILOT_EXPORT, reads.of(pilot_import.export_pilot, "pilot", "pilot"))
        accounts.mount(web, identities, known_everywhere)
        owner.mount(web, store, accounts.of_owner(known_everywhere))
        cutoff.mount(web, "policy", store, identities, learn=accounts.learn)
        web.on_first_use(partial(cutoff.note_first_use, store, identities))
        Api(store, directory).mount(web)
        await web.start(socket=settings.home.socket(SERVICE), listen=settings.listen.get(SERVICE))
        web.tasks.add("handing the projection over", gateway.provision)
        web.tasks.add("taking closings over", gateway.follow)
        web.tasks.add("taking notices over", gateway.attend)
        web.tasks.add("settling what time reached", tick_for_ever, store, bundle)
        web.tasks.add("following operators", cutoff.follow, web, store, identities)
        web.tasks.add("telling operators to the others", spread, store, peers, identities)
        await web.tasks.until(stop)
    finally:
        await web.stop()
        await client.close()
        await audit.close()
        store.close()


def mount(
    web: Web,
    bundle: CedarBundle,
    gateway: Gateway,
    operators: Callable[[], Sequence[str]],
    salt: bytes,
) -> None:
    """Serve every route of `api.policy` that is answered in one transaction.

    `operators` names those who may sponsor now, `salt` what identifiers are hashed with.
    """
    web.mount(routes.STATUS, partial(status, gateway, web.notes))
    web.mount(routes.BUNDLE_SHOW, partial(show_bundle, bundle))

    web.mount(routes.PILOT_LIST, pilots.list_pilots)
    web.mount(routes.PILOT_SHOW, pilots.show_pilot)
    web.mount(routes.PILOT_CREATE, pilots.create_pilot)
    web.mount(routes.PILOT_STAGE, pilots.set_stage)
    web.mount(routes.PILOT_IMPORT, partial(pilot_import.import_pilot, bundle))
    web.mount(routes.CAPABILITY_LIST, pilots.list_capabilities)
    web.mount(routes.CAPABILITY_SHOW, pilots.show_capability)
    web.mount(routes.CAPABILITY_CREATE, pilots.create_capability)

    web.mount(routes.PARTNER_LIST, partners.list_partners)
    web.mount(routes.PARTNER_SHOW, partners.show_partner)
    web.mount(routes.PARTNER_CREATE, partial(partners.create_partner, operators))
    web.mount(routes.PARTNER_VERIFY, partial(partners.verify_partner, bundle))
    web.mount(routes.PARTNER_DECLARE, partial(declarations.declare_partner, bundle))
    web.mount(routes.PARTNER_VET, standing.vet_partner)
    web.mount(routes.PARTNER_RESTRICT, partial(standing.restrict_partner, bundle))
    web.mount(routes.PARTNER_RESUME, partial(standing.resume_partner, bundle))
    web.mount(routes.PARTNER_ADD_CONTACT, declarations.add_contact)
    web.mount(routes.PARTNER_REMOVE_CONTACT, declarations.remove_contact)
    web.mount(routes.PARTNER_ADD_NETWORK, partial(declarations.add_network, bundle))
    web.mount(routes.PARTNER_REMOVE_NETWORK, partial(declarations.remove_network, bundle))
    web.mount(routes.PARTNER_ADD_SUBPROCESSOR, partial(declarations.add_subprocessor, bundle))
    web.mount(routes.PARTNER_REMOVE_SUBPROCESSOR, partial(declarations.remove_subprocessor, bundle))

    web.mount(routes.PRINCIPAL_LIST, principals.list_principals)
    web.mount(routes.PRINCIPAL_SHOW, principals.show_principal)
    web.mount(routes.PRINCIPAL_CREATE, partial(principals.create_principal, salt))
    web.mount(routes.PRINCIPAL_RETIRE, partial(principals.retire_principal, bundle))

    web.mount(routes.TERMS_LIST, terms.list_terms)
    web.mount(routes.TERMS_SHOW, terms.show_terms)
    web.mount(routes.TERMS_PUBLISH, partial(terms.publish_terms, bundle))
    web.mount(routes.TERMS_ACCEPT, partial(terms.accept_terms, bundle))
    web.mount(routes.TERMS_ACCEPTANCES, terms.list_acceptances)
    web.mount(routes.ASSESSMENT_LIST, terms.list_assessments)
    web.mount(routes.ASSESSMENT_SHOW, terms.show_assessment)
    web.mount(routes.ASSESSMENT_CREATE, terms.create_assessment)
    web.mount(routes.ASSESSMENT_ACCEPT, partial(terms.accept_assessment, bundle))
    web.mount(routes.ASSESSMENT_REJECT, partial(terms.reject_assessment, bundle))
    web.mount(routes.ASSESSMENT_WITHDRAW, partial(terms.withdraw_assessment, bundle))

    web.mount(routes.GRANT_LIST, grants.list_grants)
    web.mount(routes.GRANT_SHOW, grants.show_grant)
    web.mount(routes.GRANT_CREATE, partial(grants.create_grant, bundle))
    web.mount(routes.GRANT_PLAN, partial(grants.plan_grant, bundle))
    web.mount(routes.GRANT_ACTIVATE, partial(grants.activate_grant, bundle))
    web.mount(routes.GRANT_EXPIRING, grants.expiring_grants)
    web.mount(routes.GRANT_AMEND, partial(amend.amend_grant, bundle))
    web.mount(routes.GRANT_NARROW, partial(amend.narrow_grant, bundle))
    web.mount(routes.GRANT_RESUME, partial(suspension.resume_grant, bundle))
    web.mount(routes.GRANT_RENEW, partial(renewal.renew_grant, bundle))
    web.mount(routes.GRANT_DECIDE, partial(grants.decide_grant, bundle))


def status(
    gateway: Gateway, troubles: Callable[[], list[str]], conn: Connection, ask: Ask
) -> ServiceStatus:
    """Say how policy is, and for whom it takes the caller."""
    sequence = conn.execute(select(func.coalesce(func.max(PROJECTION.c.seq), 0))).scalar_one()
    notes: list[str] = []
    lacking: list[str] = []
    if gateway.link.ahead:
        notes.append("the gateway has applied more than policy ever made: is this an old copy?")
    if gateway.link.failure:
        to = lacking if gateway.link.away else notes
        to.append(f"the gateway does not take the projection: {gateway.link.failure}")
    notes += troubles()
    if trouble := break_glass.trouble(conn, ask.now):
        lacking.append(trouble)
    return ServiceStatus(
        service=SERVICE,
        version=__version__,
        as_of=ask.now,
        operator=ask.operator,
        sequence=sequence,
        healthy=not notes,
        notes=notes,
        dependency_notes=lacking,
    )


def show_bundle(bundle: CedarBundle, conn: Connection, _ask: Ask) -> Bundle:
    """Show the policies and the schema that decide."""
    since = conn.execute(
        select(BUNDLES.c.activated_at).order_by(BUNDLES.c.number.desc()).limit(1)
    ).scalar_one()
    return Bundle(
        revision=bundle.revision,
        policies=bundle.policies,
        schema=bundle.schema,
        activated_at=since,
    )


def put_in_force(conn: Connection, bundle: CedarBundle, at: datetime | None = None) -> None:
    """Record a bundle that was not in force, tell the points, and judge every grant by it.

    At `at`, or now where it is None.
    """
    before = conn.execute(
        select(BUNDLES.c.revision).order_by(BUNDLES.c.number.desc()).limit(1)
    ).scalar_one_or_none()
    if before == bundle.revision:
        return
    actor = Actor(SYSTEM, at or now())
    conn.execute(BUNDLES.insert().values(revision=bundle.revision, activated_at=actor.at))
    record(
        conn,
        actor,
        "policy.activate",
        "bundle",
        bundle.revision,
        reason="the service started with it",
        before={"revision": before} if before else None,
        after={"revision": bundle.revision},
    )
    fact = BundleFact(revision=bundle.revision, policies=bundle.policies, schema=bundle.schema)
    tell(conn, "bundle", bundle.revision, fact)
    settle_all(conn, bundle, actor)
