"""What a wanted grant would be: everything that can be wrong with it, said before it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, select

from console.api.problems import refusal
from console.model.access import Capability, Category, Partner, PartnerState, Pilot, Stage
from console.model.grant import Gap, Grant, GrantPlan, GrantState, NewGrant
from console.model.ids import new_id
from console.model.principal import PrincipalState
from console.model.scope import SCOPED_TIER, SERVICE, wildcard
from console.model.text import is_slug, rfc3339
from console.services.cedar.engine import CedarBundle
from console.services.policy.grants import reach
from console.services.policy.grants.reach import ReachedTier
from console.services.policy.judging.facts import Reader
from console.services.policy.judging.gates import Facts
from console.services.policy.judging.grant_states import LIVE, begins
from console.services.policy.judging.settle import judged, rests_on
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor
from console.services.policy.state.tables import GRANT_CAPABILITIES, GRANTS, PRINCIPALS

WILDCARD = "*"

WAITS = "waits_for_approval"
"""Why a grant of tier 3 and above is pending."""


class Proposal(NamedTuple):
    """A grant as it would be stored, with the facts it rests on and what is missing."""

    grant: Grant
    facts: Facts
    gaps: list[Gap]


def propose(
    conn: Connection,
    body: NewGrant,
    bundle: CedarBundle,
    actor: Actor,
    *,
    renews: Grant | None = None,
) -> Proposal:
    """Return the grant that `body` asks for, or raise what is wrong with it.

    With `renews` it succeeds that grant: its keys go on under this one.
    """
    pilot = lookup.open_pilot(conn, body.pilot)
    partner = lookup.partner(conn, body.partner)
    takes_new(partner)
    capabilities = [_of(pilot, lookup.capability(conn, slug)) for slug in body.capabilities]
    capabilities = list({each.slug: each for each in capabilities}.values())
    stage = stage_of(pilot, body.stage)
    covered = lookup.unique([model for each in capabilities for model in each.models])
    judged_at = reach.reached(
        capabilities,
        covered if _means_all(body.models) else body.models,
        reach.every(conn),
    )
    tier = judged_at.tier
    begin = body.not_before or actor.at
    _within_longest(body.expires_at, begin, stage, capabilities, actor.at)
    takes_another(conn, pilot, stage, partner.slug)
    facts = Reader(conn).of(pilot.slug, partner.slug, [each.slug for each in capabilities])
    grant = Grant(
        id=new_id("grant"),
        pilot=pilot.slug,
        stage=stage.key,
        partner=partner.slug,
        capabilities=[each.slug for each in capabilities],
        models=_models(body.models, covered, judged_at),
        networks=networks_of(body.networks, judged_at, partner),
        limits=stage.limits if body.limits is None else body.limits,
        principal_limits=stage.principal_limits
        if body.principal_limits is None
        else body.principal_limits,
        principals=named(
            body.principals if renews else principals_of(conn, body.principals, partner.slug), tier
        ),
        purpose=body.purpose,
        not_before=begin.astimezone(UTC),
        expires_at=body.expires_at.astimezone(UTC),
        tier=tier,
        below=judged_at.below,
        state=GrantState.DRAFT,
        renews=renews.id if renews else "",
        lineage=[renews.id, *renews.lineage] if renews else [],
        labels=lookup.labels(body.labels),
        **actor.stamp(),
    )
    grant, missing = judged(grant, facts, bundle, actor.at)
    state = begins(tier, missing)
    grant = msgspec.structs.replace(
        grant,
        state=state,
        state_reason=WAITS if state is GrantState.PENDING_APPROVAL else "",
        gaps=missing,
        **rests_on(facts),
    )
    return Proposal(grant, facts, missing)


def at_reached_tier(conn: Connection, grant: Grant, facts: Facts) -> Grant:
    """Return a draft as it would be made now, where a higher capability reaches the same by now.

    What has passed its gates keeps its tier. Raises where the draft's scope is too open.
    """
    judged_at = reach.reached_now(conn, grant, facts.capabilities)
    if grant.state != GrantState.DRAFT or not judged_at.guards:
        return grant
    return msgspec.structs.replace(
        grant,
        networks=networks_of(grant.networks, judged_at, facts.partner),
        principals=named(grant.principals, judged_at.tier),
        tier=judged_at.tier,
        below=judged_at.below,
    )


def plan(conn: Connection, proposal: Proposal) -> GrantPlan:
    """Return what the proposal would do, beside what others and the partner hold."""
    grant = proposal.grant
    assert grant.decision is not None
    becomes = GrantState.ACTIVE if grant.state == GrantState.PROVISIONING else grant.state
    return GrantPlan(
        grant=grant,
        becomes=becomes,
        gaps=proposal.gaps,
        holders=holders(conn, grant),
        overlaps=overlaps(conn, grant),
        decision=grant.decision,
        criteria=stage_of(proposal.facts.pilot, grant.stage).criteria,
        egress=proposal.facts.partner.egress,
    )


def holders(conn: Connection, grant: Grant) -> dict[str, int]:
    """Return how many other partners hold each of the grant's capabilities now."""
    asked = (
        select(GRANT_CAPABILITIES.c.capability, func.count(GRANTS.c.partner.distinct()))
        .join(GRANTS, GRANTS.c.id == GRANT_CAPABILITIES.c.grant_id)
        .where(
            GRANT_CAPABILITIES.c.capability.in_(grant.capabilities),
            GRANTS.c.partner != grant.partner,
            GRANTS.c.state.in_(LIVE),
        )
        .group_by(GRANT_CAPABILITIES.c.capability)
    )
    counted = {row[0]: row[1] for row in conn.execute(asked)}
    return {slug: counted.get(slug, 0) for slug in grant.capabilities}


def overlaps(conn: Connection, grant: Grant) -> list[str]:
    """Return the ids of the partner's other live grants over any of the same capabilities."""
    asked = (
        select(GRANTS.c.id)
        .join(GRANT_CAPABILITIES, GRANTS.c.id == GRANT_CAPABILITIES.c.grant_id)
        .where(
            GRANT_CAPABILITIES.c.capability.in_(grant.capabilities),
            GRANTS.c.partner == grant.partner,
            GRANTS.c.id.not_in([grant.id, grant.renews]),
            GRANTS.c.state.in_(LIVE),
        )
        .distinct()
        .order_by(GRANTS.c.id)
    )
    return list(conn.execute(asked).scalars())


def stage_of(pilot: Pilot, key: str) -> Stage:
    """Return the pilot's stage, or raise `invalid` naming those that it has."""
    for stage in pilot.stages:
        if stage.key == key:
            return stage
    known = [str(stage.key) for stage in pilot.stages]
    raise refusal(
        "invalid",
        f"stage: pilot {pilot.slug} has no stage {key!r}, only {', '.join(known)}"
        f"{lookup.nearest(key, known)}",
        mend=f"pilotctl pilot stage {pilot.slug} {key}:most-partners=10,longest=60d --reason WHY",
    )


def takes_another(conn: Connection, pilot: Pilot, stage: Stage, partner: str) -> None:
    """Raise `refused` where the stage has as many other partners as it takes."""
    asked = select(func.count(GRANTS.c.partner.distinct())).where(
        GRANTS.c.pilot == pilot.slug,
        GRANTS.c.stage == stage.key,
        GRANTS.c.partner != partner,
        GRANTS.c.state.in_(LIVE),
    )
    others = conn.execute(asked).scalar_one()
    if others >= stage.most_partners:
        raise refusal(
            "refused",
            f"stage {stage.key} of {pilot.slug} takes at most {stage.most_partners} partners, "
            f"and has {others}",
        )


def _of(pilot: Pilot, capability: Capability) -> Capability:
    if capability.pilot != pilot.slug:
        raise refusal(
            "invalid",
            f"capabilities: {capability.slug} belongs to pilot {capability.pilot}, "
            f"not to {pilot.slug}",
        )
    if capability.category == Category.PROHIBITED:
        raise refusal(
            "prohibited", f"{capability.slug} is prohibited: it is never granted, by any approval"
        )
    return capability


def _means_all(models: Sequence[str]) -> bool:
    return not models or WILDCARD in models


def _models(wanted: Sequence[str], every: list[str], judged_at: ReachedTier) -> list[str]:
    """Return the models, spelled out: an open list never grows with its capabilities."""
    if _means_all(wanted):
        if judged_at.tier >= SCOPED_TIER:
            said = "an empty list" if not wanted else f"{WILDCARD!r}"
            raise refusal(
                "invalid",
                f"models: {said} means all of them, which {judged_at.words} does not allow: "
                f"name each of {', '.join(every)} that is meant",
            )
        return every
    for model in wanted:
        if model not in every:
            why = "no slug" if not is_slug(model) else "not covered by the capabilities"
            raise refusal(
                "invalid",
                f"models: {model!r} is {why}: they cover {', '.join(every)}"
                f"{lookup.nearest(model, every)}",
            )
    return lookup.unique(wanted)


def takes_new(partner: Partner) -> None:
    """Raise the refusal of anything new for a partner for which nothing opens."""
    if partner.state in {PartnerState.OFFBOARDING, PartnerState.OFFBOARDED}:
        raise refusal("state", f"partner {partner.slug} is {partner.state}, and never comes back")
    if partner.state == PartnerState.RESTRICTED:
        raise refusal(
            "refused",
            f"{partner.slug} is restricted: nothing new opens for it",
            mend=f"pilotctl partner resume {partner.slug}",
        )


def principals_of(conn: Connection, wanted: Sequence[str], partner: str) -> list[str]:
    """Return the ids of the partner's active principals, each once, or raise `invalid`.

    `service` is the organisation itself.
    """
    for each in wanted:
        if each == SERVICE:
            continue
        asked = select(PRINCIPALS.c.partner, PRINCIPALS.c.state).where(PRINCIPALS.c.id == each)
        row = conn.execute(asked).first()
        if row is None or row.partner != partner:
            raise refusal(
                "invalid",
                f"principals: {each!r} is no principal of {partner}",
                mend=f"pilotctl principal list --partner {partner}",
            )
        if row.state != PrincipalState.ACTIVE:
            raise refusal("invalid", f"principals: {each} is {row.state}")
    return lookup.unique(wanted)


def named(principals: Sequence[str], tier: int) -> list[str]:
    """Return the principals as they are written: from tier 2 up none is the partner itself."""
    if principals or tier < SCOPED_TIER:
        return list(principals)
    return [SERVICE]


def networks_of(wanted: Sequence[str], judged_at: ReachedTier, partner: Partner) -> list[str]:
    """Return the networks that calls must come from, as the tier allows them, or raise.

    From tier 2 up none is the partner's declared egress: then there has to be some.
    """
    networks = lookup.networks("networks", wanted)
    if judged_at.tier < SCOPED_TIER:
        return networks
    if family := wildcard(networks):
        raise refusal(
            "invalid",
            f"networks: {', '.join(networks[:4])} {'is' if len(networks) == 1 else 'together are'} "
            f"nearly every address of {family}, which {judged_at.words} does not allow",
            mend="name the networks that the partner calls from",
        )
    if networks:
        return networks
    if not partner.egress or wildcard(partner.egress):
        said = "declares none" if not partner.egress else "declares nearly every address"
        raise refusal(
            "invalid",
            f"networks: without any, {judged_at.words} takes those that the partner declares, and "
            f"{partner.slug} {said}",
            mend=f"pilotctl partner add-network {partner.slug} NETWORK --reason WHY",
        )
    return networks


def _within_longest(
    expires_at: datetime,
    begin: datetime,
    stage: Stage,
    capabilities: Sequence[Capability],
    now: datetime,
) -> None:
    if expires_at <= now:
        raise refusal("invalid", f"expires_at: {rfc3339(expires_at)} is past")
    if expires_at <= begin:
        raise refusal("invalid", f"expires_at: it is not after not_before, {rfc3339(begin)}")
    start = max(begin, now)
    bounds = [(stage.longest_grant_seconds, f"stage {stage.key}")]
    bounds += [(each.longest_grant_seconds, each.slug) for each in capabilities]
    most, whose = min(bounds)
    try:
        latest = start + timedelta(seconds=most)
    except OverflowError:
        raise refusal("invalid", f"not_before: {rfc3339(begin)} is too far away") from None
    if expires_at > latest:
        raise refusal(
            "invalid",
            f"expires_at: {rfc3339(expires_at)} is too late: {whose} allows at most "
            f"{_length(most)}, which ends {rfc3339(latest)}",
            mend=f"--expires {_length(most)}",
        )


def _length(seconds: int) -> str:
    """Return a length as a person writes it: 30d, 72h, 90s."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
