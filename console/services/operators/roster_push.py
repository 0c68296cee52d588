"""Policy tells the other services who its operators are, and learns whom they cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from sqlalchemy import Connection

from console.errors import PilotError
from console.services.client import Client
from console.services.operators import accounts, roster_store
from console.services.operators.cutoff import ROSTER_PATH
from console.services.operators.identities import Identities
from console.services.operators.roster import Roster
from console.services.store import Store

EVERY_SECONDS = 2.0
"""A service that was away hears of the roster, and is heard, at least this often."""

PUSH_SECONDS = 2.0
"""Seconds that a change waits for a service that does not answer."""


async def spread(store: Store, peers: Mapping[str, Client], identities: Identities) -> None:
    """Tell every peer the roster at each change and regularly, for ever; learn who uses it."""
    while True:
        told = await store.read(whole)
        answers = await asyncio.gather(*(_tell(peer, told) for peer in peers.values()))
        marks = [mark for answer in answers if answer for mark in answer.marks]
        marks += identities.uses()
        with suppress(PilotError):
            await store.write(lambda conn, new=marks: accounts.learn(conn, new))  # type: ignore[misc]
        await store.until(roster_store.TOPIC, partial(_new, told), EVERY_SECONDS)


async def tell_all(store: Store, peers: Mapping[str, Client]) -> list[str]:
    """Tell every peer the roster now; return the names of those that did not take it."""
    told = await store.read(whole)
    answers = await asyncio.gather(*(_tell(peer, told, PUSH_SECONDS) for peer in peers.values()))
    return [name for name, answer in zip(peers, answers, strict=True) if answer is None]


def _new(told: Roster, conn: Connection) -> bool | None:
    return whole(conn) != told or None


def whole(conn: Connection) -> Roster:
    """Return the roster as policy keeps it, with every mark it knows."""
    roster = roster_store.roster(conn)
    return Roster(sequence=roster.sequence, entries=roster.entries, marks=roster_store.marks(conn))


async def _tell(peer: Client, told: Roster, seconds: float = 5.0) -> Roster | None:
    try:
        return await peer.send("PUT", ROSTER_PATH, told, Roster, timeout=seconds)
    except PilotError:
        return None
