"""The gates of invariant 1 (DESIGN §4): what a grant needs to be active, and until when.

Pure: from what is stored and a moment to what is missing and how to mend it. The policy
decision is the last gate, and is made elsewhere: `decided` turns it into a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from console.model.access import Capability, Category, Partner, PartnerState, Pilot, PilotState
from console.model.evidence import Assessment, AssessmentState, UsageTerms
from console.model.grant import Decision, Gap, Grant, Lapse
from console.model.text import rfc3339

APPROVAL_TIER = 3
"""From this impact tier up a grant waits for an approval, and never resumes by itself."""

WARN_DAYS = (30, 7, 1)
"""How long before a lapse a warning is recorded, once each."""

SERVED = frozenset({PartnerState.ACTIVE, PartnerState.RESTRICTED})
"""The partner states in which grants can be active."""

_EXPLAINED = {
    "partner-not-active": frozenset({"partner_not_active", "verification_missing"}),
    "approval-required-from-tier-3": frozenset({"approval_missing"}),
    "prohibited-category": frozenset({"capability_prohibited"}),
}
"""Which gaps already say what a policy's refusal means."""


class Facts(NamedTuple):
    """What is stored about one partner, one pilot and some of its capabilities."""

    pilot: Pilot
    partner: Partner
    capabilities: Sequence[Capability]
    terms: Sequence[UsageTerms]
    """Every version of the pilot's terms, oldest first."""
    accepted: frozenset[int]
    """The versions that the partner accepted."""
    assessments: Sequence[Assessment]
    """The partner's, for any of the capabilities."""
    principals: Mapping[str, str] = MappingProxyType({})
    """Ids of the partner's active principals to their salted hashes."""

    @property
    def tier(self) -> int:
        """The highest impact tier among the capabilities."""
        return max((capability.tier for capability in self.capabilities), default=0)


def grant_gaps(grant: Grant, facts: Facts, at: datetime) -> list[Gap]:
    """Return everything that keeps `grant` from being active at `at`, at the tier it was given."""
    return gaps(facts, at, expires_at=grant.expires_at, tier=grant.tier, below=grant.below)


def gaps(
    facts: Facts,
    at: datetime,
    *,
    expires_at: datetime | None = None,
    approval_id: str = "",
    tier: int = 0,
    below: Sequence[str] = (),
) -> list[Gap]:
    """Return everything that keeps a grant of these facts from being active at `at`.

    `tier` is the grant's, where it reaches what the capabilities `below` names guard higher
    than its own.
    """
    tier = max(facts.tier, tier)
    found: list[Gap | None] = [
        _ended(expires_at, at),
        *(_prohibited(capability) for capability in facts.capabilities),
        _open(facts.pilot),
        _standing(facts.partner),
        _verification(facts.partner, at),
        _terms(facts, at),
        *(_assessment(facts, capability.slug, at) for capability in facts.capabilities),
    ]
    if tier >= APPROVAL_TIER and not approval_id:
        why = f", because it opens what {', '.join(below)} guards" if below else ""
        found.append(
            Gap(
                code="approval_missing",
                message=f"tier {tier} waits for approval by two people of distinct groups{why}; "
                "this version has no approvals yet, so it stays pending",
                mend="",
            )
        )
    return [gap for gap in found if gap is not None]


def decided(decision: Decision, found: Sequence[Gap]) -> list[Gap]:
    """Return the gap that a policy deny is, unless `found` already explains it."""
    if decision.allow:
        return []
    codes = {gap.code for gap in found}
    unexplained = [
        reason for reason in decision.reasons if not codes & _EXPLAINED.get(reason, frozenset())
    ]
    if decision.reasons and not unexplained and not decision.errors:
        return []
    why = ", ".join(unexplained) or "; ".join(decision.errors) or "no policy permits it"
    return [
        Gap(
            code="policy_denied",
            message=f"policy bundle {decision.bundle_revision} denies it: {why}",
            mend="pilotctl policy show",
        )
    ]


def lapses(facts: Facts, expires_at: datetime, at: datetime) -> list[Lapse]:
    """Return the moments at which something under the grant ends, soonest first.

    What is missing already at `at` has no lapse: it is a gap.
    """
    ends = [(expires_at, "grant_expired")]
    if facts.partner.verified_until is not None:
        ends.append((facts.partner.verified_until, "verification_lapsed"))
    until = accepted_until(facts)
    if until is not None:
        ends.append((until, "terms_lapsed"))
    for capability in facts.capabilities:
        best = _best(facts, capability.slug)
        if best is not None:
            ends.append((best.valid_until, "assessment_lapsed"))
    return [Lapse(at=moment, code=code) for moment, code in sorted(ends) if moment > at]


def accepted_until(facts: Facts) -> datetime | None:
    """Return when the partner's newest acceptance stops counting.

    None means that it does not (the newest version is accepted) or that there is none: ask
    `gaps`. An acceptance counts until the first `reaccept_by` of any later version.
    """
    if not facts.accepted:
        return None
    newest = max(facts.accepted)
    return min((terms.reaccept_by for terms in facts.terms if terms.version > newest), default=None)


def warnings_due(
    facts: Facts, expires_at: datetime, since: datetime, at: datetime
) -> list[tuple[Lapse, int]]:
    """Return each coming lapse with the smallest of 30, 7 and 1 days that it is within.

    The grant's own end is warned of only where the grant, running since `since`, is longer
    than the warning: a grant of three days is no news thirty days before its end.
    """
    due = []
    for lapse in lapses(facts, expires_at, at):
        reached = [
            days
            for days in WARN_DAYS
            if at >= lapse.at - timedelta(days=days)
            and (lapse.code != "grant_expired" or lapse.at - timedelta(days=days) > since)
        ]
        if reached:
            due.append((lapse, min(reached)))
    return due


def next_moment(facts: Facts, expires_at: datetime, at: datetime) -> datetime | None:
    """Return when time alone next changes something: a lapse, or a warning before one."""
    moments = [
        moment
        for lapse in lapses(facts, expires_at, at)
        for moment in (lapse.at, *(lapse.at - timedelta(days=days) for days in WARN_DAYS))
        if moment > at
    ]
    return min(moments, default=None)


def _ended(expires_at: datetime | None, at: datetime) -> Gap | None:
    if expires_at is None or at < expires_at:
        return None
    return Gap(
        code="grant_expired",
        message=f"it ended {rfc3339(expires_at)}: re-access is a new grant",
        mend="",
    )


def _prohibited(capability: Capability) -> Gap | None:
    if capability.category != Category.PROHIBITED:
        return None
    return Gap(
        code="capability_prohibited",
        message=f"{capability.slug} is prohibited: no approval can grant it",
        mend="",
    )


def _open(pilot: Pilot) -> Gap | None:
    if pilot.state == PilotState.ACTIVE:
        return None
    return Gap(code="pilot_closed", message=f"pilot {pilot.slug} was closed for ever", mend="")


def _standing(partner: Partner) -> Gap | None:
    # a prospect becomes active by its verification, which is a gap of its own
    waits = partner.state == PartnerState.PROSPECT and partner.verified_until is None
    if partner.state in SERVED or waits:
        return None
    return Gap(
        code="partner_not_active",
        message=f"partner {partner.slug} is {partner.state}",
        mend="",
    )


def _verification(partner: Partner, at: datetime) -> Gap | None:
    mend = f"pilotctl partner verify {partner.slug} --until 365d --evidence REFERENCE --reason WHY"
    if partner.verified_until is None:
        return Gap(
            code="verification_missing",
            message=f"partner {partner.slug} was never verified",
            mend=mend,
        )
    if partner.verified_until <= at:
        return Gap(
            code="verification_lapsed",
            message=f"the verification of {partner.slug} ended {rfc3339(partner.verified_until)}",
            mend=mend,
        )
    return None


def _terms(facts: Facts, at: datetime) -> Gap | None:
    pilot, partner = facts.pilot.slug, facts.partner.slug
    if not facts.terms:
        return Gap(
            code="terms_not_published",
            message=f"pilot {pilot} has no usage terms yet",
            mend=f"pilotctl terms publish {pilot} --title TITLE --file FILE --reason WHY",
        )
    newest = facts.terms[-1].version
    mend = (
        f"pilotctl terms accept {pilot} {partner} "
        "--signatory NAME --evidence REFERENCE --reason WHY"
    )
    if not facts.accepted:
        return Gap(
            code="terms_not_accepted",
            message=f"{partner} has not accepted the terms of {pilot}, version {newest}",
            mend=mend,
        )
    until = accepted_until(facts)
    if until is not None and until <= at:
        return Gap(
            code="terms_lapsed",
            message=f"{partner} accepted version {max(facts.accepted)} of the terms of {pilot}; "
            f"version {newest} had to be accepted by {rfc3339(until)}",
            mend=mend,
        )
    return None


def _best(facts: Facts, capability: str) -> Assessment | None:
    """Return the accepted assessment of `capability` that holds longest."""
    return _longest(
        each
        for each in facts.assessments
        if each.capability == capability and each.state == AssessmentState.ACCEPTED
    )


def _longest(assessments: Iterable[Assessment]) -> Assessment | None:
    return max(assessments, key=lambda each: each.valid_until, default=None)


def _assessment(facts: Facts, capability: str, at: datetime) -> Gap | None:
    partner = facts.partner.slug
    best = _best(facts, capability)
    if best is not None and best.valid_until > at:
        return None
    mine = [each for each in facts.assessments if each.capability == capability]
    waiting = _longest(
        each for each in mine if each.state == AssessmentState.IN_REVIEW and each.valid_until > at
    )
    if waiting is not None:
        return Gap(
            code="assessment_in_review",
            message=f"the assessment of {partner} for {capability} awaits a decision",
            mend=f"pilotctl assessment accept {waiting.id} --reason WHY",
        )
    ended = _longest(
        each for each in mine if each.state in {AssessmentState.ACCEPTED, AssessmentState.EXPIRED}
    )
    mend = (
        f"pilotctl assessment create {partner} {capability} "
        "--assessor NAME --summary TEXT --valid-until 180d --reason WHY"
    )
    if ended is not None:
        return Gap(
            code="assessment_lapsed",
            message=f"the assessment of {partner} for {capability} "
            f"ended {rfc3339(ended.valid_until)}",
            mend=mend,
        )
    return Gap(
        code="assessment_missing",
        message=f"{partner} has no accepted assessment for {capability}",
        mend=mend,
    )
