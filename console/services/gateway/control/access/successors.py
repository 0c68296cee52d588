"""Renewal: a successor takes the living credentials of the grant that it renews.

The move is one change of the sequence, together with the successor itself: a point knows
a key under the old grant or under the new one, and under neither at no time. So no call
is refused in between, and a stream in flight is judged again and goes on.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from console.model.enforcement import Credential
from console.model.grant import GrantProjection, GrantState
from console.services.events import SYSTEM, event
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.schema import CREDENTIALS, TOMBSTONES
from console.services.gateway.decision.snapshot import Snapshot
from console.services.store import emit
from console.services.wire.changes import MoveChange


def takes_over(conn: Connection, grant: GrantProjection, at: datetime) -> bool:
    """Apply `grant` with the credentials it takes over, and tell whether it took any.

    Only a grant that is open takes them: one that waits for approval leaves the old one
    as it is. What carries a tombstone stays where it ended.
    """
    if not grant.renews or grant.state != GrantState.ACTIVE:
        return False
    moved = [
        msgspec.structs.replace(
            key,
            grant_id=grant.id,
            revision=key.revision + 1,
            updated_at=at,
            updated_by=SYSTEM,
        )
        for key in _living(conn, grant.renews)
    ]
    if not moved:
        return False
    for key in moved:
        conn.execute(
            CREDENTIALS.update()
            .where(CREDENTIALS.c.id == key.id)
            .values(grant_id=grant.id, body=key)
        )
        _record(conn, key, grant, at)
    facts = change_log.key_facts(conn, *(key.id for key in moved))
    change_log.append(conn, MoveChange(grant=grant, keys=facts))
    return True


def successor(snapshot: Snapshot, grant_id: str) -> GrantProjection | None:
    """Return the grant that took over the credentials of `grant_id`, or None."""
    return next(
        (
            each
            for each in snapshot.grants()
            if each.renews == grant_id and each.state == GrantState.ACTIVE
        ),
        None,
    )


def _living(conn: Connection, grant_id: str) -> list[Credential]:
    """Return the credentials under a grant that no tombstone has ended.

    The tombstone of a grant is one of each of its credentials too.
    """
    asked = (
        select(CREDENTIALS.c.body)
        .where(
            CREDENTIALS.c.grant_id == grant_id,
            CREDENTIALS.c.id.not_in(select(TOMBSTONES.c.id)),
        )
        .order_by(CREDENTIALS.c.id)
    )
    return list(conn.execute(asked).scalars())


def _record(conn: Connection, key: Credential, grant: GrantProjection, at: datetime) -> None:
    emit(
        conn,
        event(
            "key.move",
            service="gateway",
            actor=SYSTEM,
            kind="credential",
            target=key.id,
            partner=key.partner,
            reason=f"{grant.id} renews {grant.renews}",
            before={"grant_id": grant.renews},
            after=key,
            at=at,
        ),
    )
