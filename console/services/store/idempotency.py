"""Idempotency keys: the answer to a write is kept in the write's own transaction.

Because the one writer runs whole transactions in turn, the same key sent twice at once
finds the first answer; and no crash can leave a change without its answer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
)

from console.api.problems import refusal
from console.services.store.columns import Instant

KEPT = timedelta(hours=48)
"""How long an answer can be had again; the contract promises 24 hours."""

IDEMPOTENCY = Table(
    "idempotency",
    MetaData(),
    Column("operator", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("route", Text, nullable=False),
    Column("request_sha256", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("etag", Text, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
    sqlite_with_rowid=False,
)


class Kept(NamedTuple):
    """The answer that a write was given, without its secrets."""

    status: int
    body: bytes
    etag: str


def earlier(
    conn: Connection, *, operator: str, key: str, route: str, request_sha256: str
) -> Kept | None:
    """Return the answer that this operator's `key` already has, if any.

    Raises the problem `key-reused` where the key was used for another request.
    """
    row = conn.execute(
        select(IDEMPOTENCY).where(IDEMPOTENCY.c.operator == operator, IDEMPOTENCY.c.key == key)
    ).first()
    if row is None:
        return None
    if row.route != route or row.request_sha256 != request_sha256:
        raise refusal(
            "key-reused",
            f"the idempotency key was already used for another request ({row.route})",
            mend="send a new key for a new request",
        )
    return Kept(row.status, row.body, row.etag)


def keep(
    conn: Connection,
    *,
    operator: str,
    key: str,
    route: str,
    request_sha256: str,
    answer: Kept,
    at: datetime,
) -> None:
    """Keep the answer of a write that is being committed. `answer` must hold no secret."""
    conn.execute(
        insert(IDEMPOTENCY),
        {
            "operator": operator,
            "key": key,
            "route": route,
            "request_sha256": request_sha256,
            "status": answer.status,
            "body": answer.body,
            "etag": answer.etag,
            "created_at": at,
        },
    )


def forget(conn: Connection, at: datetime) -> int:
    """Drop the answers that were kept long enough at the moment `at`; return how many."""
    return conn.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.created_at < at - KEPT)).rowcount
