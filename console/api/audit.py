"""The audit API's routes for operators."""

from __future__ import annotations

from console.api.route import PAGING, Route
from console.model.audit import (
    AcknowledgeAlert,
    Alert,
    CloseAlert,
    Event,
    EventProof,
    LogGrowth,
    LogHead,
)
from console.model.operator import Role, ServiceStatus
from console.model.stored import Page

STATUS = Route("audit.status", "audit", "GET", "/v1/status", ServiceStatus)

HEAD = Route("log.head", "audit", "GET", "/v1/log/head", LogHead)
GROWTH = Route("log.growth", "audit", "GET", "/v1/log/growth", LogGrowth, query=("old", "new"))
PROOF = Route(
    "log.proof", "audit", "GET", "/v1/log/proofs/{event}", EventProof, query=("tree_size",)
)
TILE = Route("log.tile", "audit", "GET", "/v1/log/files/{file}", bytes)
"""`file` is a C2SP tlog-tiles path below the log: `checkpoint`, `tile/0/000`, …"""

EVENT_LIST = Route(
    "audit.list", "audit", "GET", "/v1/events", Page[Event],
    query=(
        "actor", "action", "target", "partner", "outcome", "source", "text", "since", "until",
        "after", *PAGING,
    ),
)  # fmt: skip
"""Newest first; with `after` (an index) oldest first from there, for a tail."""
EVENT_SHOW = Route("audit.show", "audit", "GET", "/v1/events/{event}", Event)

ALERT_LIST = Route(
    "alert.list", "audit", "GET", "/v1/alerts", Page[Alert],
    query=("state", "severity", "partner", "rule", *PAGING),
)  # fmt: skip
"""`state=open` is every state but resolved. Worst and newest first."""
ALERT_SHOW = Route("alert.show", "audit", "GET", "/v1/alerts/{alert}", Alert)
ALERT_ACKNOWLEDGE = Route(
    "alert.acknowledge", "audit", "POST", "/v1/alerts/{alert}/acknowledgement", Alert,
    Role.RESPONDER, body=AcknowledgeAlert,
)  # fmt: skip
ALERT_CLOSE = Route(
    "alert.close", "audit", "POST", "/v1/alerts/{alert}/closure", Alert,
    Role.RESPONDER, body=CloseAlert,
)  # fmt: skip

ROUTES: tuple[Route, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Route)
)
