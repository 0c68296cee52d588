"""What a closing verb ends: counted from what the gateway holds now."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from sqlalchemy import Connection, select

from console.model.enforcement import Blast, LockKind, LockTarget
from console.model.grant import GrantProjection, GrantState
from console.services.gateway.control.state.schema import CALLS, CREDENTIALS
from console.services.gateway.decision.decide import reachable_targets
from console.services.gateway.decision.snapshot import Snapshot, within
from console.services.wire.changes import KeyFact

_LIVE = frozenset({GrantState.PROVISIONING, GrantState.ACTIVE, GrantState.SUSPENDED})
"""A grant that a call may be let through under, now or by itself later."""


def alive(snapshot: Snapshot) -> list[tuple[KeyFact, GrantProjection | None]]:
    """Return the credentials that no tombstone has ended, with their grants."""
    return [
        (key, snapshot.grant(key.grant_id))
        for key in snapshot.each_key()
        if not snapshot.ended(key)
    ]


def touched_keys(
    conn: Connection, snapshot: Snapshot, target: LockTarget
) -> list[tuple[KeyFact, GrantProjection | None]]:
    """Return the living credentials that a lock on `target` would stop, wholly or in part."""
    if target.kind is LockKind.NETWORK:
        seen = _last_networks(conn)
        return [
            (key, grant)
            for key, grant in alive(snapshot)
            if within(seen.get(key.id, ""), target.id)
            or (grant is not None and _overlap(grant, target.id))
        ]
    if target.kind is LockKind.PRINCIPAL:
        called = _called_with(conn, hash_of(snapshot, target.id))
        return [
            (key, grant)
            for key, grant in alive(snapshot)
            if key.id in called or (grant is not None and _names(snapshot, grant, target.id))
        ]
    return [(key, grant) for key, grant in alive(snapshot) if falls_under(key, grant, target)]


def hash_of(snapshot: Snapshot, principal: str) -> str:
    """Return the salted hash of a principal that is named by its id or its hash."""
    known = snapshot.principal(principal)
    return known.hash if known else principal


def uses(snapshot: Snapshot, grant: GrantProjection, principal: str) -> bool:
    """Tell whether a principal could call under a grant, were it not locked.

    Of a hash that policy does not know, the partner is not known either.
    """
    known = snapshot.principal(principal)
    if grant.principals:
        return hash_of(snapshot, principal) in grant.principals.values()
    return known is None or known.partner == grant.partner


def _names(snapshot: Snapshot, grant: GrantProjection, principal: str) -> bool:
    """Tell whether a key of the grant may be used by a principal that policy knows."""
    return snapshot.principal(principal) is not None and uses(snapshot, grant, principal)


def _called_with(conn: Connection, hashed: str) -> set[str]:
    """Return the credentials with which a principal was seen to call."""
    asked = select(CALLS.c.credential_id).where(CALLS.c.principal == hashed).distinct()
    return set(conn.execute(asked).scalars())


def falls_under(key: KeyFact, grant: GrantProjection | None, target: LockTarget) -> bool:
    """Tell whether some call of a credential falls under a lock (networks, principals apart)."""
    return (target.kind.value, target.id) in reachable_targets(key, grant)


def grant_under(grant: GrantProjection, target: LockTarget) -> bool:
    """Tell whether every key of a grant falls under a lock, wholly or in part."""
    if target.kind is LockKind.NETWORK:
        return _overlap(grant, target.id)
    nobodys = KeyFact(id="", sha256="", grant_id=grant.id, partner=grant.partner, holder="")
    return falls_under(nobodys, grant, target)


def blast(
    conn: Connection, snapshot: Snapshot, target: LockTarget, in_flight: int | None = None
) -> Blast:
    """Return the blast radius of a lock, or a tombstone, on `target`."""
    keys = touched_keys(conn, snapshot, target)
    ids = {key.id for key, _ in keys}
    grants = {
        grant.id: grant
        for grant in snapshot.grants()
        if (grant.state in _LIVE or (target.kind is LockKind.GRANT and grant.id == target.id))
        and not snapshot.tombstoned("grant", grant.id)
        and grant_under(grant, target)
    }
    grants.update(
        {
            grant.id: grant
            for _, grant in keys
            if grant is not None and target.kind is not LockKind.CREDENTIAL
        }
    )
    partners = {key.partner for key, _ in keys} | {grant.partner for grant in grants.values()}
    return Blast(
        partners=sorted(partners),
        grants=sorted(grants),
        credentials=len(ids),
        streams=in_flight or 0,
        stays=_stays(snapshot, partners, ids, set(grants)),
    )


def highest_tier(grants: Iterable[GrantProjection], target: LockTarget) -> int:
    """Return the highest impact tier that a lock on `target` covers among the live `grants`."""
    tiers = [0]
    for grant in grants:
        if grant.state not in _LIVE:
            continue
        for capability in grant.capabilities:
            if target.kind is LockKind.CAPABILITY and capability.slug != target.id:
                continue
            if target.kind is LockKind.MODEL and target.id not in capability.models:
                continue
            tiers.append(capability.tier)
    return max(tiers)


def _stays(snapshot: Snapshot, partners: set[str], ended: set[str], grants: set[str]) -> list[str]:
    """Say what the same partners keep: living credentials that are not touched, by grant."""
    kept: dict[str, tuple[str, int]] = {}
    for key, grant in alive(snapshot):
        if key.partner in partners and key.id not in ended:
            _, count = kept.get(key.grant_id, ("", 0))
            what = ", ".join(c.slug for c in grant.capabilities) if grant else ""
            kept[key.grant_id] = (f"{key.partner}: {what}", count + 1)
    for grant in snapshot.grants():
        if (
            grant.partner in partners
            and grant.id not in grants
            and grant.id not in kept
            and grant.state in _LIVE
            and not snapshot.tombstoned("grant", grant.id)
        ):
            what = ", ".join(c.slug for c in grant.capabilities)
            kept[grant.id] = (f"{grant.partner}: {what}", 0)
    return [
        f"{what} ({grant_id}), {count} key{'' if count == 1 else 's'}"
        for grant_id, (what, count) in sorted(kept.items())
    ]


def _overlap(grant: GrantProjection, network: str) -> bool:
    try:
        locked = ipaddress.ip_network(network, strict=False)
        return any(
            other.version == locked.version and other.overlaps(locked)
            for other in (
                ipaddress.ip_network(each, strict=False)
                for each in (*grant.networks, *grant.egress)
            )
        )
    except ValueError:
        return False


def _last_networks(conn: Connection) -> dict[str, str]:
    rows = conn.execute(select(CREDENTIALS.c.body)).scalars()
    return {each.id: each.last_network for each in rows}
