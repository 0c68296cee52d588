"""The connections that one process holds: who has how many, and which goes for another.

A connection is in several shares at once: its user's or address's, all strangers', the
whole. Where a share is full, a newcomer takes the place of another that is answering nothing:
the oldest of whoever has the most of them, and those whose caller never showed who it is count
several times. So nobody who only connects, or sends a body slowly, keeps anybody else out, and
what is being answered is never cut for a newcomer.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from aiohttp import web

from console.services.listening.bounds import (
    ADDRESS_CONNECTIONS,
    OPERATOR_CONNECTIONS,
    STRANGER_CONNECTIONS,
    STRANGERS_CONNECTIONS,
    Bounds,
)

UNKNOWN_WEIGHT = 4
"""How many connections of a known caller one of an unknown counts for."""


class Share(NamedTuple):
    """A number of connections that some callers have together."""

    name: str
    most: int


class Peer(NamedTuple):
    """Who is at the other end, as far as the kernel tells."""

    shares: tuple[Share, ...]
    privileged: bool = False
    """An operator's process on this machine, or one of ours."""
    reserve: tuple[Share, ...] = ()
    """Where it is counted while one of `shares` is full: for privileged requests only."""


class TooSlowError(ValueError):
    """A body did not come at the rate that it must."""


class Connection:
    """One connection: what it waits for, and since when (seconds of the event loop)."""

    __slots__ = (
        "head_bytes", "head_since", "holder", "on_made", "peer", "request", "shares", "since",
        "sock", "stall", "task", "transport", "writes",
    )  # fmt: skip

    def __init__(self, peer: Peer, sock: socket.socket, at: float) -> None:
        self.peer = peer
        self.shares = peer.shares
        """Where it is counted."""
        self.sock: socket.socket | None = sock
        """The socket, until a transport has it."""
        self.task: asyncio.Task[None] | None = None
        """Brings the connection to where a request can be read: a header, a handshake."""
        self.on_made: Callable[[asyncio.BaseTransport], None] | None = None
        self.transport: asyncio.Transport | None = None
        self.request: web.BaseRequest | None = None
        """The request that is being answered."""
        self.holder = peer.shares[0].name if peer.privileged else ""
        """Whose it is: the partner or operator whose key or token was shown; empty before."""
        self.since = at
        """When it began to wait for a request, or to answer one."""
        self.head_since: float | None = None
        """When the first byte of the head came that is awaited."""
        self.head_bytes = 0
        self.writes = 0
        """How often the caller took all that was written for it."""
        self.stall: tuple[float, int, int] | None = None
        """When the caller was last seen to take nothing, and how much was left."""

    @property
    def is_known(self) -> bool:
        """Whether its caller has shown a key or a token that is good here."""
        return bool(self.holder)

    @property
    def is_in_reserve(self) -> bool:
        """Whether only privileged requests are answered by it."""
        return self.shares is not self.peer.shares

    @property
    def is_receiving(self) -> bool:
        """Whether a request's body is still awaited."""
        return self.request is not None and not self.request.content.is_eof()

    @property
    def is_serving(self) -> bool:
        """Whether a whole request is being answered."""
        return self.request is not None and self.request.content.is_eof()

    def drop(self) -> None:
        """End it at once."""
        if self.transport is not None:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()
        elif self.sock is not None:
            self.sock.close()


class Connections:
    """Every connection of one process, by share."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.counts: Counter[str] = Counter()
        """What was turned away or cut off, by kind, since the process started."""
        self._shares: dict[str, dict[Connection, None]] = {}
        self._all: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._all)

    def of_user(self, uid: int, *, is_own: bool, is_operator: bool) -> Peer:
        """Return the peer that is a process of an OS user on this machine."""
        whole = Share("all", self.bounds.total)
        if is_own:
            return Peer((whole,), privileged=True)
        if is_operator:
            return Peer((Share(f"user {uid}", OPERATOR_CONNECTIONS), whole), privileged=True)
        strangers = Share("strangers", STRANGERS_CONNECTIONS)
        return Peer((Share(f"user {uid}", STRANGER_CONNECTIONS), strangers, whole))

    def of_address(
        self, address: str, *, is_proxy: bool = False, has_reserve: bool = False
    ) -> Peer:
        """Return the peer at an address; many callers share that of a declared proxy.

        `has_reserve` is for a socket by which privileged requests come over the network.
        """
        network = Share("network", self.bounds.network)
        whole = Share("all", self.bounds.total)
        reserve = (Share("reserve", self.bounds.reserve), whole) if has_reserve else ()
        if is_proxy:
            return Peer((network, whole), reserve=reserve)
        most = min(ADDRESS_CONNECTIONS, max(1, self.bounds.network * 3 // 4))
        return Peer((Share(f"address {address}", most), network, whole), reserve=reserve)

    def admit(self, connection: Connection) -> bool:
        """Take a connection in, in another's place where a share is full; tell whether."""
        peer = connection.peer
        for shares in (peer.shares, peer.reserve):
            if shares and self._make_place(shares):
                connection.shares = shares
                self._enter(connection)
                return True
        self.counts["refused connections"] += 1
        return False

    def move(self, connection: Connection, peer: Peer) -> bool:
        """Count a connection as another peer's from now on; tell whether there was room."""
        self.remove(connection)
        connection.peer = peer
        return self.admit(connection)

    def remove(self, connection: Connection) -> None:
        """Count a connection no longer. May be called twice."""
        if connection not in self._all:
            return
        del self._all[connection]
        for share in connection.shares:
            held = self._shares[share.name]
            del held[connection]
            if not held:
                del self._shares[share.name]

    def is_busy(self) -> bool:
        """Tell whether so many requests are answered that only the reserve is left."""
        most = self.bounds.requests
        return len(self._all) >= most and sum(each.is_serving for each in self._all) > most

    def free_one(self) -> None:
        """Drop the oldest connection that answers nothing and is no operator's, if there is one."""
        victim = _first_to_go(each for each in self._all if not each.peer.privileged)
        if victim is not None:
            self.counts["displaced connections"] += 1
            self.remove(victim)
            victim.drop()

    def sweep(self, now: float) -> None:
        """End every wait that is over at `now`, in seconds of the event loop."""
        for connection in list(self._all):
            if (why := self._overdue(connection, now)) is not None:
                self.counts[why] += 1
                connection.drop()

    def _make_place(self, shares: Iterable[Share]) -> bool:
        """Drop one connection of each share that is full; tell whether there is a place in all."""
        for share in shares:
            held = self._shares.get(share.name, {})
            if len(held) >= share.most:
                victim = _first_to_go(held)
                if victim is None:
                    return False
                self.counts["displaced connections"] += 1
                self.remove(victim)
                victim.drop()
        return True

    def _enter(self, connection: Connection) -> None:
        self._all[connection] = None
        for share in connection.shares:
            self._shares.setdefault(share.name, {})[connection] = None

    def _overdue(self, connection: Connection, now: float) -> str | None:
        """Return why a connection is to be dropped now, or None."""
        bounds, transport = self.bounds, connection.transport
        waited = now - connection.since
        if transport is None:
            # a proxy's header and the handshake have their own ends; this one is for both
            return "slow handshakes" if waited > 2 * bounds.handshake_seconds else None
        if transport.is_closing() or transport.get_write_buffer_size():
            return _stalled(connection, transport, now, bounds)
        connection.stall = None
        if connection.request is None:
            if connection.head_since is not None:
                begun = now - connection.head_since
                return "slow heads" if begun > bounds.head_seconds else None
            most = bounds.idle_seconds if connection.is_known else bounds.head_seconds
            return "idle connections" if waited > most else None
        content = connection.request.content
        if content.is_eof() or content.exception() is not None:
            return None
        due = bounds.body_seconds + content.total_bytes / bounds.body_rate
        if waited > due + 1:
            return "slow bodies"  # whoever should have answered has not
        if waited > due and not connection.request.protocol._reading_paused:
            self.counts["slow bodies"] += 1
            content.set_exception(TooSlowError("the body did not arrive in time"))
        return None


def _first_to_go(held: Iterable[Connection]) -> Connection | None:
    """Return which goes first of those that are not being answered, or None."""
    first: dict[str, Connection] = {}
    weights: Counter[str] = Counter()
    for each in held:
        if each.is_serving:
            continue
        holder = each.holder
        weights[holder] += 1 if holder else UNKNOWN_WEIGHT
        known = first.setdefault(holder, each)
        if known.is_receiving and not each.is_receiving:
            first[holder] = each
    if not weights:
        return None
    return first[max(weights, key=weights.__getitem__)]


def _stalled(
    connection: Connection, transport: asyncio.Transport, now: float, bounds: Bounds
) -> str | None:
    """Return a word for a caller that takes nothing of what is written for it, or None."""
    left, writes = transport.get_write_buffer_size(), connection.writes
    if connection.stall is None or connection.stall[1:] != (left, writes):
        connection.stall = (now, left, writes)
        return None
    most = bounds.closing_seconds if transport.is_closing() else bounds.write_seconds
    return "stalled readers" if now - connection.stall[0] > most else None
