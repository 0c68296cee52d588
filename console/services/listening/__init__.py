"""How every process of ours is called over HTTP: the operator APIs and the points alike.

`Listener` holds what the sockets of one process share; an `Acceptor` is one of them. Every
wait for a caller has an end, callers have shares of the connections, and what is refused
before a handler sees it is counted, in `Connections.counts`.
"""

from console.services.listening.acceptor import Acceptor
from console.services.listening.bounds import Bounds, bounds_here
from console.services.listening.connections import Connection, Connections, Peer, TooSlowError
from console.services.listening.listener import Listener, invite_body, no_invitation
from console.services.listening.protocol import BrokenBodyError, connection_of, mark_known

__all__ = [
    "Acceptor",
    "Bounds",
    "BrokenBodyError",
    "Connection",
    "Connections",
    "Listener",
    "Peer",
    "TooSlowError",
    "bounds_here",
    "connection_of",
    "invite_body",
    "mark_known",
    "no_invitation",
]
