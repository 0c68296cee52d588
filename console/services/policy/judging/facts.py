"""Reading the facts that the gates judge, for one grant or for a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from console.model.access import Capability, Partner, Pilot
from console.model.evidence import Assessment, UsageTerms
from console.model.grant import (
    Gap,
    Grant,
    GrantedCapability,
    GrantProjection,
    GrantState,
)
from console.model.principal import PrincipalState
from console.model.scope import SERVICE, networks_of
from console.services.policy.judging.gates import Facts, grant_gaps, lapses
from console.services.policy.state import lookup
from console.services.policy.state.tables import ACCEPTANCES, ASSESSMENTS, PRINCIPALS, TERMS


class Reader:
    """Reads facts within one transaction, each table's row at most once."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._pilots: dict[str, Pilot] = {}
        self._partners: dict[str, Partner] = {}
        self._capabilities: dict[str, Capability] = {}
        self._terms: dict[str, list[UsageTerms]] = {}
        self._accepted: dict[tuple[str, str], frozenset[int]] = {}
        self._assessments: dict[str, list[Assessment]] = {}
        self._principals: dict[str, dict[str, str]] = {}

    def of(self, pilot: str, partner: str, capabilities: Sequence[str]) -> Facts:
        """Return the facts about these slugs. Raises `not-found` for one that is unknown."""
        return Facts(
            pilot=self._pilot(pilot),
            partner=self._partner(partner),
            capabilities=[self._capability(slug) for slug in capabilities],
            terms=self._versions(pilot),
            accepted=self._acceptances(pilot, partner),
            assessments=self._of_partner(partner),
            principals=self._principals_of(partner),
        )

    def of_grant(self, grant: Grant) -> Facts:
        """Return the facts that `grant` rests on."""
        return self.of(grant.pilot, grant.partner, grant.capabilities)

    def _pilot(self, slug: str) -> Pilot:
        if slug not in self._pilots:
            self._pilots[slug] = lookup.pilot(self._conn, slug)
        return self._pilots[slug]

    def _partner(self, slug: str) -> Partner:
        if slug not in self._partners:
            self._partners[slug] = lookup.partner(self._conn, slug)
        return self._partners[slug]

    def _capability(self, slug: str) -> Capability:
        if slug not in self._capabilities:
            self._capabilities[slug] = lookup.capability(self._conn, slug)
        return self._capabilities[slug]

    def _versions(self, pilot: str) -> list[UsageTerms]:
        if pilot not in self._terms:
            asked = select(TERMS.c.body).where(TERMS.c.pilot == pilot).order_by(TERMS.c.version)
            self._terms[pilot] = list(self._conn.execute(asked).scalars())
        return self._terms[pilot]

    def _acceptances(self, pilot: str, partner: str) -> frozenset[int]:
        key = (pilot, partner)
        if key not in self._accepted:
            asked = select(ACCEPTANCES.c.version).where(
                ACCEPTANCES.c.pilot == pilot, ACCEPTANCES.c.partner == partner
            )
            self._accepted[key] = frozenset(self._conn.execute(asked).scalars())
        return self._accepted[key]

    def _of_partner(self, partner: str) -> list[Assessment]:
        if partner not in self._assessments:
            asked = select(ASSESSMENTS.c.body).where(ASSESSMENTS.c.partner == partner)
            self._assessments[partner] = list(self._conn.execute(asked).scalars())
        return self._assessments[partner]

    def _principals_of(self, partner: str) -> dict[str, str]:
        if partner not in self._principals:
            asked = select(PRINCIPALS.c.id, PRINCIPALS.c.hash).where(
                PRINCIPALS.c.partner == partner,
                PRINCIPALS.c.state == PrincipalState.ACTIVE,
            )
            self._principals[partner] = {row.id: row.hash for row in self._conn.execute(asked)}
        return self._principals[partner]


def _hash(principal: str, facts: Facts) -> str:
    """Return the salted hash that a principal's calls carry: none, for the organisation itself."""
    return "" if principal == SERVICE else facts.principals.get(principal, RETIRED)


RETIRED = "retired"
"""In the place of a retired principal's hash: no hash is like it, so it matches nobody."""


def projection(grant: Grant, facts: Facts, at: datetime, *, state: str = "") -> GrantProjection:
    """Return what the gateway is to know of `grant` at `at`.

    A grant that is being provisioned is active there: the gateway opens last.
    """
    opens = grant.state == GrantState.PROVISIONING
    return GrantProjection(
        id=grant.id,
        revision=grant.revision,
        pilot=grant.pilot,
        stage=grant.stage,
        partner=grant.partner,
        partner_state=facts.partner.state,
        capabilities=[
            GrantedCapability(
                slug=each.slug,
                tier=each.tier,
                category=each.category,
                models=each.models,
                routes=each.routes,
            )
            for each in facts.capabilities
        ],
        models=grant.models,
        networks=list(networks_of(grant.networks, grant.tier, facts.partner.egress) or ()),
        not_before=grant.not_before,
        lapses=lapses(facts, grant.expires_at, at),
        state=state or (GrantState.ACTIVE if opens else grant.state),
        state_reason=grant.state_reason,
        tier=grant.tier,
        grace_seconds=facts.pilot.grace_seconds,
        egress=facts.partner.egress,
        subprocessors=facts.partner.subprocessors,
        renews=grant.renews,
        lineage=grant.lineage,
        limits=grant.limits,
        principal_limits=grant.principal_limits,
        principals={each: _hash(each, facts) for each in grant.principals},
        resumed=grant.resumed,
        content=facts.pilot.content,
        content_days=facts.pilot.content_days,
        credit_micros=facts.pilot.credit_micros,
    )


_CLOSED = frozenset({GrantState.ACTIVE, GrantState.REVOKED, GrantState.REVOKING, GrantState.DENIED})


def shown(grant: Grant, reader: Reader, at: datetime) -> Grant:
    """Return `grant` with what is missing at `at`, where it is not active and still could be."""
    if grant.state in _CLOSED or grant.state == GrantState.EXPIRED:
        return grant if not grant.gaps else msgspec.structs.replace(grant, gaps=[])
    missing: list[Gap] = grant_gaps(grant, reader.of_grant(grant), at)
    return msgspec.structs.replace(grant, gaps=missing)
