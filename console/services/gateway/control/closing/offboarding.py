"""Ending a partner, or a whole pilot: one write after which nothing of it ever serves again."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.access import ClosePilot
from console.model.enforcement import Receipt, TombstoneKind
from console.model.grant import GrantProjection, OffboardPartner
from console.services.gateway.control.closing import receipts, tombstones
from console.services.gateway.control.closing.suspensions import knows_partner
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import PILOTS, TOMBSTONES
from console.services.gateway.decision.snapshot import Snapshot
from console.services.web import Ask
from console.services.wire.changes import KeyFact, TombstoneFact

PARTNER, PILOT = "partner", "pilot"
"""The kinds of the tombstones over all that a partner, or a pilot, has and ever could have."""


class Offboarding:
    """The routes that end a partner or a pilot."""

    def __init__(self, views: change_log.Views, points: Points) -> None:
        self._views = views
        self._points = points

    def offboard(self, conn: Connection, ask: Ask) -> Receipt:
        """Answer `partner.offboard`. Again for the same partner is the receipt that is there."""
        slug = ask.path["partner"]
        return self._end(
            conn,
            ask,
            "partner.offboard",
            TombstoneFact(kind=PARTNER, id=slug),
            knows=lambda snapshot: knows_partner(conn, snapshot, slug),
            holds=lambda partner, _grant: partner == slug,
        )

    def close_pilot(self, conn: Connection, ask: Ask) -> Receipt:
        """Answer `pilot.close`. Again for the same pilot is the receipt that is there."""
        slug = ask.path["pilot"]
        return self._end(
            conn,
            ask,
            "pilot.close",
            TombstoneFact(kind=PILOT, id=slug),
            knows=lambda snapshot: knows_pilot(conn, snapshot, slug),
            holds=lambda _partner, grant: grant is not None and grant.pilot == slug,
        )

    def _end(
        self,
        conn: Connection,
        ask: Ask,
        action: str,
        what: TombstoneFact,
        *,
        knows: Callable[[Snapshot], bool],
        holds: Callable[[str, GrantProjection | None], bool],
    ) -> Receipt:
        """Put the permanent mark on `what`, and on each grant and living key that it `holds`."""
        body: OffboardPartner | ClosePilot = ask.body
        held = conn.execute(
            select(TOMBSTONES.c.body).where(
                TOMBSTONES.c.kind == what.kind, TOMBSTONES.c.id == what.id
            )
        ).scalar_one_or_none()
        if held is not None:
            return receipts.find(conn, held.receipt_id)
        snapshot = self._views.at(conn)
        if not knows(snapshot):
            raise refusal(
                "not-found",
                f"the gateway knows no {what.kind} {what.id!r}",
                mend=f"pilotctl {what.kind} list",
            )
        facts, living = _all_of(snapshot, what, holds)
        ending = tombstones.Ending(
            action=action,
            kind=what.kind,
            target=what.id,
            partner=what.id if what.kind == PARTNER else "",
            reason=body.reason,
            by=ask.operator.name,
            at=ask.now,
            request_id=ask.request_id,
            name=what.id,
        )
        return tombstones.end(conn, self._points, ending, facts, living)


def knows_pilot(conn: Connection, snapshot: Snapshot, slug: str) -> bool:
    """Tell whether policy told of a pilot, or a grant names it."""
    told = select(PILOTS.c.slug).where(PILOTS.c.slug == slug)
    return conn.execute(told).first() is not None or any(
        grant.pilot == slug for grant in snapshot.grants()
    )


def _all_of(
    snapshot: Snapshot, what: TombstoneFact, holds: Callable[[str, GrantProjection | None], bool]
) -> tuple[list[TombstoneFact], list[KeyFact]]:
    """Return the marks over `what` and all that it holds, itself first, and its living keys."""
    grants = [
        grant.id
        for grant in snapshot.grants()
        if holds(grant.partner, grant) and not snapshot.tombstoned(TombstoneKind.GRANT, grant.id)
    ]
    living = [
        key
        for key in snapshot.each_key()
        if holds(key.partner, snapshot.grant(key.grant_id)) and not snapshot.ended(key)
    ]
    facts = [what]
    facts += [TombstoneFact(kind=TombstoneKind.GRANT, id=each) for each in sorted(grants)]
    facts += [TombstoneFact(kind=TombstoneKind.CREDENTIAL, id=key.id) for key in living]
    return facts, living
