"""Events of the log, alerts over them, and the state of the log itself."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from console.model.enforcement import LogProof
from console.model.stored import Request, Stored
from console.model.text import Note, Reason, Slug, Time


class Severity(StrEnum):
    """OCSF severities, by name."""

    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


SEVERITY_ID = {
    Severity.INFORMATIONAL: 1,
    Severity.LOW: 2,
    Severity.MEDIUM: 3,
    Severity.HIGH: 4,
    Severity.CRITICAL: 5,
}
"""OCSF 1.8 `severity_id`."""


class AlertState(StrEnum):
    """Where an alert stands in triage."""

    NEW = "new"
    IN_PROGRESS = "in_progress"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"
    REOPENED = "reopened"


class Verdict(StrEnum):
    """How an alert was judged: OCSF `verdict_id` by name."""

    FALSE_POSITIVE = "false_positive"
    TRUE_POSITIVE = "true_positive"
    BENIGN = "benign"
    DUPLICATE = "duplicate"
    INSUFFICIENT_DATA = "insufficient_data"


VERDICT_ID = {
    Verdict.FALSE_POSITIVE: 1,
    Verdict.TRUE_POSITIVE: 2,
    Verdict.BENIGN: 5,
    Verdict.INSUFFICIENT_DATA: 7,
    Verdict.DUPLICATE: 10,
}
"""OCSF 1.8 `verdict_id`."""


class Evidence(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that an alert rests on: `kind` is `call` or `event`."""

    kind: str
    id: str
    at: datetime
    summary: str


class Comment(msgspec.Struct, kw_only=True, frozen=True):
    """What an operator wrote under an alert."""

    at: datetime
    by: str
    text: str


class AlertPage(msgspec.Struct, kw_only=True, frozen=True):
    """Who was told of an alert, or will be."""

    target: str
    """Who is on call, by name."""
    state: str
    """What became of the page: `DeliveryState`."""
    at: datetime
    """When it goes out or is tried again; else when it ended."""
    said: str = ""
    """Why it was not sent, or did not arrive."""


class Alert(Stored, kw_only=True, frozen=True):
    """A detection, grouped: the same thing again raises `count`, not another row."""

    rule: str
    rule_revision: str
    """SHA-256 of the rule file that fired."""
    title: str
    severity: str
    fingerprint: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime
    partner: str = ""
    grant_id: str = ""
    credential_id: str = ""
    state: Annotated[str, AlertState]
    assignee: str = ""
    acknowledged_at: datetime | None = None
    verdict: str = ""
    closed_at: datetime | None = None
    note: str = ""
    evidence: list[Evidence] = []
    """The newest twenty."""
    about: dict[str, str] = {}
    """What the rule groups by, by field: `network`, `principal`, `target`, …"""
    comments: list[Comment] = []
    """The newest fifty, oldest first."""
    snoozed_until: datetime | None = None
    snoozed_at_count: int = 0
    """It wakes when its count has doubled since, or its severity rises."""
    level: int = 1
    """The on-call level that it was escalated to."""
    silenced_by: list[str] = []
    """Ids of the silences that mute it now; never of a critical one or a required rule's."""
    pages: list[AlertPage] = []
    """Who was told of it, and who will be, newest first: twenty at most. `alert.show` has them;
    lists and events do not."""


class AcknowledgeAlert(Request, kw_only=True, frozen=True):
    """What `alert acknowledge` sends."""

    reason: Note = ""


class CloseAlert(Request, kw_only=True, frozen=True):
    """What `alert close` sends. A true positive needs a containment since it began."""

    verdict: Verdict
    reason: Reason


class AssignAlert(Request, kw_only=True, frozen=True):
    """What `alert assign` sends: an operator's name."""

    assignee: Slug
    reason: Note = ""


class SnoozeAlert(Request, kw_only=True, frozen=True):
    """What `alert snooze` sends: it is quiet until then, at most seven days."""

    until: Time
    reason: Reason


class EscalateAlert(Request, kw_only=True, frozen=True):
    """What `alert escalate` sends: to a severity, or to the next on-call level without one."""

    severity: Severity | None = None
    reason: Reason


class ReopenAlert(Request, kw_only=True, frozen=True):
    """What `alert reopen` sends: the verdict was wrong."""

    reason: Reason


class CommentAlert(Request, kw_only=True, frozen=True):
    """What `alert comment` sends."""

    text: Annotated[Reason, msgspec.Meta(description="what is noted")]


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """An audit event as the log lists it. `body` is the OCSF event, exactly as stored."""

    index: int
    source: str
    sequence: int
    id: str
    at: datetime
    actor: str
    action: str
    kind: str
    target: str
    partner: str = ""
    outcome: str
    reason: str = ""
    request_id: str = ""
    body: str
    """The leaf: canonical JSON (RFC 8785), as text."""
    fault: str = ""
    """How the store differs from the log here; the event is then shown as the log holds it."""


class LogHead(msgspec.Struct, kw_only=True, frozen=True):
    """The log's newest signed head."""

    origin: str
    key: str
    """The verifier key, C2SP signed-note form. The console pins it at first contact."""
    tree_size: int
    checkpoint: str
    checkpointed_at: datetime
    """When it was last signed: the log is down when this is old."""


class LogGrowth(msgspec.Struct, kw_only=True, frozen=True):
    """That a larger tree contains a smaller one (RFC 9162 §2.1.4)."""

    old_size: int
    new_size: int
    hashes: list[str]


class EventProof(msgspec.Struct, kw_only=True, frozen=True):
    """An event's place in the log."""

    event_id: str
    proof: LogProof
    fault: str = ""
    """How the store differs from the log here: the proof is of what the log holds."""


class LogFinding(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that is wrong with a log."""

    code: str
    """Stable, as in errors: `log-entry-altered`, `log-signature-wrong`, …"""
    where: str
    """The file below the log, or the entry."""
    message: str


class StoreComparison(msgspec.Struct, kw_only=True, frozen=True):
    """A part of the store compared with the log's entries, those before `next`."""

    tree_size: int
    next: int
    findings: list[LogFinding] = []


class LogCheck(msgspec.Struct, kw_only=True, frozen=True):
    """What verifying a whole log found. It is good when there are no findings."""

    log: str
    """The folder, or the API, that it was read from."""
    origin: str
    tree_size: int
    root: str
    """Hex; recomputed from the entries."""
    entries: int
    """How many were read and hashed."""
    good: bool
    findings: list[LogFinding] = []
    left_out: list[str] = []
    """What of it was not looked at, each in words."""
