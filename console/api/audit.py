"""The audit API's routes for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from console.api import status
from console.api.flow import Flow, Many
from console.api.route import PAGING, Reply, Route
from console.errors import ExitCode, PilotError
from console.model.audit import (
    AcknowledgeAlert,
    Alert,
    AssignAlert,
    CloseAlert,
    CommentAlert,
    EscalateAlert,
    Event,
    EventProof,
    LogGrowth,
    LogHead,
    ReopenAlert,
    SnoozeAlert,
    StoreComparison,
)
from console.model.log import LogHandover, RestartLog, RotateLogKey
from console.model.oncall import Delivery, NewOncall, OncallTarget, RemoveOncall, TryOncall
from console.model.operator import Direction, Role
from console.model.rule import AddRule, ChangeRule, DetectionRule, RuleTrial, TuneRule
from console.model.silence import EndSilence, NewSilence, Silence
from console.model.stored import Page

STATUS = status.STATUS["audit"]

HEAD = Route("log.head", "audit", "GET", "/v1/log/head", LogHead)
GROWTH = Route("log.growth", "audit", "GET", "/v1/log/growth", LogGrowth, query=("old", "new"))
PROOF = Route(
    "log.proof", "audit", "GET", "/v1/log/proofs/{event}", EventProof, query=("tree_size",)
)
TILE = Route("log.tile", "audit", "GET", "/v1/log/files/{file}", bytes)
"""`file` is a C2SP tlog-tiles path below the log: `checkpoint`, `tile/0/000`, …"""
HANDOVERS = Route(
    "log.handovers", "audit", "GET", "/v1/log/handovers", Page[LogHandover],
    query=("old_key",),
)  # fmt: skip
ROTATE = Route(
    "log.rotate-key", "audit", "POST", "/v1/log/rotation", LogHandover,
    Role.ADMIN, body=RotateLogKey, created=True,
)  # fmt: skip
RESTART = Route(
    "log.restart", "audit", "POST", "/v1/log/restart", LogHandover,
    Role.ADMIN, body=RestartLog, created=True,
)  # fmt: skip

COMPARE = Route(
    "log.compare", "audit", "GET", "/v1/log/comparison", StoreComparison, query=("from",)
)
"""What is listed, compared with what is in the log: some entries from an index on."""

EVENT_LIST = Route(
    "audit.list", "audit", "GET", "/v1/events", Page[Event],
    query=(
        "actor", "action", "target", "partner", "outcome", "source", "text", "since", "until",
        "after", *PAGING,
    ),
)  # fmt: skip
"""Newest first; with `after` (an index) oldest first from there, for a tail."""
EVENT_TAIL = Route(
    "audit.tail", "audit", "GET", "/v1/tail/events", Event,
    query=("actor", "action", "target", "partner", "outcome", "source", "text", "from"),
    streams=True,
)  # fmt: skip
"""Server-sent events: the id is the index in the log, `Last-Event-ID` resumes after it."""
EVENT_SHOW = Route("audit.show", "audit", "GET", "/v1/events/{event}", Event)

ALERT_LIST = Route(
    "alert.list", "audit", "GET", "/v1/alerts", Page[Alert],
    query=("state", "severity", "partner", "rule", "assignee", "silenced", *PAGING),
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

ALERT_ASSIGN = Route(
    "alert.assign", "audit", "POST", "/v1/alerts/{alert}/assignment", Alert,
    Role.RESPONDER, body=AssignAlert,
)  # fmt: skip
ALERT_SNOOZE = Route(
    "alert.snooze", "audit", "POST", "/v1/alerts/{alert}/snooze", Alert,
    Role.RESPONDER, body=SnoozeAlert,
)  # fmt: skip
ALERT_ESCALATE = Route(
    "alert.escalate", "audit", "POST", "/v1/alerts/{alert}/escalation", Alert,
    Role.RESPONDER, body=EscalateAlert,
)  # fmt: skip
ALERT_COMMENT = Route(
    "alert.comment", "audit", "POST", "/v1/alerts/{alert}/comments", Alert,
    Role.RESPONDER, body=CommentAlert,
)  # fmt: skip
ALERT_REOPEN = Route(
    "alert.reopen", "audit", "POST", "/v1/alerts/{alert}/reopening", Alert,
    Role.RESPONDER, body=ReopenAlert,
)  # fmt: skip

SILENCE_LIST = Route(
    "silence.list", "audit", "GET", "/v1/silences", Page[Silence], query=("state", *PAGING)
)
SILENCE_SHOW = Route("silence.show", "audit", "GET", "/v1/silences/{silence}", Silence)
SILENCE_ADD = Route(
    "silence.add", "audit", "POST", "/v1/silences", Silence,
    Role.RESPONDER, body=NewSilence, created=True,
)  # fmt: skip
SILENCE_END = Route(
    "silence.end", "audit", "POST", "/v1/silences/{silence}/end", Silence,
    Role.RESPONDER, body=EndSilence,
)  # fmt: skip

RULE_LIST = Route(
    "rule.list", "audit", "GET", "/v1/rules", Page[DetectionRule],
    query=("state", "origin", *PAGING),
)  # fmt: skip
RULE_SHOW = Route("rule.show", "audit", "GET", "/v1/rules/{rule}", DetectionRule)
RULE_TEST = Route(
    "rule.test", "audit", "GET", "/v1/rules/{rule}/trial", RuleTrial,
    query=("since", "until", "threshold", "window_seconds", "factor"),
)  # fmt: skip
RULE_ADD = Route(
    "rule.add", "audit", "POST", "/v1/rules", DetectionRule,
    Role.OPERATOR, body=AddRule, created=True,
)  # fmt: skip
RULE_REMOVE = Route(
    "rule.remove", "audit", "POST", "/v1/rules/{rule}/removal", DetectionRule,
    Role.OPERATOR, Direction.OPENS, ChangeRule, if_match=True,
)  # fmt: skip
RULE_ENABLE = Route(
    "rule.enable", "audit", "POST", "/v1/rules/{rule}/enabling", DetectionRule,
    Role.OPERATOR, body=ChangeRule,
)  # fmt: skip
RULE_DISABLE = Route(
    "rule.disable", "audit", "POST", "/v1/rules/{rule}/disabling", DetectionRule,
    Role.OPERATOR, Direction.OPENS, ChangeRule, if_match=True,
)  # fmt: skip
RULE_TUNE = Route(
    "rule.tune", "audit", "POST", "/v1/rules/{rule}/tuning", DetectionRule,
    Role.OPERATOR, Direction.OPENS, TuneRule, if_match=True,
)  # fmt: skip

ONCALL_LIST = Route("oncall.list", "audit", "GET", "/v1/oncall", Page[OncallTarget], query=PAGING)
ONCALL_DELIVERIES = Route(
    "oncall.deliveries", "audit", "GET", "/v1/deliveries", Page[Delivery],
    query=("state", "target", *PAGING),
)  # fmt: skip
ONCALL_SHOW = Route("oncall.show", "audit", "GET", "/v1/oncall/{target}", OncallTarget)
ONCALL_ADD = Route(
    "oncall.add", "audit", "POST", "/v1/oncall", OncallTarget,
    Role.ADMIN, body=NewOncall, created=True,
)  # fmt: skip
ONCALL_REMOVE = Route(
    "oncall.remove", "audit", "POST", "/v1/oncall/{target}/removal", OncallTarget,
    Role.ADMIN, body=RemoveOncall,
)  # fmt: skip
ONCALL_TEST = Route(
    "oncall.test", "audit", "POST", "/v1/oncall/{target}/test", Delivery,
    Role.RESPONDER, body=TryOncall, created=True,
)  # fmt: skip

ROUTES: tuple[Route[Any], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Route)
)


def compared_from(start: int) -> Flow[StoreComparison]:
    """Return what the store lists from entry `start` on, compared with the log (`COMPARE`)."""
    given: dict[str, Any] = {"from": start}  # the parameter's name is a keyword of the language
    return COMPARE(**given)


def log_files(paths: Sequence[str]) -> Flow[list[bytes | None]]:
    """Return the log's files at these paths (`TILE`), read side by side; None for one it lacks."""
    outcomes = yield Many([TILE.call(file=path) for path in paths])
    return [_file(outcome) for outcome in outcomes]


def _file(outcome: Reply | PilotError) -> bytes | None:
    if isinstance(outcome, Reply):
        return bytes(outcome.value)
    if outcome.exit is ExitCode.NOT_FOUND:
        return None
    raise outcome
