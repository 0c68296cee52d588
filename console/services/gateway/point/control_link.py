"""The point's ties to gateway control: registering, following changes, lease, call records.

Losing control is not an error here: each task tries again until it is back, and the
lease runs out meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from console.errors import PilotError
from console.services.background import EndServiceError
from console.services.client import Client
from console.services.gateway.decision.boot_clock import boottime
from console.services.gateway.point.limiter import Limiter
from console.services.gateway.point.point import Point
from console.services.gateway.point.spool import Spool
from console.services.gateway.point.upstream.upstream_watch import UpstreamWatch, look_at_idle
from console.services.wire.changes import Changes, State
from console.services.wire.points import (
    CallAck,
    CallBatch,
    ContentBatch,
    KeptContent,
    Lease,
    LeaseAsk,
    Register,
    Registered,
    StoppedCall,
)

LEASE_EVERY_SECONDS = 0.5
_RETRY_SECONDS = 0.2
_POLL_SECONDS = 20
_LEASE_TIMEOUT = 2.0
_GOODBYE_TIMEOUT = 0.5
MAX_STOPPED = 500
"""Calls that were cut by a stop and are named in its event."""
_GATHER_SECONDS = 0.1
"""Records that end within so long of each other go to control together: a batch costs a commit."""
_BATCH = 500
_CONTENTS_AT_ONCE = 4
_kept = msgspec.json.Decoder(KeptContent)


class Following:
    """Keeps one point in step with control."""

    def __init__(
        self,
        point: Point,
        spool: Spool,
        control: Client,
        upstreams: Sequence[UpstreamWatch] = (),
    ) -> None:
        self._point = point
        self._spool = spool
        self._control = control
        self._upstreams = upstreams
        self._incarnation = os.urandom(8).hex()
        self.limiter = Limiter(point, control, self._incarnation)
        self._report = asyncio.Event()
        self._report_asked = 0
        self.turned_away: Mapping[str, int] = {}
        """What the listener turned away before it was a call, by kind: control is told."""

    async def register(self, url: str, version: str) -> Registered:
        """Make the point known to control, waiting until control is there."""
        said = Register(
            name=self._point.name, url=url, version=version, incarnation=self._incarnation
        )
        while True:
            with suppress(PilotError):
                return await self._control.send("POST", "/internal/v1/points", said, Registered)
            await asyncio.sleep(_RETRY_SECONDS)

    async def load(self) -> None:
        """Take the whole snapshot, waiting until control is there."""
        while True:
            with suppress(PilotError):
                state = await self._control.get("/internal/v1/snapshot", State)
                self._point.load(state)
                self._report.set()
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def follow_changes(self) -> None:
        """Apply each change as soon as control has made it."""
        while True:
            try:
                await self._catch_up(_POLL_SECONDS)
            except PilotError:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _catch_up(self, wait: int) -> None:
        after = self._point.snapshot.sequence
        changes = await self._control.get(
            "/internal/v1/changes",
            Changes,
            query={"after": after, "wait": wait, "report": self._report_asked},
            timeout=wait + 10.0,
        )
        if changes.report != self._report_asked:
            self._report_asked = changes.report
            self._report.set()
        if changes.reset or changes.head < after:
            # Control's store is another one, or it has forgotten these: start afresh.
            await self.load()
        elif changes.items:
            self._point.apply(changes.items)
            self._report.set()

    async def hold_lease(self) -> None:
        """Renew the lease, and report at once what a change has ended."""
        while True:
            try:
                if not await self._renew():
                    await self._catch_up(0)
                    continue
            except PilotError as error:
                if error.code in {"not-found", "state"}:
                    # Control has another store, or another process has taken the name.
                    self._point.lease.drop()
                    raise EndServiceError from error
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            waits = [
                asyncio.create_task(self._report.wait()),
                asyncio.create_task(self._point.calls.emptied.wait()),
            ]
            try:
                await asyncio.wait(
                    waits, timeout=LEASE_EVERY_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)

    async def say_goodbye(self, stopped: Sequence[StoppedCall] = ()) -> None:
        """Give the lease back: the point serves nothing any more, so no receipt need wait."""
        self._point.lease.give_up()
        self._point.guard()  # what is still in flight is let go of before anybody is told
        with suppress(PilotError):
            await self._control.send(
                "POST",
                f"/internal/v1/points/{self._point.name}/goodbye",
                LeaseAsk(
                    applied_sequence=self._point.snapshot.sequence,
                    incarnation=self._incarnation,
                    stopped=list(stopped[:MAX_STOPPED]),
                ),
                Lease,
                timeout=_GOODBYE_TIMEOUT,
            )

    async def _renew(self) -> bool:
        """Ask once. False where a change has to be applied first."""
        self._report.clear()
        calls = self._point.calls
        calls.emptied.clear()
        applied = self._point.snapshot.sequence
        asked_at = boottime()
        lease = await self._control.send(
            "POST",
            f"/internal/v1/points/{self._point.name}/lease",
            LeaseAsk(
                applied_sequence=applied,
                incarnation=self._incarnation,
                in_flight=calls.by_credential(),
                in_flight_of=calls.by_principal(),
                cutting=calls.cutting,
                cut=calls.cuts,
                records=self._spool.finished,
                report=self._report_asked,
                turned_away=dict(self.turned_away),
                upstreams=[each.report() for each in self._upstreams],
            ),
            Lease,
            timeout=_LEASE_TIMEOUT,
        )
        if self._point.snapshot.sequence < lease.sequence:
            return False
        self._point.lease.renew(asked_at, lease.lease_seconds, lease.policy_age)
        return True

    async def look_at_upstreams(self) -> None:
        """Look now and again at the upstreams that no call goes to."""
        await look_at_idle(self._upstreams)

    async def judge_regularly(self) -> None:
        """End calls in flight that the passing of time no longer allows."""
        while True:
            await asyncio.sleep(LEASE_EVERY_SECONDS)
            if len(self._point.calls):
                self._point.judge_again()
                self._report.set()

    async def push_calls(self, held: int) -> None:
        """Hand finished call records to control, in order, until it holds each of them."""
        while True:
            self._spool.grown.clear()
            batch = await self._spool.unacknowledged(held, _BATCH)
            if not batch:
                await self._spool.grown.wait()
                await asyncio.sleep(_GATHER_SECONDS)
                continue
            try:
                ack = await self._control.send(
                    "POST",
                    f"/internal/v1/points/{self._point.name}/calls",
                    CallBatch(items=[msgspec.Raw(each.body) for each in batch]),
                    CallAck,
                )
                held = ack.acknowledged
                await self._spool.forget(held)
                if len(batch) < _BATCH:
                    await asyncio.sleep(_GATHER_SECONDS)
            except PilotError:
                await asyncio.sleep(_RETRY_SECONDS)

    async def push_contents(self) -> None:
        """Hand sealed content to control, until it holds all of it."""
        while True:
            self._spool.kept.clear()
            batch = await self._spool.contents(_CONTENTS_AT_ONCE)
            if not batch:
                await self._spool.kept.wait()
                continue
            try:
                items = [_kept.decode(each.body) for each in batch]
                await self._control.send(
                    "POST",
                    f"/internal/v1/points/{self._point.name}/content",
                    ContentBatch(items=items),
                    CallAck,
                )
                await self._spool.forget_contents(batch[-1].sequence)
            except PilotError:
                await asyncio.sleep(_RETRY_SECONDS)
