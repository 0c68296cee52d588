"""Gateway control's store."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from console.model.enforcement import Credential, Lock, Receipt, Tombstone
from console.model.grant import GrantProjection
from console.services.gateway.exchange import BundleFact
from console.services.store import SHARED, Document, Instant, grown, tables

_META = MetaData()

MARKS = Table(
    "marks", _META, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)
"""Small facts: how far the projection came, when policy was last heard of."""

CHANGES = Table(
    "changes",
    _META,
    Column("seq", Integer, primary_key=True),
    Column("mark", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
"""The change sequence that points follow. `mark` tells a number from its rolled-back twin."""

GRANTS = Table(
    "grants",
    _META,
    Column("id", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("body", Document(GrantProjection), nullable=False),
)
BUNDLES = Table(
    "bundles",
    _META,
    Column("id", Integer, primary_key=True),
    Column("body", Document(BundleFact), nullable=False),
)
CREDENTIALS = Table(
    "credentials",
    _META,
    Column("id", Text, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("grant_id", Text, nullable=False, index=True),
    Column("partner", Text, nullable=False, index=True),
    Column("holder", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Credential), nullable=False),
    Column("ends_at", Instant, index=True),
)
LOCKS = Table(
    "locks",
    _META,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Lock), nullable=False),
)
Index(
    "one_active_lock",
    LOCKS.c.kind,
    LOCKS.c.target,
    unique=True,
    sqlite_where=text("state = 'active'"),
)
TOMBSTONES = Table(
    "tombstones",
    _META,
    Column("seq", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("partner", Text, nullable=False, index=True),
    Column("event_id", Text, nullable=False),
    Column("body", Document(Tombstone), nullable=False),
    UniqueConstraint("kind", "id"),
    sqlite_autoincrement=True,
)
POINTS = Table(
    "points",
    _META,
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("registered_at", Instant, nullable=False),
    Column("calls_held", Integer, nullable=False),
    Column("calls_digested", Integer, nullable=False),
)
RECEIPTS = Table(
    "receipts",
    _META,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False, index=True),
    Column("requested_at", Instant, nullable=False),
    Column("body", Document(Receipt), nullable=False),
)
CALLS = Table(
    "calls",
    _META,
    Column("row", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("point", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("partner", Text, nullable=False),
    Column("grant_id", Text, nullable=False),
    Column("credential_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("point", "sequence"),
    Index("calls_partner", "partner", "row"),
    Index("calls_grant", "grant_id", "row"),
    Index("calls_credential", "credential_id", "row"),
    Index("calls_code", "code", "row"),
)
"""Call records, the point's own bytes; `leaf` is their hash for the digests."""

USAGE = Table(
    "usage",
    _META,
    Column("hour", Instant, primary_key=True),
    Column("partner", Text, primary_key=True),
    Column("grant_id", Text, primary_key=True),
    Column("credential_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("capability", Text, primary_key=True),
    Column("calls", Integer, nullable=False),
    Column("allowed", Integer, nullable=False),
    Column("denied", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("estimated_calls", Integer, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)
"""What calls add up to, kept as they come in."""

STEPS = (SHARED, tables(*_META.sorted_tables), grown(*_META.sorted_tables))
