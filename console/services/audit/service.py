"""The audit service: the log, its detections, and the routes of `console.api.audit`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from console import __version__
from console.api import audit as api
from console.model.operator import ServiceStatus
from console.services.audit import alerts, ledger, search
from console.services.audit.proofs import Proofs
from console.services.audit.publisher import REFRESH_SECONDS, Publisher
from console.services.audit.rule import Rule
from console.services.audit.rulefile import load_rules
from console.services.audit.schema import STEPS
from console.services.audit.signing import log_key
from console.services.audit.sources import (
    Follower,
    follow_calls,
    follow_events,
    follow_outbox,
    follow_own,
)
from console.services.settings import Settings
from console.services.store import Store
from console.services.web import Ask, Web

SOURCES = ("policy", "gateway")
"""The services whose outboxes are followed, beside audit's own."""


class Audit:
    """One running audit service. `serve` makes it; tests may too."""

    def __init__(self, settings: Settings, rules: Sequence[Rule]) -> None:
        home = settings.home
        self.rules = tuple(rules)
        self.store = Store.open(home.store("audit"), STEPS)
        try:
            self.publisher = Publisher.open(self.store, home.log, log_key(home))
        except BaseException:
            self.store.close()
            raise
        self.web = Web("audit", self.store, settings.operators)
        self.outboxes = {
            source: Follower(f"{source} events", home.socket(source)) for source in SOURCES
        }
        self.calls = Follower("gateway calls", home.socket("gateway"))
        self._socket = home.socket("audit")
        self._mount()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. A task of it that fails ends the service, loudly."""
        await self.web.start(socket=self._socket)
        tasks = [
            asyncio.create_task(each)
            for each in (
                stop.wait(),
                self.publisher.run(),
                follow_own(self.store),
                follow_events(self.store, self.rules),
                follow_calls(self.store, self.rules, self.calls),
                *(
                    follow_outbox(self.store, source, follower)
                    for source, follower in self.outboxes.items()
                ),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.web.stop()
            for follower in (*self.outboxes.values(), self.calls):
                await follower.client.close()

    def close(self) -> None:
        """Let the store go."""
        self.store.close()

    def status(self, conn: Connection, ask: Ask) -> ServiceStatus:
        """Answer `audit.status`."""
        head = self.publisher.head
        notes = [self.publisher.fault] if self.publisher.fault else []
        stale = (ask.now - head.signed_at).total_seconds()
        if stale > 3 * REFRESH_SECONDS:
            notes.append(f"the checkpoint was signed {stale:.0f} seconds ago")
        notes += [
            f"{source}: stopped at {place.last_seq}: {place.stopped}"
            for source, place in ledger.places(conn).items()
            if place.stopped
        ]
        followers = (*self.outboxes.values(), self.calls)
        notes += [
            note
            for each in followers
            if (note := each.note()) and not each.trouble.startswith("stopped at ")
        ]
        if (waiting := ledger.tree(conn).size - head.size) > 0:
            notes.append(f"{waiting} events are not under a published checkpoint yet")
        return ServiceStatus(
            service="audit",
            version=__version__,
            as_of=ask.now,
            operator=ask.operator,
            sequence=head.size,
            healthy=not notes,
            notes=notes,
        )

    def _mount(self) -> None:
        proofs = Proofs(self.publisher)
        named = {rule.id: rule for rule in self.rules}

        def close(conn: Connection, ask: Ask) -> Any:
            return alerts.close(conn, ask, named)

        for route, handler in (
            (api.STATUS, self.status),
            (api.HEAD, proofs.head),
            (api.GROWTH, proofs.growth),
            (api.PROOF, proofs.proof),
            (api.TILE, proofs.file),
            (api.EVENT_LIST, search.events),
            (api.EVENT_SHOW, search.event),
            (api.ALERT_LIST, alerts.listing),
            (api.ALERT_SHOW, alerts.show),
            (api.ALERT_ACKNOWLEDGE, alerts.acknowledge),
            (api.ALERT_CLOSE, close),
        ):
            self.web.mount(route, handler)


async def serve(settings: Settings, args: argparse.Namespace, stop: asyncio.Event) -> None:  # noqa: ARG001 - a service's shape
    """Run the audit service until `stop` is set."""
    rules = load_rules()
    # What this does on the disk takes no turn of the loop: nobody is served yet.
    audit = Audit(settings, rules)
    try:
        await audit.run(stop)
    finally:
        audit.close()
