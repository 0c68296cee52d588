"""Silences: mute alerts for at most a day, and see how much they muted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from console.api.audit import ALERT_LIST, SILENCE_ADD, SILENCE_END, SILENCE_LIST, SILENCE_SHOW
from console.api.flow import Flow
from console.errors import ExitCode, PilotError
from console.model.audit import Severity
from console.model.operator import Role
from console.model.silence import EndSilence, Matcher, NewSilence, Silence, SilenceState
from console.model.stored import Page
from console.operations.listing import pages, whole
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import to_the_second

SilenceId = Annotated[
    str, Param("The silence's id.", kind=Kind.ID, completes="silence.list", positional=True)
]


class ListSilences(Listing, kw_only=True, frozen=True):
    """Which silences are listed."""

    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(SilenceState))
    ] = ""


@operation("silence.list", title="List silences", result=Page[Silence])
def list_silences(p: ListSilences, _plan: Plan | None) -> Flow[Page[Silence]]:
    """List silences, newest first, with what each has muted."""
    return pages(SILENCE_LIST, p, state=p.state)


class ShowSilence(msgspec.Struct, kw_only=True, frozen=True):
    """Which silence is shown."""

    silence: SilenceId


@operation("silence.show", title="Show silence", result=Silence, subject="silence")
def show(p: ShowSilence, _plan: Plan | None) -> Flow[Silence]:
    """Show a silence: what it matches, whose it is, when it ends, what it muted."""
    return SILENCE_SHOW(silence=p.silence)


class AddSilence(msgspec.Struct, kw_only=True, frozen=True):
    """What is muted, and until when. All that is named must hold; `*` and `?` are wild."""

    until: Annotated[datetime, Param("When it ends: 4h, or a time; 24h at most.", kind=Kind.WHEN)]
    rule: Annotated[str, Param("Alerts of this rule.", completes="rule.list")] = ""
    partner: Annotated[str, Param("Alerts about this partner.", completes="partner.list")] = ""
    severity: Annotated[str, Param("Alerts of this severity, never critical ones.")] = ""
    match: Annotated[
        list[str],
        Param("Another member, like network=203.0.113.* or credential=ID.", repeats=True,
              metavar="FIELD=PATTERN"),
    ] = []  # fmt: skip
    reason: Why


def _matchers(p: AddSilence) -> list[Matcher]:
    named = {"rule": p.rule, "partner": p.partner, "severity": p.severity}
    found = [Matcher(field=field, pattern=text) for field, text in named.items() if text]
    for each in p.match:
        field, sign, pattern = each.partition("=")
        if not sign or not field or not pattern:
            raise PilotError(
                "bad-value",
                f"--match: {each[:80]!r} is not FIELD=PATTERN",
                exit=ExitCode.USAGE,
                hint="for example network=203.0.113.*",
                detail={"parameter": "match"},
            )
        found.append(Matcher(field=field.strip(), pattern=pattern.strip()))
    return found


def _new(p: AddSilence) -> NewSilence:
    return NewSilence(matchers=_matchers(p), ends_at=p.until, reason=p.reason)


def plan_add(p: AddSilence) -> Flow[Plan]:
    """Ask what it would mute now."""
    silence = yield from SILENCE_ADD(_new(p), validate=True)
    says = " ".join(f"{each.field}={each.pattern}" for each in silence.matchers)
    return Plan(
        title=f"Silence {says}",
        sections=[
            Section(
                "What it does",
                [
                    f"{silence.alerts} open alerts page nobody until {to_the_second(p.until)}",
                    "and those that come while it holds",
                ],
            ),
            Section(
                "What stays",
                [
                    f"{Severity.CRITICAL.value} alerts and those of required rules, always",
                    "everything is counted and listed; it ends when what it muted is resolved",
                ],
            ),
        ],
    )


@operation(
    "silence.add",
    title="Silence alerts",
    result=Silence,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_add,
)
def add(p: AddSilence, _plan: Plan | None) -> Flow[Silence]:
    """Mute alerts for a day at most; never a critical one or a required rule's. All are counted."""
    return SILENCE_ADD(_new(p))


class EndOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which silence ends."""

    silence: SilenceId
    reason: Why


def plan_end(p: EndOne) -> Flow[Plan]:
    """Look at what is heard again."""
    silence = yield from SILENCE_SHOW(silence=p.silence)
    alerts = yield from whole(ALERT_LIST, state="open", silenced="yes")
    heard = [each.title for each in alerts if each.silenced_by == [silence.id]]
    return Plan(
        title=f"End {silence.id}",
        sections=[Section("What is heard again", heard or ["no open alert"])],
        subject=silence,
    )


@operation(
    "silence.end",
    title="End silence",
    result=Silence,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_end,
    subject="silence",
)
def end(p: EndOne, _plan: Plan | None) -> Flow[Silence]:
    """End a silence now. What it alone muted, and nobody has taken up, pages."""
    return SILENCE_END(EndSilence(reason=p.reason), silence=p.silence)


OPERATIONS: tuple[Operation, ...] = (list_silences, show, add, end)
