"""The change sequence, and the snapshot that it leads to."""

from __future__ import annotations

import os
import threading

import msgspec
from sqlalchemy import Connection, func, select

from console.services.gateway.control.state.schema import (
    BUNDLES,
    CHANGES,
    CREDENTIALS,
    GRANTS,
    LOCKS,
    PRICES,
    PRINCIPALS,
    SUSPENSIONS,
    TOMBSTONES,
)
from console.services.gateway.decision.snapshot import EMPTY, Snapshot
from console.services.store import signal
from console.services.wire.changes import (
    Body,
    Change,
    Changes,
    KeyFact,
    LockFact,
    State,
    SuspensionFact,
    TombstoneFact,
)

TOPIC = "changes"
_KEPT = 100_000
_MAX_AT_ONCE = 1000
_NEWEST = "SELECT seq, mark FROM changes ORDER BY seq DESC LIMIT 1"
_MARK_OF = "SELECT mark FROM changes WHERE seq = ?"
"""Asked before almost everything: as plain text they cost a third of what they would built."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Body)


def append(conn: Connection, body: Body) -> int:
    """Add a change in this transaction, waking those who follow. Returns its sequence."""
    seq = conn.execute(
        CHANGES.insert().values(mark=os.urandom(8).hex(), body=_encode(body))
    ).inserted_primary_key[0]  # type: ignore[index]
    signal(conn, TOPIC)
    return int(seq)


def head(conn: Connection) -> int:
    """Return the newest change sequence."""
    return int(conn.execute(select(func.max(CHANGES.c.seq))).scalar() or 0)


def since(conn: Connection, after: int, limit: int = _MAX_AT_ONCE) -> Changes:
    """Return the changes after a sequence, oldest first."""
    newest = head(conn)
    oldest = conn.execute(select(func.min(CHANGES.c.seq))).scalar() or 1
    if after > newest or after + 1 < oldest:
        return Changes(items=[], head=newest, reset=True)
    rows = conn.execute(
        select(CHANGES.c.seq, CHANGES.c.body)
        .where(CHANGES.c.seq > after)
        .order_by(CHANGES.c.seq)
        .limit(limit)
    )
    items = [Change(seq=row.seq, body=_decode.decode(row.body)) for row in rows]
    return Changes(items=items, head=newest)


def forget_old(conn: Connection) -> None:
    """Drop changes that every point has long taken; one that has not starts afresh."""
    conn.execute(CHANGES.delete().where(CHANGES.c.seq <= head(conn) - _KEPT))


def key_facts(conn: Connection, *ids: str) -> list[KeyFact]:
    """Return what points are to know of these credentials, or of all of them."""
    asked = select(
        CREDENTIALS.c.id,
        CREDENTIALS.c.sha256,
        CREDENTIALS.c.grant_id,
        CREDENTIALS.c.partner,
        CREDENTIALS.c.holder,
        CREDENTIALS.c.ends_at,
    ).order_by(CREDENTIALS.c.id)
    if ids:
        asked = asked.where(CREDENTIALS.c.id.in_(ids))
    return [
        KeyFact(
            id=row.id,
            sha256=row.sha256,
            grant_id=row.grant_id,
            partner=row.partner,
            holder=row.holder,
            ends_at=row.ends_at,
        )
        for row in conn.execute(asked)
    ]


class Views:
    """Snapshots of the store as transactions see it, kept from one to the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = EMPTY
        self._mark = ""

    def at(self, conn: Connection) -> Snapshot:
        """Return the snapshot at exactly what `conn`'s transaction sees.

        The kept one is brought up to date, unless what it stands on was rolled back.
        """
        newest = conn.exec_driver_sql(_NEWEST).first()
        if newest is None:
            return _load(conn)
        with self._lock:
            kept, mark = self._kept, self._mark
        if newest.seq == kept.sequence and newest.mark == mark:
            return kept
        stands = conn.exec_driver_sql(_MARK_OF, (kept.sequence,)).scalar()
        if stands is None or stands != mark or newest.seq - kept.sequence > _MAX_AT_ONCE:
            new = _load(conn)
        else:
            new = kept.after(since(conn, kept.sequence).items)
        with self._lock:
            self._kept, self._mark = new, newest.mark
        return new


def _load(conn: Connection) -> Snapshot:
    """Read the whole snapshot."""
    return Snapshot(
        State(
            sequence=head(conn),
            grants=list(conn.execute(select(GRANTS.c.body)).scalars()),
            keys=key_facts(conn),
            locks=[
                LockFact(id=lock.id, kind=lock.kind, target=lock.target, message=lock.message)
                for lock in conn.execute(
                    select(LOCKS.c.body).where(LOCKS.c.state == "active")
                ).scalars()
            ],
            principals=list(conn.execute(select(PRINCIPALS.c.body)).scalars()),
            tombstones=[
                TombstoneFact(kind=row.kind, id=row.id)
                for row in conn.execute(select(TOMBSTONES.c.kind, TOMBSTONES.c.id))
            ],
            suspensions=[
                SuspensionFact(id=row.id, kind=row.kind, target=row.target)
                for row in conn.execute(select(SUSPENSIONS).where(SUSPENSIONS.c.state == "active"))
            ],
            bundle=conn.execute(
                select(BUNDLES.c.body).order_by(BUNDLES.c.id.desc()).limit(1)
            ).scalar(),
            prices=list(conn.execute(select(PRICES.c.body).order_by(PRICES.c.starts_on)).scalars()),
        )
    )
