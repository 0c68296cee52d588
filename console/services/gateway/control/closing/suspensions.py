"""Suspensions: what an operator stops for now, in one write here, with or without policy.

A suspension decides every call from the next one on and cuts the streams in flight, like
a lock; unlike a lock it is taken over by policy, as the state of the grant or partner,
and only policy's word that it was resumed lifts it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from console.api.problems import refusal
from console.model.access import Suspension
from console.model.enforcement import LockKind, LockTarget, Receipt
from console.model.grant import GrantState, SuspendAccess
from console.model.ids import new_id
from console.services.events import SYSTEM, event
from console.services.gateway.control.closing import receipts
from console.services.gateway.control.closing.blast import blast
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import NOTICES, PARTNERS, SUSPENSIONS
from console.services.gateway.decision.snapshot import Snapshot
from console.services.store import emit, signal
from console.services.web import Ask
from console.services.wire.changes import LiftChange, SuspendChange, SuspensionFact
from console.services.wire.projections import Notice, Notices

TOPIC = "notices"
_PROVEN = {"partner.offboard": "partner-offboarded", "pilot.close": "pilot-closed"}
"""What policy is told once the receipt of an action is verified."""
_MAX_AT_ONCE = 500
_LIVE = frozenset({GrantState.ACTIVE, GrantState.PROVISIONING, GrantState.SUSPENDED})


class Suspensions:
    """The routes that suspend."""

    def __init__(self, views: change_log.Views, points: Points) -> None:
        self._views = views
        self._points = points

    def grant(self, conn: Connection, ask: Ask) -> Receipt:
        """Answer `grant.suspend`. Again for the same grant is the receipt that is there."""
        name = ask.path["grant"]
        snapshot = self._views.at(conn)
        grant = snapshot.grant(name)
        if grant is None:
            raise refusal(
                "not-found", f"the gateway knows no grant {name}", mend="pilotctl grant list"
            )
        if snapshot.tombstoned("grant", name) or grant.state not in _LIVE:
            raise refusal(
                "state",
                f"{name} is {grant.state.replace('_', ' ')}: there is nothing to suspend",
                mend=f"pilotctl grant show {name}",
            )
        return self._suspend(conn, ask, snapshot, LockTarget(kind=LockKind.GRANT, id=name))

    def partner(self, conn: Connection, ask: Ask) -> Receipt:
        """Answer `partner.suspend`. Again for the same partner is the receipt that is there."""
        name = ask.path["partner"]
        snapshot = self._views.at(conn)
        if not knows_partner(conn, snapshot, name):
            raise refusal(
                "not-found", f"the gateway knows no partner {name!r}", mend="pilotctl partner list"
            )
        if snapshot.tombstoned("partner", name):
            raise refusal("state", f"partner {name} was offboarded: nothing of it serves")
        return self._suspend(conn, ask, snapshot, LockTarget(kind=LockKind.PARTNER, id=name))

    def _suspend(
        self, conn: Connection, ask: Ask, snapshot: Snapshot, target: LockTarget
    ) -> Receipt:
        body: SuspendAccess = ask.body
        if held := snapshot.suspension(target.kind, target.id):
            return receipts.find(conn, _receipt_of(conn, held.id))
        action = f"{target.kind.value}.suspend"
        ends = blast(conn, snapshot, target)
        partner = ends.partners[0] if ends.partners else ""
        made = Suspension(
            id=new_id("suspension"), at=ask.now, by=ask.operator.name, reason=body.reason
        )
        event_id = emit(
            conn,
            event(
                action,
                service="gateway",
                actor=made.by,
                kind=target.kind.value,
                target=target.id,
                partner=partner,
                reason=made.reason,
                request_id=ask.request_id,
                after={"suspension": made, "ends": ends},
                at=ask.now,
            ),
        )
        return hold(
            conn,
            self._points,
            target.kind.value,
            target.id,
            made,
            partner=partner,
            credentials=ends.credentials,
            event_id=event_id,
        )


def hold(
    conn: Connection,
    points: Points,
    kind: str,
    target: str,
    what: Suspension,
    *,
    partner: str,
    credentials: int,
    event_id: str,
) -> Receipt:
    """Put a suspension in force: one change, a notice for policy, and a receipt to be proven."""
    fact = SuspensionFact(id=what.id, kind=kind, target=target)
    sequence = change_log.append(conn, SuspendChange(suspension=fact))
    receipt = new_id("receipt")
    conn.execute(
        SUSPENSIONS.insert().values(
            id=fact.id, kind=kind, target=target, state="active", receipt_id=receipt
        )
    )
    give(conn, f"{kind}-suspended", what, target)
    return receipts.begin(
        conn,
        points=points,
        id=receipt,
        action=f"{kind}.suspend",
        kind=kind,
        target=target,
        partner=partner,
        reason=what.reason,
        by=what.by,
        at=what.at,
        sequence=sequence,
        credentials=credentials,
        event_id=event_id,
    )


def knows_partner(conn: Connection, snapshot: Snapshot, slug: str) -> bool:
    """Tell whether policy told of a partner, or a grant or key names it."""
    told = select(PARTNERS.c.slug).where(PARTNERS.c.slug == slug)
    return (
        conn.execute(told).first() is not None
        or any(grant.partner == slug for grant in snapshot.grants())
        or any(key.partner == slug for key in snapshot.each_key())
    )


def lift(conn: Connection, id: str, at: datetime) -> None:
    """Lift a suspension that policy says was resumed. One that is lifted stays so."""
    held = conn.execute(
        select(SUSPENSIONS).where(SUSPENSIONS.c.id == id, SUSPENSIONS.c.state == "active")
    ).first()
    if held is None:
        return
    conn.execute(SUSPENSIONS.update().where(SUSPENSIONS.c.id == id).values(state="lifted"))
    sequence = change_log.append(conn, LiftChange(id=id))
    emit(
        conn,
        event(
            "suspension.lift",
            service="gateway",
            actor=SYSTEM,
            kind=held.kind,
            target=held.target,
            partner=held.target if held.kind == LockKind.PARTNER else "",
            reason="policy says that it was resumed",
            facts={"suspension": id, "receipt_id": held.receipt_id, "sequence": sequence},
            at=at,
        ),
    )


def active(conn: Connection) -> list[SuspensionFact]:
    """Return the suspensions in force."""
    asked = select(SUSPENSIONS).where(SUSPENSIONS.c.state == "active").order_by(SUSPENSIONS.c.id)
    return [
        SuspensionFact(id=row.id, kind=row.kind, target=row.target) for row in conn.execute(asked)
    ]


def give(conn: Connection, kind: str, what: Suspension, target: str) -> None:
    """Leave a notice for policy."""
    seq = int(conn.execute(select(func.max(NOTICES.c.seq))).scalar() or 0) + 1
    notice = Notice(
        seq=seq,
        kind=kind,
        id=what.id,
        target=target,
        reason=what.reason,
        by=what.by,
        at=what.at,
    )
    conn.execute(NOTICES.insert().values(seq=seq, body=notice))
    signal(conn, TOPIC)


def notices(conn: Connection, after: int) -> Notices:
    """Return the notices after a sequence, for policy to follow."""
    asked = (
        select(NOTICES.c.body)
        .where(NOTICES.c.seq > after)
        .order_by(NOTICES.c.seq)
        .limit(_MAX_AT_ONCE)
    )
    return Notices(items=list(conn.execute(asked).scalars()))


def proven(conn: Connection, receipt: Receipt, at: datetime) -> None:
    """Tell policy, where a receipt that was verified is that of a partner's or a pilot's end."""
    if kind := _PROVEN.get(receipt.action):
        what = Suspension(id=receipt.id, at=at, by=receipt.by, reason=receipt.reason)
        give(conn, kind, what, receipt.target)


def _receipt_of(conn: Connection, id: str) -> str:
    asked = select(SUSPENSIONS.c.receipt_id).where(SUSPENSIONS.c.id == id)
    return str(conn.execute(asked).scalar_one())
