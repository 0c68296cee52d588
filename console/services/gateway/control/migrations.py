"""The steps that make gateway control's store, and bring an older one up to date."""

from __future__ import annotations

from sqlalchemy import Connection

from console.services.gateway.control.calls.call_search import reindex
from console.services.gateway.control.state.schema import CALL_HOURS, HOLDS, META, PILOTS
from console.services.operators.tables import EVERYWHERE
from console.services.store import SHARED, grown, tables


def _calls_are_searched(conn: Connection) -> None:
    """Make the calls that are there findable."""
    conn.exec_driver_sql(
        "CREATE VIRTUAL TABLE call_search USING fts5("
        "tokens, content='', detail=none, columnsize=0, tokenize=\"ascii tokenchars '_'\")"
    )
    reindex(conn)


def _usage_was_narrower(conn: Connection) -> None:
    """Take over what was counted before principals, networks and costs were."""
    if not conn.exec_driver_sql("PRAGMA table_info('usage')").all():
        return
    conn.exec_driver_sql(
        "INSERT INTO used (hour, pilot, partner, grant_id, credential_id, model, capability, "
        "principal, network, calls, allowed, denied, blocked, errors, input_tokens, "
        "output_tokens, estimated_calls, cost_micros, first_at, last_at) "
        "SELECT hour, '', partner, grant_id, credential_id, model, capability, '', '', calls, "
        "allowed, denied, 0, errors, input_tokens, output_tokens, estimated_calls, 0, first_at, "
        "last_at FROM usage"
    )
    conn.exec_driver_sql("DROP TABLE usage")


STEPS = (
    SHARED,
    tables(*META.sorted_tables),
    grown(*META.sorted_tables),
    _usage_was_narrower,
    tables(*EVERYWHERE),
    grown(CALL_HOURS),
    _calls_are_searched,
    grown(PILOTS),
    grown(HOLDS),
)
