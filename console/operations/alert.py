"""Alerts: detections over calls and events, and their triage."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.engines import Engines
from console.api.flow import Flow
from console.model.audit import (
    AcknowledgeAlert,
    Alert,
    AlertState,
    CloseAlert,
    Severity,
    Verdict,
)
from console.model.operator import Role
from console.model.stored import Page
from console.model.text import Note
from console.operations.listing import pages
from console.operations.params import Listing, PartnerFilter, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation

AlertId = Annotated[
    str, Param("The alert's id.", kind=Kind.ID, completes="alert.list", positional=True)
]


class ListAlerts(Listing, kw_only=True, frozen=True):
    """Which alerts are listed."""

    state: Annotated[
        str,
        Param(
            "Only in this state; open is every state but resolved.",
            kind=Kind.CHOICE,
            choices=("open", *AlertState),
        ),
    ] = ""
    severity: Annotated[
        str, Param("Only of this severity.", kind=Kind.CHOICE, choices=tuple(Severity))
    ] = ""
    partner: PartnerFilter = ""
    rule: Annotated[str, Param("Only from this rule.")] = ""


@operation("alert.list", title="List alerts", result=Page[Alert])
def list_alerts(p: ListAlerts, at: Engines, _plan: Plan | None) -> Flow[Page[Alert]]:
    """List alerts, worst and newest first."""
    return pages(
        p,
        lambda paging: at.alerts.find(
            paging, state=p.state, severity=p.severity, partner=p.partner, rule=p.rule
        ),
    )


class ShowAlert(msgspec.Struct, kw_only=True, frozen=True):
    """Which alert is shown."""

    alert: AlertId


@operation("alert.show", title="Show alert", result=Alert, subject="alert")
def show(p: ShowAlert, at: Engines, _plan: Plan | None) -> Flow[Alert]:
    """Show an alert and the evidence it rests on."""
    return at.alerts.show(p.alert)


class AcknowledgeOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which alert is taken up."""

    alert: AlertId
    reason: Annotated[Note, Param("A note. It goes into the log.", kind=Kind.LONG_TEXT)] = ""


def _about(alert: Alert) -> list[str]:
    count = f"{alert.count} time{'' if alert.count == 1 else 's'}"
    return [f"{alert.title} ({alert.severity}), {count}, {alert.partner or 'no partner'}"]


def plan_acknowledge(p: AcknowledgeOne, at: Engines) -> Flow[Plan]:
    """Look at what is taken up."""
    alert = yield from at.alerts.show(p.alert)
    return Plan(
        title=f"Acknowledge {alert.id}",
        sections=[
            Section("What it does", [*_about(alert), "it is yours, and in progress"]),
            Section("What stays", ["it is open until it is closed with a verdict"]),
        ],
        subject=alert,
    )


@operation(
    "alert.acknowledge",
    title="Acknowledge alert",
    result=Alert,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_acknowledge,
    key="a",
    subject="alert",
)
def acknowledge(p: AcknowledgeOne, at: Engines, _plan: Plan | None) -> Flow[Alert]:
    """Take an alert up: it is in progress, and yours."""
    return at.alerts.acknowledge(p.alert, AcknowledgeAlert(reason=p.reason))


class CloseOne(msgspec.Struct, kw_only=True, frozen=True):
    """How an alert was judged."""

    alert: AlertId
    verdict: Annotated[
        Verdict, Param("How it was judged.", kind=Kind.CHOICE, choices=tuple(Verdict))
    ]
    reason: Why


def plan_close(p: CloseOne, at: Engines) -> Flow[Plan]:
    """Look at what is closed."""
    alert = yield from at.alerts.show(p.alert)
    lines = [*_about(alert), f"closed as {p.verdict.replace('_', ' ')}"]
    if p.verdict == Verdict.TRUE_POSITIVE:
        lines.append("a true positive needs a lock or a revocation since it began")
    return Plan(
        title=f"Close {alert.id}",
        sections=[
            Section("What it does", lines),
            Section("What stays", ["the same thing again reopens it"]),
        ],
        subject=alert,
    )


@operation(
    "alert.close",
    title="Close alert",
    result=Alert,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_close,
    key="c",
    subject="alert",
)
def close(p: CloseOne, at: Engines, _plan: Plan | None) -> Flow[Alert]:
    """Close an alert with a verdict. A true positive needs a containment since it began."""
    return at.alerts.close(p.alert, CloseAlert(verdict=p.verdict, reason=p.reason))


OPERATIONS: tuple[Operation, ...] = (list_alerts, show, acknowledge, close)
