"""The gateway control's routes for operators."""

from __future__ import annotations

from typing import Any

from console.api import status
from console.api.route import PAGING, Route
from console.model.access import ClosePilot
from console.model.content import CallContent, ReadContent, RedactContent
from console.model.enforcement import (
    AdmitPoint,
    Blast,
    Credential,
    DeregisterPoint,
    IssuedKey,
    IssueKey,
    Lock,
    LockTarget,
    NewLock,
    Point,
    Receipt,
    ReleaseLock,
    Revoke,
    RotateKey,
    Tombstone,
)
from console.model.grant import OffboardPartner, QuietGrant, SuspendAccess
from console.model.operator import Direction, Role
from console.model.price import BudgetState, Price, SetPrice
from console.model.stored import Page
from console.model.traffic import CallCheck, CallRecord, Explanation, UsageRow

STATUS = status.STATUS["gateway"]

KEY_LIST = Route(
    "key.list", "gateway", "GET", "/v1/credentials", Page[Credential],
    query=("grant", "partner", "holder", "state", *PAGING),
)  # fmt: skip
KEY_SHOW = Route("key.show", "gateway", "GET", "/v1/credentials/{credential}", Credential)
KEY_ISSUE = Route(
    "key.issue", "gateway", "POST", "/v1/credentials", IssuedKey,
    Role.OPERATOR, Direction.OPENS, IssueKey, created=True,
)  # fmt: skip

KEY_ROTATE = Route(
    "key.rotate", "gateway", "POST", "/v1/credentials/{credential}/rotation", IssuedKey,
    Role.OPERATOR, Direction.OPENS, RotateKey, if_match=True, created=True,
)  # fmt: skip

LOCK_LIST = Route(
    "lock.list", "gateway", "GET", "/v1/locks", Page[Lock], query=("kind", "state", *PAGING)
)
LOCK_SHOW = Route("lock.show", "gateway", "GET", "/v1/locks/{lock}", Lock)
LOCK_ADD = Route(
    "lock.add", "gateway", "POST", "/v1/locks", Lock,
    Role.RESPONDER, Direction.CLOSES, NewLock, created=True,
)  # fmt: skip
LOCK_RELEASE = Route(
    "lock.release", "gateway", "POST", "/v1/locks/{lock}/release", Lock,
    Role.OPERATOR, Direction.OPENS, ReleaseLock, if_match=True,
)  # fmt: skip
LOCK_BLAST = Route(
    "lock.blast", "gateway", "POST", "/v1/locks:blast", Blast, Role.VIEWER, body=LockTarget
)

REVOKE = Route(
    "tombstone.create", "gateway", "POST", "/v1/tombstones", Receipt,
    Role.RESPONDER, Direction.CLOSES, Revoke, created=True,
)  # fmt: skip
TOMBSTONE_LIST = Route(
    "tombstone.list", "gateway", "GET", "/v1/tombstones", Page[Tombstone],
    query=("partner", *PAGING),
)  # fmt: skip

GRANT_SUSPEND = Route(
    "grant.suspend", "gateway", "POST", "/v1/grants/{grant}/suspension", Receipt,
    Role.RESPONDER, Direction.CLOSES, SuspendAccess, created=True,
)  # fmt: skip
GRANT_QUIET = Route(
    "grant.quiet", "gateway", "GET", "/v1/grants:quiet", Page[QuietGrant],
    query=("since", "partner", "pilot", *PAGING),
)  # fmt: skip
PARTNER_SUSPEND = Route(
    "partner.suspend", "gateway", "POST", "/v1/partners/{partner}/suspension", Receipt,
    Role.RESPONDER, Direction.CLOSES, SuspendAccess, created=True,
)  # fmt: skip
PILOT_CLOSE = Route(
    "pilot.close", "gateway", "POST", "/v1/pilots/{pilot}/closing", Receipt,
    Role.ADMIN, Direction.CLOSES, ClosePilot, created=True,
)  # fmt: skip
PARTNER_OFFBOARD = Route(
    "partner.offboard", "gateway", "POST", "/v1/partners/{partner}/offboarding", Receipt,
    Role.RESPONDER, Direction.CLOSES, OffboardPartner, created=True,
)  # fmt: skip

POINT_LIST = Route("point.list", "gateway", "GET", "/v1/points", Page[Point], query=PAGING)

POINT_DEREGISTER = Route(
    "point.deregister", "gateway", "POST", "/v1/points/{point}/deregistration", Receipt,
    Role.RESPONDER, Direction.CLOSES, DeregisterPoint, created=True,
)  # fmt: skip
POINT_ADMIT = Route(
    "point.admit", "gateway", "POST", "/v1/points/{point}/admission", Point,
    Role.OPERATOR, Direction.OPENS, AdmitPoint,
)  # fmt: skip

RECEIPT_LIST = Route("receipt.list", "gateway", "GET", "/v1/receipts", Page[Receipt], query=PAGING)
RECEIPT_SHOW = Route("receipt.show", "gateway", "GET", "/v1/receipts/{receipt}", Receipt)

CALL_LIST = Route(
    "call.list", "gateway", "GET", "/v1/calls", Page[CallRecord],
    query=(
        "partner", "grant", "credential", "model", "capability", "principal", "network",
        "outcome", "code", "text", "since", "until", *PAGING,
    ),
)  # fmt: skip
"""Newest first. `text` are words of the model and the user agent, as the caller wrote them."""
CALL_TAIL = Route(
    "call.tail", "gateway", "GET", "/v1/tail/calls", CallRecord,
    query=(
        "partner", "grant", "credential", "model", "capability", "principal", "network",
        "outcome", "code", "text", "from",
    ),
    streams=True,
)  # fmt: skip
"""Server-sent events: the id is the row at the gateway, `Last-Event-ID` resumes after it."""
CALL_SHOW = Route("call.show", "gateway", "GET", "/v1/calls/{call}", CallRecord)
CALL_CONTENT = Route(
    "call.content", "gateway", "POST", "/v1/calls/{call}/content", CallContent,
    Role.AUDITOR, body=ReadContent,
)  # fmt: skip
CALL_REDACT = Route(
    "call.redact", "gateway", "POST", "/v1/calls/{call}/redaction", CallContent,
    Role.ADMIN, body=RedactContent,
)  # fmt: skip
CALL_EXPLAIN = Route("call.explain", "gateway", "GET", "/v1/calls/{call}/explanation", Explanation)
CALL_CHECK = Route(
    "call.check", "gateway", "GET", "/v1/calls:check", CallCheck,
    query=("grant", "model", "route", "capability", "address", "principal"),
)  # fmt: skip
"""Whether a call under a grant would be let through now, but for the policy bundle."""
USAGE = Route(
    "usage.list", "gateway", "GET", "/v1/usage", Page[UsageRow],
    query=(
        "by", "also", "since", "until", "partner", "grant", "key", "model", "capability",
        "principal", "network", "pilot",
    ),
)  # fmt: skip
USAGE_EXPORT = Route(
    "usage.export", "gateway", "GET", "/v1/usage/export", Page[UsageRow],
    query=("since", "until", "partner", "pilot"),
)  # fmt: skip
"""Usage by pilot and partner, as the beginning of an export: who exported which is recorded."""
BUDGETS = Route(
    "usage.budgets", "gateway", "GET", "/v1/usage/budgets", Page[BudgetState], query=("partner",)
)

PRICE_LIST = Route(
    "price.list", "gateway", "GET", "/v1/prices", Page[Price], query=("model", *PAGING)
)
PRICE_SHOW = Route("price.show", "gateway", "GET", "/v1/prices/{model}", Price)
PRICE_SET = Route(
    "price.set", "gateway", "POST", "/v1/prices", Price,
    Role.ADMIN, Direction.NEUTRAL, SetPrice, created=True,
)  # fmt: skip

ROUTES: tuple[Route[Any], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Route)
)
