"""Offboarding: one write after which nothing that a partner ever had serves again."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.enforcement import CredentialState, Receipt, Tombstone, TombstoneKind
from console.model.grant import OffboardPartner
from console.model.ids import new_id
from console.services.events import event
from console.services.gateway import changes, keys, receipts, tombstones
from console.services.gateway.exchange import KeyFact, TombstoneChange, TombstoneFact
from console.services.gateway.points import Points
from console.services.gateway.schema import TOMBSTONES
from console.services.gateway.snapshot import Snapshot
from console.services.gateway.suspension import knows_partner
from console.services.store import emit, signal
from console.services.web import Ask

PARTNER = "partner"
"""The kind of the tombstone over a whole partner: over all it has, and ever could have."""


class Offboarding:
    """The route that ends a partner."""

    def __init__(self, views: changes.Views, points: Points) -> None:
        self._views = views
        self._points = points

    def offboard(self, conn: Connection, ask: Ask) -> Receipt:
        """Answer `partner.offboard`. Again for the same partner is the receipt that is there."""
        body: OffboardPartner = ask.body
        slug = ask.path["partner"]
        held = conn.execute(
            select(TOMBSTONES.c.body).where(TOMBSTONES.c.kind == PARTNER, TOMBSTONES.c.id == slug)
        ).scalar_one_or_none()
        if held is not None:
            return receipts.find(conn, held.receipt_id)
        snapshot = self._views.at(conn)
        if not knows_partner(conn, snapshot, slug):
            raise refusal(
                "not-found", f"the gateway knows no partner {slug!r}", mend="pilotctl partner list"
            )
        facts, ended = _all_of(snapshot, slug)
        sequence = changes.append(conn, TombstoneChange(ends=facts))
        receipt_id = new_id("receipt")
        marks = [
            Tombstone(
                kind=fact.kind,
                id=fact.id,
                partner=slug,
                reason=body.reason,
                at=ask.now,
                by=ask.operator.name,
                sequence=sequence,
                receipt_id=receipt_id,
            )
            for fact in facts
        ]
        event_id = emit(
            conn,
            event(
                "partner.offboard",
                service="gateway",
                actor=ask.operator.name,
                kind=PARTNER,
                target=slug,
                name=slug,
                partner=slug,
                reason=body.reason,
                request_id=ask.request_id,
                after=marks[0],
                facts={
                    "grants": [fact.id for fact in facts if fact.kind == TombstoneKind.GRANT],
                    "credentials": [key.id for key in ended],
                },
                at=ask.now,
            ),
        )
        for mark in marks:
            conn.execute(
                TOMBSTONES.insert().values(
                    kind=mark.kind, id=mark.id, partner=slug, event_id=event_id, body=mark
                )
            )
        for key in ended:
            credential = keys.find(conn, key.id)
            revoked = msgspec.structs.replace(
                credential,
                state=CredentialState.REVOKED,
                revision=credential.revision + 1,
                updated_at=ask.now,
                updated_by=ask.operator.name,
            )
            keys.store(conn, revoked)
        signal(conn, tombstones.TOPIC)
        return receipts.begin(
            conn,
            points=self._points,
            id=receipt_id,
            action="partner.offboard",
            kind=PARTNER,
            target=slug,
            partner=slug,
            reason=body.reason,
            by=ask.operator.name,
            at=ask.now,
            sequence=sequence,
            credentials=len(ended),
            event_id=event_id,
        )


def _all_of(snapshot: Snapshot, slug: str) -> tuple[list[TombstoneFact], list[KeyFact]]:
    """Return the marks over a partner and all it has, itself first, and its living keys."""
    grants = [
        grant.id
        for grant in snapshot.grants()
        if grant.partner == slug and not snapshot.tombstoned(TombstoneKind.GRANT, grant.id)
    ]
    living = [key for key in snapshot.each_key() if key.partner == slug and not snapshot.ended(key)]
    facts = [TombstoneFact(kind=PARTNER, id=slug)]
    facts += [TombstoneFact(kind=TombstoneKind.GRANT, id=each) for each in sorted(grants)]
    facts += [TombstoneFact(kind=TombstoneKind.CREDENTIAL, id=key.id) for key in living]
    return facts, living
