"""What the gateway holds: credentials, locks, tombstones, points and receipts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.stored import Request, Stored
from console.model.text import Note, Reason, Slug


class CredentialState(StrEnum):
    """A key's life. `revoked` has no way out; what a lock blocks is still `in_use`.

    A `rotating` key was replaced by another version, and works until its grace is over.
    """

    ISSUED = "issued"
    IN_USE = "in_use"
    ROTATING = "rotating"
    REVOKED = "revoked"


class Credential(Stored, kw_only=True, frozen=True):
    """A key under a grant. The key itself is nowhere: only its SHA-256 is stored."""

    grant_id: str
    partner: str
    holder: str
    """Who has it: the partner's own slug, or one of its declared subprocessors."""
    hint: str
    """The last four characters, to tell keys apart."""
    version: int
    state: Annotated[str, CredentialState]
    last_used_at: datetime | None = None
    last_network: str = ""
    replaces: str = ""
    """The version before this one, where it came by rotation."""
    replaced_by: str = ""
    """The next version, once it was rotated."""
    rotated_at: datetime | None = None
    """When it was replaced."""
    ends_at: datetime | None = None
    """When a replaced key stops working: the end of its grace."""
    calls_since_rotation: int = 0
    """Calls with this old version after it was replaced: while there are any, it is in use."""


class IssueKey(Request, kw_only=True, frozen=True):
    """What `key issue` sends."""

    grant_id: Annotated[str, Meta(max_length=64)]
    holder: Slug | None = None
    """A subprocessor of the partner; the partner itself where it is left out."""
    reason: Reason


MAX_GRACE_SECONDS = 30 * 86400


class RotateKey(Request, kw_only=True, frozen=True):
    """What `key rotate` sends: how long the old version works beside the new one."""

    grace_seconds: Annotated[int, Meta(ge=0, le=MAX_GRACE_SECONDS)] = 86400
    """0 ends the old version in the same change."""
    reason: Reason


class IssuedKey(msgspec.Struct, kw_only=True, frozen=True):
    """The answer to `key issue` and `key rotate`.

    `secret` is there once; a replayed answer has none.
    """

    credential: Credential
    secret: str | None = None
    replayed: bool = False
    base_urls: list[str] = []
    """Where the key works: the data-plane addresses of the serving points."""
    replaced: Credential | None = None
    """The version before, as the rotation left it."""
    receipt_id: str = ""
    """The receipt of the version before, where it was ended at once."""
    receipt: Receipt | None = None
    """That receipt, as far as it was followed."""

    def redacted(self) -> IssuedKey:
        """Return the answer as it may be kept and told again: without the key."""
        return msgspec.structs.replace(self, secret=None, replayed=True)


class LockKind(StrEnum):
    """What a lock can match."""

    EVERYTHING = "everything"
    PARTNER = "partner"
    PRINCIPAL = "principal"
    GRANT = "grant"
    CREDENTIAL = "credential"
    CAPABILITY = "capability"
    MODEL = "model"
    STAGE = "stage"
    PILOT = "pilot"
    SUBPROCESSOR = "subprocessor"
    NETWORK = "network"


class LockTarget(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is locked. `id` is the slug, id or network; a stage is `pilot/stage`.

    `everything` has the id `*`. A principal is named by its id, or by the salted hash that
    call records show.
    """

    kind: LockKind
    id: Annotated[str, Meta(min_length=1, max_length=128)]


class Blast(msgspec.Struct, kw_only=True, frozen=True):
    """What a closing verb ends: counted at the gateway, from what it holds now."""

    partners: list[str] = []
    grants: list[str] = []
    credentials: int = 0
    streams: int = 0
    stays: list[str] = []
    """What the same partners keep, in words."""


class Release(msgspec.Struct, kw_only=True, frozen=True):
    """Who lifted a lock, and why."""

    at: datetime
    by: str
    reason: str


class Lock(Stored, kw_only=True, frozen=True):
    """Nothing matching this gets through, until it is released."""

    kind: str
    target: str
    reason: str
    message: str
    """What the locked side is told."""
    state: Annotated[str, LockState]
    released: Release | None = None
    receipt_id: str = ""
    blast: Blast = Blast()


class NewLock(Request, kw_only=True, frozen=True):
    """What `lock add` sends."""

    target: LockTarget
    reason: Reason
    message: Note = ""


class ReleaseLock(Request, kw_only=True, frozen=True):
    """What `lock release` sends. Releasing opens: it can be refused."""

    reason: Reason


class TombstoneKind(StrEnum):
    """What can be ended for ever."""

    GRANT = "grant"
    CREDENTIAL = "credential"


class Revoke(Request, kw_only=True, frozen=True):
    """What `grant revoke` and `key revoke` send: the gateway's permanent mark."""

    kind: TombstoneKind
    id: Annotated[str, Meta(min_length=1, max_length=64)]
    reason: Reason


class Tombstone(msgspec.Struct, kw_only=True, frozen=True):
    """The permanent mark that an id never serves again."""

    kind: str
    id: str
    partner: str
    reason: str
    at: datetime
    by: str
    sequence: int
    receipt_id: str


class LockState(StrEnum):
    """A lock holds until it is released, and what was released stays so."""

    ACTIVE = "active"
    RELEASED = "released"


class ReceiptState(StrEnum):
    """Whether an ending is proven at the points; the log is beside it."""

    VERIFYING = "verifying"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"


class PointState(StrEnum):
    """`serving` holds a fresh lease; `fenced` may come back; `gone` was deregistered."""

    SERVING = "serving"
    FENCED = "fenced"
    GONE = "gone"


class UpstreamState(StrEnum):
    """How a model API behind a point is, worst last."""

    UNTRIED = "untried"
    SERVING = "serving"
    FAILING = "failing"
    KEY_FAULT = "key_fault"
    DEAD = "dead"


class UpstreamHealth(msgspec.Struct, kw_only=True, frozen=True):
    """How a model API behind a point is, by the calls that went there."""

    name: str
    kind: str
    """`builtin`, `openai` or `anthropic`."""
    state: Annotated[str, UpstreamState] = UpstreamState.UNTRIED.value
    """`untried` since the point began, `serving`, `failing` (its newest call failed), `key_fault`
    (its key file cannot be used: the key before it stays in use) or `dead` (its last calls all
    failed)."""
    since: datetime
    """When it came into this state."""
    why: str = ""
    """What was wrong the last time, in words; empty where nothing is."""
    failures: int = 0
    """Calls that failed one after the other, up to now."""
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None


class Point(msgspec.Struct, kw_only=True, frozen=True):
    """One data-plane process of the gateway."""

    name: str
    url: str
    """Its data-plane listener, on loopback."""
    state: Annotated[str, PointState]
    applied_sequence: int
    lease_until: datetime
    """By the control's clock; the point's own end of it is never later."""
    last_seen_at: datetime
    in_flight: int = 0
    version: str = ""
    upstreams: list[UpstreamHealth] = []
    """The model APIs behind it, as it last reported them."""
    turned_away: dict[str, int] = {}
    """Connections and requests that it refused before they were calls, by kind, since its start:
    they have no call records."""


class DeregisterPoint(Request, kw_only=True, frozen=True):
    """What `point deregister` sends."""

    serving: bool = False
    """Also where it still serves; without, that is refused."""
    reason: Reason


class AdmitPoint(Request, kw_only=True, frozen=True):
    """What `point admit` sends: a deregistered point may serve again."""

    reason: Reason


class PointProof(msgspec.Struct, kw_only=True, frozen=True):
    """What is known of one point for one receipt."""

    point: str
    state: str
    """`waiting`, `refused`, `lapsed` or `unproven`."""
    method: str = ""
    """`probe`: refused through its own listener; `lease`: its lease has lapsed."""
    at: datetime | None = None
    sequence: int = 0
    codes: list[str] = []
    """The distinct refusal codes that the probes got."""
    probes: int = 0
    streams_cut: int = 0
    why: str = ""


class LogProof(msgspec.Struct, kw_only=True, frozen=True):
    """That an event is a leaf of the log: checked by the console, never believed."""

    index: int
    tree_size: int
    leaf: str
    """The event's exact bytes, base64."""
    hashes: list[str]
    """The inclusion path, base64, leaf to root (RFC 9162 §2.1.3)."""
    checkpoint: str
    """The signed note that it leads to."""


class Receipt(msgspec.Struct, kw_only=True, frozen=True):
    """What a closing verb can prove."""

    id: str
    action: str
    """`grant.revoke`, `key.revoke`, `key.retire`, `lock.add` or `point.deregister`."""
    kind: str
    target: str
    partner: str = ""
    reason: str
    by: str
    requested_at: datetime
    recorded_at: datetime
    sequence: int
    """The gateway change that closes."""
    credentials: int
    """How many keys it ends; each was probed at each point."""
    points: list[PointProof]
    prober: str
    enforced_at: datetime | None = None
    """When the last point was proven."""
    event_id: str
    state: Annotated[str, ReceiptState]
    why: str = ""
    lock_id: str = ""
    """The lock that it is of, for `lock.add`."""
    log: LogProof | None = None
    logged_at: datetime | None = None
    """When this console checked that its event is in the log."""
    watched: bool = False
    """Whether this console waited for that: only then `logged_at` is when it came to be."""
