"""What policy and gateway control tell each other: projections down, closings and notices up.

These shapes stay inside one installation, whose services are of one version: plain structs
without the leniency of the public contract.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class BundleFact(msgspec.Struct, kw_only=True, frozen=True):
    """The Cedar policies and schema in force."""

    revision: str
    policies: str
    schema: str


class ProjectionItem(msgspec.Struct, kw_only=True, frozen=True):
    """One thing for the gateway to know. `seq` grows; a number that it has is ignored.

    `kind` is `grant`, `principal`, `partner`, `pilot` or `bundle`.
    """

    seq: int
    kind: str
    body: msgspec.Raw


class Projection(msgspec.Struct, kw_only=True, frozen=True, rename={"from_": "from"}):
    """What policy pushes: everything after number `from`, in order, or none as a sign of life."""

    from_: int
    items: list[ProjectionItem]
    as_of: datetime


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
    """A grant's id, or the slug of a partner or a pilot."""
    reason: str
    by: str
    at: datetime


class Notices(msgspec.Struct, kw_only=True, frozen=True):
    """Notices after a sequence, in order."""

    items: list[Notice]
