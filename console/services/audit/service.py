"""The audit service: the log, its detections, and the routes of `console.api.audit`."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from console import __version__
from console.api import audit as api
from console.model.audit import Alert
from console.model.log import LogHandover
from console.model.operator import ServiceStatus
from console.services.audit.alerts import alerts, silences, triage
from console.services.audit.alerts.alert_clock import follow_clock
from console.services.audit.followers import (
    Follower,
    follow_calls,
    follow_events,
    follow_outbox,
    follow_own,
)
from console.services.audit.log import handover, ledger, stored_rows
from console.services.audit.log.proofs import Proofs
from console.services.audit.log.publisher import REFRESH_SECONDS, Publisher
from console.services.audit.log.signing_keys import forget_shelved, log_key, promote
from console.services.audit.log.store_check import StoreCheck
from console.services.audit.migrations import STEPS
from console.services.audit.paging import oncall
from console.services.audit.paging.delivery import Pager
from console.services.audit.rules.rule import Rule
from console.services.audit.rules.rule_book import RuleBook
from console.services.audit.rules.rule_file import load_rules
from console.services.audit.rules.trial import Trials
from console.services.operators import cutoff
from console.services.operators.identities import Identities
from console.services.settings import Settings
from console.services.store import Store
from console.services.web import Ask, Reads, Streams, Web

NICENESS = 5
"""How much audit gives way: calls are served first, and judged right after."""

SOURCES = ("policy", "gateway")
"""The services whose outboxes are followed, beside audit's own."""


class Audit:
    """One running audit service. `serve` makes it; tests may too."""

    def __init__(self, settings: Settings, rules: Sequence[Rule]) -> None:
        home = settings.home
        self.book = RuleBook(home.path / "rules", rules)
        self.store = Store.open(home.store("audit"), STEPS)
        try:
            self.publisher = Publisher.open(
                self.store, home.log, log_key(home, settings.log.origin), partial(promote, home)
            )
            forget_shelved(home)
            self.store.write_now(self.book.scan)
        except BaseException:
            self.store.close()
            raise
        self.check = StoreCheck(self.publisher)
        self._identities = Identities("audit", settings.operators)
        self.web = Web("audit", self.store, self._identities)
        cutoff.mount(self.web, "audit", self.store, self._identities)
        self.web.on_first_use(partial(cutoff.note_first_use, self.store, self._identities))
        self.outboxes = {
            source: Follower(f"{source} events", home.socket(source)) for source in SOURCES
        }
        self.calls = Follower("gateway calls", home.socket("gateway"))
        self.pager = Pager(self.store, home)
        self._streams = Streams(self.store, ledger.TOPIC)
        self._home = home
        self._origin = settings.log.origin
        self._socket = home.socket("audit")
        self._listen = settings.listen.get("audit")
        self._mount()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set."""
        await self.store.read(self._identities.refresh)
        await self.web.start(socket=self._socket, listen=self._listen)
        add, store, book = self.web.tasks.add, self.store, self.book
        add("publishing the log", self.publisher.run)
        add("checking the log against the store", self.check.run, store)
        add("following operators", cutoff.follow, self.web, store, self._identities)
        add("logging own events", follow_own, store)
        add("judging events", follow_events, store, book, self.check)
        add("judging calls", follow_calls, store, book, self.calls)
        add("following the rules", book.follow, store)
        add("following the clock", follow_clock, store, book)
        add("paging", self.pager.run)
        for source, follower in self.outboxes.items():
            add(f"following {follower.name}", follow_outbox, store, source, follower)
        try:
            await self.web.tasks.until(stop)
        finally:
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
        damage = self.check.notes()
        notes += damage
        notes += self.book.broken(conn)
        notes += self.web.notes()
        notes += oncall.undelivered(conn)
        followers = (*self.outboxes.values(), self.calls)
        lacking = [each.note() for each in followers if each.trouble and each.away]
        notes += [
            note
            for each in followers
            if (note := each.note())
            and not each.trouble.startswith("stopped at ")
            and note not in lacking
        ]
        waiting = stored_rows.counted(conn) - head.size
        if waiting > 0 and stale > REFRESH_SECONDS:  # what came a moment ago is on its way
            notes.append(f"{waiting} events are not under a published checkpoint yet")
        return ServiceStatus(
            service="audit",
            version=__version__,
            as_of=ask.now,
            operator=ask.operator,
            sequence=head.size,
            healthy=not notes,
            notes=notes,
            dependency_notes=lacking,
            damage=damage,
        )

    async def tail(self, ask: Ask) -> Any:
        """Answer `audit.tail`."""
        return await self._streams.serve(
            ask,
            lambda conn, after: self.check.tail(conn, ask.query, after),
            self.check.newest,
        )

    def _mount(self) -> None:
        proofs = Proofs(self.publisher, self.check)
        targets = oncall.Oncall(self._home)
        trials = Trials(self.store, self.book, self.calls.client)

        def close(conn: Connection, ask: Ask) -> Alert:
            return triage.close(conn, ask, self.book.named())

        def assign(conn: Connection, ask: Ask) -> Alert:
            return triage.assign(conn, ask, self._identities.names())

        def rotate(conn: Connection, ask: Ask) -> LogHandover:
            return handover.rotate(conn, ask, self._home, self.publisher.signer)

        def restart(conn: Connection, ask: Ask) -> LogHandover:
            return handover.restart(conn, ask, self._home, self.publisher.signer, self._origin)

        for route, handler in (
            (api.STATUS, self.status),
            (api.HEAD, proofs.head),
            (api.GROWTH, proofs.growth),
            (api.HANDOVERS, handover.listing),
            (api.ROTATE, rotate),
            (api.RESTART, restart),
            (api.PROOF, proofs.proof),
            (api.TILE, proofs.file),
            (api.EVENT_LIST, self.check.listing),
            (api.COMPARE, self.check.compare),
            (api.ALERT_LIST, alerts.listing),
            (api.ALERT_ACKNOWLEDGE, triage.acknowledge),
            (api.ALERT_ASSIGN, assign),
            (api.ALERT_SNOOZE, triage.snooze),
            (api.ALERT_ESCALATE, triage.escalate),
            (api.ALERT_COMMENT, triage.comment),
            (api.ALERT_CLOSE, close),
            (api.ALERT_REOPEN, triage.reopen),
            (api.SILENCE_LIST, silences.listing),
            (api.SILENCE_SHOW, silences.show),
            (api.SILENCE_ADD, silences.add),
            (api.SILENCE_END, silences.end),
            (api.RULE_LIST, self.book.listing),
            (api.RULE_SHOW, self.book.show),
            (api.RULE_ADD, self.book.add),
            (api.RULE_REMOVE, self.book.remove),
            (api.RULE_ENABLE, self.book.enable),
            (api.RULE_DISABLE, self.book.disable),
            (api.RULE_TUNE, self.book.tune),
            (api.ONCALL_LIST, oncall.listing),
            (api.ONCALL_DELIVERIES, oncall.deliveries),
            (api.ONCALL_SHOW, oncall.show),
            (api.ONCALL_ADD, targets.add),
            (api.ONCALL_REMOVE, targets.remove),
            (api.ONCALL_TEST, targets.attempt),
        ):
            self.web.mount(route, handler)
        self.web.mount_async(api.EVENT_TAIL, self.tail)
        reads = Reads("audit", self.store)
        self.web.mount_async(
            api.EVENT_SHOW, reads.of(self.check.show, "event", "event", quiet="read.")
        )
        self.web.mount_async(api.ALERT_SHOW, reads.of(alerts.show, "alert", "alert"))
        self.web.mount_async(api.RULE_TEST, trials.test)


async def serve(settings: Settings, args: argparse.Namespace, stop: asyncio.Event) -> None:  # noqa: ARG001 - a service's shape
    """Run the audit service until `stop` is set."""
    os.nice(NICENESS)
    rules = load_rules()
    # What this does on the disk takes no turn of the loop: nobody is served yet.
    audit = Audit(settings, rules)
    try:
        await audit.run(stop)
    finally:
        audit.close()
