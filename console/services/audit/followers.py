"""Following the other services: their outboxes into the log, the gateway's calls into the rules.

Each follower asks, takes what it got in one transaction, and asks again; a peer that is down
or answers nonsense is asked again later, ever more slowly. Nothing that a peer says can do
more than stop its own follower.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from console.errors import PilotError
from console.model.traffic import CallRecord
from console.services.audit.alerts import detections
from console.services.audit.log import ledger
from console.services.audit.log.store_check import StoreCheck
from console.services.audit.rules.feeds import BATCH
from console.services.audit.rules.rule_book import RuleBook
from console.services.client import Client, is_unreached
from console.services.store import OutboxPage, Store, outbox
from console.services.wire.call_feed import CallFeed

PAGE = 1000
"""Events asked for at once: an outbox gives fewer if it likes."""
HOLD_SECONDS = 5
"""How long a peer may hold an answer back until it has something to say."""
GATHER_SECONDS = 0.2
"""Calls that are made within so long of each other are judged together: a page costs a commit."""
EVENTS_SECONDS = 5.0
"""How long calls wait until the rules have read the events that the gateway made before them."""
UNUSABLE = (PilotError, SQLAlchemyError, ValueError, ArithmeticError)
"""How an answer fails that cannot be had, read, or put into the store."""
SLOWEST_SECONDS = 5.0
"""The longest pause before a peer that failed is asked again."""


class Follower:
    """What is known of one feed: whether it is being followed, and how far behind it is."""

    def __init__(self, name: str, socket: Path) -> None:
        self.name = name
        self.trouble = "it was not asked yet"
        """Why it cannot be followed now, in words; empty while it is."""
        self.away = True
        """The peer does not answer at all: that is its own fault, and not this service's."""
        self.behind = 0
        """How much the peer has and we have not."""
        self.client = Client(socket=socket)
        self._pause = 0.0

    def note(self) -> str:
        """Say what is wrong with it, or an empty string."""
        if self.trouble:
            return f"{self.name}: {self.trouble}"
        return f"{self.name}: {self.behind} behind" if self.behind else ""

    async def rest(self, trouble: str, *, away: bool = False) -> None:
        """Wait before it is asked again: twice as long each time, up to a cap."""
        self.trouble, self.away = trouble, away
        self._pause = min(SLOWEST_SECONDS, self._pause * 2 or 0.1)
        await asyncio.sleep(self._pause)

    def well(self, behind: int) -> None:
        """Note that it answered well."""
        self.trouble, self.away = "", False
        self.behind, self._pause = max(behind, 0), 0.0


async def follow_outbox(store: Store, source: str, follower: Follower) -> None:
    """Take the events of `source` into the log, for ever."""
    while True:
        where = await store.read(partial(ledger.place, source=source))
        try:
            # Each page begins with the last event that is in the log: a history that was
            # exchanged shows there, even if it has grown past the place where we are.
            offered = await _page(follower, max(where.last_seq - 1, 0), PAGE, 0)
            taken = await store.write(partial(ledger.take, source=source, offered=offered))
            if taken.stopped:
                await follower.rest(f"stopped at {taken.last_seq}: {taken.stopped}")
                continue
            if not taken.appended and offered.head > taken.last_seq:
                await follower.rest("it says there is more, and does not give it")
                continue
            follower.well(offered.head - taken.last_seq)
            if not taken.appended:
                await _page(follower, taken.last_seq, 1, HOLD_SECONDS)
        except UNUSABLE as error:
            await follower.rest(_why(error), away=is_unreached(error))


async def _page(follower: Follower, after: int, limit: int, wait: int) -> OutboxPage:
    return await follower.client.get(
        "/internal/v1/outbox",
        OutboxPage,
        query={"after": after, "limit": limit, "wait": wait},
        timeout=wait + 10.0,
    )


async def follow_own(store: Store) -> None:
    """Take audit's own events into the log, for ever."""
    while True:
        await store.until(outbox.TOPIC, ledger.own_waiting, 5.0)
        while await store.write(ledger.take_own):
            pass


async def follow_calls(store: Store, book: RuleBook, follower: Follower) -> None:
    """Run the rules over the gateway's calls, for ever.

    A call is judged once the log tells what the gateway had closed and lifted by then; where
    that stays out, calls are judged by what is known, and wait no more until it has come.
    """
    behind_events = False
    while True:
        last = await store.read(lambda conn: detections.position(conn, "calls"))
        wait = 0 if follower.trouble else HOLD_SECONDS
        try:
            offered = await follower.client.get(
                "/internal/v1/calls",
                CallFeed[CallRecord],
                query={"after": last, "limit": BATCH, "wait": wait},
                timeout=HOLD_SECONDS + 10.0,
            )
            if not behind_events or await _has_read(store, offered.events, 0.0):
                behind_events = not await _has_read(store, offered.events, EVENTS_SECONDS)
            reached = await store.write(
                partial(detections.take_calls, rules=book.active, offered=offered)
            )
        except UNUSABLE as error:
            await follower.rest(_why(error), away=is_unreached(error))
            continue
        if reached == last and offered.head > last:
            await follower.rest("it says there is more, and does not give it")
            continue
        follower.well(offered.head - reached)
        if reached >= offered.head:
            await asyncio.sleep(GATHER_SECONDS)


async def _has_read(store: Store, sequence: int, seconds: float) -> bool:
    """Tell whether the rules have read the gateway's event `sequence`, or do in `seconds`."""
    ready = partial(detections.has_read, "gateway", sequence)
    return bool(await store.until(detections.EVENTS_READ, ready, seconds))


async def follow_events(store: Store, book: RuleBook, check: StoreCheck) -> None:
    """Run the rules over what the log holds, for ever, whatever was done to the store's rows."""
    waiting = partial(detections.events_waiting, newest=check.newest)
    while True:
        await store.until(ledger.TOPIC, waiting, 5.0)
        while await store.write(
            lambda conn: detections.take_events(conn, book.active, read=check.leaves)
        ):
            pass


def _why(error: Exception) -> str:
    if isinstance(error, PilotError):
        return error.message
    return f"what it answered cannot be stored ({type(error).__name__})"
