"""Locks: nothing matching gets through until they are released."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.access import StageKey
from console.model.enforcement import (
    Blast,
    Lock,
    LockKind,
    LockTarget,
    NewLock,
    Release,
    ReleaseLock,
)
from console.model.grant import GrantProjection
from console.model.ids import is_id, new_id
from console.model.stored import Page
from console.model.text import is_slug
from console.parsing.suggest import suggest
from console.services.events import event
from console.services.gateway.control.closing import receipts
from console.services.gateway.control.closing.blast import (
    alive,
    blast,
    falls_under,
    grant_under,
    hash_of,
    highest_tier,
    touched_keys,
    uses,
)
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.control.state.schema import LOCKS
from console.services.gateway.decision.decide import GUARDED_TIER, models_of
from console.services.gateway.decision.snapshot import Snapshot
from console.services.store import emit
from console.services.web import Ask, fresh, page
from console.services.wire.changes import LockChange, LockFact, ReleaseChange

_HASH = re.compile(r"[0-9a-f]{64}")


def find(conn: Connection, id: str) -> Lock:
    """Return a lock. Raises the problem `not-found`."""
    found = conn.execute(select(LOCKS.c.body).where(LOCKS.c.id == id)).scalar_one_or_none()
    if found is None:
        raise refusal("not-found", f"there is no lock {id}", mend="pilotctl lock list")
    return found  # type: ignore[no-any-return]


def checked(target: LockTarget) -> LockTarget:
    """Return the target in its one canonical form. Raises the problem `invalid`."""
    match target.kind:
        case LockKind.EVERYTHING:
            good, wanted = target.id == "*", "*"
        case LockKind.NETWORK:
            try:
                network = str(ipaddress.ip_network(target.id, strict=False))
            except ValueError:
                good, wanted = False, "an address or network, like 203.0.113.0/24"
            else:
                return LockTarget(kind=target.kind, id=network)
        case LockKind.GRANT:
            good, wanted = is_id(target.id, "grant"), "a grant's id"
        case LockKind.CREDENTIAL:
            good, wanted = is_id(target.id, "credential"), "a credential's id"
        case LockKind.PRINCIPAL:
            good = is_id(target.id, "principal") or _HASH.fullmatch(target.id) is not None
            wanted = "a principal's id, or the hash that call records show"
        case LockKind.STAGE:
            pilot, _, stage = target.id.partition("/")
            good, wanted = is_slug(pilot) and stage in set(StageKey), "pilot/stage"
        case _:
            good, wanted = is_slug(target.id), "a slug"
    if not good:
        raise refusal(
            "invalid", f"target.id: {target.id!r} names no {target.kind}: it takes {wanted}"
        )
    return target


def known(snapshot: Snapshot, target: LockTarget, models: frozenset[str]) -> LockTarget:
    """Return the target if the gateway holds anything that it could ever match.

    A slug with a slip of the pen would be a lock that holds nothing, and is believed to.
    Raises the problem `not-found`, with the nearest that there is.
    """
    if target.kind in {LockKind.EVERYTHING, LockKind.NETWORK}:
        return target
    if target.kind is LockKind.PRINCIPAL and not is_id(target.id, "principal"):
        return target  # nobody types a hash: it comes from a call that it was seen in
    there = _names(snapshot, target.kind) | (models if target.kind is LockKind.MODEL else set())
    if target.id in there:
        return target
    near = suggest(target.id, there)
    raise refusal(
        "not-found",
        f"the gateway knows no {target.kind} {target.id!r}: there is nothing to stop",
        mend=f"did you mean {near}?" if near else "no grant or key names it",
    )


def _names(snapshot: Snapshot, kind: LockKind) -> set[str]:
    grants, keys = list(snapshot.grants()), list(snapshot.each_key())
    match kind:
        case LockKind.PARTNER:
            return {each.partner for each in grants} | {each.partner for each in keys}
        case LockKind.GRANT:
            return {each.id for each in grants} | {each.grant_id for each in keys}
        case LockKind.CREDENTIAL:
            return {each.id for each in keys}
        case LockKind.PRINCIPAL:
            return {each.id for each in snapshot.principals()}
        case LockKind.SUBPROCESSOR:
            return {name for each in grants for name in each.subprocessors} | {
                each.holder for each in keys
            }
        case LockKind.PILOT:
            return {each.pilot for each in grants}
        case LockKind.STAGE:
            return {f"{each.pilot}/{each.stage}" for each in grants}
        case LockKind.CAPABILITY:
            return {capability.slug for each in grants for capability in each.capabilities}
        case _:
            return {model for each in grants for model in models_of(each)}


class Locks:
    """The routes about locks."""

    def __init__(self, views: change_log.Views, points: Points, models: Iterable[str] = ()) -> None:
        self._views = views
        self._points = points
        self._models = frozenset(models)
        """The models that the settings name: one may be locked before it is granted."""

    def listing(self, conn: Connection, ask: Ask) -> Page[Lock]:
        """Answer `lock.list`, newest first."""
        query = select(LOCKS)
        for name in ("kind", "state"):
            if wanted := ask.query.get(name):
                query = query.where(LOCKS.c[name] == wanted)
        return page(
            conn,
            query,
            ask,
            keys=[LOCKS.c.created_at.desc(), LOCKS.c.id.desc()],
            decode=lambda row: row.body,
        )

    def show(self, conn: Connection, ask: Ask) -> Lock:
        """Answer `lock.show`."""
        return find(conn, ask.path["lock"])

    def would_end(self, conn: Connection, ask: Ask) -> Blast:
        """Answer `lock.blast`: what a lock, or a tombstone, on the target would end now."""
        snapshot = self._views.at(conn)
        return self._blast(conn, snapshot, known(snapshot, checked(ask.body), self._models))

    def _blast(self, conn: Connection, snapshot: Snapshot, target: LockTarget) -> Blast:
        if target.kind is LockKind.PRINCIPAL:
            running = self._points.in_flight_of(hash_of(snapshot, target.id))
        else:
            ids = {key.id for key, _ in touched_keys(conn, snapshot, target)}
            running = self._points.in_flight(ids)
        return blast(conn, snapshot, target, running)

    def add(self, conn: Connection, ask: Ask) -> Lock:
        """Answer `lock.add`. The same active lock again is the one that is there."""
        body: NewLock = ask.body
        snapshot = self._views.at(conn)
        target = known(snapshot, checked(body.target), self._models)
        if held := snapshot.lock_on(target.kind, target.id):
            return find(conn, held.id)
        ends = self._blast(conn, snapshot, target)
        partner = ends.partners[0] if len(ends.partners) == 1 else ""
        lock = Lock(
            id=new_id("lock"),
            created_at=ask.now,
            created_by=ask.operator.name,
            updated_at=ask.now,
            updated_by=ask.operator.name,
            kind=target.kind,
            target=target.id,
            reason=body.reason,
            message=body.message,
            state="active",
            receipt_id=new_id("receipt"),
            blast=ends,
        )
        fact = LockFact(id=lock.id, kind=lock.kind, target=lock.target, message=lock.message)
        sequence = change_log.append(conn, LockChange(lock=fact))
        conn.execute(
            LOCKS.insert().values(
                id=lock.id,
                kind=lock.kind,
                target=lock.target,
                state=lock.state,
                created_at=ask.now,
                body=lock,
            )
        )
        declared = _declared(snapshot, target)
        event_id = self._emit(conn, ask, "lock.add", lock, partner=partner, facts=declared)
        receipts.begin(
            conn,
            points=self._points,
            id=lock.receipt_id,
            action="lock.add",
            kind=lock.kind,
            target=lock.target,
            partner=partner,
            reason=lock.reason,
            by=ask.operator.name,
            at=ask.now,
            sequence=sequence,
            credentials=ends.credentials,
            event_id=event_id,
            lock_id=lock.id,
        )
        return lock

    def release(self, conn: Connection, ask: Ask) -> Lock:
        """Answer `lock.release`: it opens, so it may need others' consent."""
        body: ReleaseLock = ask.body
        lock = find(conn, ask.path["lock"])
        if lock.state != "active":
            if lock.revision == ask.revision:
                raise refusal("state", f"the lock {lock.id} was released already", current=lock)
            fresh(ask, lock)
            return lock
        fresh(ask, lock)
        target = LockTarget(kind=LockKind(lock.kind), id=lock.target)
        tier = highest_tier(_uncovered(self._views.at(conn), target), target)
        if tier >= GUARDED_TIER:
            raise refusal(
                "needs-approval",
                f"releasing {lock.id} would open tier {tier}: that takes two other people",
                mend="approvals do not exist yet, so the lock stays",
            )
        released = msgspec.structs.replace(
            lock,
            state="released",
            revision=lock.revision + 1,
            updated_at=ask.now,
            updated_by=ask.operator.name,
            released=Release(at=ask.now, by=ask.operator.name, reason=body.reason),
        )
        conn.execute(
            LOCKS.update().where(LOCKS.c.id == lock.id).values(state="released", body=released)
        )
        sequence = change_log.append(conn, ReleaseChange(id=lock.id))
        # The tier that it uncovers: audit holds what opens against its approval.
        facts = {"tier": tier, "sequence": sequence}
        self._emit(conn, ask, "lock.release", released, before=lock, facts=facts)
        return released

    def _emit(
        self,
        conn: Connection,
        ask: Ask,
        action: str,
        lock: Lock,
        *,
        partner: str = "",
        before: Lock | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> str:
        return emit(
            conn,
            event(
                action,
                service="gateway",
                actor=ask.operator.name,
                kind="lock",
                target=lock.id,
                name=f"{lock.kind} {lock.target}",
                partner=partner,
                reason=ask.body.reason,
                request_id=ask.request_id,
                before=before,
                after=lock,
                facts=facts,
                at=ask.now,
            ),
        )


def _declared(snapshot: Snapshot, target: LockTarget) -> dict[str, list[str]] | None:
    """Return whose subprocessor is locked, and the grants under which it gets no key now.

    It contains what happened to them, also where the last key that it held is dead already.
    """
    if target.kind is not LockKind.SUBPROCESSOR:
        return None
    grants = [each for each in snapshot.grants() if target.id in each.subprocessors]
    return {
        "partners": sorted({each.partner for each in grants}),
        "grants": sorted(each.id for each in grants),
    }


def _uncovered(snapshot: Snapshot, target: LockTarget) -> list[GrantProjection]:
    """Return the grants that a release would let through again, wholly or in part."""
    if target.kind is LockKind.PRINCIPAL:
        return [
            grant
            for grant in snapshot.grants()
            if not snapshot.tombstoned("grant", grant.id) and uses(snapshot, grant, target.id)
        ]
    held = {key.grant_id for key, grant in alive(snapshot) if falls_under(key, grant, target)}
    return [
        grant
        for grant in snapshot.grants()
        if not snapshot.tombstoned("grant", grant.id)
        and (target.kind is LockKind.NETWORK or grant.id in held or grant_under(grant, target))
    ]
