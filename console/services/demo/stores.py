"""A pilot's three stores, written by the services' own functions at moments of the past.

One transaction a store holds everything: the history is there whole, or not at all. What
a service would tell another over its socket is handed over directly; the handlers, the
clock, the projection, the sequencer and the rules are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from typing import Any, TypeVar, cast

import msgspec
from aiohttp import web
from sqlalchemy import Connection, func, select

from console.api.route import Route
from console.model.enforcement import CredentialState, PointProof, Receipt
from console.model.ids import new_id
from console.model.operator import Operator, Role
from console.services.audit.migrations import STEPS as AT_AUDIT
from console.services.background import BackgroundTasks
from console.services.cedar.engine import CedarBundle
from console.services.cedar.shipped import bundle_in
from console.services.failures import FailureLog
from console.services.gateway.control import projection_intake
from console.services.gateway.control.closing import tombstones as ends
from console.services.gateway.control.closing import verifier
from console.services.gateway.control.closing.suspensions import notices
from console.services.gateway.control.migrations import STEPS as AT_GATEWAY
from console.services.gateway.control.service import Control
from console.services.gateway.control.state.schema import CREDENTIALS, POINTS, RECEIPTS
from console.services.gateway.decision.content_crypto import ContentKeys
from console.services.operators import accounts
from console.services.operators.configured import sync_configured_operators
from console.services.operators.identities import Identities
from console.services.policy import clock, service
from console.services.policy import gateway_link as line
from console.services.policy.migrations import STEPS as AT_POLICY
from console.services.policy.partners import partners
from console.services.policy.state.marks import mark
from console.services.policy.state.tables import GRANTS
from console.services.safety_identifier import salt_of
from console.services.settings import Settings
from console.services.store import Store
from console.services.web import Ask, Web

T = TypeVar("T")

POINT_NAMES = ("gw-1", "gw-2")
PROVEN_AFTER = timedelta(seconds=0.4)


class Handlers:
    """Takes what the services put on their servers, and keeps it by the route's id."""

    def __init__(self) -> None:
        self.by_route: dict[str, Callable[[Connection, Ask], Any]] = {}
        self.tasks = BackgroundTasks(FailureLog("demo"))
        """None: everything happens in turn here."""
        self.notes = self.tasks.notes

    def mount(self, route: Route[Any], handler: Callable[[Connection, Ask], Any]) -> None:
        """Keep a handler."""
        self.by_route[route.id] = handler

    def mount_async(self, route: Route[Any], handler: Any) -> None:
        """Pass over what only a server can answer."""

    def internal(self, *_words: Any, **_more: Any) -> None:
        """Pass over what services ask one another: that is handed over directly."""


class Books:
    """Policy's and the gateway's stores in one open transaction each, and a clock."""

    def __init__(
        self,
        settings: Settings,
        gateway: Store,
        at_policy: Connection,
        at_gateway: Connection,
        halted: Event,
    ) -> None:
        self.halted = halted
        """Set where nobody waits for the history any more."""
        self.at_policy, self.at_gateway = at_policy, at_gateway
        self.bundle: CedarBundle = bundle_in(settings.policy.folder)
        self.salt = salt_of(settings.home)
        self._known = Identities("policy", settings.operators)
        handlers = Handlers()
        taken = cast("Web", handlers)
        self.names: list[str] = []
        self.admin = settings.operators[0].name
        """The user who runs the demo: an admin, beside its personas."""
        service.mount(taken, self.bundle, cast("Any", None), lambda: self.names, self.salt)
        accounts.mount(taken, self._known)
        self.control = Control(
            gateway, bytes(32), settings.models, content_keys=ContentKeys(settings.home)
        )
        self.control.mount(taken)
        self._handlers = handlers.by_route

    def begin(self, settings: Settings, at: datetime) -> None:
        """Do what the services do when they first start."""
        service.put_in_force(self.at_policy, self.bundle, at)
        partners.tell_every_partner(self.at_policy)
        sync_configured_operators(self.at_policy, settings.operators, at, by_default=True)
        self.names = [each.name for each in settings.operators]
        for name in POINT_NAMES:
            self.at_gateway.execute(
                POINTS.insert().values(
                    name=name, url="", version="", incarnation="", registered_at=at,
                    calls_held=0, calls_digested=0,
                )
            )  # fmt: skip
        self.sync(at)

    def do(
        self,
        route: Route[Any],
        who: str,
        at: datetime,
        body: msgspec.Struct | None = None,
        **path: str,
    ) -> Any:
        """Do what `route` does, as `who` at `at`, and hand over what follows from it.

        Raises PilotError where the service refuses.
        """
        conn = self.at_policy if route.api == "policy" else self.at_gateway
        if route.api == "gateway":
            self.control.points.heard_policy(at)
        done = self._handlers[route.id](conn, asked(route, who, at, body, path))
        self.sync(at)
        return done

    def sync(self, at: datetime) -> None:
        """Let policy and the gateway tell one another everything, and prove what closed."""
        while True:
            batch, _, waiting = line.pending(self.at_policy)
            if batch.items or waiting:
                told = msgspec.structs.replace(batch, as_of=at)
                taken = projection_intake.apply_batch(self.at_gateway, told, at)
                line.acknowledge(self.at_policy, taken, at)
            closed = ends.closings(self.at_gateway, mark(self.at_policy, "closings_seen")).items
            said = notices(self.at_gateway, mark(self.at_policy, "notices_seen")).items
            if closed:
                line.close(self.at_policy, closed, at)
            if said:
                line.note(self.at_policy, self.bundle, said)
            if not (self._prove() or closed or said or batch.items):
                return

    def until(self, at: datetime) -> None:
        """Let time pass until `at`: evidence lapses, warnings are given, old keys retire."""
        while True:
            due = self.at_policy.execute(select(func.min(GRANTS.c.look_at))).scalar()
            moment = datetime.fromisoformat(due) if isinstance(due, str) else due
            if moment is None or moment > at:
                break
            clock.tick(self.at_policy, self.bundle, moment)
            self.sync(moment)
        over = select(CREDENTIALS.c.ends_at).where(
            CREDENTIALS.c.state == CredentialState.ROTATING.value, CREDENTIALS.c.ends_at <= at
        )
        for moment in sorted(set(self.at_gateway.execute(over).scalars())):
            self.control.rotation.retire(self.at_gateway, moment)
            self.sync(moment)

    def _prove(self) -> bool:
        """Prove each closing that is open, shortly after it was asked for."""
        open_ones: Sequence[Receipt] = (
            self.at_gateway.execute(select(RECEIPTS.c.body).where(RECEIPTS.c.state == "verifying"))
            .scalars()
            .all()
        )
        for receipt in open_ones:
            at = receipt.requested_at + PROVEN_AFTER
            proofs = [
                PointProof(
                    point=name, state="refused", method="probe", at=at, probes=1,
                    sequence=receipt.sequence, codes=[_CODES.get(receipt.action, "locked")],
                )
                for name in POINT_NAMES
            ]  # fmt: skip
            verifier.keep(
                self.at_gateway,
                msgspec.structs.replace(receipt, points=proofs, state="verified", enforced_at=at),
            )
        return bool(open_ones)


_CODES = {
    "grant.revoke": "grant_revoked",
    "key.revoke": "key_revoked",
    "key.retire": "key_rotated",
    "grant.suspend": "grant_suspended",
    "partner.suspend": "grant_suspended",
    "partner.offboard": "key_revoked",
}
"""What a point answers to a probe after each closing verb."""


def asked(
    route: Route[Any], who: str, at: datetime, body: msgspec.Struct | None, path: dict[str, str]
) -> Ask:
    """Return the request of `who` for `route`, as it would have arrived at `at`."""
    return Ask(
        service=route.api,
        route=route,
        operator=Operator(name=who, uid=0, roles=[each.value for each in Role]),
        uid=0,
        path=path,
        query={},
        body=body,
        raw=b"",
        revision=None,
        request_id=new_id("request"),
        validate_only=False,
        now=at,
        request=cast("web.Request", None),
    )


def written(settings: Settings, do: Callable[[Books, Connection], T]) -> T:
    """Open the three stores of a new home and run `do` in one transaction of each."""
    home = settings.home
    policy = Store.open(home.store("policy"), AT_POLICY, durable=False)
    gateway = Store.open(home.store("gateway"), AT_GATEWAY, durable=False)
    audit = Store.open(home.store("audit"), AT_AUDIT, durable=False)

    halted = Event()

    def at_all(p: Connection, g: Connection, a: Connection) -> T:
        return do(Books(settings, gateway, p, g, halted), a)

    try:
        return policy.write_now(
            lambda p: gateway.write_now(lambda g: audit.write_now(partial(at_all, p, g)))
        )
    except BaseException:
        halted.set()  # the writers' threads stop soon, and undo what they did
        raise
    finally:
        for store in (policy, gateway, audit):
            store.close()
