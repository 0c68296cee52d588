"""Keeping the gateway's closings over a restore: tombstones, suspensions, locks, points, content.

Each function puts what one event recorded into the restored store, where it is not there yet,
and returns whether it changed anything. Nothing here opens anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from console.model.access import Suspension
from console.model.content import ContentState
from console.model.enforcement import (
    Credential,
    CredentialState,
    Lock,
    LockKind,
    Tombstone,
    TombstoneKind,
)
from console.model.ids import new_id
from console.services.audit.log.leaf import Leaf
from console.services.backup.history import History
from console.services.gateway.control.access import keys
from console.services.gateway.control.calls import content_store
from console.services.gateway.control.closing import receipts, suspensions
from console.services.gateway.control.closing.offboarding import PARTNER, PILOT
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.schema import (
    CONTENTS,
    CREDENTIALS,
    LOCKS,
    NOTICES,
    POINTS,
    RECEIPTS,
    TOMBSTONES,
)
from console.services.gateway.decision.snapshot import Snapshot
from console.services.wire.changes import (
    KeyFact,
    LockChange,
    LockFact,
    RotateChange,
    TombstoneChange,
    TombstoneFact,
)


def end(conn: Connection, leaf: Leaf, history: History) -> bool:
    """Keep the permanent marks of a revocation, of an offboarding or of a replaced key."""
    mark = Tombstone(
        kind=leaf.kind,
        id=leaf.target,
        partner=leaf.partner,
        reason=leaf.reason,
        at=leaf.at,
        by=leaf.actor,
        sequence=0,
        receipt_id=_text(leaf.after, "receipt_id"),
    )
    facts = leaf.facts if isinstance(leaf.facts, dict) else {}
    more = [(TombstoneKind.GRANT.value, each) for each in _names(facts, "grants")]
    more += [(TombstoneKind.CREDENTIAL.value, each) for each in _names(facts, "credentials")]
    return bury(conn, history, mark, more, action=leaf.action, event_id=leaf.event_id)


def bury(
    conn: Connection,
    history: History,
    mark: Tombstone,
    more: Iterable[tuple[str, str]] = (),
    *,
    action: str,
    event_id: str,
) -> bool:
    """Put a tombstone, those of `more` (kind, id), and those of each key under them.

    A grant's is put on those too whose access went over into it. A receipt that the restored
    store does not hold begins anew: the closing is proven again at the points of now.
    """
    wanted = dict.fromkeys([(mark.kind, mark.id), *more])
    if mark.kind == TombstoneKind.GRANT:
        wanted |= {(mark.kind, each): None for each in history.before(mark.id)}
    new = [each for each in wanted if not _is_marked(conn, *each)]
    if not new:
        return False
    living = _living(history.views.at(conn), new)
    keys_under = [(TombstoneKind.CREDENTIAL.value, key.id) for key in living]
    new += [each for each in keys_under if each not in wanted]
    facts = [TombstoneFact(kind=kind, id=each) for kind, each in new]
    sequence = change_log.append(conn, TombstoneChange(ends=facts))
    mark = msgspec.structs.replace(
        mark, sequence=sequence, receipt_id=mark.receipt_id or new_id("receipt")
    )
    for kind, each in new:
        body = msgspec.structs.replace(mark, kind=kind, id=each)
        conn.execute(
            TOMBSTONES.insert().values(
                kind=kind, id=each, partner=mark.partner, event_id=event_id, body=body
            )
        )
    for kind, each in new:
        if kind == TombstoneKind.CREDENTIAL:
            _end_key(conn, each)
    known = select(RECEIPTS.c.id).where(RECEIPTS.c.id == mark.receipt_id)
    if conn.execute(known).first() is None:
        receipts.begin(
            conn,
            points=history.points,
            id=mark.receipt_id,
            action=action,
            kind=mark.kind,
            target=mark.id,
            partner=mark.partner,
            reason=mark.reason,
            by=mark.by,
            at=mark.at,
            sequence=sequence,
            credentials=len(living),
            event_id=event_id,
        )
    return True


def _is_marked(conn: Connection, kind: str, id: str) -> bool:
    asked = select(TOMBSTONES.c.seq).where(TOMBSTONES.c.kind == kind, TOMBSTONES.c.id == id)
    return conn.execute(asked).first() is not None


def _living(snapshot: Snapshot, ended: Sequence[tuple[str, str]]) -> list[KeyFact]:
    """Return the keys that still serve and that these marks are over."""
    marks = set(ended)

    def under(key: KeyFact) -> bool:
        grant = snapshot.grant(key.grant_id)
        lineage = grant.lineage if grant else ()
        return (
            (TombstoneKind.CREDENTIAL.value, key.id) in marks
            or (PARTNER, key.partner) in marks
            or (grant is not None and (PILOT, grant.pilot) in marks)
            or any((TombstoneKind.GRANT.value, each) in marks for each in (key.grant_id, *lineage))
        )

    return [key for key in snapshot.each_key() if not snapshot.ended(key) and under(key)]


def _end_key(conn: Connection, id: str) -> None:
    held = conn.execute(select(CREDENTIALS.c.body).where(CREDENTIALS.c.id == id)).scalar()
    if held is not None and held.state != CredentialState.REVOKED:
        revoked = msgspec.structs.replace(
            held, state=CredentialState.REVOKED, revision=held.revision + 1
        )
        keys.store(conn, revoked)


def rotate(conn: Connection, leaf: Leaf, history: History) -> bool:
    """Keep the end of a key that was replaced; the key that replaced it is lost."""
    if leaf.action == "key.retire":
        return end(conn, leaf, history)
    held: Credential | None = conn.execute(
        select(CREDENTIALS.c.body).where(CREDENTIALS.c.id == leaf.target)
    ).scalar()
    if held is None or held.state == CredentialState.REVOKED:
        return False
    ends_at = _moment(leaf.after, "ends_at") or leaf.at
    if held.ends_at is not None and held.ends_at <= ends_at:
        return False
    keys.store(
        conn,
        msgspec.structs.replace(
            held,
            state=CredentialState.ROTATING,
            replaced_by=_text(leaf.after, "replaced_by"),
            rotated_at=leaf.at,
            ends_at=ends_at,
            revision=held.revision + 1,
        ),
    )
    (fact,) = change_log.key_facts(conn, held.id)
    change_log.append(conn, RotateChange(old=fact, new=fact))
    return True


def suspend(conn: Connection, leaf: Leaf, history: History) -> bool:
    """Keep a suspension that an operator made at the gateway, with what policy follows it by."""
    after = leaf.after if isinstance(leaf.after, dict) else {}
    try:
        held = msgspec.convert(after.get("suspension"), Suspension, strict=False)
    except msgspec.ValidationError:
        held = Suspension(id=new_id("suspension"), at=leaf.at, by=leaf.actor, reason=leaf.reason)
    return hold(conn, history, leaf.kind, leaf.target, held=held, leaf=leaf)


def suspend_lapsed(conn: Connection, leaf: Leaf, history: History) -> bool:
    """Suspend a grant whose terms were no longer accepted: the restored store lost the terms."""
    if _text(leaf.after, "state_reason") != "terms_lapsed":
        return False
    why = f"it was suspended at {leaf.at:%Y-%m-%d %H:%M} UTC: terms_lapsed"
    held = Suspension(id=new_id("suspension"), at=leaf.at, by=leaf.actor, reason=why)
    return hold(conn, history, "grant", leaf.target, held=held, leaf=leaf)


def hold(
    conn: Connection,
    history: History,
    kind: str,
    target: str,
    *,
    held: Suspension,
    leaf: Leaf | None = None,
) -> bool:
    """Suspend a target, and the grants whose access went over into it, where they are not."""
    made = False
    for each in (target, *history.before(target)):
        if any((other.kind, other.target) == (kind, each) for other in suspensions.active(conn)):
            continue
        suspensions.hold(
            conn,
            history.points,
            kind,
            each,
            held if each == target else msgspec.structs.replace(held, id=new_id("suspension")),
            partner=leaf.partner if leaf else "",
            credentials=0,
            event_id=leaf.event_id if leaf else "",
        )
        made = True
    return made


def lock(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep a lock that was not released since."""
    try:
        held = msgspec.convert(leaf.after, Lock, strict=False)
    except msgspec.ValidationError:
        kind, _, target = leaf.name.partition(" ")
        held = Lock(
            id=leaf.target, created_at=leaf.at, created_by=leaf.actor, updated_at=leaf.at,
            updated_by=leaf.actor, kind=LockKind(kind), target=target, reason=leaf.reason,
            message="", state="active",
        )  # fmt: skip
    return put_lock(conn, held)


def put_lock(conn: Connection, held: Lock) -> bool:
    """Put an active lock where none is on its target."""
    on = (LOCKS.c.kind == held.kind) & (LOCKS.c.target == held.target) & (LOCKS.c.state == "active")
    if conn.execute(select(LOCKS.c.id).where(on | (LOCKS.c.id == held.id))).first() is not None:
        return False
    fact = LockFact(id=held.id, kind=held.kind, target=held.target, message=held.message)
    change_log.append(conn, LockChange(lock=fact))
    conn.execute(
        LOCKS.insert().values(
            id=held.id,
            kind=held.kind,
            target=held.target,
            state=held.state,
            created_at=held.created_at,
            body=held,
        )
    )
    return True


def deregister(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep a point out that was deregistered, also one that the backup does not know."""
    return put_gone(conn, leaf.target, leaf.at)


def put_gone(conn: Connection, name: str, at: datetime) -> bool:
    """Mark a point as gone since `at`."""
    known = conn.execute(select(POINTS.c.gone_at).where(POINTS.c.name == name)).first()
    if known is None:
        conn.execute(
            POINTS.insert().values(
                name=name, url="", version="", incarnation="", registered_at=at,
                calls_held=0, calls_digested=0, gone_at=at,
            )
        )  # fmt: skip
    elif known.gone_at is None:
        conn.execute(POINTS.update().where(POINTS.c.name == name).values(gone_at=at))
    return known is None or known.gone_at is None


def redact(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Delete again what was said in a call whose content was redacted."""
    row = conn.execute(
        select(CONTENTS.c.sealed).where(CONTENTS.c.call == leaf.target)
    ).scalar_one_or_none()
    if row is None:
        return False
    content_store.end(
        conn, leaf.target, gone=ContentState.REDACTED.value, gone_at=leaf.at,
        gone_by=leaf.actor, gone_why=leaf.reason,
    )  # fmt: skip
    return True


def newest_notice(conn: Connection) -> int:
    """Return the number of the newest notice that policy may have taken from this store."""
    return int(conn.execute(select(func.max(NOTICES.c.seq))).scalar() or 0)


def tombstones(conn: Connection) -> int:
    """Return how many tombstones there are."""
    return int(conn.execute(select(func.count()).select_from(TOMBSTONES)).scalar_one())


def _text(holder: Any, name: str) -> str:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, str) else ""


def _names(holder: dict[str, Any], name: str) -> list[str]:
    value = holder.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _moment(holder: Any, name: str) -> datetime | None:
    try:
        return msgspec.convert(_text(holder, name), datetime, strict=False)
    except msgspec.ValidationError:
        return None
