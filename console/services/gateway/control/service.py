"""Gateway control as a process: `python -m console.services.gateway --home HOME`."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from console import __version__
from console.api import gateway as api
from console.model.enforcement import Point
from console.model.number import whole_number
from console.model.operator import ServiceStatus
from console.services import settings
from console.services.events import SYSTEM, event
from console.services.gateway.control import access_check, projection_intake
from console.services.gateway.control.access import quiet_grants
from console.services.gateway.control.access.keys import Keys
from console.services.gateway.control.calls import (
    call_search,
    call_store,
    call_times,
    explain,
    prices,
    usage_sums,
)
from console.services.gateway.control.calls.budgets import Counters
from console.services.gateway.control.calls.content_store import Contents
from console.services.gateway.control.calls.record_barrier import RecordBarrier
from console.services.gateway.control.calls.retention import forget
from console.services.gateway.control.closing import receipts, suspensions, tombstones
from console.services.gateway.control.closing.key_rotation import Rotation
from console.services.gateway.control.closing.locks import Locks
from console.services.gateway.control.closing.offboarding import Offboarding
from console.services.gateway.control.closing.point_lifecycle import Leaving
from console.services.gateway.control.closing.suspensions import Suspensions
from console.services.gateway.control.closing.tombstones import Tombstones
from console.services.gateway.control.closing.verifier import Verifier
from console.services.gateway.control.migrations import STEPS
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.decision.content_crypto import ContentKeys
from console.services.gateway.decision.decide import STALE_SECONDS
from console.services.gateway.decision.probe_token import new_key
from console.services.operators import cutoff
from console.services.operators.identities import Identities
from console.services.settings import Settings
from console.services.store import Store, emit
from console.services.tls import Certificate
from console.services.web import Ask, Reads, Streams, Web
from console.services.wire.call_feed import CallFeed
from console.services.wire.changes import Changes, State
from console.services.wire.points import CallBatch, ContentBatch, LeaseAsk, LimitAsk, Register
from console.services.wire.projections import Closings, Notices, Projection

DIGEST_SECONDS = 10.0
FORGET_SECONDS = 3600.0
"""How often it is looked for calls that are older than they are kept."""
_MAX_WAIT_SECONDS = 30.0


class Control:
    """The parts of gateway control, over one store."""

    def __init__(
        self,
        store: Store,
        probe_key: bytes,
        models: Iterable[str] = (),
        *,
        content_keys: ContentKeys,
        proxies: Sequence[str] = (),
        certificate: Certificate | None = None,
        keep_days: int = 0,
    ) -> None:
        self.store = store
        self.keep_days = keep_days
        """How long call records are kept; 0 for ever."""
        self._forgot = -FORGET_SECONDS
        self._streams = Streams(store, call_store.TOPIC)
        self._reads = Reads("gateway", store)
        self._troubles: Callable[[], list[str]] = list
        self.models = models
        self.views = change_log.Views()
        self.points = Points(store, self.views)
        self.counters = Counters(store, self.views, self.points)
        self.contents = Contents(store, content_keys)
        self.rotation = Rotation(store, self.views, self.points)
        self.verifier = Verifier(
            store, self.views, self.points, probe_key, proxies=proxies, certificate=certificate
        )

    def mount(self, web: Web) -> None:
        """Put every route of the contract, and the internal ones, on the server."""
        self._troubles = web.notes
        keys = Keys(self.views, self.points)
        locks = Locks(self.views, self.points, self.models)
        leaving = Leaving(self.points)
        marks = Tombstones(self.views, self.points)
        pauses = Suspensions(self.views, self.points)
        endings = Offboarding(self.views, self.points)
        for route, handler in (
            (api.STATUS, self.status),
            (api.KEY_LIST, keys.listing),
            (api.KEY_SHOW, keys.show),
            (api.KEY_ISSUE, keys.issue),
            (api.KEY_ROTATE, self.rotation.rotate),
            (api.LOCK_LIST, locks.listing),
            (api.LOCK_SHOW, locks.show),
            (api.LOCK_ADD, locks.add),
            (api.LOCK_RELEASE, locks.release),
            (api.LOCK_BLAST, locks.would_end),
            (api.REVOKE, marks.revoke),
            (api.TOMBSTONE_LIST, marks.listing),
            (api.GRANT_SUSPEND, pauses.grant),
            (api.PARTNER_SUSPEND, pauses.partner),
            (api.PARTNER_OFFBOARD, endings.offboard),
            (api.PILOT_CLOSE, endings.close_pilot),
            (api.GRANT_QUIET, partial(quiet_grants.listing, self.views)),
            (api.CALL_CONTENT, self.contents.read),
            (api.CALL_REDACT, self.contents.redact),
            (api.POINT_LIST, self.points.listing),
            (api.POINT_DEREGISTER, leaving.deregister),
            (api.POINT_ADMIT, leaving.admit),
            (api.RECEIPT_LIST, receipts.listing),
            (api.RECEIPT_SHOW, receipts.show),
            (api.CALL_CHECK, access_check.CallChecks(self.views, self.points).answer),
            (api.BUDGETS, self.counters.listing),
            (api.PRICE_LIST, prices.listing),
            (api.PRICE_SHOW, prices.show),
            (api.PRICE_SET, prices.put),
        ):
            web.mount(route, handler)
        reads = self._reads
        records = RecordBarrier(self.store, self.points)
        for list_route, read in (
            (api.CALL_LIST, reads.deeper(call_store.listing, "calls")),
            (api.USAGE, reads.plain(usage_sums.listing)),
            (api.USAGE_EXPORT, reads.exported(usage_sums.exported, "usage", "partner")),
        ):
            web.mount_async(list_route, records.before_list(read))
        for call_route, read in (
            (api.CALL_SHOW, reads.of(call_store.show, "call", "call")),
            (api.CALL_EXPLAIN, reads.of(explain.explain, "call", "call")),
        ):
            web.mount_async(call_route, records.before_missing(read))
        web.mount_async(api.CALL_TAIL, self.tail)
        web.internal(
            "PUT",
            "/internal/v1/projection",
            projection_intake.Intake(self.store, self.points).take,
            body=Projection,
        )
        web.internal("GET", "/internal/v1/closings", self.closings)
        web.internal("GET", "/internal/v1/notices", self.notices)
        web.internal("GET", "/internal/v1/points", self.every_point)
        web.internal("POST", "/internal/v1/points", self.points.register, body=Register)
        web.internal("GET", "/internal/v1/snapshot", self.snapshot)
        web.internal("GET", "/internal/v1/changes", self.changes)
        web.internal("POST", "/internal/v1/points/{point}/lease", self.points.lease, body=LeaseAsk)
        web.internal(
            "POST",
            "/internal/v1/points/{point}/content",
            self.contents.take,
            body=ContentBatch,
        )
        web.internal(
            "POST", "/internal/v1/points/{point}/goodbye", self.points.goodbye, body=LeaseAsk
        )
        web.internal(
            "POST",
            "/internal/v1/points/{point}/calls",
            call_store.Intake(self.store, self.counters).take,
            body=CallBatch,
        )
        web.internal(
            "POST", "/internal/v1/points/{point}/limits", self.counters.take, body=LimitAsk
        )
        web.internal("GET", "/internal/v1/calls", self.feed)

    def status(self, conn: Connection, ask: Ask) -> ServiceStatus:
        """Answer `gateway.status`."""
        names = self.points.names(conn)
        away = [name for name in names if not self.points.seen(name).serving]
        age = self.points.policy_age(conn, ask.now)
        notes = []
        if not names:
            notes.append("no enforcement point is registered: nothing is served")
        notes += [f"point {name} holds no lease: it serves nothing" for name in away]
        notes += self._troubles()
        lacking = self.points.upstream_notes(conn)
        if age is None:
            lacking.insert(0, "policy was never heard of: nothing is served")
        elif age > STALE_SECONDS:
            lacking.insert(0, f"policy unheard of for {age:.0f} s: tier 3 and above is held back")
        return ServiceStatus(
            service="gateway",
            version=__version__,
            as_of=ask.now,
            operator=ask.operator,
            sequence=change_log.head(conn),
            healthy=not notes,
            notes=notes,
            dependency_notes=lacking,
        )

    async def snapshot(self, _ask: Ask) -> State:
        """Answer everything that decides calls."""
        return await self.store.read(lambda conn: self.views.at(conn).state())

    async def every_point(self, ask: Ask) -> list[Point]:
        """Answer the points to the supervisor, whose user need not be an operator."""
        return (await self.store.read(lambda conn: self.points.listing(conn, ask))).items

    async def changes(self, ask: Ask) -> Changes:
        """Answer the changes after a sequence, waiting for one where asked to."""
        after = _number(ask, "after")

        def ready(conn: Connection) -> Changes | None:
            found = change_log.since(conn, after)
            return found if found.items or found.reset else None

        following = asyncio.create_task(self.store.until(change_log.TOPIC, ready, _wait(ask)))
        asked = asyncio.create_task(self.points.report_asked(_number(ask, "report")))
        try:
            await asyncio.wait({following, asked}, return_when=asyncio.FIRST_COMPLETED)
            found = following.result() if following.done() else None
        finally:
            for task in (following, asked):
                task.cancel()
            await asyncio.gather(following, asked, return_exceptions=True)
        changed = found or Changes(items=[], head=after)
        return msgspec.structs.replace(changed, report=self.points.report)

    async def closings(self, ask: Ask) -> Closings:
        """Answer the tombstones after a sequence, waiting for one where asked to."""
        after = _number(ask, "after")

        def ready(conn: Connection) -> Closings | None:
            found = tombstones.closings(conn, after)
            return found if found.items else None

        if (found := await self.store.until(tombstones.TOPIC, ready, _wait(ask))) is not None:
            return found
        return await self.store.read(lambda conn: tombstones.closings(conn, after))

    async def notices(self, ask: Ask) -> Notices:
        """Answer the notices after a sequence, waiting for one where asked to."""
        after = _number(ask, "after")

        def ready(conn: Connection) -> Notices | None:
            found = suspensions.notices(conn, after)
            return found if found.items else None

        found = await self.store.until(suspensions.TOPIC, ready, _wait(ask))
        return found or Notices(items=[])

    async def tail(self, ask: Ask) -> Any:
        """Answer `call.tail`."""
        await self._reads.note(ask, "calls", "tail", sort="call")
        return await self._streams.serve(
            ask,
            lambda conn, after: call_search.tail(conn, ask.query, call_times.moment, after),
            call_search.last_row,
        )

    async def feed(self, ask: Ask) -> CallFeed[msgspec.Raw]:
        """Answer call records after a row, waiting for one where asked to."""
        after, limit = _number(ask, "after"), _number(ask, "limit", 1000)

        def ready(conn: Connection) -> CallFeed[msgspec.Raw] | None:
            found = call_store.feed(conn, after, limit)
            return found if found.items else None

        if (found := await self.store.until(call_store.TOPIC, ready, _wait(ask))) is not None:
            return found
        return await self.store.read(lambda conn: call_store.feed(conn, after, limit))

    async def forget_calls(self) -> None:
        """Drop the calls that are older than they are kept, some at a time."""
        before = datetime.now(UTC) - timedelta(days=self.keep_days)
        while True:
            if not await self.store.write(lambda conn: forget(conn, before)):
                return
            await asyncio.sleep(0.05)  # others write in between

    async def digest_regularly(self) -> None:
        """Commit to new call records, at most once in ten seconds."""
        while True:
            await asyncio.sleep(DIGEST_SECONDS)
            await self.store.write(lambda conn: call_store.digest(conn, datetime.now(UTC)))
            await self.store.write(change_log.forget_old)
            if self.keep_days and time.monotonic() - self._forgot > FORGET_SECONDS:
                await self.forget_calls()
                self._forgot = time.monotonic()


def _number(ask: Ask, name: str, otherwise: int = 0) -> int:
    found = whole_number(ask.query.get(name, ""))
    return otherwise if found is None else found


def _wait(ask: Ask) -> float:
    return min(float(_number(ask, "wait")), _MAX_WAIT_SECONDS)


def _started(conn: Connection) -> None:
    emit(
        conn,
        event(
            "service.start",
            service="gateway",
            actor=SYSTEM,
            kind="service",
            target="gateway",
            name="gateway",
            after={"version": __version__},
            at=datetime.now(UTC),
        ),
    )


async def serve(read: Settings, _args: argparse.Namespace, stop: asyncio.Event) -> None:
    """Run gateway control until `stop` is set."""
    probe_key = settings.secret_file(read.home.keys / "probe.key", new_key)
    store = Store.open(read.home.store("gateway"), STEPS, readers=3)
    identities = Identities("gateway", read.operators)
    web = Web("gateway", store, identities)
    cutoff.mount(web, "gateway", store, identities)
    web.on_first_use(partial(cutoff.note_first_use, store, identities))
    control = Control(
        store,
        probe_key,
        read.models,
        content_keys=ContentKeys(read.home),
        proxies=read.data_plane.proxies if read.data_plane.proxy_protocol else (),
        certificate=read.data_plane.certificate,
        keep_days=read.retention.calls_days,
    )
    control.mount(web)
    try:
        await store.write(_started)
        await store.read(identities.refresh)
        await web.start(socket=read.home.socket("gateway"), listen=read.listen.get("gateway"))
        web.tasks.add("verifying receipts", control.verifier.run)
        web.tasks.add("committing to call records", control.digest_regularly)
        web.tasks.add("counting limits", control.counters.watch)
        web.tasks.add("ending rotated keys", control.rotation.retire_regularly)
        web.tasks.add("expiring kept content", control.contents.expire_regularly)
        web.tasks.add("following operators", cutoff.follow, web, store, identities)
        await web.tasks.until(stop)
    finally:
        await web.stop()
        store.close()
