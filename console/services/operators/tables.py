"""What the services keep of operators: policy their accounts, each service the roster."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, Table, Text

from console.model.account import OperatorAccount
from console.services.operators.roster import Roster
from console.services.store import Document, Instant

_META = MetaData()

ACCOUNTS = Table(
    "operator_accounts",
    _META,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("body", Document(OperatorAccount), nullable=False),
)
"""At policy."""

TOKENS = Table(
    "operator_tokens",
    _META,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, index=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("ends_at", Instant, nullable=True),
)
"""At policy: what is stored of a token is its SHA-256."""

ROSTER = Table(
    "operator_roster",
    _META,
    Column("id", Integer, primary_key=True),
    Column("body", Document(Roster), nullable=False),
)
"""The newest roster that policy told: one row."""

MARKS = Table(
    "operator_marks",
    _META,
    Column("name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("event_id", Text, nullable=False),
)
"""What is so for ever of one generation of an account: that it was cut, or used."""

EVERYWHERE = (ROSTER, MARKS)
AT_POLICY = (ACCOUNTS, TOKENS)
