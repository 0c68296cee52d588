"""Renewal: a grant is extended by a successor, which keeps its credentials.

The successor is judged like any new grant, and waits like one. Only when the gateway has
it open, and has moved the credentials to it, does the old grant end, as renewed.
"""

from __future__ import annotations

from datetime import UTC, timedelta

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.access import StageKey
from console.model.grant import Grant, GrantState, NewGrant, RenewGrant
from console.model.text import rfc3339
from console.services.cedar.engine import CedarBundle
from console.services.policy.grants.proposal import propose
from console.services.policy.judging.facts import Reader
from console.services.policy.judging.grant_states import ENDED, may_become
from console.services.policy.judging.settle import add, moved, save
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import GRANTS
from console.services.web import Ask, fresh

RENEWED = "renewed"
"""Why a grant is expired whose successor has its credentials."""

SAME_END = timedelta(hours=1)
"""How far the ends of the same renewal lie apart: `90d`, typed again, is a while later."""

_RENEWABLE = frozenset({GrantState.ACTIVE, GrantState.SUSPENDED})


def renew_grant(bundle: CedarBundle, conn: Connection, ask: Ask) -> Grant:
    """Make the successor of a grant: the same access, to another end.

    Where evidence is missing it is a draft, and from tier 3 up it waits for approval: the
    old grant goes on meanwhile, to its own end. The same renewal again is the successor
    that is there.
    """
    body: RenewGrant = ask.body
    old = lookup.grant(conn, ask.path["grant"])
    fresh(ask, old)
    if there := _successor(conn, old):
        if _is_same(there, old, body):
            return there
        raise refusal(
            "exists",
            f"{there.id} renews {old.id} already: it is {there.state.replace('_', ' ')}, "
            f"in stage {there.stage}, until {rfc3339(there.expires_at)}",
            mend=f"pilotctl grant {'renew' if old.renewed_by else 'show'} {there.id}",
            current=old,
        )
    _renewable(old)
    if body.expires_at <= old.expires_at:
        raise refusal(
            "invalid",
            f"expires_at: {old.id} itself goes on until {rfc3339(old.expires_at)}",
            mend=f"pilotctl grant renew {old.id} --expires LATER --reason WHY",
        )
    actor = Actor.of(ask)
    wanted = NewGrant(
        pilot=old.pilot,
        stage=body.stage or StageKey(old.stage),
        partner=old.partner,
        capabilities=old.capabilities,
        models=old.models,
        networks=old.networks,
        purpose=old.purpose,
        limits=old.limits,
        principal_limits=old.principal_limits,
        principals=old.principals,
        expires_at=body.expires_at.astimezone(UTC),
        reason=body.reason,
        labels=old.labels,
    )
    grant, facts, _ = propose(conn, wanted, bundle, actor, renews=old)
    add(conn, grant, facts, actor.at)
    record(
        conn,
        actor,
        "grant.renew",
        "grant",
        grant.id,
        partner=grant.partner,
        reason=body.reason,
        after=msgspec.structs.replace(grant, gaps=[]),
        facts={"renews": old.id},
    )
    return grant


def superseded(conn: Connection, grant: Grant, actor: Actor) -> None:
    """End the grant that `grant` renews: the gateway has moved its credentials."""
    if not grant.renews:
        return
    old = lookup.grant(conn, grant.renews)
    if old.renewed_by or old.state == GrantState.REVOKED:
        return
    facts = Reader(conn).of_grant(old)
    if may_become(old.state, GrantState.EXPIRED):
        ended = moved(old, GrantState.EXPIRED, RENEWED, actor, facts)
    else:
        ended = msgspec.structs.replace(old, **actor.touch(old))
    ended = msgspec.structs.replace(ended, renewed_by=grant.id)
    save(conn, ended, facts, actor.at)
    record(
        conn,
        actor,
        "grant.supersede",
        "grant",
        old.id,
        partner=old.partner,
        reason=f"{grant.id} renews it, and has its keys",
        before={"state": old.state},
        after={"state": ended.state, "state_reason": RENEWED, "renewed_by": grant.id},
    )


def successors(conn: Connection, id: str) -> list[Grant]:
    """Return the grant of this id and every one that succeeds it, directly or not."""
    first = conn.execute(select(GRANTS.c.body).where(GRANTS.c.id == id)).scalar_one_or_none()
    if first is None:
        return []
    own = conn.execute(select(GRANTS.c.body).where(GRANTS.c.partner == first.partner)).scalars()
    return [first, *(each for each in own if id in each.lineage)]


def still_succeeds(conn: Connection, grant: Grant) -> None:
    """Raise the refusal that says why a draft can succeed its grant no longer."""
    if not grant.renews:
        return
    old = lookup.grant(conn, grant.renews)
    if old.state == GrantState.REVOKED:
        raise refusal(
            "state",
            f"{grant.id} renews {old.id}, which was revoked",
            mend="re-access is a new grant: pilotctl grant create",
        )
    if old.suspension is not None:
        raise refusal(
            "state",
            f"{grant.id} renews {old.id}, which {old.suspension.by} suspended",
            mend=f"pilotctl grant resume {old.id}",
        )
    if old.renewed_by not in {"", grant.id}:
        raise refusal("state", f"{old.id} is renewed by {old.renewed_by} already")


def _successor(conn: Connection, old: Grant) -> Grant | None:
    """Return the grant that renews this one, and has not ended."""
    return next(
        (
            each
            for each in successors(conn, old.id)[1:]
            if each.renews == old.id and each.state not in ENDED
        ),
        None,
    )


def _is_same(there: Grant, old: Grant, body: RenewGrant) -> bool:
    """Tell whether a successor is what the renewal asks for: then it was made already."""
    apart = abs(there.expires_at - body.expires_at)
    return apart <= SAME_END and there.stage == (body.stage or old.stage)


def _renewable(old: Grant) -> None:
    """Raise the refusal that says why a grant cannot be renewed now."""
    if old.renewed_by:
        raise refusal(
            "state",
            f"{old.id} is renewed by {old.renewed_by} already",
            mend=f"pilotctl grant renew {old.renewed_by}",
            current=old,
        )
    if old.state not in _RENEWABLE:
        raise refusal(
            "state",
            f"{old.id} is {old.state.replace('_', ' ')}: only a running grant is renewed",
            mend="re-access is a new grant: pilotctl grant create",
            current=old,
        )
    if old.suspension is not None:
        raise refusal(
            "state",
            f"{old.id} was suspended by {old.suspension.by}: {old.suspension.reason}",
            mend=f"pilotctl grant resume {old.id}",
            current=old,
        )
