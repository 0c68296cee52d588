"""Points that leave for good: deregistered, and admitted again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from console.api.problems import refusal
from console.model.enforcement import DeregisterPoint, Point, Receipt
from console.model.ids import new_id
from console.services.events import event
from console.services.gateway.control.closing import receipts
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import POINTS
from console.services.store import emit
from console.services.web import Ask


class Leaving:
    """The routes that take a point out of service and let it in again."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def deregister(self, conn: Connection, ask: Ask) -> Receipt:
        """Answer `point.deregister`. Again for the same point is the receipt that is there."""
        body: DeregisterPoint = ask.body
        name = ask.path["point"]
        row = _row(conn, name)
        if row.gone_at is not None:
            return receipts.newest(conn, "point.deregister", name)
        seen = self._points.seen(name)
        if seen.serving and not body.serving:
            running = sum(seen.said.in_flight.values())
            raise refusal(
                "state",
                f"{name} serves, with {running} calls in flight",
                mend=f"pilotctl point deregister {name} --serving",
            )
        conn.execute(POINTS.update().where(POINTS.c.name == name).values(gone_at=ask.now))
        event_id = emit(conn, _event("point.deregister", name, ask))
        return receipts.begin(
            conn,
            points=self._points,
            id=new_id("receipt"),
            action="point.deregister",
            kind="point",
            target=name,
            partner="",
            reason=body.reason,
            by=ask.operator.name,
            at=ask.now,
            sequence=change_log.head(conn),
            credentials=0,
            event_id=event_id,
            only=name,
        )

    def admit(self, conn: Connection, ask: Ask) -> Point:
        """Answer `point.admit`: a deregistered point may register and serve again."""
        name = ask.path["point"]
        row = _row(conn, name)
        if row.gone_at is None:
            raise refusal("state", f"{name} was not deregistered")
        conn.execute(POINTS.update().where(POINTS.c.name == name).values(gone_at=None))
        left = receipts.newest(conn, "point.deregister", name)
        emit(conn, _event("point.admit", name, ask, receipt_id=left.id))
        return self._points.shown(_row(conn, name))


def _row(conn: Connection, name: str) -> Row[Any]:
    """Return what is stored of a point. Raises the problem `not-found`."""
    found = conn.execute(select(POINTS).where(POINTS.c.name == name)).first()
    if found is None:
        raise refusal("not-found", f"there is no point {name}", mend="pilotctl point list")
    return found


def _event(action: str, name: str, ask: Ask, **facts: str) -> dict[str, Any]:
    return event(
        action,
        service="gateway",
        actor=ask.operator.name,
        kind="point",
        target=name,
        name=name,
        reason=ask.body.reason,
        request_id=ask.request_id,
        facts=facts or None,
        at=ask.now,
    )
