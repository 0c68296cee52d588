"""Amending a live grant: what of it may change, and which changes widen it.

Two verbs, because they go two ways. `narrow` only ever closes: it needs no revision and is
refused nowhere for being a change. `amend` may widen, so it names the revision that it was
planned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import msgspec
from sqlalchemy import Connection

from console.api.problems import refusal
from console.model.access import Capability, Partner, PartnerState
from console.model.grant import AmendGrant, Grant
from console.model.limits import Limits, Period
from console.model.scope import SCOPED_TIER, networks_of, wildcard
from console.services.cedar.engine import CedarBundle
from console.services.policy.grants import reach
from console.services.policy.grants.proposal import named, principals_of
from console.services.policy.grants.proposal import networks_of as wanted_networks
from console.services.policy.grants.reach import ReachedTier
from console.services.policy.judging.facts import Reader
from console.services.policy.judging.gates import APPROVAL_TIER
from console.services.policy.judging.grant_states import ENDED
from console.services.policy.judging.settle import save, settle
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.web import Ask, fresh

_COUNTS = ("requests_per_minute", "tokens_per_minute", "parallel", "budget_micros")


def amend_grant(bundle: CedarBundle, conn: Connection, ask: Ask) -> Grant:
    """Change a grant's limits, networks, principals or purpose, on its present revision."""
    grant = lookup.grant(conn, ask.path["grant"])
    fresh(ask, grant)
    return _changed(bundle, conn, ask, grant, "grant.amend")


def narrow_grant(bundle: CedarBundle, conn: Connection, ask: Ask) -> Grant:
    """Take something away from a grant; refused where any of it would give something."""
    grant = lookup.grant(conn, ask.path["grant"])
    partner = lookup.partner(conn, grant.partner)
    new = _amended(conn, grant, ask.body, partner)
    if wider := widens(grant, new, partner.egress):
        raise refusal(
            "invalid",
            f"this is not only narrower: {'; '.join(wider)}",
            mend=f"pilotctl grant amend {grant.id}",
        )
    return _changed(bundle, conn, ask, grant, "grant.narrow")


def widens(old: Grant, new: Grant, egress: Sequence[str]) -> list[str]:
    """Return, in words, each way in which `new` allows what `old` did not.

    `egress` is what the partner declares: from tier 2 up it stands where no network is named.
    """
    out = [*_wider_limits("limits", old.limits, new.limits)]
    out += _wider_limits("principal limits", old.principal_limits, new.principal_limits)
    was, now = (networks_of(each.networks, each.tier, egress) for each in (old, new))
    if was is not None and now is None:
        out.append("networks: ALL")
    elif was is not None and now is not None:
        out += [f"networks: {each}" for each in now if not within_any(each, was)]
    if old.principals and not new.principals:
        out.append("principals: ALL")
    elif old.principals:
        out += [f"principals: {each}" for each in new.principals if each not in old.principals]
    if new.purpose != old.purpose:
        out.append("another purpose")
    return out


def _wider_limits(what: str, old: Limits, new: Limits) -> list[str]:
    out = []
    for name in _COUNTS:
        was, now = getattr(old, name), getattr(new, name)
        if was is not None and (now is None or now > was):
            shown = "no limit" if now is None else f"{was} to {now}"
            out.append(f"{what}: {name.replace('_', ' ')}, {shown}")
    moved = old.budget_period != new.budget_period and old.budget_micros is not None
    # of two calendar periods either can hold more: only the whole life never does
    if moved and new.budget_micros is not None and new.budget_period is not Period.GRANT:
        out.append(f"{what}: the budget's period, {old.budget_period} to {new.budget_period}")
    return out


def within_any(network: str, allowed: Sequence[str]) -> bool:
    """Tell whether a network lies in one of those that are allowed."""
    inner = ip_network(network)
    for each in allowed:
        outer = ip_network(each)
        if inner.version == outer.version and inner.subnet_of(outer):  # type: ignore[arg-type]
            return True
    return False


def _amended(conn: Connection, grant: Grant, body: AmendGrant, partner: Partner) -> Grant:
    """Return the grant as `body` would have it, or raise what is wrong with that."""
    if grant.state in ENDED:
        raise refusal(
            "state",
            f"{grant.id} is {grant.state}, and cannot be amended",
            mend="re-access is a new grant: pilotctl grant create",
            current=grant,
        )
    given: dict[str, Any] = {}
    if body.limits is not None:
        given["limits"] = body.limits
    if body.principal_limits is not None:
        given["principal_limits"] = body.principal_limits
    if body.networks is not None:
        given["networks"] = wanted_networks(body.networks, ReachedTier(grant.tier), partner)
    if body.principals is not None:
        kept = [each for each in body.principals if each in grant.principals]
        new = [each for each in body.principals if each not in grant.principals]
        principals_of(conn, new, grant.partner)
        given["principals"] = named(lookup.unique([*kept, *new]), grant.tier)
    if body.purpose is not None:
        given["purpose"] = body.purpose
    if not given:
        raise refusal(
            "invalid", "name what changes: limits, principal limits, networks, principals, purpose"
        )
    return msgspec.structs.replace(grant, **given)


def _changed(bundle: CedarBundle, conn: Connection, ask: Ask, grant: Grant, action: str) -> Grant:
    body: AmendGrant = ask.body
    reader = Reader(conn)
    facts = reader.of_grant(grant)
    new = _amended(conn, grant, body, facts.partner)
    if new == grant:
        return grant
    if widens(grant, new, facts.partner.egress):
        may_widen(conn, new, facts.partner, facts.capabilities)
    actor = Actor.of(ask)
    new = msgspec.structs.replace(new, gaps=[], **actor.touch(grant))
    save(conn, new, facts, actor.at)
    record(
        conn,
        actor,
        action,
        "grant",
        grant.id,
        partner=grant.partner,
        reason=body.reason,
        before=_difference(grant, new),
        after=_difference(new, grant),
    )
    return settle(conn, new, reader, bundle, actor)


def may_widen(
    conn: Connection, grant: Grant, partner: Partner, capabilities: Sequence[Capability]
) -> None:
    """Raise the refusal of a wider grant where a new one like it would be refused."""
    opens(grant, partner.state)
    judged_at = reach.reached_now(conn, grant, capabilities)
    needs_approval(grant, judged_at, "widening it")
    needs_scope(grant, judged_at, "widening it", partner.egress)


def opens(grant: Grant, partner_state: str) -> None:
    """Raise the refusal of what would open a grant for which nothing may open, at its own tier."""
    if partner_state == PartnerState.RESTRICTED:
        raise refusal(
            "refused",
            f"{grant.partner} is restricted: nothing new opens for it",
            mend=f"pilotctl partner resume {grant.partner}",
        )
    needs_approval(grant, ReachedTier(grant.tier), "widening it")


def needs_approval(grant: Grant, judged_at: ReachedTier, what: str) -> None:
    """Raise the refusal of more for a grant that two other people would have to approve."""
    if judged_at.tier >= APPROVAL_TIER:
        raise refusal(
            "needs-approval",
            f"{grant.id} of {grant.partner}, {judged_at.said}: {what} takes two other people",
            mend="approvals do not exist yet, so it stays as it is",
        )


def needs_scope(grant: Grant, judged_at: ReachedTier, what: str, egress: Sequence[str]) -> None:
    """Raise the refusal of more for a grant whose scope its new tier would not allow."""
    if judged_at.tier < SCOPED_TIER or not (left := _left_open(grant, egress)):
        return
    raise refusal(
        "refused",
        f"{grant.id} of {grant.partner}, {judged_at.said}: {what} is refused while "
        f"its {' and its '.join(left)}",
        mend=f"pilotctl grant narrow {grant.id} --network NETWORK --principal service --reason WHY",
    )


def _left_open(grant: Grant, egress: Sequence[str]) -> list[str]:
    """Return what a grant of a tier without a scope leaves open."""
    if grant.tier >= SCOPED_TIER:
        return []
    networks = networks_of(grant.networks, grant.tier, egress)
    out = []
    if networks is None or wildcard(networks):
        out.append("networks are ALL" if networks is None else "networks are nearly ALL")
    if not grant.principals:
        out.append("principals are ALL")
    return out


def _difference(of: Grant, than: Grant) -> dict[str, Any]:
    names = ("limits", "principal_limits", "networks", "principals", "purpose")
    return {name: getattr(of, name) for name in names if getattr(of, name) != getattr(than, name)}
