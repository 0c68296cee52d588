"""Capabilities: what a grant is about, with its tier and what it can reach."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.policy import CAPABILITY_CREATE, CAPABILITY_LIST, CAPABILITY_SHOW
from console.model.access import (
    Capability,
    Category,
    NewCapability,
    RouteName,
    Seconds,
    Tier,
)
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.model.text import Name, Slug
from console.operations.listing import pages
from console.operations.params import Listing, PilotFilter, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import length


class ListCapabilities(Listing, kw_only=True, frozen=True):
    """Which capabilities are listed."""

    pilot: PilotFilter = ""


@operation("capability.list", title="List capabilities", result=Page[Capability])
def list_capabilities(p: ListCapabilities, _plan: Plan | None) -> Flow[Page[Capability]]:
    """List what grants can be about."""
    return pages(CAPABILITY_LIST, p, pilot=p.pilot)


class ShowCapability(msgspec.Struct, kw_only=True, frozen=True):
    """Which capability is shown."""

    capability: Annotated[
        str,
        Param("The capability.", kind=Kind.SLUG, completes="capability.list", positional=True),
    ]


@operation("capability.show", title="Show capability", result=Capability, subject="capability")
def show(p: ShowCapability, _plan: Plan | None) -> Flow[Capability]:
    """Show a capability: its category and tier, its models and routes, its longest grant."""
    return CAPABILITY_SHOW(capability=p.capability)


class CreateCapability(msgspec.Struct, kw_only=True, frozen=True):
    """What the new capability is."""

    slug: Annotated[Slug, Param("Its short name.", kind=Kind.SLUG, positional=True)]
    title: Annotated[Name, Param("Its name, one line.")]
    pilot: Annotated[Slug, Param("The pilot.", kind=Kind.SLUG, completes="pilot.list")]
    category: Annotated[
        Category,
        Param("How it may be handled at all.", kind=Kind.CHOICE, choices=tuple(Category)),
    ]
    tier: Annotated[
        Tier,
        Param("Its impact tier, 0 to 4; from 3 up grants need approval.", kind=Kind.NUMBER),
    ]
    models: Annotated[
        list[Slug], Param("A model it reaches.", kind=Kind.SLUG, repeats=True, flag="model")
    ]
    routes: Annotated[
        list[RouteName],
        Param(
            "A route it opens.",
            kind=Kind.CHOICE,
            choices=tuple(RouteName),
            repeats=True,
            flag="route",
        ),
    ]
    longest_grant_seconds: Annotated[
        Seconds,
        Param("The longest that a grant of it may run.", kind=Kind.DURATION, flag="longest"),
    ]
    reason: Why


def _new(p: CreateCapability) -> NewCapability:
    return NewCapability(
        slug=p.slug,
        title=p.title,
        pilot=p.pilot,
        category=p.category,
        tier=p.tier,
        models=p.models,
        routes=p.routes,
        longest_grant_seconds=p.longest_grant_seconds,
        reason=p.reason,
    )


def plan_create(p: CreateCapability) -> Flow[Plan]:
    """Let policy check the capability without making it."""
    made = yield from CAPABILITY_CREATE(_new(p), validate=True)
    handling = f"{made.category}, tier {made.tier}"
    if made.category == Category.PROHIBITED:
        handling += ": no approval can grant it"
    pair = [
        f"it lies below {each}, over the same model and route: who is granted it reaches what "
        f"{each} guards"
        for each in made.below
    ]
    return Plan(
        title=f"Create capability {made.slug}",
        sections=[
            Section(
                "What it does",
                [
                    f"{made.slug} ({made.title}) in {made.pilot}",
                    handling,
                    f"models: {', '.join(made.models)}",
                    f"routes: {', '.join(made.routes)}",
                    f"grants run at most {length(made.longest_grant_seconds)}",
                    *pair,
                ],
            ),
            Section("What stays", ["nobody has it before a grant"]),
        ],
    )


@operation(
    "capability.create",
    title="Create capability",
    result=Capability,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_create,
)
def create(p: CreateCapability, _plan: Plan | None) -> Flow[Capability]:
    """Define what grants can be about: models, routes, category, tier and longest grant."""
    return CAPABILITY_CREATE(_new(p))


OPERATIONS: tuple[Operation, ...] = (list_capabilities, show, create)
