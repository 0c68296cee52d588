"""Where a grant goes next: a pure state machine over `model.grant.TRANSITIONS`.

Nothing here stores, and nothing else in policy decides a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from console.api.problems import refusal
from console.model.grant import TRANSITIONS, Gap, Grant, GrantState
from console.services.policy.judging.gates import APPROVAL_TIER

LIVE = frozenset(
    {
        GrantState.PENDING_APPROVAL,
        GrantState.APPROVED,
        GrantState.PROVISIONING,
        GrantState.ACTIVE,
        GrantState.SUSPENDED,
    }
)
"""The states that count: towards a stage's most partners, and as an overlap."""

OPENED = frozenset({GrantState.PROVISIONING, GrantState.ACTIVE})
"""The states in which the gateway has, or is being given, an open grant."""

ENDED = frozenset({GrantState.EXPIRED, GrantState.REVOKED, GrantState.DENIED})
"""The states that no verb leads out of."""

WATCHED = LIVE
"""The states that time and lapsing evidence can change by themselves."""

SUSPENDED_BY = "suspended_by_operator"
"""Why a grant is suspended that an operator suspended."""

LAPSES = {
    "verification_missing": "verification_lapsed",
    "assessment_missing": "assessment_lapsed",
    "assessment_in_review": "assessment_lapsed",
    "terms_not_accepted": "terms_lapsed",
    "terms_not_published": "terms_lapsed",
}
"""A gap of a grant that ran, as the reason of its suspension: the gateway's codes."""


def begins(tier: int, gaps: Sequence[Gap]) -> GrantState:
    """Return the state of a new grant: from tier 3 up it always waits for approval."""
    if tier >= APPROVAL_TIER:
        return GrantState.PENDING_APPROVAL
    return GrantState.DRAFT if gaps else GrantState.PROVISIONING


def settles(grant: Grant, gaps: Sequence[Gap], at: datetime) -> tuple[GrantState, str]:
    """Return the state and its reason that time and evidence lead a grant to.

    What is open closes at once when anything is missing. Below tier 3 a suspended grant
    opens again by itself; from tier 3 up only a verb opens it.
    """
    state = GrantState(grant.state)
    ended = at >= grant.expires_at
    if ended and GrantState.EXPIRED in TRANSITIONS[state] and state is not GrantState.REVOKING:
        return GrantState.EXPIRED, "grant_expired"
    if grant.suspension is not None:
        return state, grant.state_reason
    if state in OPENED and gaps:
        return GrantState.SUSPENDED, LAPSES.get(gaps[0].code, gaps[0].code)
    if state is GrantState.SUSPENDED and not gaps and grant.tier < APPROVAL_TIER:
        return GrantState.PROVISIONING, ""
    return state, grant.state_reason


def activates(grant: Grant, gaps: Sequence[Gap]) -> GrantState:
    """Return the state that the verb leads to, or raise the refusal that says why not.

    An open grant stays as it is: running the verb again converges.
    """
    state = GrantState(grant.state)
    if state in OPENED:
        return state
    if state is GrantState.PENDING_APPROVAL:
        raise refusal(
            "needs-approval", f"{grant.id} is of tier {grant.tier}: it waits for approval"
        )
    if state is GrantState.DRAFT and grant.tier >= APPROVAL_TIER:
        raise refusal(
            "needs-approval",
            f"{grant.id} is judged at tier {grant.tier} by now: it opens what "
            f"{', '.join(grant.below)} guards, and that takes two other people",
            mend="approvals do not exist yet, so it stays a draft",
        )
    if grant.suspension is not None:
        raise refusal(
            "state",
            f"{grant.id} was suspended by {grant.suspension.by}: {grant.suspension.reason}",
            mend=f"pilotctl grant resume {grant.id}",
            current=grant,
        )
    if GrantState.PROVISIONING not in TRANSITIONS[state]:
        raise refusal(
            "state",
            f"{grant.id} is {grant.state}, and cannot be activated",
            mend="re-access is a new grant: pilotctl grant create",
        )
    if gaps:
        raise refusal(
            "refused",
            f"{grant.id} cannot be active: " + "; ".join(gap.message for gap in gaps),
            mend=next((gap.mend for gap in gaps if gap.mend), ""),
        )
    return GrantState.PROVISIONING


def may_become(state: str, to: GrantState) -> bool:
    """Tell whether the model lets a grant go from `state` to `to`."""
    return to in TRANSITIONS[GrantState(state)]
