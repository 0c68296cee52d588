"""The audit store's tables.

`leaves` is the log itself; everything else is derived from it, or is state of the
detections. `search` and `hours` only make finding quick: what they find is checked again
against `leaves`.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
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

from console.model.audit import Alert
from console.model.log import LogHandover
from console.model.oncall import Delivery, OncallTarget
from console.model.rule import DetectionRule
from console.model.silence import Silence
from console.model.traffic import CallRecord
from console.services.store import Document, Instant

_META = MetaData()

LEAVES = Table(
    "leaves",
    _META,
    Column("idx", Integer, primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("partner", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("contains", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("source", "sequence"),
)
"""One row a leaf. `idx` is its index in the log; `contains` marks what ends access."""

Index("leaves_contains", LEAVES.c.at, sqlite_where=text("contains = 1"))

TREE = Table(
    "tree",
    _META,
    Column("log", Integer, primary_key=True),
    Column("state", LargeBinary, nullable=False),
    Column("key", Text, nullable=False),
)
"""One row: the Merkle state over all leaves (`CompactRange.to_bytes`), the verifier key."""

SOURCES = Table(
    "sources",
    _META,
    Column("source", Text, primary_key=True),
    Column("last_seq", Integer, nullable=False),
    Column("stopped", Text, nullable=False),
)
"""How far each outbox is in the log, and why nothing more is taken from it, if so."""

ACTIONS = Table("actions", _META, Column("action", Text, primary_key=True))
"""Every action there has been: a few dozen. A prefix is looked up here."""

HOURS = Table(
    "hours",
    _META,
    Column("hour", Integer, primary_key=True),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
)
"""Hours since 1970, and the lowest and highest index of an event that happened in them."""

SEARCH = table("search", column("rowid", Integer), column("tokens", Text))
"""FTS5 over words and facets (`event_search`); `rowid` is the leaf's index."""

CURSORS = Table(
    "cursors",
    _META,
    Column("feed", Text, primary_key=True),
    Column("position", Integer, nullable=False),
)
"""How far the detections have read `calls` (gateway's numbers) and `events` (indices)."""

WINDOWS = Table(
    "windows",
    _META,
    Column("fingerprint", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("times", LargeBinary, nullable=False),
    Column("pending", Integer, nullable=False),
)
"""What `STATES` was before rules had kinds."""

STATES = Table(
    "states",
    _META,
    Column("fingerprint", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Index("states_by_age", "rule", "at"),
)
"""What a rule remembers of one group, and when it last saw it (by the things' own times)."""

ALERTS = Table(
    "alerts",
    _META,
    Column("id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False, unique=True),
    Column("rank", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("partner", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("began_at", Instant, nullable=False),
    Column("body", Document(Alert), nullable=False),
)
"""One row a fingerprint, whatever its count. `began_at`: its first match since it opened."""

Index("alerts_order", ALERTS.c.rank.desc(), ALERTS.c.last_seen_at.desc(), ALERTS.c.id.desc())

REVOKED = Table(
    "revoked",
    _META,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("verified_at", Instant, nullable=False),
    Column("receipt", Text, nullable=False),
)
"""What `CLOSINGS` was before a closing could be lifted."""

CLOSINGS = Table(
    "closings",
    _META,
    Column("receipt", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("verified_at", Instant),
    Column("lifted_at", Instant),
    Column("lifted_sequence", Integer),
    Index("closings_of", "target", "kind"),
)
"""Closings by their receipt: since when every point is proven to enforce it, and until when."""

ALIASES = Table(
    "aliases",
    _META,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("also", Text, primary_key=True),
)
"""Under what a closing may also name something: the grants that it renews, a user's id."""

ADMITTED = Table(
    "admitted",
    _META,
    Column("credential_id", Text, primary_key=True),
    Column("grant_id", Text, nullable=False, index=True),
    Column("started_at", Instant, nullable=False),
    Column("call", Document(CallRecord), nullable=False),
)
"""What `ADMITTED_CALLS` was while it held one call of each credential."""

ADMITTED_CALLS = Table(
    "admitted_calls",
    _META,
    Column("id", Text, primary_key=True),
    Column("combination", Text, nullable=False),
    Column("started_at", Instant, nullable=False, index=True),
    Column("unread", Integer, nullable=False),
    Column("call", Document(CallRecord), nullable=False),
)
"""Calls let through that the proof of a closing may still be about. `unread`: the gateway's
event before the call that the rules had not read; 0 if none. `combination`: by what closings
can match."""

UNPROVEN = Table(
    "unproven",
    _META,
    Column("event_id", Text, primary_key=True),
    Column("at", Instant, nullable=False, index=True),
)
"""Closings that were made and whose proof the log does not tell yet, by the event of each."""

HANDOVERS = Table(
    "handovers",
    _META,
    Column("seq", Integer, primary_key=True),
    Column("old_key", Text, nullable=False, index=True),
    Column("body", Document(LogHandover), nullable=False),
)
"""Each time that the log passed to another key, or began anew."""

SILENCES = Table(
    "silences",
    _META,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Silence), nullable=False),
)
"""Silences, those that have ended too."""

MUTED = Table(
    "muted",
    _META,
    Column("silence_id", Text, primary_key=True),
    Column("alert_id", Text, primary_key=True),
)
"""Which alerts a silence has muted."""

RULES = Table(
    "rules",
    _META,
    Column("id", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("body", Document(DetectionRule), nullable=False),
)
"""Every rule there has been a file of, as an operator set it. `text`: what was last good."""

ONCALL = Table(
    "oncall",
    _META,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("body", Document(OncallTarget), nullable=False),
)
"""Who is paged. A name is of one active target; its secret is in a file beside the keys."""

DELIVERIES = Table(
    "deliveries",
    _META,
    Column("id", Text, primary_key=True),
    Column("target_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("next_at", Instant),
    Column("payload", LargeBinary, nullable=False),
    Column("body", Document(Delivery), nullable=False),
    Index("deliveries_due", "state", "next_at"),
)
"""Pages, in the transaction of what they tell, until they are delivered or given up."""

PAGED_ALERT = "json_extract(CAST(deliveries.body AS TEXT), '$.alert_id')"
"""The alert that a page is about, as its index writes it."""
