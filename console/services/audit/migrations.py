"""How the audit store is made, and how one of an earlier version becomes today's."""

from __future__ import annotations

from console.services.audit.log import event_search
from console.services.audit.rules import admitted_calls, closing_store
from console.services.audit.state.schema import (
    ACTIONS,
    ADMITTED,
    ADMITTED_CALLS,
    ALERTS,
    ALIASES,
    CLOSINGS,
    CURSORS,
    DELIVERIES,
    HANDOVERS,
    HOURS,
    LEAVES,
    MUTED,
    ONCALL,
    PAGED_ALERT,
    REVOKED,
    RULES,
    SILENCES,
    SOURCES,
    STATES,
    TREE,
    UNPROVEN,
    WINDOWS,
)
from console.services.operators.tables import EVERYWHERE
from console.services.store import SHARED, Step, sql, tables

STEPS: tuple[Step, ...] = (
    SHARED,
    tables(LEAVES, TREE, SOURCES, ACTIONS, HOURS, CURSORS, WINDOWS, ALERTS, REVOKED, ADMITTED),
    # The index keeps no copy of the text, no positions and no lengths: only who has a token.
    sql(
        "CREATE VIRTUAL TABLE search USING fts5("
        "tokens, content='', detail=none, columnsize=0, tokenize=\"ascii tokenchars '_'\")"
    ),
    tables(HANDOVERS),
    tables(STATES, SILENCES, MUTED, RULES, ONCALL, DELIVERIES),
    sql(
        "INSERT INTO states SELECT fingerprint, rule, strftime('%Y-%m-%dT%H:%M:%S.000000Z'), "
        "CAST('{\"recent\":' || CAST(times AS TEXT) || ',\"pending\":' || pending || '}' AS BLOB) "
        "FROM windows",
        "DROP TABLE windows",
        "CREATE INDEX alerts_state ON alerts (state)",
        "UPDATE alerts SET rank = rank + 10 WHERE state != 'resolved'",
    ),
    tables(*EVERYWHERE),
    event_search.reindex,
    event_search.reindex,
    sql(f"CREATE INDEX deliveries_alert ON deliveries ({PAGED_ALERT.replace('deliveries.', '')})"),
    tables(CLOSINGS, ALIASES),
    closing_store.learn_all,
    sql("DROP TABLE revoked"),
    tables(ADMITTED_CALLS, UNPROVEN),
    admitted_calls.follow_proofs_of_log,
    sql(
        "INSERT OR IGNORE INTO admitted_calls SELECT json_extract(CAST(call AS TEXT), '$.id'), "
        "credential_id, started_at, 0, call FROM admitted",
        "DROP TABLE admitted",
    ),
)
"""The store's migrations, in order. Only ever appended to."""
