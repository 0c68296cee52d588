"""Alerts: detections over calls and events, and their triage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from console.api.audit import (
    ALERT_ACKNOWLEDGE,
    ALERT_ASSIGN,
    ALERT_CLOSE,
    ALERT_COMMENT,
    ALERT_ESCALATE,
    ALERT_LIST,
    ALERT_REOPEN,
    ALERT_SHOW,
    ALERT_SNOOZE,
    ONCALL_LIST,
)
from console.api.flow import Flow
from console.model.audit import (
    AcknowledgeAlert,
    Alert,
    AlertState,
    AssignAlert,
    CloseAlert,
    CommentAlert,
    EscalateAlert,
    ReopenAlert,
    Severity,
    SnoozeAlert,
    Verdict,
)
from console.model.operator import Role
from console.model.stored import Page
from console.model.text import Note, Reason, Slug
from console.operations.listing import pages, whole
from console.operations.params import Listing, PartnerFilter, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import length, to_the_second

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
    rule: Annotated[str, Param("Only from this rule.", completes="rule.list")] = ""
    assignee: Annotated[str, Param("Only what this operator has.")] = ""
    silenced: Annotated[
        str,
        Param("Only what is, or is not, muted by a silence.", kind=Kind.CHOICE,
              choices=("yes", "no")),
    ] = ""  # fmt: skip


@operation("alert.list", title="List alerts", result=Page[Alert])
def list_alerts(p: ListAlerts, _plan: Plan | None) -> Flow[Page[Alert]]:
    """List alerts, worst and newest first."""
    return pages(
        ALERT_LIST,
        p,
        state=p.state,
        severity=p.severity,
        partner=p.partner,
        rule=p.rule,
        assignee=p.assignee,
        silenced=p.silenced,
    )


class ShowAlert(msgspec.Struct, kw_only=True, frozen=True):
    """Which alert is shown."""

    alert: AlertId


@operation("alert.show", title="Show alert", result=Alert, subject="alert")
def show(p: ShowAlert, _plan: Plan | None) -> Flow[Alert]:
    """Show an alert and the evidence it rests on."""
    return ALERT_SHOW(alert=p.alert)


class AcknowledgeOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which alert is taken up."""

    alert: AlertId
    reason: Annotated[Note, Param("A note. It goes into the log.", kind=Kind.LONG_TEXT)] = ""


def _planned(alert: Alert, title: str, *does: str, stays: str = "") -> Plan:
    """Return the plan of a change to an alert: which it is, what becomes of it, what stays."""
    count = f"{alert.count} time{'' if alert.count == 1 else 's'}"
    about = f"{alert.title} ({alert.severity}), {count}, {alert.partner or 'no partner'}"
    sections = [Section("What it does", [about, *does])]
    if stays:
        sections.append(Section("What stays", [stays]))
    return Plan(title=title, sections=sections, subject=alert)


def plan_acknowledge(p: AcknowledgeOne) -> Flow[Plan]:
    """Look at what is taken up."""
    alert = yield from ALERT_SHOW(alert=p.alert)
    return _planned(
        alert,
        f"Acknowledge {alert.id}",
        "it is yours, and in progress",
        stays="it is open until it is closed with a verdict",
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
def acknowledge(p: AcknowledgeOne, _plan: Plan | None) -> Flow[Alert]:
    """Take an alert up: it is in progress, and yours."""
    return ALERT_ACKNOWLEDGE(AcknowledgeAlert(reason=p.reason), alert=p.alert)


class CloseOne(msgspec.Struct, kw_only=True, frozen=True):
    """How an alert was judged."""

    alert: AlertId
    verdict: Annotated[
        Verdict, Param("How it was judged.", kind=Kind.CHOICE, choices=tuple(Verdict))
    ]
    reason: Why


def plan_close(p: CloseOne) -> Flow[Plan]:
    """Look at what is closed."""
    alert = yield from ALERT_SHOW(alert=p.alert)
    does = [f"closed as {p.verdict.replace('_', ' ')}"]
    if p.verdict == Verdict.TRUE_POSITIVE:
        does.append("a true positive needs a lock or a revocation since it began")
    return _planned(alert, f"Close {alert.id}", *does, stays="the same thing again reopens it")


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
def close(p: CloseOne, _plan: Plan | None) -> Flow[Alert]:
    """Close an alert with a verdict. A true positive needs a containment since it began."""
    return ALERT_CLOSE(CloseAlert(verdict=p.verdict, reason=p.reason), alert=p.alert)


class AssignOne(msgspec.Struct, kw_only=True, frozen=True):
    """Whose an alert is to be."""

    alert: AlertId
    assignee: Annotated[
        Slug,
        Param("The operator who is to look at it.", completes="operator.list", positional=True),
    ]
    reason: Annotated[Note, Param("A note. It goes into the log.", kind=Kind.LONG_TEXT)] = ""


def plan_assign(p: AssignOne) -> Flow[Plan]:
    """Look at what is handed over."""
    alert = yield from ALERT_SHOW(alert=p.alert)
    had = f"it was {alert.assignee}'s" if alert.assignee else "it was nobody's"
    return _planned(alert, f"Assign {alert.id} to {p.assignee}", had, f"it is {p.assignee}'s now")


@operation(
    "alert.assign",
    title="Assign alert",
    result=Alert,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_assign,
    key="o",
    subject="alert",
)
def assign(p: AssignOne, _plan: Plan | None) -> Flow[Alert]:
    """Hand an alert to an operator. They still have to acknowledge it."""
    return ALERT_ASSIGN(AssignAlert(assignee=p.assignee, reason=p.reason), alert=p.alert)


class SnoozeOne(msgspec.Struct, kw_only=True, frozen=True):
    """Until when an alert is put off."""

    alert: AlertId
    until: Annotated[datetime, Param("Until when: 4h, or a time; 7d at most.", kind=Kind.WHEN)]
    reason: Why


def plan_snooze(p: SnoozeOne) -> Flow[Plan]:
    """Look at what is put off."""
    alert = yield from ALERT_SHOW(alert=p.alert)
    return _planned(
        alert,
        f"Snooze {alert.id} until {to_the_second(p.until)}",
        "it pages nobody until then",
        stays=f"it wakes earlier at {2 * alert.count} times, or when its severity rises",
    )


@operation(
    "alert.snooze",
    title="Snooze alert",
    result=Alert,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_snooze,
    key="z",
    subject="alert",
)
def snooze(p: SnoozeOne, _plan: Plan | None) -> Flow[Alert]:
    """Put an alert off, for seven days at most. It wakes if it doubles or gets worse."""
    return ALERT_SNOOZE(SnoozeAlert(until=p.until, reason=p.reason), alert=p.alert)


class EscalateOne(msgspec.Struct, kw_only=True, frozen=True):
    """How far an alert is raised."""

    alert: AlertId
    severity: Annotated[
        Severity | None,
        Param("The higher severity; without it, the next on-call level.", kind=Kind.CHOICE,
              choices=tuple(Severity)),
    ] = None  # fmt: skip
    reason: Why


def plan_escalate(p: EscalateOne) -> Flow[Plan]:
    """Look at what is raised, and who would be told."""
    alert = yield from ALERT_SHOW(alert=p.alert)
    contacts = yield from whole(ONCALL_LIST)
    level, severity = alert.level, p.severity or alert.severity
    if not p.severity:
        level = min((each.level for each in contacts if each.level > level), default=level)
    told = [
        f"{each.slug} ({each.kind}), level {each.level}"
        + (f", where nobody takes it on within {length(after)}" if after else "")
        for each in contacts
        if severity in each.severities
        and (each.level >= level if (after := each.after_seconds) else each.level == level)
    ]
    if p.severity:
        to = f"its severity becomes {p.severity}"
    elif level == alert.level:
        to, told = f"it is at level {level}, the last at which somebody is on call", []
    else:
        to = f"it goes to level {level}"
    paged = Section("Who is paged", told or ["nobody: `pilotctl oncall list`"])
    plan = _planned(alert, f"Escalate {alert.id}", to)
    return msgspec.structs.replace(plan, sections=[*plan.sections, paged])


@operation(
    "alert.escalate",
    title="Escalate alert",
    result=Alert,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_escalate,
    key="e",
    subject="alert",
)
def escalate(p: EscalateOne, _plan: Plan | None) -> Flow[Alert]:
    """Raise an alert's severity, or page the next on-call level."""
    return ALERT_ESCALATE(EscalateAlert(severity=p.severity, reason=p.reason), alert=p.alert)


class CommentOne(msgspec.Struct, kw_only=True, frozen=True):
    """What is noted under an alert."""

    alert: AlertId
    text: Annotated[Reason, Param("What to note.", kind=Kind.LONG_TEXT)]


def plan_comment(p: CommentOne) -> Flow[Plan]:
    """Look at what is commented on."""
    alert = yield from ALERT_SHOW(alert=p.alert)
    return _planned(alert, f"Comment on {alert.id}", f"{len(p.text)} characters are noted")


@operation(
    "alert.comment",
    title="Comment on alert",
    result=Alert,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_comment,
    key="m",
    subject="alert",
)
def comment(p: CommentOne, _plan: Plan | None) -> Flow[Alert]:
    """Note something under an alert. The log keeps it."""
    return ALERT_COMMENT(CommentAlert(text=p.text), alert=p.alert)


class ReopenOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which verdict is taken back."""

    alert: AlertId
    reason: Why


def plan_reopen(p: ReopenOne) -> Flow[Plan]:
    """Look at what is opened again."""
    alert = yield from ALERT_SHOW(alert=p.alert)
    verdict = (alert.verdict or "no verdict").replace("_", " ")
    return _planned(alert, f"Reopen {alert.id}", f"{verdict} is taken back")


@operation(
    "alert.reopen",
    title="Reopen alert",
    result=Alert,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_reopen,
    key="w",
    subject="alert",
)
def reopen(p: ReopenOne, _plan: Plan | None) -> Flow[Alert]:
    """Take a verdict back: the alert is open again, and pages."""
    return ALERT_REOPEN(ReopenAlert(reason=p.reason), alert=p.alert)


OPERATIONS: tuple[Operation, ...] = (
    list_alerts,
    show,
    acknowledge,
    assign,
    snooze,
    escalate,
    comment,
    close,
    reopen,
)
