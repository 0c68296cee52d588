"""What things were: each state of a grant or a partner, stored with the change that made it.

A row is written in the transaction of the change, so that what is told of a moment is
what was stored then, and never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Table, and_, func, select

from console.api.problems import refusal
from console.model.access import Partner
from console.model.grant import Grant
from console.services.policy.state.tables import GRANTS, PARTNERS, PAST_GRANTS, PAST_PARTNERS
from console.services.store.outbox import OUTBOX
from console.services.store.upsert import insert_missing
from console.services.web import Ask
from console.services.web.strict_decoding import moment


def as_of(ask: Ask) -> datetime | None:
    """Return the moment that a list is asked for, or None for now. Raises `malformed`."""
    asked = moment(ask.query.get("as_of", ""), "as_of")
    if asked is not None and asked > ask.now:
        raise refusal("invalid", f"as_of: {asked.isoformat()} has not come yet")
    return asked


def keep_grant(conn: Connection, grant: Grant) -> None:
    """Store what a grant is from its `updated_at` on."""
    kept = {
        "id": grant.id,
        "revision": grant.revision,
        "at": grant.updated_at,
        "pilot": grant.pilot,
        "partner": grant.partner,
        "state": grant.state,
        "created_at": grant.created_at,
        "body": grant,
    }
    insert_missing(conn, PAST_GRANTS, kept)


def keep_partner(conn: Connection, partner: Partner) -> None:
    """Store what a partner is from its `updated_at` on."""
    kept = {
        "id": partner.id,
        "revision": partner.revision,
        "at": partner.updated_at,
        "slug": partner.slug,
        "state": partner.state,
        "body": partner,
    }
    insert_missing(conn, PAST_PARTNERS, kept)


def grants_at(at: datetime) -> Select[Any]:
    """Select every grant that there was, as it was at a moment."""
    return select(PAST_GRANTS).where(_newest(PAST_GRANTS, at))


def partners_at(at: datetime) -> Select[Any]:
    """Select every partner that there was, as it was at a moment."""
    return select(PAST_PARTNERS).where(_newest(PAST_PARTNERS, at))


def _newest(table: Table, at: datetime) -> ColumnElement[bool]:
    later = table.alias()
    newest = (
        select(func.max(later.c.revision))
        .where(later.c.id == table.c.id, later.c.at <= at)
        .scalar_subquery()
    )
    return and_(table.c.at <= at, table.c.revision == newest)


def grant_at(conn: Connection, id: str, at: datetime) -> Grant:
    """Return a grant as it was at a moment, or raise `not-found`."""
    asked = grants_at(at).where(PAST_GRANTS.c.id == id)
    return _one(conn, asked, "grant", id, at)  # type: ignore[no-any-return]


def partner_at(conn: Connection, name: str, at: datetime) -> Partner:
    """Return a partner as it was at a moment, or raise `not-found`."""
    asked = partners_at(at).where((PAST_PARTNERS.c.id == name) | (PAST_PARTNERS.c.slug == name))
    return _one(conn, asked, "partner", name, at)  # type: ignore[no-any-return]


def _one(conn: Connection, asked: Select[Any], kind: str, name: str, at: datetime) -> Any:
    row = conn.execute(asked).first()
    if row is None:
        raise refusal(
            "not-found",
            f"there was no {kind} {name!r} at {at.isoformat()}",
            mend=f"pilotctl {kind} list --as-of {at.isoformat()}",
        )
    return row.body


def backfill(conn: Connection) -> None:
    """Fill the history of a store that had none, from its own events.

    Each change of before is an event with what it led to; what is stored now ends each
    history, and has the members that no change could touch.
    """
    told = _told(conn)
    for grant in conn.execute(select(GRANTS.c.body)).scalars().all():
        whole = msgspec.to_builtins(grant) | {"state_reason": "", "renewed_by": ""}
        for number, at, was in _past(told, grant.id, grant.revision, _OF_GRANT):
            members = {**whole, **was, "revision": number, "updated_at": at}
            keep_grant(conn, msgspec.convert(members, Grant))
        keep_grant(conn, grant)
    for partner in conn.execute(select(PARTNERS.c.body)).scalars().all():
        whole = msgspec.to_builtins(partner)
        for number, at, was in _past(told, partner.id, partner.revision, _OF_PARTNER):
            members = {**whole, **was, "revision": number, "updated_at": at}
            keep_partner(conn, msgspec.convert(members, Partner))
        keep_partner(conn, partner)


_OF_GRANT = frozenset({"state", "state_reason", "renewed_by", "decision"})
_OF_PARTNER = frozenset({"state", "verified_until", "verification", "egress", "subprocessors"})

_Told = dict[str, list[tuple[str, Mapping[str, Any]]]]


def _past(
    told: _Told, id: str, revision: int, members: frozenset[str]
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Iterate over the revisions before the last: number, moment, and what had changed by then."""
    was: dict[str, Any] = {}
    for number, (at, after) in enumerate(told.get(id, [])[: revision - 1], start=1):
        was |= {name: value for name, value in after.items() if name in members}
        yield number, at, dict(was)


def _told(conn: Connection) -> _Told:
    """Return when each change of each thing was recorded, and what it led to, in order."""
    out: _Told = {}
    for body in conn.execute(select(OUTBOX.c.body).order_by(OUTBOX.c.seq)).scalars():
        said = msgspec.json.decode(body).get("unmapped", {})
        if isinstance(said.get("after"), dict):
            out.setdefault(said["target"], []).append((said["at"], said["after"]))
    return out
