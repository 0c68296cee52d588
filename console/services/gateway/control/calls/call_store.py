"""Call records: taken from the points, kept, listed, and added up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from console.api.problems import refusal
from console.model.enforcement import Credential, CredentialState
from console.model.stored import Page
from console.model.traffic import CallRecord
from console.services.events import SYSTEM, event
from console.services.gateway.control.access import keys
from console.services.gateway.control.calls import call_search, usage_sums
from console.services.gateway.control.calls.budgets import Counters
from console.services.gateway.control.calls.call_times import moment, stored_time
from console.services.gateway.control.state.schema import CALLS, CREDENTIALS, POINTS
from console.services.store import Store, emit, outbox, signal
from console.services.web import Ask
from console.services.wire.call_feed import CallFeed, CallRow
from console.services.wire.points import CallAck, CallBatch
from console.trust.merkle import leaf_hash, root_of

TOPIC = "calls"

_MAX_DIGESTED = 20_000
_MAX_AT_ONCE = 2000

_record = msgspec.json.Decoder(CallRecord)
_INSERT = (
    "INSERT OR IGNORE INTO calls (id, point, sequence, partner, grant_id, credential_id, model, "
    "outcome, code, started_at, leaf, body, capability, principal, network) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Intake:
    """The internal route that points push to."""

    def __init__(self, store: Store, counters: Counters) -> None:
        self._store = store
        self._counters = counters

    async def take(self, ask: Ask) -> CallAck:
        """Take finished records in, in order; what is held already is passed over."""
        batch: CallBatch = ask.body
        name = ask.path["point"]
        bodies = [bytes(item) for item in batch.items]
        records = [_record.decode(body) for body in bodies]
        try:
            return await self._store.write(
                lambda conn: take(conn, name, records, bodies, self._counters)
            )
        except BaseException:
            self._counters.reset()
            raise


def take(
    conn: Connection,
    point: str,
    records: list[CallRecord],
    bodies: list[bytes],
    counters: Counters | None = None,
) -> CallAck:
    """Store a point's records and what they add up to. Raises `not-found`, `invalid`."""
    held = conn.execute(select(POINTS.c.calls_held).where(POINTS.c.name == point)).scalar()
    if held is None:
        raise refusal("not-found", f"no point {point} is registered")
    new = [
        (record, body)
        for record, body in zip(records, bodies, strict=True)
        if record.sequence > held
    ]
    if any(record.point != point for record, _ in new):
        raise refusal("invalid", f"a record of another point than {point}")
    if not new:
        return CallAck(acknowledged=held)
    above = conn.execute(select(func.max(CALLS.c.row))).scalar() or 0
    conn.exec_driver_sql(
        _INSERT,
        [
            (
                record.id,
                record.point,
                record.sequence,
                record.partner,
                record.grant_id,
                record.credential_id,
                record.model,
                record.outcome,
                record.code,
                stored_time(record.started_at),
                leaf_hash(body),
                body,
                record.capability,
                record.principal,
                usage_sums.network_of(record.address),
            )
            for record, body in new
        ],
    )
    records = [record for record, _ in new]
    call_search.index(conn, call_search.fresh(conn, above, records, usage_sums.network_of))
    usage_sums.add(conn, records)
    if counters is not None:
        counters.recorded(conn, [record for record, _ in new])
    _note_use(conn, (record for record, _ in new))
    last = new[-1][0].sequence
    conn.execute(POINTS.update().where(POINTS.c.name == point).values(calls_held=last))
    signal(conn, TOPIC)
    return CallAck(acknowledged=last)


def _note_use(conn: Connection, records: Iterable[CallRecord]) -> None:
    """Note when and from where each credential was last used."""
    used: dict[str, list[CallRecord]] = {}
    for record in records:
        if record.credential_id:
            used.setdefault(record.credential_id, []).append(record)
    if not used:
        return
    rows = conn.execute(select(CREDENTIALS.c.body).where(CREDENTIALS.c.id.in_(used))).scalars()
    for credential in list(rows):
        new = _used(credential, used[credential.id])
        if new != credential:
            keys.store(conn, new)


def _used(credential: Credential, calls: list[CallRecord]) -> Credential:
    """Return a credential with what new records say of its use."""
    rotated_at, last = credential.rotated_at, max(calls, key=lambda call: call.started_at)
    if rotated_at is not None:
        since = sum(call.started_at >= rotated_at for call in calls)
        count = credential.calls_since_rotation + since
        credential = msgspec.structs.replace(credential, calls_since_rotation=count)
    if credential.last_used_at is not None and credential.last_used_at >= last.started_at:
        return credential
    state = credential.state
    if state == CredentialState.ISSUED and not last.code:
        state = CredentialState.IN_USE.value
    return msgspec.structs.replace(
        credential, state=state, last_used_at=last.started_at, last_network=last.address
    )


def listing(conn: Connection, ask: Ask) -> Page[CallRecord]:
    """Answer `call.list`, newest first."""
    return call_search.listing(conn, ask, moment)


def find(conn: Connection, id: str) -> CallRecord:
    """Return a call record. Raises the problem `not-found`."""
    body = conn.execute(select(CALLS.c.body).where(CALLS.c.id == id)).scalar()
    if body is None:
        raise refusal(
            "not-found",
            f"there is no record of a call {id}",
            mend="a record arrives within a second or two of its call; pilotctl call list",
        )
    return _record.decode(body)


def show(conn: Connection, ask: Ask) -> CallRecord:
    """Answer `call.show`."""
    return find(conn, ask.path["call"])


def feed(conn: Connection, after: int, limit: int) -> CallFeed[msgspec.Raw]:
    """Return call records after a row, oldest first, for detections."""
    rows = conn.execute(
        select(CALLS.c.row, CALLS.c.body)
        .where(CALLS.c.row > after)
        .order_by(CALLS.c.row)
        .limit(max(1, min(limit, _MAX_AT_ONCE)))
    )
    items = [CallRow(seq=row.row, call=msgspec.Raw(row.body)) for row in rows]
    return CallFeed(
        items=items,
        head=conn.execute(select(func.max(CALLS.c.row))).scalar() or 0,
        events=outbox.head(conn),
    )


def digest(conn: Connection, at: datetime) -> int:
    """Commit to each point's new records in one event a point. Returns how many events.

    The event names the range of sequences and the Merkle root (RFC 9162 §2.1.1) over the
    records' exact bytes, so any one of them can be proven later.
    """
    made = 0
    for point in conn.execute(select(POINTS).where(POINTS.c.calls_held > POINTS.c.calls_digested)):
        rows = conn.execute(
            select(CALLS.c.sequence, CALLS.c.leaf)
            .where(CALLS.c.point == point.name, CALLS.c.sequence > point.calls_digested)
            .order_by(CALLS.c.sequence)
            .limit(_MAX_DIGESTED)
        ).all()
        if not rows:
            continue
        said: dict[str, Any] = {
            "point": point.name,
            "first": rows[0].sequence,
            "last": rows[-1].sequence,
            "size": len(rows),
            "root": root_of([row.leaf for row in rows]).hex(),
        }
        conn.execute(
            POINTS.update()
            .where(POINTS.c.name == point.name)
            .values(calls_digested=rows[-1].sequence)
        )
        emit(
            conn,
            event(
                "calls.digest",
                service="gateway",
                actor=SYSTEM,
                kind="point",
                target=point.name,
                name=point.name,
                after=said,
                at=at,
            ),
        )
        made += 1
    return made
