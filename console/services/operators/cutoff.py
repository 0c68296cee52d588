"""What every service serves about operators: cutting one off, the sessions, the roster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, select

from console.api import operators as routes
from console.api.problems import refusal
from console.api.route import Api
from console.model.account import AccountKind, OperatorSession, ServiceCut
from console.model.operator import Role
from console.model.stored import Page
from console.services.events import event
from console.services.operators import owner, roster_store
from console.services.operators.identities import Identities
from console.services.operators.roster import Entry, Mark, Roster
from console.services.operators.tables import MARKS
from console.services.store import Store, emit
from console.services.web import Ask, Web

ROSTER_PATH = "/internal/v1/roster"


Kept = tuple[Roster, list[Mark]]

Learn = Callable[[Connection, Iterable[Mark]], None]
"""What else a service keeps of marks: policy, its accounts."""


def nothing_else(_conn: Connection, _marks: Iterable[Mark]) -> None:
    """Keep no more than the marks."""


def mount(
    web: Web, api: Api, store: Store, identities: Identities, *, learn: Learn = nothing_else
) -> None:
    """Serve the routes about operators that every service has."""
    restrictions = Restrictions(identities, learn, web.end_refused)
    web.mount(routes.CUT[api], restrictions.cut)
    web.mount(routes.FREEZE[api], restrictions.freeze)
    web.mount(routes.SESSIONS[api], partial(sessions, identities))
    owner.mount(web, store, {"cut": restrictions.cut})

    async def told(ask: Ask) -> Roster:
        """Take policy's roster; answer with the marks that were made here."""
        await store.write(lambda conn: roster_store.keep(conn, ask.body))
        await store.read(identities.refresh)
        web.end_refused()
        found = await store.read(roster_store.marks)
        return Roster(sequence=ask.body.sequence, entries=[], marks=[*found, *identities.uses()])

    web.internal("PUT", ROSTER_PATH, told, body=Roster)


async def follow(web: Web, store: Store, identities: Identities) -> None:
    """Decide by each change of what is kept, for ever: a restart begins where it ended."""
    known: Kept | None = None
    while True:
        new = await store.until(roster_store.TOPIC, partial(_other, known), 60.0)
        if new is not None:
            identities.take(*new)
            web.end_refused()
            known = new


def _other(known: Kept | None, conn: Connection) -> Kept | None:
    now = (roster_store.roster(conn), roster_store.marks(conn))
    return None if now == known else now


class Restriction(NamedTuple):
    """A way to end what an operator may do, and the mark that every service keeps of it."""

    action: str
    mark: str

    def number(self, entry: Entry) -> int:
        """Return what the mark counts by: see `Mark`."""
        return entry.thaws if self is FREEZE else entry.generation


CUT = Restriction("operator.cut", "cut")
"""Lets nobody in by the account."""
FREEZE = Restriction("operator.freeze", "frozen")
"""Lets them look and close, and nothing else."""


class Restrictions:
    """Cutting off and freezing the operators of one service."""

    def __init__(
        self, identities: Identities, learn: Learn, end_refused: Callable[[], None]
    ) -> None:
        self._identities = identities
        self._learn = learn
        self._end_refused = end_refused

    def cut(self, conn: Connection, ask: Ask) -> ServiceCut:
        """Answer `operator cut`: from here on nobody is let in by the account."""
        return self._restrict(CUT, conn, ask)

    def freeze(self, conn: Connection, ask: Ask) -> ServiceCut:
        """Answer `operator freeze`: from here on they look and close, and nothing else."""
        return self._restrict(FREEZE, conn, ask)

    def _restrict(self, how: Restriction, conn: Connection, ask: Ask) -> ServiceCut:
        """Do it, and record it. Again is the same.

        Where another service told of it before it was asked for here, it is recorded here too.
        """
        directory = self._identities.directory_in(conn)
        entry = directory.entry(ask.path["operator"])
        if entry is None:
            names = ", ".join(directory.names())
            raise refusal(
                "not-found", f"there is no operator {ask.path['operator']} here: they are {names}"
            )
        known = conn.execute(
            select(MARKS).where(
                MARKS.c.name == entry.name,
                MARKS.c.generation == how.number(entry),
                MARKS.c.kind == how.mark,
            )
        ).one_or_none()
        if known is not None and known.event_id:
            return ServiceCut(
                service=ask.service, state=how.mark, at=known.at, event_id=known.event_id
            )
        if how is CUT:
            _refuse_cutting_admin(entry, ask)
        event_id = emit(
            conn,
            event(
                how.action, service=ask.service, actor=ask.operator.name, kind="operator",
                target=entry.name, name=entry.name, reason=ask.body.reason,
                request_id=ask.request_id, at=ask.now,
                before={"state": how.mark if known else "active", "roles": entry.roles},
                after={"state": how.mark, "generation": entry.generation, "thaws": entry.thaws},
                **owner.told(ask.operator),
            ),
        )  # fmt: skip
        mark = Mark(
            name=entry.name, generation=how.number(entry), kind=how.mark, at=ask.now,
            by=ask.operator.name, reason=ask.body.reason,
        )  # fmt: skip
        roster_store.add(conn, [mark], event_id)
        used = [each for each in self._identities.uses() if each.name == entry.name]
        self._learn(conn, [*used, mark])
        theirs = [each for each in self._identities.sessions() if each.operator == entry.name]

        def now_closed() -> None:
            self._identities.add(mark)
            self._end_refused()
            if how is CUT:
                self._identities.end_sessions(entry.name)

        ask.after(now_closed)
        return ServiceCut(
            service=ask.service, state=how.mark, at=known.at if known else ask.now,
            event_id=event_id, sessions=len(theirs) if how is CUT else 0,
        )  # fmt: skip


def _refuse_cutting_admin(entry: Entry, ask: Ask) -> None:
    """Refuse to cut an admin off where who asks is none: they could lock everybody out."""
    by = ask.operator
    if not entry.is_admin or (Role.ADMIN in by.roles and not by.frozen):
        return
    why = f"{by.name} is frozen" if by.frozen else f"{by.name} is none"
    raise refusal(
        "refused",
        f"{entry.name} is an admin, and {why}: only an admin cuts an admin off",
        mend=f"freeze them, so that they open nothing: pilotctl operator freeze {entry.name}",
    )


def sessions(identities: Identities, _conn: Connection, ask: Ask) -> Page[OperatorSession]:
    """Answer `operator sessions`: who has used this service since it started."""
    return Page(as_of=ask.now, source=ask.service, items=identities.sessions())


async def note_first_use(store: Store, identities: Identities, ask: Ask, by: str) -> None:
    """Record that a token was used in a new session; of a break-glass account, for ever."""
    name, broken = ask.operator.name, ask.operator.kind == AccountKind.BREAK_GLASS
    entry = identities.entry(name)
    if entry is None:
        return

    def write(conn: Connection) -> None:
        event_id = emit(
            conn,
            event(
                "break-glass.use" if broken else "operator.sign-in", service=ask.service,
                actor=name, kind="operator", target=name, name=name,
                request_id=ask.request_id, at=ask.now,
                severity="critical" if broken else "informational",
                facts={"by": by, "route": ask.route.id if ask.route else ""},
            ),
        )  # fmt: skip
        if broken:
            used = Mark(
                name=name, generation=entry.generation, kind="used", at=ask.now, by=name, reason=""
            )
            roster_store.add(conn, [used], event_id)

    await asyncio.shield(store.write(write))
