"""A rule as operators see it, made from the rule that looks and how it is set."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from console.errors import PilotError
from console.model.rule import DetectionRule, RuleState
from console.services.audit.rules.rule import Rule
from console.services.audit.rules.rule_file import tuned


def as_tuned(rule: Rule, body: DetectionRule) -> Rule:
    """Return the rule as an operator has set it."""
    try:
        return tuned(rule, body.tuning)
    except PilotError:
        return rule  # the file changed so much that the tuning means nothing to it


def new_row(rule: Rule, origin: str, by: str, at: datetime) -> DetectionRule:
    """Return how a rule is shown that has just come, switched on."""
    blank = DetectionRule(
        id=rule.id, created_at=at, created_by=by, updated_at=at, updated_by=by, title="",
        kind="", reads="", severity="", threshold=0, window_seconds=0, origin=origin,
        state=RuleState.ON.value, sha256=rule.revision,
    )  # fmt: skip
    return described(rule, blank)


def described(rule: Rule, body: DetectionRule) -> DetectionRule:
    """Return `body` with what the rule says."""
    return msgspec.structs.replace(
        body,
        title=rule.title,
        kind=rule.kind,
        reads=rule.reads,
        severity=rule.severity.value,
        threshold=rule.threshold,
        measure=rule.measure if rule.kind == "norm" else "",
        window_seconds=int(rule.window.total_seconds()),
        factor=rule.factor,
        group_by=list(rule.group_by),
        required=rule.required,
        description=rule.description,
        runbook=rule.runbook,
    )


def changed(body: DetectionRule, by: str, at: datetime, **changes: Any) -> DetectionRule:
    """Return `body` with these changes, one revision on."""
    return msgspec.structs.replace(
        body, revision=body.revision + 1, updated_at=at, updated_by=by, **changes
    )
