"""Keeping policy's closings over a restore: narrower grants, partners, principals, assessments.

What was narrowed is kept as the newest event tells it. Grants are settled anew when policy
starts, because each of them is made due.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from console.model.access import Partner, PartnerState
from console.model.evidence import AssessmentState
from console.model.grant import Grant
from console.model.principal import PrincipalState
from console.services.audit.log.leaf import Leaf
from console.services.backup.history import History
from console.services.policy.evidence import terms
from console.services.policy.judging.grant_states import ENDED, OPENED, WATCHED
from console.services.policy.partners import partners, principals
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor
from console.services.policy.state.history import keep_grant
from console.services.policy.state.tables import ASSESSMENTS, GRANTS, PARTNERS, PRINCIPALS

_OF_GRANT = ("limits", "principal_limits", "networks", "principals")
_OF_PARTNER = ("egress", "subprocessors")

_ASSESSED = {
    "assessment.reject": AssessmentState.REJECTED,
    "assessment.withdraw": AssessmentState.WITHDRAWN,
}


def narrow(conn: Connection, leaf: Leaf, history: History) -> bool:
    """Keep the limits, networks and principals that a grant had last."""
    return (
        sum(_narrow(conn, leaf, each) for each in (leaf.target, *history.before(leaf.target))) > 0
    )


def _narrow(conn: Connection, leaf: Leaf, id: str) -> bool:
    grant: Grant | None = conn.execute(select(GRANTS.c.body).where(GRANTS.c.id == id)).scalar()
    if grant is None or grant.state in ENDED:
        return False
    given = _members(leaf.after, _OF_GRANT)
    changed = msgspec.convert(msgspec.to_builtins(grant) | given, Grant, strict=False)
    if changed == grant:
        return False
    changed = msgspec.structs.replace(changed, **Actor(leaf.actor, leaf.at).touch(grant))
    conn.execute(update(GRANTS).where(GRANTS.c.id == id).values(body=changed))
    keep_grant(conn, changed)
    return True


def restrict(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep a partner restricted that was not resumed since."""
    partner = _partner(conn, leaf)
    if partner is None or partner.state != PartnerState.ACTIVE:
        return False
    _keep(conn, leaf, partner, state=PartnerState.RESTRICTED)
    return True


def declare(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep the networks and subprocessors that a partner declared last."""
    partner = _partner(conn, leaf)
    given = _members(leaf.after, _OF_PARTNER)
    if partner is None or all(getattr(partner, name) == given[name] for name in given):
        return False
    _keep(conn, leaf, partner, **given)
    return True


def retire(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep a principal retired."""
    principal = conn.execute(select(PRINCIPALS.c.body).where(PRINCIPALS.c.id == leaf.target))
    held = principal.scalar()
    if held is None or held.state == PrincipalState.RETIRED:
        return False
    principals.retire(conn, held, Actor(leaf.actor, leaf.at))
    return True


def decide(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep an assessment rejected or withdrawn."""
    asked = select(ASSESSMENTS.c.body).where(ASSESSMENTS.c.id == leaf.target)
    held = conn.execute(asked).scalar()
    state = _ASSESSED[leaf.action]
    if held is None or held.state == state:
        return False
    terms.put(conn, held, state, Actor(leaf.actor, leaf.at), decided_by=leaf.actor)
    return True


def settle_soon(conn: Connection, at: Any) -> None:
    """Have policy settle each grant that time or evidence can change, as soon as it starts."""
    conn.execute(update(GRANTS).where(GRANTS.c.state.in_(WATCHED)).values(look_at=at))


def open_grants(conn: Connection) -> list[str]:
    """Return the grants that policy holds open."""
    return list(
        conn.execute(select(GRANTS.c.id).where(GRANTS.c.state.in_(OPENED)).order_by(GRANTS.c.id))
        .scalars()
        .all()
    )


def restrict_all(conn: Connection, by: Actor) -> list[str]:
    """Let nothing new open for any partner that is active; return their slugs."""
    found = conn.execute(select(PARTNERS.c.body).where(PARTNERS.c.state == PartnerState.ACTIVE))
    active = sorted(found.scalars().all(), key=lambda each: each.slug)
    for each in active:
        held = msgspec.structs.replace(each, state=PartnerState.RESTRICTED, **by.touch(each))
        partners.keep(conn, held)
    return [each.slug for each in active]


def _partner(conn: Connection, leaf: Leaf) -> Partner | None:
    found: Partner | None = lookup.by_slug(conn, PARTNERS, leaf.name)
    return found


def _keep(conn: Connection, leaf: Leaf, partner: Partner, **members: Any) -> None:
    touched = Actor(leaf.actor, leaf.at).touch(partner)
    partners.keep(conn, msgspec.structs.replace(partner, **members, **touched))


def _members(after: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return those of the members that an event tells. Raises `ValueError` where it tells none.

    An object too large for a leaf is a digest in it.
    """
    given = {name: after[name] for name in names if name in after} if type(after) is dict else {}
    if not given and not (isinstance(after, dict) and "purpose" in after):
        raise ValueError("the event does not tell what was left")
    return given
