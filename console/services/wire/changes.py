"""What gateway control tells its points: the state that decides calls, change by change."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from console.model.grant import GrantProjection
from console.model.price import Price
from console.model.principal import PrincipalProjection
from console.services.wire.projections import BundleFact


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
