"""Points: the data-plane processes of the gateway."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.gateway import POINT_ADMIT, POINT_DEREGISTER, POINT_LIST
from console.errors import ExitCode, PilotError
from console.model.enforcement import AdmitPoint, DeregisterPoint, Point, PointState, Receipt
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.operations.closing import follow
from console.operations.listing import pages, whole
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import to_the_second

PointName = Annotated[
    str, Param("The point's name.", kind=Kind.SLUG, completes="point.list", positional=True)
]


class ListPoints(Listing, kw_only=True, frozen=True):
    """Every point."""


@operation("point.list", title="List points", result=Page[Point])
def list_points(p: ListPoints, _plan: Plan | None) -> Flow[Page[Point]]:
    """List the points: what each has applied, and whether it holds a lease."""
    return pages(POINT_LIST, p)


def _named(name: str) -> Flow[Point]:
    """Return a point. Raises `PilotError` where there is none of that name."""
    points = yield from whole(POINT_LIST)
    for point in points:
        if point.name == name:
            return point
    known = ", ".join(point.name for point in points) or "none"
    raise PilotError(
        "not-found",
        f"there is no point {name}: there are {known}",
        exit=ExitCode.NOT_FOUND,
        hint="pilotctl point list",
    )


class Deregister(msgspec.Struct, kw_only=True, frozen=True):
    """Which point is taken out of service."""

    point: PointName
    serving: Annotated[bool, Param("Also while it serves.", kind=Kind.FLAG)] = False
    reason: Why


def plan_deregister(p: Deregister) -> Flow[Plan]:
    """Look at the point: what it serves now."""
    point = yield from _named(p.point)
    serves = point.state == PointState.SERVING
    ends = [f"{point.in_flight} calls in flight, cut"] if serves else ["nothing: it does not serve"]
    if serves and not p.serving:
        ends.append("it serves: this is refused without --serving")
    return Plan(
        title=f"Deregister {point.name}",
        sections=[
            Section(
                "What it does",
                [
                    "it gets no lease any more, and serves nothing once its own is over",
                    "no receipt waits for it from then on",
                ],
            ),
            Section("What ends", ends),
            Section("What stays", ["the other points", "`point admit` lets it serve again"]),
        ],
        name=point.name if serves else "",
        subject=point,
    )


@operation(
    "point.deregister",
    title="Deregister point",
    result=Receipt,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_deregister,
    subject="point",
    converges=True,
)
def deregister(p: Deregister, _plan: Plan | None) -> Flow[Receipt]:
    """Take a point out of service, and prove that it serves nothing.

    It is proven by its lease: control gives it no other, and the one it has lapses within
    seconds. A point that still serves is refused without --serving.
    """
    change = DeregisterPoint(serving=p.serving, reason=p.reason)
    receipt = yield from POINT_DEREGISTER(change, point=p.point)
    return (yield from follow(receipt))


class Admit(msgspec.Struct, kw_only=True, frozen=True):
    """Which point may serve again."""

    point: PointName
    reason: Why


def plan_admit(p: Admit) -> Flow[Plan]:
    """Look at the point, as it was left."""
    point = yield from _named(p.point)
    return Plan(
        title=f"Admit {point.name}",
        sections=[
            Section(
                "What it does",
                ["it may register, and serves once it has applied every change"],
            ),
            Section("It was last seen", [to_the_second(point.last_seen_at)]),
        ],
        subject=point,
    )


@operation(
    "point.admit",
    title="Admit point",
    result=Point,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_admit,
    subject="point",
)
def admit(p: Admit, _plan: Plan | None) -> Flow[Point]:
    """Let a deregistered point serve again. It registers by itself when its process runs."""
    return POINT_ADMIT(AdmitPoint(reason=p.reason), point=p.point)


OPERATIONS: tuple[Operation, ...] = (list_points, deregister, admit)
