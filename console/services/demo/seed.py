"""Fill the demo's empty services through their own APIs, as an operator would."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec

from console.api import gateway, policy
from console.api.route import Route
from console.errors import PilotError
from console.model.access import StageKey, VerifyPartner
from console.model.enforcement import IssuedKey, IssueKey
from console.model.evidence import (
    AcceptTerms,
    Assessment,
    DecideAssessment,
    NewAssessment,
    PublishTerms,
)
from console.model.grant import Grant, GrantState, NewGrant
from console.model.ids import ulid
from console.model.text import now
from console.services.client import Client
from console.services.demo import scenario
from console.services.settings import Home


class Peers:
    """The operator APIs of one home, spoken to as the user who runs them."""

    def __init__(self, home: Home) -> None:
        self._clients = {api: Client(socket=home.socket(api)) for api in ("policy", "gateway")}

    async def ask(
        self,
        route: Route,
        body: msgspec.Struct | None = None,
        *,
        revision: int | None = None,
        **path: str,
    ) -> Any:
        """Make one call of the contract and return its decoded answer."""
        headers = {"Idempotency-Key": f'"{ulid()}"'} if route.writes else {}
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        client = self._clients[route.api]
        where = route.path.format(**path)
        if not route.writes:
            return await client.get(where, route.answer)
        return await client.send(route.method, where, body, route.answer, headers=headers)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()


async def seed(home: Home, sponsor: str) -> dict[str, str]:
    """Create the pilot, its partners and grants, and return the raw keys by caller name.

    The keys exist in the caller's memory only. Raises PilotError where a service refuses.
    """
    peers = Peers(home)
    try:
        await peers.ask(policy.PILOT_CREATE, scenario.pilot())
        for capability in scenario.capabilities():
            await peers.ask(policy.CAPABILITY_CREATE, capability)
        await peers.ask(
            policy.TERMS_PUBLISH,
            PublishTerms(
                pilot=scenario.PILOT,
                title="Aurora partner terms",
                text=scenario.TERMS,
                reason=scenario.WHY,
            ),
        )
        keys: dict[str, str] = {}
        for seat in scenario.SEATS:
            grant = await _admit(peers, seat, sponsor)
            if grant.state == GrantState.DRAFT:
                continue
            await _until_active(peers, grant.id)
            for holder in filter(None, (seat.slug, seat.subprocessor)):
                issued: IssuedKey = await peers.ask(
                    gateway.KEY_ISSUE,
                    IssueKey(grant_id=grant.id, holder=holder, reason=scenario.WHY),
                )
                assert issued.secret is not None
                name = seat.slug if holder == seat.slug else f"{seat.slug}/{holder}"
                keys[name] = issued.secret
        await _ask_for_exploit_dev(peers)
        return keys
    finally:
        await peers.close()


async def _admit(peers: Peers, seat: scenario.Seat, sponsor: str) -> Grant:
    moment = now()
    partner = await peers.ask(policy.PARTNER_CREATE, scenario.partner(seat, sponsor))
    await peers.ask(
        policy.PARTNER_VERIFY,
        VerifyPartner(
            until=moment + timedelta(days=200), evidence="vetting file", reason=scenario.WHY
        ),
        revision=partner.revision,
        partner=seat.slug,
    )
    if seat.accepts_terms:
        await peers.ask(
            policy.TERMS_ACCEPT,
            AcceptTerms(
                partner=seat.slug,
                signatory=f"{seat.name}, legal",
                evidence="countersigned copy on file",
                reason=scenario.WHY,
            ),
            pilot=scenario.PILOT,
        )
    await _assess(peers, seat.slug, seat.capability)
    grant: Grant = await peers.ask(
        policy.GRANT_CREATE,
        NewGrant(
            pilot=scenario.PILOT,
            stage=seat.stage,
            partner=seat.slug,
            capabilities=[seat.capability],
            models=scenario.models_of(seat),
            purpose=f"{seat.name}: defensive work within its own estate",
            expires_at=scenario.ends(seat, moment),
            reason=scenario.WHY,
        ),
    )
    return grant


async def _assess(peers: Peers, partner: str, capability: str) -> None:
    made: Assessment = await peers.ask(
        policy.ASSESSMENT_CREATE,
        NewAssessment(
            partner=partner,
            capability=capability,
            assessor="programme risk desk",
            summary="Residual risk accepted with egress declared and keys held in custody.",
            valid_until=now() + timedelta(days=180),
            reason=scenario.WHY,
        ),
    )
    await peers.ask(
        policy.ASSESSMENT_ACCEPT,
        DecideAssessment(reason=scenario.WHY),
        revision=made.revision,
        assessment=made.id,
    )


async def _ask_for_exploit_dev(peers: Peers) -> None:
    """Leave one grant at tier 3 waiting for its approval."""
    await _assess(peers, "northwind", "cyber.exploit-dev")
    await peers.ask(
        policy.GRANT_CREATE,
        NewGrant(
            pilot=scenario.PILOT,
            stage=StageKey.LIMITED,
            partner="northwind",
            capabilities=["cyber.exploit-dev"],
            models=["aurora-2"],
            purpose="Proof of exploitability for one relay family",
            expires_at=now() + timedelta(hours=70),
            reason="requested by the partner's sponsor",
        ),
    )


async def _until_active(peers: Peers, grant_id: str) -> None:
    """Wait until the gateway lets the grant through. PilotError after ten seconds."""
    for _ in range(200):
        grant: Grant = await peers.ask(policy.GRANT_SHOW, grant=grant_id)
        if grant.state == GrantState.ACTIVE:
            return
        await asyncio.sleep(0.05)
    raise PilotError(
        "not-provisioned",
        f"grant {grant_id} is still {grant.state} after ten seconds",
        hint="see `pilotctl status`",
    )
