"""Those on call: who is paged about alerts, and whether it reached them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from console.api.audit import (
    ONCALL_ADD,
    ONCALL_DELIVERIES,
    ONCALL_LIST,
    ONCALL_REMOVE,
    ONCALL_SHOW,
    ONCALL_TEST,
)
from console.api.flow import Flow
from console.model.audit import Severity
from console.model.oncall import (
    LEVELS,
    MAX_AFTER_SECONDS,
    Delivery,
    DeliveryState,
    NewOncall,
    OncallTarget,
    RemoveOncall,
    TryOncall,
)
from console.model.operator import Role
from console.model.stored import Page
from console.model.text import Note, Slug
from console.operations.listing import pages
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import length

OncallName = Annotated[
    str, Param("Who, by name.", kind=Kind.SLUG, completes="oncall.list", positional=True)
]


class ListOncall(Listing, kw_only=True, frozen=True):
    """Everybody who is on call."""


@operation("oncall.list", title="List who is on call", result=Page[OncallTarget])
def list_oncall(p: ListOncall, _plan: Plan | None) -> Flow[Page[OncallTarget]]:
    """List who is paged, by level and after how long, and whether they were reached."""
    return pages(ONCALL_LIST, p)


class ShowOncall(msgspec.Struct, kw_only=True, frozen=True):
    """Who is shown."""

    oncall: OncallName


@operation("oncall.show", title="Show who is on call", result=OncallTarget, subject="oncall")
def show(p: ShowOncall, _plan: Plan | None) -> Flow[OncallTarget]:
    """Show how somebody is paged. A webhook's secret is never shown."""
    return ONCALL_SHOW(target=p.oncall)


class ListDeliveries(Listing, kw_only=True, frozen=True):
    """Which pages are listed."""

    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(DeliveryState))
    ] = ""
    target: Annotated[str, Param("Only to this one.", completes="oncall.list")] = ""


@operation("oncall.deliveries", title="List pages", result=Page[Delivery])
def deliveries(p: ListDeliveries, _plan: Plan | None) -> Flow[Page[Delivery]]:
    """List pages, newest first: delivered, tried again, given up, still waiting, or not sent."""
    return pages(ONCALL_DELIVERIES, p, state=p.state, target=p.target)


class AddOncall(msgspec.Struct, kw_only=True, frozen=True):
    """Who is paged, how, and about what."""

    name: Annotated[Slug, Param("A short name.", kind=Kind.SLUG, positional=True)]
    webhook: Annotated[
        str, Param("Its address: https, or http on this machine.", metavar="URL", asked=True)
    ] = ""
    signing_key: Annotated[
        str,
        Param("The file with the webhook's secret, `whsec_` and base64.", kind=Kind.FILE,
              asked=True),
    ] = ""  # fmt: skip
    command: Annotated[
        str, Param("A program in the state folder's `paging`.", metavar="PROGRAM", asked=True)
    ] = ""
    arguments: Annotated[
        list[str], Param("An argument of the program.", repeats=True, kind=Kind.LONG_TEXT,
                         flag="argument")
    ] = []  # fmt: skip
    level: Annotated[
        Annotated[int, Meta(ge=1, le=LEVELS)],
        Param("1 is paged first; the next on `alert escalate`.", kind=Kind.NUMBER),
    ] = 1
    severities: Annotated[
        list[Severity],
        Param("About which alerts.", kind=Kind.CHOICE, choices=tuple(Severity), repeats=True,
              flag="severity"),
    ] = msgspec.field(default_factory=lambda: [Severity.HIGH, Severity.CRITICAL])  # fmt: skip
    hours: Annotated[Note, Param("When: `mon-fri 08:00-18:00 Europe/Berlin`; always without.")] = ""
    after_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_AFTER_SECONDS)],
        Param("Only about what nobody has taken on for so long, like 10m.", kind=Kind.DURATION,
              flag="after", asked=True),
    ] = 0  # fmt: skip
    timeout_seconds: Annotated[
        Annotated[int, Meta(ge=1, le=60)],
        Param("Seconds that one attempt may take.", kind=Kind.NUMBER, flag="patience"),
    ] = 10
    reason: Why


def _new(p: AddOncall) -> NewOncall:
    return NewOncall(
        name=p.name,
        url=p.webhook,
        secret=p.signing_key.strip(),
        argv=[p.command, *p.arguments] if p.command else [],
        level=p.level,
        severities=p.severities,
        hours=p.hours,
        after_seconds=p.after_seconds,
        timeout_seconds=p.timeout_seconds,
        reason=p.reason,
    )


def plan_add(p: AddOncall) -> Flow[Plan]:
    """Have it checked, and say who would be told of what."""
    target = yield from ONCALL_ADD(_new(p), validate=True)
    how = f"a signed webhook to {target.url}" if target.url else " ".join(target.argv)
    when = "at once"
    if target.after_seconds:
        when = f"{length(target.after_seconds)} later, where nobody has taken the alert on"
    return Plan(
        title=f"Page {target.slug}",
        sections=[
            Section(
                "What it does",
                [
                    f"{', '.join(target.severities)} alerts are told to {how}",
                    f"at level {target.level}, {target.hours or 'at any hour'}, {when}",
                ],
            ),
            Section("What stays", ["`oncall test` proves that it arrives"]),
        ],
    )


@operation(
    "oncall.add",
    title="Put on call",
    result=OncallTarget,
    effect=Effect.CHANGE,
    role=Role.ADMIN,
    plan=plan_add,
)
def add(p: AddOncall, _plan: Plan | None) -> Flow[OncallTarget]:
    """Page somebody about alerts: by a signed webhook, or by a program on the services' machine.

    Without `--after` they are told at once, where their level is the alert's. With it they are
    told, at that level or above, only of an alert that is open and unacknowledged so long after
    it was made, or last escalated: acknowledging, closing, snoozing or silencing it before
    cancels the page.
    """
    return ONCALL_ADD(_new(p))


class RemoveOne(msgspec.Struct, kw_only=True, frozen=True):
    """Who is paged no more."""

    oncall: OncallName
    reason: Why


def plan_remove(p: RemoveOne) -> Flow[Plan]:
    """Look at who goes."""
    target = yield from ONCALL_SHOW(target=p.oncall)
    return Plan(
        title=f"Page {target.slug} no more",
        sections=[
            Section(
                "What it does",
                [
                    f"{', '.join(target.severities)} alerts are not told to it any more",
                    "its secret is deleted, and what still waits for it is given up",
                ],
            )
        ],
        subject=target,
    )


@operation(
    "oncall.remove",
    title="Take off call",
    result=OncallTarget,
    effect=Effect.CHANGE,
    role=Role.ADMIN,
    plan=plan_remove,
    subject="oncall",
)
def remove(p: RemoveOne, _plan: Plan | None) -> Flow[OncallTarget]:
    """Page somebody no more."""
    return ONCALL_REMOVE(RemoveOncall(reason=p.reason), target=p.oncall)


class TryOne(msgspec.Struct, kw_only=True, frozen=True):
    """Who gets a test page."""

    oncall: OncallName
    reason: Why


def plan_try(p: TryOne) -> Flow[Plan]:
    """Look at who is told."""
    target = yield from ONCALL_SHOW(target=p.oncall)
    return Plan(
        title=f"Send {target.slug} a test page",
        sections=[Section("What it does", ["one page that says that it is a test"])],
        subject=target,
    )


@operation(
    "oncall.test",
    title="Send a test page",
    result=Delivery,
    effect=Effect.CHANGE,
    role=Role.RESPONDER,
    plan=plan_try,
    subject="oncall",
)
def attempt(p: TryOne, _plan: Plan | None) -> Flow[Delivery]:
    """Send a test page. `oncall deliveries` says whether it arrived."""
    return ONCALL_TEST(TryOncall(reason=p.reason), target=p.oncall)


OPERATIONS: tuple[Operation, ...] = (
    list_oncall,
    show,
    deliveries,
    add,
    remove,
    attempt,
)
