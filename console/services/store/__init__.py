"""A service's own store: one SQLite file, one writer, and an outbox beside the data.

`Store` runs functions in transactions, `emit` puts an event into the same transaction,
`Step`s migrate the schema, `Instant` and `Document` are the column types that the
services need beyond SQL's own.
"""

from console.services.store.columns import Document, Instant, rfc3339
from console.services.store.database import Store, checked_by, signal
from console.services.store.idempotency import IDEMPOTENCY
from console.services.store.migrations import Step, grown, sql, tables
from console.services.store.outbox import OUTBOX, OutboxItem, OutboxPage, emit

SHARED: Step = tables(OUTBOX, IDEMPOTENCY)
"""The tables that every service has: the first step of its migrations."""

__all__ = [
    "SHARED",
    "Document",
    "Instant",
    "OutboxItem",
    "OutboxPage",
    "Step",
    "Store",
    "checked_by",
    "emit",
    "grown",
    "rfc3339",
    "signal",
    "sql",
    "tables",
]
