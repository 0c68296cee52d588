"""The incident that needs an operator: access given under terms that are about to lapse.

The programme's owner grants, as anyone would, to a partner that has accepted only the
terms before the newest. The warning is an alert at once; minutes later the grant
suspends by itself.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec

from console.api import gateway, policy
from console.api.route import Route
from console.model.enforcement import IssuedKey, IssueKey
from console.model.grant import Grant, GrantState, NewGrant
from console.model.ids import ulid
from console.model.text import now
from console.services.client import Client
from console.services.demo.cast import BY_SLUG
from console.services.demo.live_traffic import Caller
from console.services.settings import Home

SEAT = BY_SLUG["lanternfish"]
CALLER = Caller(
    key=SEAT.slug, addresses=(SEAT.address(4),), model=SEAT.models[0], route="messages",
    stream=False, every=20.0,
)  # fmt: skip


async def open_access(home: Home, token: str) -> str:
    """Grant and issue as the owner whose `token` it is; return the raw key.

    Raises PilotError where a service refuses.
    """
    async with Client(socket=home.socket("policy")) as at_policy:
        grant: Grant = await _send(
            at_policy, token, policy.GRANT_CREATE,
            NewGrant(
                pilot=SEAT.pilot, stage=SEAT.stage, partner=SEAT.slug,
                capabilities=[SEAT.capability], models=SEAT.models,
                purpose=f"{SEAT.name}: a review of one season's papers",
                expires_at=now() + timedelta(days=60),
                reason="the old terms are on file; the new ones are promised for today",
            ),
        )  # fmt: skip
        while grant.state == GrantState.PROVISIONING:
            path = policy.GRANT_SHOW.path.format(grant=grant.id)
            await asyncio.sleep(0.2)
            grant = await at_policy.get(path, Grant)
    async with Client(socket=home.socket("gateway")) as at_gateway:
        issued: IssuedKey = await _send(
            at_gateway, token, gateway.KEY_ISSUE,
            IssueKey(grant_id=grant.id, holder=SEAT.slug, reason="first key"),
        )  # fmt: skip
    return issued.secret or ""


async def _send(client: Client, token: str, route: Route[Any], body: msgspec.Struct) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f'"{ulid()}"'}
    return await client.send(route.method, route.path, body, route.answer, headers=headers)
