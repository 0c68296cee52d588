"""Quiet grants: open access that nobody used for a while, to be reclaimed."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from console.api.problems import refusal
from console.model.grant import GrantProjection, GrantState, QuietGrant
from console.model.number import whole_number
from console.model.stored import Page
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.schema import USAGE
from console.services.gateway.decision.snapshot import Snapshot
from console.services.web import Ask
from console.services.web.strict_decoding import moment

USUAL_DAYS = 30
_USUAL_ROWS, _MAX_ROWS = 100, 500


def listing(views: change_log.Views, conn: Connection, ask: Ask) -> Page[QuietGrant]:
    """Answer `grant.quiet`, the longest quiet first.

    A grant that began after the moment asked for had no time to be used: it is not quiet.
    """
    since = _since(ask)
    snapshot = views.at(conn)
    used = _last_used(conn)
    keys = Counter(key.grant_id for key in snapshot.each_key() if not snapshot.ended(key))
    found = []
    for grant in snapshot.grants():
        if not _open(snapshot, grant, since) or not _asked_for(ask, grant):
            continue
        last = max(
            (used[each] for each in (grant.id, *grant.lineage) if each in used), default=None
        )
        if last is not None and last >= since:
            continue
        found.append(_quiet(grant, keys[grant.id], last))
    found.sort(key=lambda each: (each.last_used_at is not None, each.last_used_at, each.id))
    return _paged(found, ask)


def _open(snapshot: Snapshot, grant: GrantProjection, since: datetime) -> bool:
    first = snapshot.grant(grant.lineage[-1]) if grant.lineage else grant
    return (
        grant.state == GrantState.ACTIVE
        and not snapshot.tombstoned("grant", grant.id)
        and (first or grant).not_before < since
    )


def _asked_for(ask: Ask, grant: GrantProjection) -> bool:
    partner, pilot = ask.query.get("partner", ""), ask.query.get("pilot", "")
    return (not partner or grant.partner == partner) and (not pilot or grant.pilot == pilot)


def _quiet(grant: GrantProjection, keys: int, last: datetime | None) -> QuietGrant:
    ends = [lapse.at for lapse in grant.lapses if lapse.code == "grant_expired"]
    return QuietGrant(
        id=grant.id,
        partner=grant.partner,
        pilot=grant.pilot,
        stage=grant.stage,
        capabilities=[each.slug for each in grant.capabilities],
        tier=grant.tier,
        credentials=keys,
        last_used_at=last,
        expires_at=min(ends, default=None),
    )


def _last_used(conn: Connection) -> dict[str, datetime]:
    """Return when each grant last had a call that was served."""
    asked = (
        select(USAGE.c.grant_id, func.max(USAGE.c.last_at).label("at"))
        .where(USAGE.c.allowed > 0)
        .group_by(USAGE.c.grant_id)
    )
    return {row.grant_id: row.at for row in conn.execute(asked)}


def _since(ask: Ask) -> datetime:
    return moment(ask.query.get("since", ""), "since") or ask.now - timedelta(days=USUAL_DAYS)


def _paged(found: list[QuietGrant], ask: Ask) -> Page[QuietGrant]:
    """Return the part of a list that is wanted; the cursor is the place in it."""
    at, limit = ask.query.get("cursor", ""), ask.query.get("limit", "")
    start, wanted = whole_number(at or "0", 9), whole_number(limit or str(_USUAL_ROWS), 9)
    if start is None or not wanted:
        raise refusal("malformed", "cursor, limit: not of this list")
    most = min(wanted, _MAX_ROWS)
    rest = found[start + most :]
    return Page(
        as_of=ask.now,
        source=ask.service,
        items=found[start : start + most],
        next_cursor=str(start + most) if rest else "",
    )
