"""What policy tells the gateway: taken in order, once, and never against a tombstone."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from console.model.access import PartnerProjection, PilotProjection
from console.model.grant import GrantProjection
from console.model.principal import PrincipalProjection
from console.services.gateway.control.access import successors
from console.services.gateway.control.closing import suspensions
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import POLICY_AS_OF, Points
from console.services.gateway.control.state.schema import (
    BUNDLES,
    GRANTS,
    MARKS,
    PARTNERS,
    PILOTS,
    PRINCIPALS,
)
from console.services.store import Store
from console.services.store.upsert import insert_missing, insert_or_update
from console.services.web import Ask
from console.services.wire.changes import BundleChange, GrantChange, PrincipalChange
from console.services.wire.projections import Applied, BundleFact, Projection

_APPLIED = "projection_applied"
_NOTED_EVERY_SECONDS = 5.0
"""How often the bare sign of life is written down; in between it is only remembered."""

_grant = msgspec.json.Decoder(GrantProjection)
_principal = msgspec.json.Decoder(PrincipalProjection)
_bundle = msgspec.json.Decoder(BundleFact)
_pilot = msgspec.json.Decoder(PilotProjection)
_partner = msgspec.json.Decoder(PartnerProjection)


class Intake:
    """The internal route that policy pushes to."""

    def __init__(self, store: Store, points: Points) -> None:
        self._store = store
        self._points = points
        self._noted = 0.0
        self._applied: int | None = None

    async def take(self, ask: Ask) -> Applied:
        """Apply a batch. What was applied before is passed over, so it may be sent again."""
        said: Projection = ask.body
        due = ask.now.timestamp() - self._noted >= _NOTED_EVERY_SECONDS
        if said.items or due or self._applied is None:

            def apply(conn: Connection) -> int:
                set_mark(conn, POLICY_AS_OF, ask.now.isoformat())
                return apply_batch(conn, said, ask.now)

            self._applied = await self._store.write(apply)
            self._noted = ask.now.timestamp()
        self._points.heard_policy(ask.now)
        return Applied(applied=self._applied)


def set_mark(conn: Connection, name: str, value: str) -> None:
    """Remember a small fact."""
    conn.exec_driver_sql(
        "INSERT INTO marks (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def apply_batch(conn: Connection, said: Projection, at: datetime) -> int:
    """Apply what is new of a batch, in order. Returns the number that was applied last."""
    before = conn.execute(select(MARKS.c.value).where(MARKS.c.name == _APPLIED)).scalar()
    applied = int(before or 0)
    for item in sorted(said.items, key=lambda each: each.seq):
        if item.seq <= applied:
            continue
        match item.kind:
            case "grant":
                _take_grant(conn, _grant.decode(item.body), at)
            case "principal":
                _take_principal(conn, _principal.decode(item.body))
            case "partner":
                _take_partner(conn, _partner.decode(item.body), at)
            case "pilot":
                insert_missing(conn, PILOTS, {"slug": _pilot.decode(item.body).slug})
            case "bundle":
                bundle = _bundle.decode(item.body)
                conn.execute(BUNDLES.insert().values(body=bundle))
                change_log.append(conn, BundleChange(bundle=bundle))
            case _:
                pass  # a newer policy's kind: nothing here decides by it
        applied = item.seq
    if applied != int(before or 0):
        set_mark(conn, _APPLIED, str(applied))
    return applied


def _take_grant(conn: Connection, grant: GrantProjection, at: datetime) -> None:
    held = conn.execute(select(GRANTS.c.revision).where(GRANTS.c.id == grant.id)).scalar()
    if held is None:
        conn.execute(GRANTS.insert().values(id=grant.id, revision=grant.revision, body=grant))
    elif grant.revision >= held:
        conn.execute(
            GRANTS.update()
            .where(GRANTS.c.id == grant.id)
            .values(revision=grant.revision, body=grant)
        )
    else:
        return
    if not successors.takes_over(conn, grant, at):
        change_log.append(conn, GrantChange(grant=grant))
    if grant.resumed:
        suspensions.lift(conn, grant.resumed, at)


def _take_partner(conn: Connection, partner: PartnerProjection, at: datetime) -> None:
    insert_or_update(
        conn,
        PARTNERS,
        {"slug": partner.slug, "revision": partner.revision, "state": partner.state},
        changed=("revision", "state"),
        where=PARTNERS.c.revision <= partner.revision,
    )
    if partner.resumed:
        suspensions.lift(conn, partner.resumed, at)


def _take_principal(conn: Connection, principal: PrincipalProjection) -> None:
    known = conn.execute(select(PRINCIPALS.c.revision).where(PRINCIPALS.c.id == principal.id))
    held = known.scalar()
    if held is not None and principal.revision < held:
        return
    if held is None:
        conn.execute(PRINCIPALS.insert().values(id=principal.id, revision=0, body=principal))
    conn.execute(
        PRINCIPALS.update()
        .where(PRINCIPALS.c.id == principal.id)
        .values(revision=principal.revision, body=principal)
    )
    change_log.append(conn, PrincipalChange(principal=principal))
