"""What the stores that are left in a state folder say is ended: read, and never changed.

A store that cannot be read whole says nothing, and None stands for that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from console.errors import PilotError
from console.model.access import Partner, PartnerState, Pilot, PilotState, Suspension
from console.model.enforcement import Lock, Tombstone, TombstoneKind
from console.model.grant import Grant
from console.model.text import now
from console.services.backup import keep_gateway
from console.services.backup.history import History
from console.services.events import SYSTEM
from console.services.gateway.control.closing.offboarding import PARTNER, PILOT
from console.services.home import Home
from console.services.operators.roster import Mark
from console.services.wire.projections import Notice

_ACTIONS = {
    PILOT: "pilot.close",
    PARTNER: "partner.offboard",
    TombstoneKind.GRANT.value: "grant.revoke",
    TombstoneKind.CREDENTIAL.value: "key.revoke",
}
"""What puts a tombstone of a kind, the widest kind first."""


_LEFT_FOR_EVER = frozenset({PartnerState.OFFBOARDING, PartnerState.OFFBOARDED})


class Ended(NamedTuple):
    """What a store holds as ended at the gateway, now or for ever."""

    tombstones: list[tuple[str, Tombstone]]
    """Each with the event that recorded it."""
    locks: list[Lock]
    suspensions: list[tuple[str, str, Suspension]]
    """Each with the kind and the id of what is suspended."""
    points: list[tuple[str, datetime]]
    """The points that are gone, and since when."""


def gateway(home: Home) -> Ended | None:
    """Return what the gateway's store that is left holds as ended."""
    with (
        suppress(sqlite3.Error, msgspec.MsgspecError, PilotError),
        _opened(home, "gateway") as conn,
    ):
        marks = [
            (event_id, msgspec.json.decode(body, type=Tombstone))
            for event_id, body in conn.execute("SELECT event_id, body FROM tombstones ORDER BY seq")
        ]
        order = list(_ACTIONS)
        marks.sort(key=lambda each: order.index(each[1].kind))  # a receipt is of the widest
        notices = [
            msgspec.json.decode(body, type=Notice)
            for (body,) in conn.execute("SELECT body FROM notices")
        ]
        return Ended(
            marks,
            [
                msgspec.json.decode(body, type=Lock)
                for (body,) in conn.execute("SELECT body FROM locks WHERE state = 'active'")
            ],
            [
                (kind, target, _told(notices, held))
                for held, kind, target in conn.execute(
                    "SELECT id, kind, target FROM suspensions WHERE state = 'active'"
                )
            ],
            [
                (name, msgspec.convert(at, datetime, strict=False))
                for name, at in conn.execute(
                    "SELECT name, gone_at FROM points WHERE gone_at IS NOT NULL"
                )
            ],
        )
    return None


def policy(home: Home) -> Ended | None:
    """Return what policy's store that is left took over from the gateway as ended."""
    with (
        suppress(sqlite3.Error, msgspec.MsgspecError, PilotError),
        _opened(home, "policy") as conn,
    ):
        found = Ended([], [], [], [])
        for (body,) in conn.execute("SELECT body FROM grants WHERE state = 'revoked'"):
            grant = msgspec.json.decode(body, type=Grant)
            found.tombstones.append(_taken("grant", grant.id, grant, grant.state_reason))
        for (body,) in conn.execute("SELECT body FROM partners"):
            partner = msgspec.json.decode(body, type=Partner)
            if partner.state in _LEFT_FOR_EVER:
                found.tombstones.append(_taken(PARTNER, partner.slug, partner, partner.ending))
            elif partner.suspension is not None:
                found.suspensions.append((PARTNER, partner.slug, partner.suspension))
        for (body,) in conn.execute("SELECT body FROM grants WHERE state = 'suspended'"):
            grant = msgspec.json.decode(body, type=Grant)
            if grant.suspension is not None:
                found.suspensions.append(("grant", grant.id, grant.suspension))
        for (body,) in conn.execute("SELECT body FROM pilots"):
            pilot = msgspec.json.decode(body, type=Pilot)
            if pilot.state != PilotState.ACTIVE:
                found.tombstones.append(_taken(PILOT, pilot.slug, pilot, pilot.ending))
        return found
    return None


def _taken(kind: str, id: str, thing: Grant | Partner | Pilot, why: str) -> tuple[str, Tombstone]:
    """Return the tombstone that policy took over, as far as its own object tells it."""
    partner = thing.partner if isinstance(thing, Grant) else id if kind == PARTNER else ""
    return "", Tombstone(
        kind=kind, id=id, partner=partner, reason=why, at=thing.updated_at, by=thing.updated_by,
        sequence=0, receipt_id="",
    )  # fmt: skip


def marks(home: Home, name: str) -> list[Mark] | None:
    """Return what a service's store that is left knows of operators for ever."""
    with suppress(sqlite3.Error, msgspec.MsgspecError, PilotError), _opened(home, name) as conn:
        asked = "SELECT name, generation, kind, at, by, reason FROM operator_marks"
        names = ("name", "generation", "kind", "at", "by", "reason")
        return [
            msgspec.convert(dict(zip(names, row, strict=True)), Mark, strict=False)
            for row in conn.execute(asked)
        ]
    return None


def keep(conn: Connection, ended: Ended, history: History) -> int:
    """Keep in the restored gateway what a store that is left holds; return how much is new."""
    made = 0
    for event_id, mark in ended.tombstones:
        action = _ACTIONS[mark.kind]
        made += keep_gateway.bury(conn, history, mark, action=action, event_id=event_id)
    for lock in ended.locks:
        made += keep_gateway.put_lock(conn, lock)
    for kind, target, held in ended.suspensions:
        made += keep_gateway.hold(conn, history, kind, target, held=held)
    for name, at in ended.points:
        made += keep_gateway.put_gone(conn, name, at)
    return made


def _told(notices: list[Notice], id: str) -> Suspension:
    for each in notices:
        if each.id == id:
            return Suspension(id=id, at=each.at, by=each.by, reason=each.reason)
    return Suspension(id=id, at=now(), by=SYSTEM, reason="it was suspended before the restore")


@contextmanager
def _opened(home: Home, name: str) -> Iterator[sqlite3.Connection]:
    path = home.store(name)
    if not path.exists():
        raise PilotError("not-found", f"there is no store {path.name}")
    with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=5)) as conn:
        if conn.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise PilotError("store-damaged", f"{path.name} is damaged")
        yield conn
