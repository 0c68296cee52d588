"""The facets that audit answers: each question is one route of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from console.api import audit
from console.api.engines import Paging
from console.api.flow import Call, Flow, Many, Reply, ask
from console.engines.native.query import query, time
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
from console.model.rule import AddRule, ChangeRule, DetectionRule, RuleTrial, TuneRule
from console.model.silence import EndSilence, NewSilence, Silence
from console.model.stored import Page


class Log:
    """`facets.Log` at audit."""

    def head(self) -> Flow[LogHead]:
        return ask(audit.HEAD)

    def growth(self, old: int, new: int) -> Flow[LogGrowth]:
        return ask(audit.GROWTH, query={"old": str(old), "new": str(new)})

    def proof(self, event: str, *, tree_size: int | None = None) -> Flow[EventProof]:
        size = "" if tree_size is None else str(tree_size)
        return ask(audit.PROOF, path={"event": event}, query={"tree_size": size})

    def handovers(self, old_key: str = "") -> Flow[Page[LogHandover]]:
        return ask(audit.HANDOVERS, query={"old_key": old_key})

    def rotate_key(self, change: RotateLogKey) -> Flow[LogHandover]:
        return ask(audit.ROTATE, body=change)

    def restart(self, change: RestartLog) -> Flow[LogHandover]:
        return ask(audit.RESTART, body=change)

    def compare(self, start: int) -> Flow[StoreComparison]:
        return ask(audit.COMPARE, query={"from": str(start)})

    def files(self, paths: Sequence[str]) -> Flow[list[bytes | None]]:
        outcomes = yield Many([Call(audit.TILE, {"file": path}) for path in paths])
        return [_file(outcome) for outcome in outcomes]


def _file(outcome: Reply | PilotError) -> bytes | None:
    if isinstance(outcome, Reply):
        return bytes(outcome.value)
    if outcome.exit is ExitCode.NOT_FOUND:
        return None
    raise outcome


class Events:
    """`facets.Events` at audit."""

    def find(
        self,
        paging: Paging,
        *,
        actor: str = "",
        action: str = "",
        target: str = "",
        partner: str = "",
        outcome: str = "",
        source: str = "",
        text: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
    ) -> Flow[Page[Event]]:
        filters = query(
            paging,
            actor=actor,
            action=action,
            target=target,
            partner=partner,
            outcome=outcome,
            source=source,
            text=text,
            since=time(since),
            until=time(until),
            after="" if after is None else str(after),
        )
        return ask(audit.EVENT_LIST, query=filters)

    def show(self, event: str) -> Flow[Event]:
        return ask(audit.EVENT_SHOW, path={"event": event})


class Alerts:
    """`facets.Alerts` at audit."""

    def find(
        self,
        paging: Paging,
        *,
        state: str = "",
        severity: str = "",
        partner: str = "",
        rule: str = "",
        assignee: str = "",
        silenced: str = "",
    ) -> Flow[Page[Alert]]:
        filters = query(
            paging,
            state=state,
            severity=severity,
            partner=partner,
            rule=rule,
            assignee=assignee,
            silenced=silenced,
        )
        return ask(audit.ALERT_LIST, query=filters)

    def show(self, alert: str) -> Flow[Alert]:
        return ask(audit.ALERT_SHOW, path={"alert": alert})

    def acknowledge(self, alert: str, change: AcknowledgeAlert) -> Flow[Alert]:
        return ask(audit.ALERT_ACKNOWLEDGE, path={"alert": alert}, body=change)

    def close(self, alert: str, change: CloseAlert) -> Flow[Alert]:
        return ask(audit.ALERT_CLOSE, path={"alert": alert}, body=change)

    def assign(self, alert: str, change: AssignAlert) -> Flow[Alert]:
        return ask(audit.ALERT_ASSIGN, path={"alert": alert}, body=change)

    def snooze(self, alert: str, change: SnoozeAlert) -> Flow[Alert]:
        return ask(audit.ALERT_SNOOZE, path={"alert": alert}, body=change)

    def escalate(self, alert: str, change: EscalateAlert) -> Flow[Alert]:
        return ask(audit.ALERT_ESCALATE, path={"alert": alert}, body=change)

    def comment(self, alert: str, change: CommentAlert) -> Flow[Alert]:
        return ask(audit.ALERT_COMMENT, path={"alert": alert}, body=change)

    def reopen(self, alert: str, change: ReopenAlert) -> Flow[Alert]:
        return ask(audit.ALERT_REOPEN, path={"alert": alert}, body=change)


class Silences:
    """`facets.Silences` at audit."""

    def find(self, paging: Paging, *, state: str = "") -> Flow[Page[Silence]]:
        return ask(audit.SILENCE_LIST, query=query(paging, state=state))

    def show(self, silence: str) -> Flow[Silence]:
        return ask(audit.SILENCE_SHOW, path={"silence": silence})

    def add(self, new: NewSilence, *, validate: bool = False) -> Flow[Silence]:
        return ask(audit.SILENCE_ADD, body=new, validate_only=validate)

    def end(self, silence: str, change: EndSilence) -> Flow[Silence]:
        return ask(audit.SILENCE_END, path={"silence": silence}, body=change)


class Rules:
    """`facets.Rules` at audit."""

    def find(
        self, paging: Paging, *, state: str = "", origin: str = ""
    ) -> Flow[Page[DetectionRule]]:
        return ask(audit.RULE_LIST, query=query(paging, state=state, origin=origin))

    def show(self, rule: str) -> Flow[DetectionRule]:
        return ask(audit.RULE_SHOW, path={"rule": rule})

    def test(
        self,
        rule: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        threshold: int | None = None,
        window_seconds: int | None = None,
        factor: int | None = None,
    ) -> Flow[RuleTrial]:
        said = {"threshold": threshold, "window_seconds": window_seconds, "factor": factor}
        tuning = {name: str(value) for name, value in said.items() if value is not None}
        when = {"since": time(since), "until": time(until)}
        return ask(audit.RULE_TEST, path={"rule": rule}, query={**when, **tuning})

    def add(self, new: AddRule, *, validate: bool = False) -> Flow[DetectionRule]:
        return ask(audit.RULE_ADD, body=new, validate_only=validate)

    def remove(self, rule: str, change: ChangeRule, revision: int) -> Flow[DetectionRule]:
        return ask(audit.RULE_REMOVE, path={"rule": rule}, body=change, if_match=revision)

    def enable(self, rule: str, change: ChangeRule) -> Flow[DetectionRule]:
        return ask(audit.RULE_ENABLE, path={"rule": rule}, body=change)

    def disable(self, rule: str, change: ChangeRule, revision: int) -> Flow[DetectionRule]:
        return ask(audit.RULE_DISABLE, path={"rule": rule}, body=change, if_match=revision)

    def tune(
        self, rule: str, change: TuneRule, revision: int, *, validate: bool = False
    ) -> Flow[DetectionRule]:
        return ask(
            audit.RULE_TUNE,
            path={"rule": rule},
            body=change,
            if_match=revision,
            validate_only=validate,
        )


class Oncall:
    """`facets.Oncall` at audit."""

    def find(self, paging: Paging) -> Flow[Page[OncallTarget]]:
        return ask(audit.ONCALL_LIST, query=query(paging))

    def show(self, target: str) -> Flow[OncallTarget]:
        return ask(audit.ONCALL_SHOW, path={"target": target})

    def deliveries(
        self, paging: Paging, *, state: str = "", target: str = ""
    ) -> Flow[Page[Delivery]]:
        return ask(audit.ONCALL_DELIVERIES, query=query(paging, state=state, target=target))

    def add(self, new: NewOncall, *, validate: bool = False) -> Flow[OncallTarget]:
        return ask(audit.ONCALL_ADD, body=new, validate_only=validate)

    def remove(self, target: str, change: RemoveOncall) -> Flow[OncallTarget]:
        return ask(audit.ONCALL_REMOVE, path={"target": target}, body=change)

    def test(self, target: str, change: TryOncall) -> Flow[Delivery]:
        return ask(audit.ONCALL_TEST, path={"target": target}, body=change)
