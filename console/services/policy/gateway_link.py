"""Policy's two lines to the gateway: what it is to know, and what it has ended.

Both go on for ever, pause where the gateway is away, and begin again where they stopped:
how far each has come is stored with its effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, func, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.access import Suspension
from console.model.grant import Grant, GrantState
from console.model.text import now
from console.services.cedar.engine import CedarBundle
from console.services.client import Client, is_unreached
from console.services.events import SYSTEM
from console.services.policy.grants.renewal import successors, superseded
from console.services.policy.grants.suspension import suspend_grant
from console.services.policy.judging.facts import Reader
from console.services.policy.judging.gates import grant_gaps
from console.services.policy.judging.grant_states import may_become
from console.services.policy.judging.settle import PROJECTED, moved, save, stored, warn
from console.services.policy.partners import offboarding
from console.services.policy.partners.standing import suspend_partner
from console.services.policy.pilots import pilot_closing
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.marks import mark, set_mark
from console.services.policy.state.tables import GRANTS, PROJECTION
from console.services.store import Store
from console.services.wire.projections import (
    Applied,
    Closing,
    Closings,
    Notice,
    Notices,
    Projection,
    ProjectionItem,
)

HEARTBEAT_SECONDS = 1.0
"""The gateway hears from policy at least this often: its staleness counts from there."""

MAX_PAUSE_SECONDS = 2.0
BETWEEN_SECONDS = 0.05
"""Between two questions that got nothing: a peer that does not wait is not asked in a spin."""

BATCH = 500

_LOG = logging.getLogger(__name__)


class Link(NamedTuple):
    """What is known of the line to the gateway right now."""

    failure: str = ""
    away: bool = False
    """The gateway does not answer at all: that is its own fault, and not policy's."""
    ahead: bool = False
    """The gateway has applied more than this store ever made: this store is an old copy."""


class Gateway:
    """The gateway, from where policy stands."""

    def __init__(self, store: Store, client: Client, bundle: CedarBundle) -> None:
        self._store = store
        self._client = client
        self._bundle = bundle
        self.link = Link("not reached yet", away=True)

    async def provision(self) -> None:
        """Hand the projection over as it grows, and let the gateway hear that policy lives."""
        await _forever(self._hand_over, self._broken)

    async def follow(self) -> None:
        """Take over what the gateway ended: it closes first, and alone."""
        await _forever(self._take_over, lambda _error: None)

    async def attend(self) -> None:
        """Take over what the gateway suspended, and what it has proven to be offboarded."""
        await _forever(self._take_notice, lambda _error: None)

    def _broken(self, error: PilotError) -> None:
        self.link = Link(error.message, away=is_unreached(error))

    async def _hand_over(self) -> None:
        batch, head, waiting = await self._store.read(pending)
        answer = await self._client.send(
            "PUT", "/internal/v1/projection", msgspec.structs.replace(batch, as_of=now()), Applied
        )
        last = batch.items[-1].seq if batch.items else batch.from_
        taken = min(answer.applied, last)
        self.link = Link(ahead=answer.applied > head)
        if waiting or taken != batch.from_:
            await self._store.write(lambda conn: acknowledge(conn, taken, now()))
        if taken <= batch.from_:
            await self._store.signalled(PROJECTED, HEARTBEAT_SECONDS)

    async def _take_over(self) -> None:
        seen = await self._store.read(lambda conn: mark(conn, "closings_seen"))
        page = await self._client.get(
            "/internal/v1/closings", Closings, query={"after": seen, "wait": 5}, timeout=15.0
        )
        if page.items:
            await self._store.write(lambda conn: close(conn, page.items, now()))
        else:
            await asyncio.sleep(BETWEEN_SECONDS)

    async def _take_notice(self) -> None:
        seen = await self._store.read(lambda conn: mark(conn, "notices_seen"))
        page = await self._client.get(
            "/internal/v1/notices", Notices, query={"after": seen, "wait": 5}, timeout=15.0
        )
        if page.items:
            await self._store.write(lambda conn: note(conn, self._bundle, page.items))
        else:
            await asyncio.sleep(BETWEEN_SECONDS)


def note(conn: Connection, bundle: CedarBundle, notices: list[Notice]) -> None:
    """Take the gateway's notices over, in order."""
    for each in notices:
        held = Suspension(id=each.id, at=each.at, by=each.by, reason=each.reason)
        match each.kind:
            case "grant-suspended":
                suspend_grant(conn, each.target, held)
            case "partner-suspended":
                suspend_partner(conn, bundle, each.target, held)
            case "partner-offboarded":
                offboarding.finish(conn, each.target, each.id, each.at)
            case "pilot-closed":
                pilot_closing.finish(conn, each.target, each.id, each.at)
            case _:
                pass  # a newer gateway's kind: nothing here follows from it
        set_mark(conn, "notices_seen", each.seq)


def acknowledge(conn: Connection, applied: int, at: datetime) -> None:
    """Note that the gateway has the projection up to `applied`, and activate what it opened."""
    set_mark(conn, "gateway_applied", applied)
    reader = Reader(conn)
    actor = Actor(SYSTEM, at)
    for grant in conn.execute(_opened_there(applied)).scalars().all():
        facts = reader.of_grant(grant)
        if grant_gaps(grant, facts, at):
            continue  # it lapsed on the way: the clock suspends it
        active = moved(grant, GrantState.ACTIVE, "", actor, facts)
        # it ends what an operator began: who planned on it before is told of that operator
        active = msgspec.structs.replace(active, updated_by=grant.updated_by)
        stored(conn, active, facts, at)
        record(
            conn,
            actor,
            "grant.activate",
            "grant",
            grant.id,
            partner=grant.partner,
            reason="the gateway has it",
            before={"state": grant.state},
            after={"state": active.state, "decision": grant.decision},
        )
        warn(conn, active, facts, actor)
        superseded(conn, active, actor)


def _opened_there(applied: int) -> Select[Any]:
    """Select the grants on their way whose newest projection the gateway has taken."""
    newest = (
        select(PROJECTION.c.id, func.max(PROJECTION.c.seq).label("seq"))
        .where(PROJECTION.c.kind == "grant")
        .group_by(PROJECTION.c.id)
        .subquery()
    )
    return (
        select(GRANTS.c.body)
        .join(newest, newest.c.id == GRANTS.c.id)
        .where(GRANTS.c.state == GrantState.PROVISIONING, newest.c.seq <= applied)
    )


def close(conn: Connection, closings: list[Closing], at: datetime) -> None:
    """Take the gateway's tombstones over. The gateway's own events record them: no others do."""
    reader = Reader(conn)
    for closing in closings:
        if closing.kind == "grant":
            for grant in successors(conn, closing.id):
                _revoke(conn, closing, grant, reader, at)
        elif closing.kind == "partner":
            actor = Actor(closing.by or SYSTEM, closing.at)
            offboarding.begin(conn, closing.id, actor, _why(closing))
        elif closing.kind == "pilot":
            actor = Actor(closing.by or SYSTEM, closing.at)
            pilot_closing.begin(conn, closing.id, actor, _why(closing))
        set_mark(conn, "closings_seen", closing.seq)


def _revoke(conn: Connection, closing: Closing, grant: Grant, reader: Reader, at: datetime) -> None:
    if not may_become(grant.state, GrantState.REVOKED):
        return
    facts = reader.of_grant(grant)
    actor = Actor(closing.by or SYSTEM, closing.at)
    # projected too: a gateway that lost its store must not be told of it as it once was
    save(conn, moved(grant, GrantState.REVOKED, _why(closing), actor, facts), facts, at)


def _why(closing: Closing) -> str:
    if not closing.event_id:
        return closing.reason
    return f"{closing.reason} [{closing.event_id}]" if closing.reason else closing.event_id


def pending(conn: Connection) -> tuple[Projection, int, bool]:
    """Return what the gateway has not taken, the newest number, and whether a grant waits.

    A grant can wait with everything taken: its evidence lapsed and was mended meanwhile.
    """
    done = mark(conn, "gateway_applied")
    asked = (
        select(PROJECTION.c.seq, PROJECTION.c.kind, PROJECTION.c.body)
        .where(PROJECTION.c.seq > done)
        .order_by(PROJECTION.c.seq)
        .limit(BATCH)
    )
    items = [
        ProjectionItem(seq=seq, kind=kind, body=body) for seq, kind, body in conn.execute(asked)
    ]
    head = conn.execute(select(func.coalesce(func.max(PROJECTION.c.seq), 0))).scalar_one()
    waiting = conn.execute(_opened_there(done).limit(1)).first() is not None
    return Projection(from_=done, items=items, as_of=now()), head, waiting


async def _forever(
    step: Callable[[], Awaitable[Any]], broken: Callable[[PilotError], None]
) -> None:
    """Run `step` again and again; after a failure pause, longer each time up to the cap."""
    pause = 0.1
    while True:
        try:
            await step()
            pause = 0.1
        except PilotError as error:
            broken(error)
        except Exception as error:
            _LOG.exception("the line to the gateway failed")
            broken(refusal("internal", f"the line to the gateway failed: {type(error).__name__}"))
        else:
            continue
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_PAUSE_SECONDS)
