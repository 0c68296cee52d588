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
    CloseAlert,
    Event,
    EventProof,
    LogGrowth,
    LogHead,
)
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
    ) -> Flow[Page[Alert]]:
        filters = query(paging, state=state, severity=severity, partner=partner, rule=rule)
        return ask(audit.ALERT_LIST, query=filters)

    def show(self, alert: str) -> Flow[Alert]:
        return ask(audit.ALERT_SHOW, path={"alert": alert})

    def acknowledge(self, alert: str, change: AcknowledgeAlert) -> Flow[Alert]:
        return ask(audit.ALERT_ACKNOWLEDGE, path={"alert": alert}, body=change)

    def close(self, alert: str, change: CloseAlert) -> Flow[Alert]:
        return ask(audit.ALERT_CLOSE, path={"alert": alert}, body=change)
