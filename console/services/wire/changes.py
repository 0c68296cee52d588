"""What gateway control and its points say to each other, and policy to control.

These shapes stay inside one installation: control, points, policy and audit are of one
version, so they are plain structs without the leniency of the public contract.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from console.model.enforcement import UpstreamHealth
from console.model.grant import GrantProjection
from console.model.price import Price
from console.model.principal import PrincipalProjection


class KeyFact(msgspec.Struct, kw_only=True, frozen=True):
    """What a point knows of a credential: never the key, only its SHA-256 (hex)."""

    id: str
    sha256: str
    grant_id: str
    partner: str
    holder: str
    ends_at: datetime | None = None
    """When it stops working, once another version has replaced it."""


class LockFact(msgspec.Struct, kw_only=True, frozen=True):
    """An active lock. `message` is what the locked side is told."""

    id: str
    kind: str
    target: str
    message: str


class TombstoneFact(msgspec.Struct, kw_only=True, frozen=True):
    """An id that never serves again.

    `kind` is `grant`, `credential`, `partner` or `pilot` (their slugs).
    """

    kind: str
    id: str


class BundleFact(msgspec.Struct, kw_only=True, frozen=True):
    """The Cedar policies and schema in force."""

    revision: str
    policies: str
    schema: str


class GrantChange(msgspec.Struct, kw_only=True, frozen=True, tag="grant"):
    """A grant's projection was applied."""

    grant: GrantProjection


class KeyChange(msgspec.Struct, kw_only=True, frozen=True, tag="key"):
    """A credential was issued."""

    key: KeyFact


class MoveChange(msgspec.Struct, kw_only=True, frozen=True, tag="move"):
    """A successor was applied, and took the living credentials over: both, or neither."""

    grant: GrantProjection
    keys: list[KeyFact]
    """The credentials as they are now, under the successor."""


class RotateChange(msgspec.Struct, kw_only=True, frozen=True, tag="rotate"):
    """A credential was replaced: `old` works until its `ends_at`, `new` from now on."""

    old: KeyFact
    new: KeyFact


class PrincipalChange(msgspec.Struct, kw_only=True, frozen=True, tag="principal"):
    """A principal's projection was applied."""

    principal: PrincipalProjection


class SuspensionFact(msgspec.Struct, kw_only=True, frozen=True):
    """A suspension in force. `kind` is `grant` or `partner`."""

    id: str
    kind: str
    target: str


class SuspendChange(msgspec.Struct, kw_only=True, frozen=True, tag="suspend"):
    """Something was suspended."""

    suspension: SuspensionFact


class LiftChange(msgspec.Struct, kw_only=True, frozen=True, tag="lift"):
    """A suspension was lifted."""

    id: str


class LockChange(msgspec.Struct, kw_only=True, frozen=True, tag="lock"):
    """A lock was added."""

    lock: LockFact


class ReleaseChange(msgspec.Struct, kw_only=True, frozen=True, tag="release"):
    """A lock was released."""

    id: str


class TombstoneChange(msgspec.Struct, kw_only=True, frozen=True, tag="tombstone"):
    """Ids were ended for ever, in one step."""

    ends: list[TombstoneFact]


class BundleChange(msgspec.Struct, kw_only=True, frozen=True, tag="bundle"):
    """Another policy bundle is in force."""

    bundle: BundleFact


class PriceChange(msgspec.Struct, kw_only=True, frozen=True, tag="price"):
    """A price was set, in place of one of the same model and day."""

    price: Price


Body: TypeAlias = (
    GrantChange
    | KeyChange
    | MoveChange
    | SuspendChange
    | LiftChange
    | RotateChange
    | PrincipalChange
    | LockChange
    | ReleaseChange
    | TombstoneChange
    | BundleChange
    | PriceChange
)


class Change(msgspec.Struct, kw_only=True, frozen=True):
    """One step of the gateway's change sequence."""

    seq: int
    body: Body


class State(msgspec.Struct, kw_only=True, frozen=True):
    """Everything that decides calls, at one change sequence."""

    sequence: int
    grants: list[GrantProjection] = []
    keys: list[KeyFact] = []
    locks: list[LockFact] = []
    principals: list[PrincipalProjection] = []
    tombstones: list[TombstoneFact] = []
    suspensions: list[SuspensionFact] = []
    bundle: BundleFact | None = None
    prices: list[Price] = []


class Changes(msgspec.Struct, kw_only=True, frozen=True):
    """The changes after a sequence, in order. `reset`: they are gone, take a snapshot.

    `report` numbers the newest report that control waits for: the point makes one at once.
    """

    items: list[Change]
    head: int
    reset: bool = False
    report: int = 0


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


class CallRow(msgspec.Struct, kw_only=True, frozen=True):
    """A call record with its place in control's own order."""

    seq: int
    call: msgspec.Raw
    """A `CallRecord`, as its point wrote it."""


class CallFeed(msgspec.Struct, kw_only=True, frozen=True):
    """Call records after a row, for detections."""

    items: list[CallRow]
    head: int
    events: int = 0
    """The newest event of the gateway: the calls were admitted under no later change."""


class ProjectionItem(msgspec.Struct, kw_only=True, frozen=True):
    """One projected object. `kind` is `grant`, `principal` or `bundle`."""

    seq: int
    kind: str
    body: msgspec.Raw


class Projection(msgspec.Struct, kw_only=True, frozen=True, rename={"from_": "from"}):
    """What policy pushes: objects in order, or none as a sign of life."""

    items: list[ProjectionItem] = []
    as_of: datetime
    from_: int = 0


class Applied(msgspec.Struct, kw_only=True, frozen=True):
    """Up to which projection sequence the gateway has applied."""

    applied: int


class Closing(msgspec.Struct, kw_only=True, frozen=True):
    """A tombstone, as policy follows it."""

    seq: int
    kind: str
    id: str
    reason: str
    by: str
    at: datetime
    event_id: str


class Closings(msgspec.Struct, kw_only=True, frozen=True):
    """Tombstones after a sequence, in order."""

    items: list[Closing]
    head: int


class Notice(msgspec.Struct, kw_only=True, frozen=True):
    """Something that the gateway did or proved by itself, other than a tombstone."""

    seq: int
    kind: str
    """`grant-suspended`, `partner-suspended`; `partner-offboarded`, `pilot-closed` (proven)."""
    id: str
    """The suspension, or the receipt."""
    target: str
    reason: str
    by: str
    at: datetime


class Notices(msgspec.Struct, kw_only=True, frozen=True):
    """Notices after a sequence, in order."""

    items: list[Notice]
