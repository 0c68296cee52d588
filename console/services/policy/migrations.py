"""How policy's store is made, and how one of an earlier version becomes today's."""

from __future__ import annotations

from console.services.operators.tables import AT_POLICY, EVERYWHERE
from console.services.policy.state.history import backfill
from console.services.policy.state.tables import (
    ACCEPTANCES,
    ASSESSMENTS,
    BUNDLES,
    CAPABILITIES,
    CLOSED_PILOTS,
    GRANT_CAPABILITIES,
    GRANTS,
    MARKS,
    PARTNERS,
    PAST_GRANTS,
    PAST_PARTNERS,
    PILOTS,
    PRINCIPALS,
    PROJECTION,
    TERMS,
    WARNINGS,
)
from console.services.store import SHARED, grown, sql, tables

_FIRST = (
    PILOTS,
    CAPABILITIES,
    PARTNERS,
    TERMS,
    ACCEPTANCES,
    ASSESSMENTS,
    GRANTS,
    GRANT_CAPABILITIES,
    WARNINGS,
    PROJECTION,
    MARKS,
    BUNDLES,
)
_LATER = (PRINCIPALS, PAST_GRANTS, PAST_PARTNERS)

STEPS = (
    SHARED,
    tables(*_FIRST),
    grown(*_FIRST, *_LATER),
    sql(
        "UPDATE grants SET expires_at = strftime('%Y-%m-%dT%H:%M:%f000Z', "
        "json_extract(CAST(body AS TEXT), '$.expires_at')) WHERE expires_at IS NULL"
    ),
    backfill,
    tables(*EVERYWHERE, *AT_POLICY),
    tables(CLOSED_PILOTS),
)
"""The store's migrations, in order. Only ever appended to."""
