"""Pilots: partner-only programmes, and the stages of their release."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from console.api.engines import Engines
from console.api.flow import Flow
from console.model.access import NewPilot, Pilot, SetStage, Stage
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.model.text import Name, Slug
from console.operations.listing import pages
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import length

PilotSlug = Annotated[
    str, Param("The pilot.", kind=Kind.SLUG, completes="pilot.list", positional=True)
]


class ListPilots(Listing, kw_only=True, frozen=True):
    """Every pilot."""


@operation("pilot.list", title="List pilots", result=Page[Pilot])
def list_pilots(p: ListPilots, at: Engines, _plan: Plan | None) -> Flow[Page[Pilot]]:
    """List the pilots."""
    return pages(p, at.pilots.find)


class ShowPilot(msgspec.Struct, kw_only=True, frozen=True):
    """Which pilot is shown."""

    pilot: PilotSlug


@operation("pilot.show", title="Show pilot", result=Pilot, subject="pilot")
def show(p: ShowPilot, at: Engines, _plan: Plan | None) -> Flow[Pilot]:
    """Show a pilot: its models, its stages and their bounds, the terms in force."""
    return at.pilots.show(p.pilot)


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
    reason: Why


def _new(p: CreatePilot) -> NewPilot:
    return NewPilot(
        slug=p.slug,
        title=p.title,
        models=p.models,
        stages=p.stages,
        grace_seconds=p.grace_seconds,
        reason=p.reason,
    )


def _bounds(stage: Stage) -> str:
    count = f"{stage.most_partners} partner{'' if stage.most_partners == 1 else 's'}"
    return f"stage {stage.key}: at most {count}, grants of {length(stage.longest_grant_seconds)}"


def plan_create(p: CreatePilot, at: Engines) -> Flow[Plan]:
    """Let policy check the pilot without making it."""
    pilot = yield from at.pilots.create(_new(p), validate=True)
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
def create(p: CreatePilot, at: Engines, _plan: Plan | None) -> Flow[Pilot]:
    """Create a partner-only programme, with its models and stages."""
    return at.pilots.create(_new(p))


class SetPilotStage(msgspec.Struct, kw_only=True, frozen=True):
    """Which stage gets which bounds."""

    pilot: PilotSlug
    stage: Annotated[
        Stage,
        Param(
            "The stage and its bounds, like limited:most-partners=20,longest=60d.",
            kind=Kind.STAGE,
            positional=True,
        ),
    ]
    reason: Why


def plan_stage(p: SetPilotStage, at: Engines) -> Flow[Plan]:
    """Compare the stage with what it is now."""
    pilot = yield from at.pilots.show(p.pilot)
    before = next((each for each in pilot.stages if each.key == p.stage.key), None)
    return Plan(
        title=f"Set stage {p.stage.key} of {pilot.slug}",
        sections=[
            Section(
                "What it does",
                [_bounds(p.stage), f"before: {_bounds(before)}" if before else "it is added"],
            ),
            Section("What stays", ["grants that were made go on as they were made"]),
        ],
        revision=pilot.revision,
        subject=pilot,
    )


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
def stage(p: SetPilotStage, at: Engines, plan: Plan | None) -> Flow[Pilot]:
    """Add a stage to a pilot, or replace its bounds."""
    plan = plan or (yield from plan_stage(p, at))
    assert plan.revision is not None
    change = SetStage(stage=p.stage, reason=p.reason)
    return (yield from at.pilots.stage(p.pilot, change, plan.revision))


OPERATIONS: tuple[Operation, ...] = (list_pilots, show, create, stage)
