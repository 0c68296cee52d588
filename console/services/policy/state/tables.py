"""What policy keeps: one document a noun, with the columns that lists and rules look at."""

from __future__ import annotations

import msgspec
from sqlalchemy import Column, Index, Integer, MetaData, Table, Text, UniqueConstraint

from console.model.access import Capability, Partner, Pilot
from console.model.evidence import Acceptance, Assessment, UsageTerms
from console.model.grant import Grant
from console.model.principal import Principal
from console.services.store import Document, Instant

_META = MetaData()

PILOTS = Table(
    "pilots",
    _META,
    Column("id", Text, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Pilot), nullable=False),
)

CAPABILITIES = Table(
    "capabilities",
    _META,
    Column("id", Text, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("pilot", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Capability), nullable=False),
)

PARTNERS = Table(
    "partners",
    _META,
    Column("id", Text, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Partner), nullable=False),
)

TERMS = Table(
    "terms",
    _META,
    Column("id", Text, primary_key=True),
    Column("pilot", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(UsageTerms), nullable=False),
    UniqueConstraint("pilot", "version"),
)

ACCEPTANCES = Table(
    "acceptances",
    _META,
    Column("id", Text, primary_key=True),
    Column("terms_id", Text, nullable=False),
    Column("pilot", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("partner", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Acceptance), nullable=False),
    UniqueConstraint("terms_id", "partner"),
)

ASSESSMENTS = Table(
    "assessments",
    _META,
    Column("id", Text, primary_key=True),
    Column("partner", Text, nullable=False),
    Column("capability", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("valid_until", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Assessment), nullable=False),
    Index("assessments_of", "partner", "capability"),
    Index("assessments_ending", "state", "valid_until"),
)

GRANTS = Table(
    "grants",
    _META,
    Column("id", Text, primary_key=True),
    Column("pilot", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("partner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("look_at", Instant, nullable=True),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Grant), nullable=False),
    Column("expires_at", Instant, nullable=True),
    Index("grants_of", "partner", "state"),
    Index("grants_ending", "expires_at"),
    Index("grants_in", "pilot", "stage", "state"),
    Index("grants_due", "look_at"),
)
"""`look_at` is when time alone next changes something about the grant; null is never."""

GRANT_CAPABILITIES = Table(
    "grant_capabilities",
    _META,
    Column("grant_id", Text, primary_key=True),
    Column("capability", Text, primary_key=True),
    Index("capability_grants", "capability"),
)

PRINCIPALS = Table(
    "principals",
    _META,
    Column("id", Text, primary_key=True),
    Column("partner", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Principal), nullable=False),
    UniqueConstraint("partner", "hash"),
)

PAST_GRANTS = Table(
    "past_grants",
    _META,
    Column("id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("pilot", Text, nullable=False),
    Column("partner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(Grant), nullable=False),
    Index("past_grants_of", "partner", "at"),
)
"""Each grant as it was from a moment on: see `history`."""

PAST_PARTNERS = Table(
    "past_partners",
    _META,
    Column("id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("slug", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("body", Document(Partner), nullable=False),
)
"""Each partner as it was from a moment on."""

WARNINGS = Table(
    "warnings",
    _META,
    Column("grant_id", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("lapse_at", Instant, primary_key=True),
    Column("days", Integer, primary_key=True),
)
"""The warnings that were given: each once."""

PROJECTION = Table(
    "projection",
    _META,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("body", Document(msgspec.Raw), nullable=False),
    Index("projection_of", "kind", "id", "seq"),
    sqlite_autoincrement=True,
)
"""What the gateway is to know, in order: kinds `grant`, `partner`, `principal` and `bundle`."""

MARKS = Table(
    "marks",
    _META,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
)
"""How far this service has come with its peers: see `marks`."""

BUNDLES = Table(
    "bundles",
    _META,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("revision", Text, nullable=False),
    Column("activated_at", Instant, nullable=False),
    sqlite_autoincrement=True,
)
"""Which policy bundle was in force from when."""

CLOSED_PILOTS = Table(
    "closed_pilots",
    _META,
    Column("slug", Text, primary_key=True),
    Column("closed_at", Instant, nullable=False),
    Column("why", Text, nullable=False),
)
"""The slugs of pilots that were closed, also of those that a restore lost: none is used again."""
