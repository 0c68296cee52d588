"""What every service serves about operators: cutting one off, the sessions, the roster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from sqlalchemy import Connection, select

from console.api.operators import CUT, SESSIONS
from console.api.problems import refusal
from console.api.route import Api
from console.model.account import AccountKind, OperatorSession, ServiceCut
from console.model.stored import Page
from console.services.events import event
from console.services.operators import kept
from console.services.operators.roster import Identities, Mark, Roster
from console.services.operators.tables import MARKS
from console.services.store import Store, emit
from console.services.web import Ask, Web

ROSTER_PATH = "/internal/v1/roster"


Kept = tuple[Roster, list[Mark]]

Learn = Callable[[Connection, Iterable[Mark]], None]
"""What else a service keeps of a mark: policy its account."""


def mount(
    web: Web, api: Api, store: Store, identities: Identities, *, learn: Learn = kept.add_all
) -> None:
    """Serve the routes about operators that every service has."""
    web.mount(CUT[api], partial(cut, web, identities, learn))
    web.mount(SESSIONS[api], partial(sessions, identities))

    async def told(ask: Ask) -> Roster:
        """Take policy's roster; answer with the marks that were made here."""
        await store.write(lambda conn: kept.keep(conn, ask.body))
        await store.read(lambda conn: kept.refresh(conn, identities))
        web.end_refused()
        found = await store.read(kept.marks)
        return Roster(sequence=ask.body.sequence, entries=[], marks=[*found, *identities.uses()])

    web.internal("PUT", ROSTER_PATH, told, body=Roster)


async def follow(web: Web, store: Store, identities: Identities) -> None:
    """Decide by each change of what is kept, for ever: a restart begins where it ended."""
    known: Kept | None = None
    while True:
        new = await store.until(kept.TOPIC, partial(_other, known), 60.0)
        if new is not None:
            identities.take(*new)
            web.end_refused()
            known = new


def _other(known: Kept | None, conn: Connection) -> Kept | None:
    now = (kept.roster(conn), kept.marks(conn))
    return None if now == known else now


def cut(web: Web, identities: Identities, learn: Learn, conn: Connection, ask: Ask) -> ServiceCut:
    """Answer `operator cut`: from here on nothing of theirs is taken. Again is the same.

    Where another service told of it before it was asked for here, it is recorded here too.
    """
    entry = identities.entry(ask.path["operator"])
    if entry is None:
        names = ", ".join(identities.names())
        raise refusal(
            "not-found", f"there is no operator {ask.path['operator']} here: they are {names}"
        )
    known = conn.execute(
        select(MARKS).where(
            MARKS.c.name == entry.name,
            MARKS.c.generation == entry.generation,
            MARKS.c.kind == "cut",
        )
    ).one_or_none()
    if known is not None and known.event_id:
        return ServiceCut(service=ask.service, state="cut", at=known.at, event_id=known.event_id)
    event_id = emit(
        conn,
        event(
            "operator.cut", service=ask.service, actor=ask.operator.name, kind="operator",
            target=entry.name, name=entry.name, reason=ask.body.reason,
            request_id=ask.request_id, at=ask.now,
            before={"state": "cut" if known else "active", "roles": entry.roles},
            after={"state": "cut", "generation": entry.generation},
        ),
    )  # fmt: skip
    mark = Mark(
        name=entry.name, generation=entry.generation, kind="cut", at=ask.now,
        by=ask.operator.name, reason=ask.body.reason,
    )  # fmt: skip
    kept.add(conn, [mark], event_id)
    learn(conn, [mark])
    ended = len([each for each in identities.sessions() if each.operator == entry.name])

    def now_closed() -> None:
        identities.add(mark)
        web.end_refused()
        identities.end_sessions(entry.name)

    ask.after(now_closed)
    return ServiceCut(
        service=ask.service, state="cut", at=known.at if known else ask.now, event_id=event_id,
        sessions=ended,
    )  # fmt: skip


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
            kept.add(conn, [used], event_id)

    await asyncio.shield(store.write(write))
