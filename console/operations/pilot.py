"""Pilots: partner-only programmes, and the stages of their release."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from console.api.flow import Flow
from console.api.gateway import PILOT_CLOSE
from console.api.policy import (
    PILOT_CREATE,
    PILOT_EXPORT,
    PILOT_IMPORT,
    PILOT_LIST,
    PILOT_SHOW,
    PILOT_STAGE,
)
from console.errors import ExitCode, PilotError
from console.model.access import (
    ClosePilot,
    ContentKeeping,
    ImportPilot,
    NewPilot,
    Pilot,
    PilotFile,
    PilotText,
    SetStage,
    Stage,
)
from console.model.enforcement import LockKind, LockTarget, Receipt
from console.model.limits import Limits
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.model.text import Name, Slug
from console.operations import limits_text, pilot_toml
from console.operations.closing import (
    FIRST_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    ends,
    follow,
    pause,
    reach,
    stays,
)
from console.operations.listing import pages
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import length

_NEWS_SECONDS = 5.0
"""How long the gateway may take to hear of what policy has made."""

PilotSlug = Annotated[
    str, Param("The pilot.", kind=Kind.SLUG, completes="pilot.list", positional=True)
]


class ListPilots(Listing, kw_only=True, frozen=True):
    """Every pilot."""


@operation("pilot.list", title="List pilots", result=Page[Pilot])
def list_pilots(p: ListPilots, _plan: Plan | None) -> Flow[Page[Pilot]]:
    """List the pilots."""
    return pages(PILOT_LIST, p)


class ShowPilot(msgspec.Struct, kw_only=True, frozen=True):
    """Which pilot is shown."""

    pilot: PilotSlug


@operation("pilot.show", title="Show pilot", result=Pilot, subject="pilot")
def show(p: ShowPilot, _plan: Plan | None) -> Flow[Pilot]:
    """Show a pilot: its models, its stages and their bounds, the terms in force."""
    return PILOT_SHOW(pilot=p.pilot)


class CreatePilot(msgspec.Struct, kw_only=True, frozen=True):
    """What the new pilot is."""

    slug: Annotated[Slug, Param("Its short name.", kind=Kind.SLUG, positional=True)]
    title: Annotated[Name, Param("Its name, one line.")]
    models: Annotated[
        list[Slug], Param("A model it is about.", kind=Kind.SLUG, repeats=True, flag="model")
    ]
    stages: Annotated[
        list[Stage],
        Param(
            "A stage, like sandbox:most-partners=10,longest=30d.",
            kind=Kind.STAGE,
            repeats=True,
            flag="stage",
        ),
    ]
    grace_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=7 * 86400)],
        Param(
            "How long calls below tier 3 go on while the gateway hears nothing from policy.",
            kind=Kind.DURATION,
            flag="grace",
        ),
    ] = 3600
    credit_micros: Annotated[
        int | None,
        Param(
            "What all its partners may spend together; no pool without it.",
            kind=Kind.MONEY,
            flag="credit",
        ),
    ] = None
    content: Annotated[
        ContentKeeping,
        Param(
            "What is kept of what partners send and get.",
            kind=Kind.CHOICE,
            choices=tuple(ContentKeeping),
        ),
    ] = ContentKeeping.NONE
    content_days: Annotated[
        Annotated[int, Meta(ge=0, le=3650)],
        Param("How many days sealed content is kept.", kind=Kind.NUMBER),
    ] = 0
    reason: Why


def _new(p: CreatePilot) -> NewPilot:
    return NewPilot(
        slug=p.slug,
        title=p.title,
        models=p.models,
        stages=p.stages,
        grace_seconds=p.grace_seconds,
        credit_micros=p.credit_micros,
        content=p.content,
        content_days=p.content_days,
        reason=p.reason,
    )


def _bounds(stage: Stage) -> str:
    count = f"{stage.most_partners} partner{'' if stage.most_partners == 1 else 's'}"
    return f"stage {stage.key}: at most {count}, grants of {length(stage.longest_grant_seconds)}"


def plan_create(p: CreatePilot) -> Flow[Plan]:
    """Let policy check the pilot without making it."""
    pilot = yield from PILOT_CREATE(_new(p), validate=True)
    return Plan(
        title=f"Create pilot {pilot.slug}",
        sections=[
            Section(
                "What it does",
                [
                    f"{pilot.slug} ({pilot.title}), models: {', '.join(pilot.models)}",
                    *map(_bounds, pilot.stages),
                    f"without policy, calls below tier 3 go on for {length(pilot.grace_seconds)}",
                ],
            ),
            Section("What stays", ["nobody has access before a grant"]),
        ],
    )


@operation(
    "pilot.create",
    title="Create pilot",
    result=Pilot,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_create,
)
def create(p: CreatePilot, _plan: Plan | None) -> Flow[Pilot]:
    """Create a partner-only programme, with its models and stages."""
    return PILOT_CREATE(_new(p))


class SetPilotStage(msgspec.Struct, kw_only=True, frozen=True):
    """Which stage gets which bounds; what is not given stays."""

    pilot: PilotSlug
    stage: Annotated[
        Stage,
        Param(
            "The stage and its bounds, like limited:most-partners=20,longest=60d.",
            kind=Kind.STAGE,
            positional=True,
        ),
    ]
    criteria: Annotated[
        list[Name] | None,
        Param(
            "What people check before a partner enters: a plan names it, nothing is refused.",
            kind=Kind.LONG_TEXT,
            repeats=True,
            flag="criterion",
        ),
    ] = None
    limits: Annotated[
        Limits | None,
        Param("What a grant in it gets that names none: requests=60,parallel=4.", kind=Kind.LIMITS),
    ] = None
    principal_limits: Annotated[
        Limits | None, Param("The same for each of its principals.", kind=Kind.LIMITS)
    ] = None
    reason: Why


def _stage_of(pilot: Pilot, key: str) -> Stage | None:
    return next((each for each in pilot.stages if each.key == key), None)


def _merged(p: SetPilotStage, before: Stage | None) -> Stage:
    """Return the stage with what it keeps of before."""
    old = before or p.stage
    return msgspec.structs.replace(
        p.stage,
        criteria=old.criteria if p.criteria is None else p.criteria,
        limits=old.limits if p.limits is None else p.limits,
        principal_limits=old.principal_limits if p.principal_limits is None else p.principal_limits,
    )


def plan_stage(p: SetPilotStage) -> Flow[Plan]:
    """Compare the stage with what it is now."""
    pilot = yield from PILOT_SHOW(pilot=p.pilot)
    before = _stage_of(pilot, p.stage.key)
    return Plan(
        title=f"Set stage {p.stage.key} of {pilot.slug}",
        sections=[
            Section("What it does", _told(_merged(p, before))),
            Section("What it replaces", _told(before) if before else ["nothing: it is added"]),
            Section("What stays", ["grants that were made go on as they were made"]),
        ],
        revision=pilot.revision,
        subject=pilot,
    )


def _told(stage: Stage) -> list[str]:
    return [
        _bounds(stage),
        f"limits: {limits_text.write(stage.limits)}",
        f"limits of each principal: {limits_text.write(stage.principal_limits)}",
        *(f"criterion, for people to check: {each}" for each in stage.criteria),
    ]


@operation(
    "pilot.stage",
    title="Set stage",
    result=Pilot,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_stage,
    subject="pilot",
)
def stage(p: SetPilotStage, plan: Plan | None) -> Flow[Pilot]:
    """Add a stage to a pilot, or replace its bounds, criteria and limits."""
    plan = plan or (yield from plan_stage(p))
    assert plan.revision is not None
    pilot = plan.subject or (yield from PILOT_SHOW(pilot=p.pilot))
    change = SetStage(stage=_merged(p, _stage_of(pilot, p.stage.key)), reason=p.reason)
    return (yield from PILOT_STAGE(change, pilot=p.pilot, if_match=plan.revision))


@operation("pilot.export", title="Export pilot", result=PilotFile, subject="pilot")
def export(p: ShowPilot, _plan: Plan | None) -> Flow[PilotFile]:
    """Print a pilot as TOML: its stages, limits and capabilities; no partner, no secret."""
    text = yield from PILOT_EXPORT(pilot=p.pilot)
    return PilotFile(slug=text.slug, text=pilot_toml.write(text))


class ImportOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which file says what the pilot is."""

    text: Annotated[
        str,
        Param(
            "The pilot's file (TOML), as `pilot export` writes it.",
            kind=Kind.FILE,
            positional=True,
            flag="file",
            metavar="FILE",
        ),
    ]
    reason: Why


def _there(slug: str) -> Flow[tuple[Pilot | None, PilotText | None]]:
    """Return the pilot of a slug, and its text, or nothing where there is none."""
    try:
        pilot = yield from PILOT_SHOW(pilot=slug)
    except PilotError as error:
        if error.exit is not ExitCode.NOT_FOUND:
            raise
        return None, None
    text = yield from PILOT_EXPORT(pilot=slug)
    return pilot, text


def plan_import(p: ImportOne) -> Flow[Plan]:
    """Read the file, compare it with the pilot, and let policy check the import."""
    new = pilot_toml.read(p.text)
    pilot, old = yield from _there(new.slug)
    change = ImportPilot(pilot=new, revision=pilot.revision if pilot else None, reason=p.reason)
    yield from PILOT_IMPORT(change, validate=True)
    left = sorted(set(old.capabilities) - set(new.capabilities)) if old else []
    return Plan(
        title=f"{'Change' if pilot else 'Create'} pilot {new.slug}",
        sections=[
            Section("What it does", pilot_toml.changes(old, new) or ["nothing: it is so already"]),
            Section(
                "What stays",
                [
                    "grants that were made go on as they were made",
                    *(f"capability {slug}: the file leaves it out" for slug in left),
                ],
            ),
        ],
        revision=pilot.revision if pilot else None,
        subject=pilot,
    )


@operation(
    "pilot.import",
    title="Import pilot",
    result=Pilot,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_import,
)
def take_in(p: ImportOne, plan: Plan | None) -> Flow[Pilot]:
    """Make a pilot what a file says: made where there is none, changed where they differ.

    The plan shows each difference. Importing what was exported changes nothing. A key that
    is not known is refused, with its line and the nearest that there is.
    """
    new = pilot_toml.read(p.text)
    revision = plan.revision if plan else None
    if plan is None:
        pilot, _ = yield from _there(new.slug)
        revision = pilot.revision if pilot else None
    change = ImportPilot(pilot=new, revision=revision, reason=p.reason)
    return (yield from PILOT_IMPORT(change))


class ClosePilotParams(msgspec.Struct, kw_only=True, frozen=True):
    """Which pilot ends, and why."""

    pilot: PilotSlug
    reason: Why


def plan_close(p: ClosePilotParams) -> Flow[Plan]:
    """Ask the gateway for everything that ends."""
    blast = yield from reach(LockTarget(kind=LockKind.PILOT, id=p.pilot))
    return Plan(
        title=f"Close pilot {p.pilot}",
        sections=[
            Section(
                "What it does",
                [
                    f"nothing that {p.pilot} opened, or could open, ever serves again",
                    "every grant and key gets its permanent mark, in one change",
                    "closing, until every point has refused each key; then closed",
                ],
            ),
            ends(blast),
            stays(blast),
        ],
        name=p.pilot,
        partners=len(blast.partners),
        irreversible="A closed pilot never opens again, and its slug is never used again.",
        blast=blast,
    )


@operation(
    "pilot.close",
    title="Close pilot",
    result=Receipt,
    effect=Effect.DESTRUCTIVE,
    direction=Direction.CLOSES,
    role=Role.ADMIN,
    plan=plan_close,
    subject="pilot",
    converges=True,
)
def close(p: ClosePilotParams, _plan: Plan | None) -> Flow[Receipt]:
    """End a pilot for ever: all its grants and keys, of every partner, and prove it.

    One write at the gateway, by one person, with or without policy and audit. The pilot is
    `closing` until every point has refused all of it, then `closed`.
    """
    return (yield from follow((yield from _closed(p))))


def _closed(p: ClosePilotParams) -> Flow[Receipt]:
    """Close it at the gateway, which may hear of a pilot a moment after policy made it."""
    wait, waited = FIRST_PAUSE_SECONDS, 0.0
    while True:
        try:
            return (yield from PILOT_CLOSE(ClosePilot(reason=p.reason), pilot=p.pilot))
        except PilotError as error:
            if error.exit is not ExitCode.NOT_FOUND or waited >= _NEWS_SECONDS:
                raise
            if not (yield from _is_known(p.pilot)) or (yield from pause(wait)) <= 0:
                raise
        waited += wait
        wait = min(wait * 2, MAX_PAUSE_SECONDS)


def _is_known(pilot: str) -> Flow[bool]:
    """Tell whether policy is there and knows the pilot."""
    try:
        yield from PILOT_SHOW(pilot=pilot)
    except PilotError:
        return False
    return True


OPERATIONS: tuple[Operation, ...] = (list_pilots, show, create, stage, export, take_in, close)
