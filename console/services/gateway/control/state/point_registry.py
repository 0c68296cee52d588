"""The registered points: their leases by control's clock, and what they report.

Leases live in memory. After a restart of control every registered point is taken to
hold one for a whole lease's length from then: no earlier control can have promised more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.audit import Severity
from console.model.enforcement import Point, PointState, UpstreamHealth, UpstreamState
from console.model.stored import Page
from console.services.events import SYSTEM, event
from console.services.gateway.control.state import change_log, upstream_health
from console.services.gateway.control.state.schema import MARKS, POINTS
from console.services.gateway.decision.boot_clock import boottime
from console.services.store import Store, emit
from console.services.web import Ask, page
from console.services.wire.points import Lease, LeaseAsk, Register, Registered, StoppedCall

LEASE_SECONDS = 3.0
POLICY_AS_OF = "policy_as_of"


class Seen(msgspec.Struct):
    """What control knows of one point right now."""

    lease_ends: float
    """By boot time; the point's own end of it is never later."""
    lease_until: datetime
    last_seen_at: datetime
    heard: bool = False
    """Whether it has reported since this control started."""
    said: LeaseAsk = LeaseAsk(applied_sequence=0)
    former_ends: float = 0.0
    """When the lease of an earlier process under the same name is over, by boot time."""

    @property
    def current(self) -> bool:
        """Whether the registered process itself holds a lease that it asked for."""
        return self.heard and boottime() < self.lease_ends

    @property
    def serving(self) -> bool:
        """Whether it may still be serving."""
        return boottime() < max(self.lease_ends, self.former_ends)


class Points:
    """The registry of points."""

    def __init__(self, store: Store, views: change_log.Views) -> None:
        self._store = store
        self._views = views
        self._started = boottime()
        self._started_at = datetime.now(UTC)
        self._seen: dict[str, Seen] = {}
        self._left: dict[str, str] = {}
        """The incarnation of each point that gave its lease back."""
        self._policy_as_of: datetime | None = None
        self._news = asyncio.Event()
        # Goes on above any number that an earlier control asked for.
        self._report = int(boottime() * 1e6)
        self._report_asked = asyncio.Event()
        self._recorded: dict[str, dict[str, tuple[str, bool]]] = {}
        """The state of each point's upstreams, as the log has it."""

    def upstream_notes(self, conn: Connection) -> list[str]:
        """Say which upstreams are not well, at which points."""
        return [
            f"upstream {each.name} at {name} is {each.state.replace('_', ' ')}: {each.why}"
            for name in self.names(conn)
            for each in self.seen(name).said.upstreams
            if each.state in {UpstreamState.DEAD, UpstreamState.KEY_FAULT, UpstreamState.FAILING}
        ]

    def seen(self, name: str) -> Seen:
        """Return what is known of a point."""
        return self._seen.get(name) or Seen(
            lease_ends=self._started + LEASE_SECONDS,
            lease_until=self._started_at + timedelta(seconds=LEASE_SECONDS),
            last_seen_at=self._started_at,
        )

    def names(self, conn: Connection) -> dict[str, str]:
        """Return the points that may serve, now or later, and their addresses.

        One that was deregistered counts until its lease is over.
        """
        rows = conn.execute(
            select(POINTS.c.name, POINTS.c.url, POINTS.c.gone_at).order_by(POINTS.c.name)
        )
        return {
            row.name: row.url for row in rows if row.gone_at is None or self.seen(row.name).serving
        }

    def urls(self, conn: Connection) -> list[str]:
        """Return the addresses of the points that serve, or of all where none does."""
        known = self.names(conn)
        serving = [url for name, url in known.items() if self.seen(name).serving]
        return serving or list(known.values())

    def in_flight(self, credentials: set[str]) -> int:
        """Return how many calls run under these credentials, as the points last said."""
        return sum(
            count
            for seen in self._seen.values()
            for credential, count in seen.said.in_flight.items()
            if credential in credentials and seen.serving
        )

    def in_flight_of(self, principal: str) -> int:
        """Return how many calls run that name this principal (its salted hash)."""
        return sum(
            seen.said.in_flight_of.get(principal, 0) for seen in self._seen.values() if seen.serving
        )

    def policy_age(self, conn: Connection, at: datetime) -> float | None:
        """Return how many seconds ago policy was last heard of; None for never."""
        kept = conn.execute(select(MARKS.c.value).where(MARKS.c.name == POLICY_AS_OF)).scalar()
        last = self._policy_as_of or (datetime.fromisoformat(kept) if kept else None)
        return None if last is None else max(0.0, (at - last).total_seconds())

    def heard_policy(self, at: datetime) -> None:
        """Note that policy lives."""
        self._policy_as_of = at

    def listing(self, conn: Connection, ask: Ask) -> Page[Point]:
        """Answer `point.list`."""
        return page(conn, select(POINTS), ask, keys=[POINTS.c.name], decode=self.shown)

    def shown(self, row: Row[Any]) -> Point:
        """Return a point as it is now."""
        seen = self.seen(row.name)
        state = PointState.SERVING if seen.current else PointState.FENCED
        if row.gone_at is not None and not seen.serving:
            state = PointState.GONE
        return Point(
            name=row.name,
            url=row.url,
            state=state,
            applied_sequence=seen.said.applied_sequence,
            lease_until=seen.lease_until,
            last_seen_at=seen.last_seen_at,
            in_flight=sum(seen.said.in_flight.values()),
            version=row.version,
            turned_away=seen.said.turned_away,
            upstreams=seen.said.upstreams,
        )

    async def register(self, ask: Ask) -> Registered:
        """Take a point in, or take one back after its restart."""
        said: Register = ask.body

        def enter(conn: Connection) -> Registered:
            known = conn.execute(select(POINTS).where(POINTS.c.name == said.name)).first()
            if known is not None and known.gone_at is not None:
                raise refusal(
                    "state",
                    f"{said.name} was deregistered",
                    mend=f"pilotctl point admit {said.name}",
                )
            facts = {
                "url": said.url,
                "version": said.version,
                "incarnation": said.incarnation,
                "registered_at": ask.now,
            }
            if known is None:
                conn.execute(
                    POINTS.insert().values(name=said.name, calls_held=0, calls_digested=0, **facts)
                )
            else:
                conn.execute(POINTS.update().where(POINTS.c.name == said.name).values(**facts))
            emit(
                conn,
                event(
                    "point.register",
                    service="gateway",
                    actor=SYSTEM,
                    kind="point",
                    target=said.name,
                    name=said.name,
                    request_id=ask.request_id,
                    after=said,
                    at=ask.now,
                ),
            )
            return Registered(
                name=said.name,
                sequence=change_log.head(conn),
                calls_held=known.calls_held if known is not None else 0,
            )

        registered = await self._store.write(enter)
        before = self._seen.get(said.name) or self.seen(said.name)
        # An earlier process may be frozen with its lease: it counts until that is over.
        self._seen[said.name] = msgspec.structs.replace(
            before,
            lease_ends=0.0,
            said=LeaseAsk(applied_sequence=0),
            former_ends=max(before.former_ends, before.lease_ends),
        )
        return registered

    async def lease(self, ask: Ask) -> Lease:
        """Renew a point's lease, if it has applied every change."""
        name, said = ask.path["point"], ask.body

        def look(conn: Connection) -> tuple[str | None, int, float | None]:
            row = conn.execute(select(POINTS).where(POINTS.c.name == name)).first()
            if row is not None and row.gone_at is not None:
                raise refusal("state", f"{name} was deregistered")
            known = row.incarnation if row is not None else None
            return known, change_log.head(conn), self.policy_age(conn, datetime.now(UTC))

        known, head, policy_age = await self._store.read(look)
        if known is None:
            raise refusal("not-found", f"no point {name} is registered")
        if known != said.incarnation:
            raise refusal("state", f"another process is the point {name} now")
        now = datetime.now(UTC)
        await self._note_upstreams(name, said.upstreams, now)
        if self._left.get(name) == said.incarnation:
            # asked for before its goodbye, and heard after it
            raise refusal("state", f"{name} gave its lease back")
        before = self.seen(name)
        if said.applied_sequence < head:
            self._note(name, before.lease_ends, before.lease_until, now, said)
            return Lease(sequence=head, lease_seconds=0.0, policy_age=policy_age)
        until = now + timedelta(seconds=LEASE_SECONDS)
        self._note(name, boottime() + LEASE_SECONDS, until, now, said)
        return Lease(sequence=head, lease_seconds=LEASE_SECONDS, policy_age=policy_age)

    async def _note_upstreams(self, name: str, healths: list[UpstreamHealth], at: datetime) -> None:
        """Record what has changed. What cannot be recorded now is at the next report."""
        states = {each.name: upstream_health.known_by(each) for each in healths}
        if self._recorded.get(name) == states:
            return
        with suppress(PilotError):
            await self._store.write(lambda conn: upstream_health.record(conn, name, healths, at))
            self._recorded[name] = states

    async def goodbye(self, ask: Ask) -> Lease:
        """Take back the lease of a point that leaves: it has let go of every call before."""
        name, said = ask.path["point"], ask.body
        known = await self._store.read(
            lambda conn: conn.execute(
                select(POINTS.c.incarnation).where(POINTS.c.name == name)
            ).scalar()
        )
        if known != said.incarnation:
            raise refusal("state", f"another process is the point {name} now")
        now = datetime.now(UTC)
        self._left[name] = said.incarnation
        self._note(name, 0.0, now, now, LeaseAsk(applied_sequence=said.applied_sequence))
        if said.stopped:
            await self._store.write(lambda conn: _record_stopped(conn, name, said.stopped, now))
        return Lease(sequence=said.applied_sequence, lease_seconds=0.0)

    def _note(self, name: str, ends: float, until: datetime, at: datetime, said: LeaseAsk) -> None:
        self._seen[name] = Seen(
            lease_ends=ends,
            lease_until=until,
            last_seen_at=at,
            heard=True,
            said=said,
            former_ends=self.seen(name).former_ends,
        )
        self._news.set()
        self._news = asyncio.Event()

    async def reports(self, seconds: float) -> dict[str, int | None]:
        """Ask every point that serves for a report, and wait for it, at most so long.

        Returns how many call records each has made; None for one that did not report.
        """
        asked = [name for name, seen in self._seen.items() if seen.current]
        if not asked:
            return {}
        self._report += 1
        wanted = self._report
        self._report_asked.set()
        self._report_asked = asyncio.Event()
        end = asyncio.get_running_loop().time() + seconds
        while True:
            said = {name: self.seen(name).said for name in asked}
            left = end - asyncio.get_running_loop().time()
            if left <= 0 or all(each.report >= wanted for each in said.values()):
                return {
                    name: each.records if each.report >= wanted else None
                    for name, each in said.items()
                }
            await self.news(left)

    async def report_asked(self, known: int) -> int:
        """Wait until a report after `known` is asked for; return the number of the newest."""
        while self._report == known:
            await self._report_asked.wait()
        return self._report

    @property
    def report(self) -> int:
        """The number of the newest report that was asked for."""
        return self._report

    async def news(self, seconds: float) -> None:
        """Wait until a point reports, at most so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)


def _record_stopped(conn: Connection, point: str, calls: list[StoppedCall], at: datetime) -> None:
    """Record that calls were cut because their point was stopped."""
    emit(
        conn,
        event(
            "point.cut-calls",
            service="gateway",
            actor=SYSTEM,
            kind="point",
            target=point,
            name=point,
            reason=f"it was stopped, and {len(calls)} calls had not ended in time",
            at=at,
            severity=Severity.MEDIUM,
            facts={
                "calls": [each.id for each in calls],
                "partners": sorted({each.partner for each in calls if each.partner}),
            },
        ),
    )
