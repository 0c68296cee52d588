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
    column,
    table,
    text,
)

from console.model.enforcement import Credential, Lock, Receipt, Tombstone
from console.model.grant import GrantProjection
from console.model.price import Price
from console.model.principal import PrincipalProjection
from console.services.store import Document, Instant
from console.services.wire.projections import BundleFact, Notice

META = MetaData()

MARKS = Table(
    "marks", META, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)
"""Small facts: how far the projection came, when policy was last heard of."""

CHANGES = Table(
    "changes",
    META,
    Column("seq", Integer, primary_key=True),
    Column("mark", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
"""The change sequence that points follow. `mark` tells a number from its rolled-back twin."""

GRANTS = Table(
    "grants",
    META,
    Column("id", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("body", Document(GrantProjection), nullable=False),
)
BUNDLES = Table(
    "bundles",
    META,
    Column("id", Integer, primary_key=True),
    Column("body", Document(BundleFact), nullable=False),
)
CREDENTIALS = Table(
    "credentials",
    META,
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
PRINCIPALS = Table(
    "principals",
    META,
    Column("id", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("body", Document(PrincipalProjection), nullable=False),
)
CONTENTS = Table(
    "contents",
    META,
    Column("call", Text, primary_key=True),
    Column("pilot", Text, nullable=False),
    Column("partner", Text, nullable=False),
    Column("stored_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    Column("truncated", Integer, nullable=False),
    Column("sealed", LargeBinary),
    Column("gone", Text, nullable=False),
    Column("gone_at", Instant),
    Column("gone_by", Text, nullable=False),
    Column("gone_why", Text, nullable=False),
)
"""What calls said, sealed; `sealed` is empty once it is gone, and `gone` says how."""

LOCKS = Table(
    "locks",
    META,
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
    META,
    Column("seq", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("partner", Text, nullable=False, index=True),
    Column("event_id", Text, nullable=False),
    Column("body", Document(Tombstone), nullable=False),
    UniqueConstraint("kind", "id"),
    sqlite_autoincrement=True,
)
PARTNERS = Table(
    "partners",
    META,
    Column("slug", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("state", Text, nullable=False),
)
"""Where policy says that each partner stands."""

PILOTS = Table("pilots", META, Column("slug", Text, primary_key=True))
"""The pilots that policy told of."""

SUSPENSIONS = Table(
    "suspensions",
    META,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("receipt_id", Text, nullable=False),
    Index("suspensions_on", "kind", "target", "state"),
)
"""What operators suspended: `active` until policy says that it was resumed, then `lifted`."""

NOTICES = Table(
    "notices",
    META,
    Column("seq", Integer, primary_key=True),
    Column("body", Document(Notice), nullable=False),
)
"""What policy is to take over from here, beside the tombstones."""

POINTS = Table(
    "points",
    META,
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("registered_at", Instant, nullable=False),
    Column("calls_held", Integer, nullable=False),
    Column("calls_digested", Integer, nullable=False),
    Column("gone_at", Instant),
)
RECEIPTS = Table(
    "receipts",
    META,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False, index=True),
    Column("requested_at", Instant, nullable=False),
    Column("body", Document(Receipt), nullable=False),
)
CALLS = Table(
    "calls",
    META,
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
    Column("capability", Text, nullable=False, server_default=""),
    Column("principal", Text, nullable=False, server_default=""),
    Column("network", Text, nullable=False, server_default=""),
    UniqueConstraint("point", "sequence"),
    Index("calls_partner", "partner", "row"),
    Index("calls_capability", "capability", "row"),
    Index("calls_principal", "principal", "row"),
    Index("calls_network", "network", "row"),
    Index("calls_grant", "grant_id", "row"),
    Index("calls_credential", "credential_id", "row"),
    Index("calls_code", "code", "row"),
)
"""Call records, the point's own bytes; `leaf` is their hash for the digests."""

_COUNTS = (
    "calls", "allowed", "denied", "blocked", "errors", "input_tokens", "output_tokens",
    "estimated_calls", "cost_micros",
)  # fmt: skip
USAGE = Table(
    "used",
    META,
    Column("hour", Instant, primary_key=True),
    Column("pilot", Text, primary_key=True),
    Column("partner", Text, primary_key=True),
    Column("grant_id", Text, primary_key=True),
    Column("credential_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("capability", Text, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("network", Text, primary_key=True),
    *(Column(name, Integer, nullable=False) for name in _COUNTS),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Index("used_grant", "grant_id", "hour"),
    sqlite_with_rowid=False,
)
"""What calls add up to by the hour, kept as they come in."""

PRICES = Table(
    "prices",
    META,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("starts_on", Text, nullable=False),
    Column("body", Document(Price), nullable=False),
    UniqueConstraint("model", "starts_on"),
)
"""Prices by the day they begin on (`YYYY-MM-DD`)."""

HOLDS = Table(
    "holds",
    META,
    Column("call", Text, primary_key=True),
    Column("point", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("grant_id", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("began_at", Instant, nullable=False),
    Column("ended_at", Instant, index=True),
    Column("tokens", Integer, nullable=False),
    Column("micros", Integer, nullable=False),
    Column("kept", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)
"""What limited calls hold of their limits, until a minute after their end. `micros` is what
a call may still cost that no record tells of yet. With `kept` 1, the call ended and its
upstream did not say what it came to: `micros` is what it may have cost beyond its record, and
is held until the budget's period is over.
"""


CALL_HOURS = Table(
    "call_hours",
    META,
    Column("hour", Integer, primary_key=True),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
)
"""Hours since 1970, and the lowest and highest row of a call that began in them."""

CALL_SEARCH = table("call_search", column("rowid", Integer), column("tokens", Text))
"""FTS5 over the facets and words of calls (`calls/call_search.py`); `rowid` is the call's row."""
