"""Who answers what: the engines of one profile, and the values that their answers share.

Apart from the facets, which describe the engines to whoever reads or checks the code: a
command that starts has no use for them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from console.api.facets import (
        Alerts,
        Assessments,
        Calls,
        Capabilities,
        Closings,
        Decisions,
        Events,
        Grants,
        Keys,
        Locks,
        Log,
        LogTrust,
        Oncall,
        Operators,
        Partners,
        Pilots,
        Points,
        Prices,
        Principals,
        Receipts,
        Rules,
        Silences,
        Statuses,
        Terms,
        Usage,
    )


class Paging(NamedTuple):
    """Which part of a list is asked for: `limit` rows (1 to 500) from `cursor` on."""

    cursor: str = ""
    limit: int = 100


class TrustedHead(NamedTuple):
    """A log head whose signature, and growth from the pinned head, have been checked."""

    origin: str
    size: int
    root: bytes
    at: datetime
    """When this console checked it."""
    key: str = ""
    """The verifier key that signed it: the pinned one, or one that it followed or preceded."""


class Engines(NamedTuple):
    """Who answers each facet, as the profile names them."""

    pilots: Pilots
    capabilities: Capabilities
    partners: Partners
    principals: Principals
    terms: Terms
    assessments: Assessments
    grants: Grants
    decisions: Decisions
    keys: Keys
    locks: Locks
    closings: Closings
    points: Points
    receipts: Receipts
    calls: Calls
    usage: Usage
    prices: Prices
    log: Log
    events: Events
    alerts: Alerts
    silences: Silences
    rules: Rules
    oncall: Oncall
    operators: Operators
    statuses: Statuses
    log_trust: LogTrust
