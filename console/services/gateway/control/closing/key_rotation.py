"""Rotation: a new version of a key beside the old one, which ends when its grace is over.

Both versions work in the grace. When it is over, control puts the old one's tombstone by
its own clock, with an event and a receipt that is followed like any closing's; the points
know the moment beforehand and refuse from then on, whether control is there or not.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
from sqlalchemy import Connection, func, select

from console.api.problems import refusal
from console.model.enforcement import (
    Credential,
    CredentialState,
    IssuedKey,
    Receipt,
    RotateKey,
    TombstoneKind,
)
from console.services.events import SYSTEM, event
from console.services.gateway.control.access import keys
from console.services.gateway.control.closing import tombstones
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import CREDENTIALS
from console.services.store import Store, emit
from console.services.web import Ask, fresh
from console.services.wire.changes import KeyFact, RotateChange, TombstoneFact

_LOOKS_EVERY_SECONDS = 1.0


class Rotation:
    """The route that rotates a key, and the clock that ends the version before."""

    def __init__(self, store: Store, views: change_log.Views, points: Points) -> None:
        self._store = store
        self._views = views
        self._points = points

    def rotate(self, conn: Connection, ask: Ask) -> IssuedKey:
        """Answer `key.rotate`. The new key exists in this answer and nowhere else."""
        body: RotateKey = ask.body
        old = keys.find(conn, ask.path["credential"])
        fresh(ask, old)
        _refuse_unfit(old)
        snapshot = self._views.at(conn)
        known, grant = snapshot.key(old.id), snapshot.grant(old.grant_id)
        if known is None or grant is None:
            raise refusal("not-found", f"the gateway knows no grant {old.grant_id}")
        age = self._points.policy_age(conn, ask.now)
        keys.refuse_closed(snapshot, grant, known, ask.now, age)
        new, fact, raw = keys.mint(
            conn, grant_id=grant.id, partner=old.partner, holder=old.holder, ask=ask,
            version=1 + _newest(conn, old), replaces=old.id,
        )  # fmt: skip
        ends_at = ask.now + timedelta(seconds=body.grace_seconds)
        replaced = msgspec.structs.replace(
            old,
            state=CredentialState.ROTATING,
            replaced_by=new.id,
            rotated_at=ask.now,
            ends_at=ends_at,
            calls_since_rotation=0,
            revision=old.revision + 1,
            updated_at=ask.now,
            updated_by=ask.operator.name,
        )
        keys.store(conn, replaced)
        ending = msgspec.structs.replace(known, ends_at=ends_at)
        change_log.append(conn, RotateChange(old=ending, new=fact))
        emit(
            conn,
            event(
                "key.rotate",
                service="gateway",
                actor=ask.operator.name,
                kind="credential",
                target=old.id,
                partner=old.partner,
                reason=body.reason,
                request_id=ask.request_id,
                before=old,
                after=replaced,
                facts={"new": msgspec.to_builtins(new)},
                at=ask.now,
            ),
        )
        issued = IssuedKey(
            credential=new, secret=raw, base_urls=self._points.urls(conn), replaced=replaced
        )
        if body.grace_seconds:
            return issued
        receipt = self._end(conn, replaced, ask.operator.name, ask.now, ask.request_id)
        return msgspec.structs.replace(
            issued, replaced=keys.find(conn, old.id), receipt_id=receipt.id
        )

    def _end(
        self, conn: Connection, key: Credential, by: str, at: datetime, request_id: str = ""
    ) -> Receipt:
        fact = KeyFact(
            id=key.id, sha256="", grant_id=key.grant_id, partner=key.partner, holder=key.holder
        )
        ending = tombstones.Ending(
            action="key.retire",
            kind=TombstoneKind.CREDENTIAL,
            target=key.id,
            partner=key.partner,
            reason=f"replaced by {key.replaced_by}, and its grace is over",
            by=by,
            at=at,
            request_id=request_id,
        )
        mark = TombstoneFact(kind=TombstoneKind.CREDENTIAL, id=key.id)
        return tombstones.end(conn, self._points, ending, [mark], [fact])

    def retire(self, conn: Connection, at: datetime) -> list[Receipt]:
        """End every replaced key whose grace is over at `at`; return their receipts."""
        due = conn.execute(
            select(CREDENTIALS.c.body)
            .where(
                CREDENTIALS.c.state == CredentialState.ROTATING.value, CREDENTIALS.c.ends_at <= at
            )
            .order_by(CREDENTIALS.c.ends_at)
        ).scalars()
        return [self._end(conn, key, SYSTEM, at) for key in list(due)]

    async def retire_regularly(self) -> None:
        """End replaced keys as their time comes. Runs until cancelled."""
        while True:
            at = datetime.now(UTC)
            if await self._store.read(partial(_due, at=at)):
                await self._store.write(partial(self.retire, at=at))
            await asyncio.sleep(_LOOKS_EVERY_SECONDS)


def _refuse_unfit(key: Credential) -> None:
    if key.state == CredentialState.REVOKED:
        raise refusal(
            "state",
            f"{key.id} was revoked: it has no next version",
            mend=f"pilotctl key issue {key.grant_id}",
            current=key,
        )
    if key.replaced_by:
        raise refusal(
            "state",
            f"{key.id} was replaced by {key.replaced_by} already",
            mend=f"pilotctl key rotate {key.replaced_by}",
            current=key,
        )


def _newest(conn: Connection, key: Credential) -> int:
    """Return the highest version under the key's grant."""
    asked = select(CREDENTIALS.c.body).where(CREDENTIALS.c.grant_id == key.grant_id)
    return max(int(each.version) for each in conn.execute(asked).scalars())


def _due(conn: Connection, at: datetime) -> bool:
    counted = select(func.count()).select_from(CREDENTIALS)
    where = (CREDENTIALS.c.state == CredentialState.ROTATING.value, CREDENTIALS.c.ends_at <= at)
    return bool(conn.execute(counted.where(*where)).scalar_one())
