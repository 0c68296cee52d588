"""What a point and gateway control ask of each other: leases, limits, call records, content."""

from __future__ import annotations

from datetime import datetime

import msgspec

from console.model.enforcement import UpstreamHealth


class Register(msgspec.Struct, kw_only=True, frozen=True):
    """A point's first word after its start."""

    name: str
    url: str
    version: str
    incarnation: str
    """Chance that tells this process from any other that ran under the name."""


class Registered(msgspec.Struct, kw_only=True, frozen=True):
    """The answer. A point numbers its call records above `calls_held`."""

    name: str
    sequence: int
    calls_held: int


class StoppedCall(msgspec.Struct, frozen=True):
    """A call that was cut because its point was stopped."""

    id: str
    partner: str = ""


class LeaseAsk(msgspec.Struct, kw_only=True, frozen=True):
    """What a point reports when it asks for its lease.

    `in_flight` counts running calls by credential id, `in_flight_of` by the salted hash of
    the principal that they name, `cutting` those that a change ended
    and that have not let go yet, `cut` how many calls each recent change sequence cut,
    `records` how many calls it has finished and written. `report` is the newest report that
    it was asked for before it counted them. `turned_away` is what was no call yet when it was
    refused, by kind, since the point started.
    """

    applied_sequence: int
    incarnation: str = ""
    in_flight: dict[str, int] = {}
    in_flight_of: dict[str, int] = {}
    cutting: int = 0
    cut: dict[int, int] = {}
    records: int = 0
    report: int = 0
    turned_away: dict[str, int] = {}
    upstreams: list[UpstreamHealth] = []
    """How the model APIs behind it are."""
    stopped: list[StoppedCall] = []
    """At its goodbye: the calls that had not ended when its time to drain was over."""


class Lease(msgspec.Struct, kw_only=True, frozen=True):
    """The lease, from the moment the point sent its question, if it has applied `sequence`.

    `policy_age` is how many seconds ago policy was last heard of; None for never.
    """

    sequence: int
    lease_seconds: float
    policy_age: float | None = None


class Take(msgspec.Struct, kw_only=True, frozen=True):
    """A call that wants to begin under limits: the most that it can use."""

    call: str
    grant_id: str
    principal: str = ""
    tokens: int
    micros: int


class Done(msgspec.Struct, kw_only=True, frozen=True):
    """A call that was let begin is over, and what it came to."""

    call: str
    tokens: int = 0
    micros: int = 0
    void: bool = False
    """It never reached an upstream: there is nothing to settle."""


class LimitAsk(msgspec.Struct, kw_only=True, frozen=True):
    """What a point sends of its limited calls. `resumed` is the last of its call records
    that an earlier process left.
    """

    incarnation: str
    resumed: int = 0
    done: list[Done] = []
    take: list[Take] = []


class Gauge(msgspec.Struct, kw_only=True, frozen=True):
    """One limit as it stands: its name, quota, window in seconds, what is left, until when."""

    name: str
    quota: int
    window: int
    left: int
    resets: int


class Taken(msgspec.Struct, kw_only=True, frozen=True):
    """Whether a call may begin. `code` is empty where it may."""

    code: str = ""
    said: str = ""
    """What the caller is told."""
    found: str = ""
    """What an operator is told."""
    retry_after: int = 0
    """Seconds after which it may well begin; 0 where waiting does not help."""
    gauges: list[Gauge] = []


class LimitSaid(msgspec.Struct, kw_only=True, frozen=True):
    """The answers, in the order of the questions. `resumed`: the earlier process is settled."""

    taken: list[Taken]
    resumed: bool = True


class CallBatch(msgspec.Struct, kw_only=True, frozen=True):
    """Finished call records of one point, in order of their sequence."""

    items: list[msgspec.Raw]


class Said(msgspec.Struct, kw_only=True, frozen=True):
    """What one call said, before it is sealed."""

    request: bytes
    answer: bytes


class KeptContent(msgspec.Struct, kw_only=True, frozen=True):
    """What one call said, sealed to the key of the day on which it expires."""

    call: str
    pilot: str
    partner: str
    stored_at: datetime
    expires_at: datetime
    truncated: bool
    sealed: bytes


class ContentBatch(msgspec.Struct, kw_only=True, frozen=True):
    """Sealed content of one point."""

    items: list[KeptContent]


class CallAck(msgspec.Struct, kw_only=True, frozen=True):
    """Every record up to this sequence is held by control."""

    acknowledged: int
