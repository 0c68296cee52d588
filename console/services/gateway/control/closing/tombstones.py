"""Tombstones: grants and credentials that never serve again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, select

from console.api.problems import refusal
from console.model.enforcement import CredentialState, Receipt, Revoke, Tombstone, TombstoneKind
from console.model.ids import new_id
from console.model.stored import Page
from console.services.events import event
from console.services.gateway.control.access import keys
from console.services.gateway.control.closing import receipts
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import TOMBSTONES
from console.services.gateway.decision.snapshot import Snapshot
from console.services.store import emit, signal
from console.services.web import Ask, page
from console.services.wire.changes import KeyFact, TombstoneChange, TombstoneFact
from console.services.wire.projections import Closing, Closings

TOPIC = "closings"
_MAX_AT_ONCE = 500


class Tombstones:
    """The routes about tombstones."""

    def __init__(self, views: change_log.Views, points: Points) -> None:
        self._views = views
        self._points = points

    def listing(self, conn: Connection, ask: Ask) -> Page[Tombstone]:
        """Answer `tombstone.list`, newest first."""
        query = select(TOMBSTONES)
        if wanted := ask.query.get("partner"):
            query = query.where(TOMBSTONES.c.partner == wanted)
        return page(conn, query, ask, keys=[TOMBSTONES.c.seq.desc()], decode=lambda row: row.body)

    def revoke(self, conn: Connection, ask: Ask) -> Receipt:
        """Answer `tombstone.create`. Again for the same id is the receipt that is there."""
        body: Revoke = ask.body
        held = conn.execute(
            select(TOMBSTONES.c.body).where(
                TOMBSTONES.c.kind == body.kind, TOMBSTONES.c.id == body.id
            )
        ).scalar_one_or_none()
        if held is not None:
            return receipts.find(conn, held.receipt_id)
        snapshot = self._views.at(conn)
        partner, ended = _ended_by(snapshot, body)
        facts = [TombstoneFact(kind=TombstoneKind.CREDENTIAL, id=key.id) for key in ended]
        if body.kind is TombstoneKind.GRANT:
            # what succeeds it is the same access, and ends with it
            later = snapshot.successors(body.id)
            ids = [body.id, *(each for each in later if not snapshot.tombstoned("grant", each))]
            facts[:0] = [TombstoneFact(kind=TombstoneKind.GRANT, id=each) for each in ids]
        ending = Ending(
            action=f"{'grant' if body.kind is TombstoneKind.GRANT else 'key'}.revoke",
            kind=body.kind,
            target=body.id,
            partner=partner,
            reason=body.reason,
            by=ask.operator.name,
            at=ask.now,
            request_id=ask.request_id,
        )
        return end(conn, self._points, ending, facts, ended)


class Ending(NamedTuple):
    """What ends for ever, by whom and why, as its event and its receipt say it."""

    action: str
    kind: str
    target: str
    partner: str
    reason: str
    by: str
    at: datetime
    request_id: str = ""
    name: str = ""


def end(
    conn: Connection,
    points: Points,
    ending: Ending,
    facts: list[TombstoneFact],
    ended: Iterable[KeyFact],
) -> Receipt:
    """Put the permanent mark on each of `facts`, in one change with one event and a receipt.

    `ended` are the credentials that serve no more.
    """
    ids = [key.id for key in ended]
    grants = [fact.id for fact in facts if fact.kind == TombstoneKind.GRANT]
    receipt_id = new_id("receipt")
    sequence = change_log.append(conn, TombstoneChange(ends=facts))
    marks = [
        Tombstone(
            kind=fact.kind,
            id=fact.id,
            partner=ending.partner,
            reason=ending.reason,
            at=ending.at,
            by=ending.by,
            sequence=sequence,
            receipt_id=receipt_id,
        )
        for fact in facts
    ]
    event_id = emit(
        conn,
        event(
            ending.action,
            service="gateway",
            actor=ending.by,
            kind=ending.kind,
            target=ending.target,
            name=ending.name,
            partner=ending.partner,
            reason=ending.reason,
            request_id=ending.request_id,
            after=marks[0],
            facts={"credentials": ids, **({"grants": grants} if grants else {})},
            at=ending.at,
        ),
    )
    for mark in marks:
        conn.execute(
            TOMBSTONES.insert().values(
                kind=mark.kind, id=mark.id, partner=mark.partner, event_id=event_id, body=mark
            )
        )
    for key in ids:
        credential = keys.find(conn, key)
        keys.store(
            conn,
            msgspec.structs.replace(
                credential,
                state=CredentialState.REVOKED,
                revision=credential.revision + 1,
                updated_at=ending.at,
                updated_by=ending.by,
            ),
        )
    signal(conn, TOPIC)
    return receipts.begin(
        conn,
        points=points,
        id=receipt_id,
        action=ending.action,
        kind=ending.kind,
        target=ending.target,
        partner=ending.partner,
        reason=ending.reason,
        by=ending.by,
        at=ending.at,
        sequence=sequence,
        credentials=len(ids),
        event_id=event_id,
    )


def closings(conn: Connection, after: int) -> Closings:
    """Return the tombstones after a sequence, for policy to follow."""
    rows = conn.execute(
        select(TOMBSTONES.c.seq, TOMBSTONES.c.event_id, TOMBSTONES.c.body)
        .where(TOMBSTONES.c.seq > after)
        .order_by(TOMBSTONES.c.seq)
        .limit(_MAX_AT_ONCE)
    )
    items = [
        Closing(
            seq=row.seq,
            kind=row.body.kind,
            id=row.body.id,
            reason=row.body.reason,
            by=row.body.by,
            at=row.body.at,
            event_id=row.event_id,
        )
        for row in rows
    ]
    newest = conn.execute(select(func.max(TOMBSTONES.c.seq))).scalar() or 0
    return Closings(items=items, head=newest)


def _ended_by(snapshot: Snapshot, body: Revoke) -> tuple[str, list[KeyFact]]:
    """Return the partner and the living credentials that a revocation ends.

    Raises the problem `not-found` where the gateway holds no such id.
    """
    if body.kind is TombstoneKind.CREDENTIAL:
        key = snapshot.key(body.id)
        if key is None:
            raise refusal(
                "not-found", f"there is no credential {body.id}", mend="pilotctl key list"
            )
        return key.partner, [key]
    grant = snapshot.grant(body.id)
    if grant is None:
        raise refusal(
            "not-found",
            f"the gateway holds no grant {body.id}: none that was ever open",
            mend="pilotctl grant list",
        )
    return grant.partner, [key for key in snapshot.keys_of(body.id) if not snapshot.ended(key)]
