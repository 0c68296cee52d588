"""Points: the data-plane processes of the gateway."""

from __future__ import annotations

from console.api.engines import Engines
from console.api.flow import Flow
from console.model.enforcement import Point
from console.model.stored import Page
from console.operations.listing import pages
from console.operations.params import Listing
from console.operations.spec import Operation, Plan, operation


class ListPoints(Listing, kw_only=True, frozen=True):
    """Every point."""


@operation("point.list", title="List points", result=Page[Point])
def list_points(p: ListPoints, at: Engines, _plan: Plan | None) -> Flow[Page[Point]]:
    """List the points: what each has applied, and whether it holds a lease."""
    return pages(p, at.points.find)


OPERATIONS: tuple[Operation, ...] = (list_points,)
