"""How long a listener waits for its callers, and how many of them it holds at once."""

from __future__ import annotations

import resource
from typing import NamedTuple

KEPT_DESCRIPTORS = 256
"""Descriptors that no caller may take: the store's files, the log's, and our own calls."""
MAX_CONNECTIONS = 4_096
MIN_CONNECTIONS = 32
NETWORK_RESERVE = 128
"""Connections of the whole that no caller over the network takes: operators at the machine
have them, and at a point gateway control's probes."""
REQUEST_RESERVE = 16
"""Requests of the whole that only operators' and probes' may be."""

STRANGER_CONNECTIONS = 8
"""Connections of an OS user who is no operator."""
STRANGERS_CONNECTIONS = 32
"""Connections of all such users together."""
OPERATOR_CONNECTIONS = 128
"""Connections of an OS user who is an operator."""
ADDRESS_CONNECTIONS = 256
"""Connections from one address that is no declared proxy's."""


class Bounds(NamedTuple):
    """The seconds, bytes and connections that one listener allows."""

    total: int = 768
    """Connections of the whole process."""
    handshake_seconds: float = 5.0
    """From the connection to the end of its TLS handshake."""
    head_seconds: float = 10.0
    """From the first byte of a request's head, or the connection, to the head's end."""
    head_bytes: int = 64 * 1024
    idle_seconds: float = 75.0
    """Between two requests of a caller that is known; of another it is `head_seconds`."""
    body_seconds: float = 10.0
    """For a body of any length, before `body_rate` counts."""
    body_rate: int = 16 * 1024
    """Bytes a second that a body must come with, on average."""
    write_seconds: float = 60.0
    """A caller that takes none of its answer for so long is dropped."""
    closing_seconds: float = 15.0
    """For the last bytes of an answer to leave."""

    @property
    def network(self) -> int:
        """Connections of everybody over the network together."""
        return max(self.total - NETWORK_RESERVE, self.total // 2)

    @property
    def reserve(self) -> int:
        """Connections that are left when everybody over the network has theirs."""
        return self.total - self.network

    @property
    def requests(self) -> int:
        """Requests answered at once, but for operators' and probes'."""
        return max(self.total - REQUEST_RESERVE, self.total // 2)


def bounds_here(*, descriptors_each: int = 1) -> Bounds:
    """Return the bounds that fit this process's limit of open files.

    `descriptors_each` is how many files one caller may need: two where its request is
    passed on.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Bounds(total=MAX_CONNECTIONS)
    room = (soft - KEPT_DESCRIPTORS) // descriptors_each
    return Bounds(total=min(MAX_CONNECTIONS, max(MIN_CONNECTIONS, room)))
