"""The decision: may this call be served now? One pure function over a snapshot.

The order of the checks is the order in which a refusal is named, most final first:
lease, credential, tombstone, locks, the grant's own state and lapses, route, model,
capability, principal, network, freshness of policy, and the policy bundle last. Each check only
ever adds a reason to refuse, so a lock or a tombstone can never let a call through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import NamedTuple

from console.model.access import RouteName
from console.model.enforcement import LockKind
from console.model.grant import Decision, GrantedCapability, GrantProjection, GrantState
from console.model.principal import PrincipalState
from console.model.scope import SERVICE, networks_of
from console.model.traffic import Check
from console.services.gateway.decision.refusal_codes import CODES
from console.services.gateway.decision.snapshot import Snapshot, lapsed, next_lapse, within
from console.services.wire.changes import KeyFact, LockFact

STALE_SECONDS = 10.0
"""Policy is heard of each second; unheard of for so long, tier 3 and above is held back."""

GUARDED_TIER = 3
"""From this tier up nothing is let through on old knowledge, and nothing opens alone."""

MODELS_ROUTE = "models"
"""The model list: it has no model, capability or policy question of its own."""


ANY_KEY = "any key"
"""In the place of a credential's id, where a grant was asked about and none of its keys."""

_ROUTES = frozenset(RouteName)


class Asked(NamedTuple):
    """What a caller asks, as the point saw it. One of the two keys is given, or none."""

    route: str
    model: str = ""
    key_sha256: str = ""
    credential_id: str = ""
    """Named by a probe of gateway control; a caller has no way to set it."""
    capability: str = ""
    address: str = ""
    principal: str = ""
    """The salted hash of the user that the caller named, empty where it named none."""
    grant: str = ""
    """Asked of a grant instead of a key: whether any key under it would be served."""


class Moment(NamedTuple):
    """The circumstances of a decision. `policy_age` is None where policy was never heard of."""

    now: datetime
    leased: bool
    policy_age: float | None


class Verdict(NamedTuple):
    """What was decided, and everything the call record says of why."""

    allow: bool
    code: str
    message: str
    checks: list[Check]
    key: KeyFact | None = None
    grant: GrantProjection | None = None
    capability: GrantedCapability | None = None
    lock_id: str = ""
    declared: bool = True
    until: datetime | None = None
    """The next moment at which the same call would be refused by a lapse."""
    bundle_revision: str = ""
    why: str = ""


Authorize = Callable[[GrantProjection, str, str, str], Decision]
"""Ask the policy bundle: grant, capability, model, route. Never raises; no answer is a deny."""


def decide(snapshot: Snapshot, asked: Asked, moment: Moment, authorize: Authorize) -> Verdict:
    """Decide one call. The same arguments always give the same verdict."""
    judge = _Judge(asked)
    if not moment.leased:
        return judge.refuse("lease", "point_fenced", "the point holds no fresh lease")
    judge.passed("lease", "fresh")

    if not asked.key_sha256 and not asked.credential_id and not asked.grant:
        return judge.refuse("credential", "key_missing", "no key was sent")
    key = _key_of(snapshot, asked)
    if key is None:
        return judge.refuse("credential", "key_unknown", "no credential has this key")
    judge.key = key
    judge.grant = grant = snapshot.grant(key.grant_id)
    judge.passed("credential", key.id)
    if grant is not None:
        judge.declared = not grant.egress or any(within(asked.address, n) for n in grant.egress)

    if code := ended(snapshot, key, moment.now):
        said = f"replaced, until {key.ends_at}" if code == "key_rotated" else "revoked for ever"
        return judge.refuse("tombstone", code, f"{code.partition('_')[0]} was {said}")
    judge.passed("tombstone", "none")

    if held := snapshot.suspended(key):
        return judge.refuse(
            "suspension", "grant_suspended", f"{held.id} of {held.kind} {held.target}"
        )

    covering = covers(grant, asked.route, asked.model) if grant else []
    if lock := _lock_over(snapshot, asked, key, grant, covering):
        judge.lock_id = lock.id
        return judge.refuse(
            "locks", "locked", f"{lock.id} on {lock.kind} {lock.target}", says=lock.message
        )
    judge.passed("locks", "none matches")

    if grant is None:
        return judge.refuse("grant", "grant_not_active", f"{key.grant_id} is not known here")
    code, found = standing(grant, moment.now)
    if code:
        # Only a stable code of what lapsed is told to the caller, never an operator's words.
        told = found if code == "grant_suspended" and found.endswith("_lapsed") else ""
        return judge.refuse("grant", code, found, why=told)
    judge.until = next_lapse(grant, moment.now)
    if key.ends_at is not None and (judge.until is None or key.ends_at < judge.until):
        judge.until = key.ends_at
    judge.passed("grant", found)

    if asked.route != MODELS_ROUTE and (refused := _scope(judge, grant, covering)):
        return refused
    if asked.route != MODELS_ROUTE and (refused := _principal(judge, snapshot, grant)):
        return refused
    networks = networks_of(grant.networks, grant.tier, grant.egress)
    if networks is not None:
        if not any(within(asked.address, network) for network in networks):
            whose = "the grant's" if grant.networks else "the partner's declared networks"
            return judge.refuse(
                "network", "network_not_allowed", f"{asked.address} is in none of {whose}"
            )
        judge.passed("network", asked.address)

    tier = judge.capability.tier if judge.capability else 0
    if found := staleness(tier, grant.grace_seconds, moment.policy_age):
        return judge.refuse("policy freshness", "policy_stale", found)
    judge.passed("policy freshness", "fresh enough")

    if judge.capability is not None:
        decision = authorize(grant, judge.capability.slug, asked.model, asked.route)
        judge.bundle_revision = decision.bundle_revision
        if not decision.allow or decision.errors:
            return judge.refuse("policy", "policy_denied", _reasons(decision))
        judge.passed("policy", _reasons(decision))
    return judge.verdict(True, "", "")


def _key_of(snapshot: Snapshot, asked: Asked) -> KeyFact | None:
    """Return the credential that asks; of a grant, one that its partner might hold."""
    if asked.credential_id:
        return snapshot.key(asked.credential_id)
    if asked.key_sha256:
        return snapshot.key_by_hash(asked.key_sha256)
    grant = snapshot.grant(asked.grant)
    if grant is None:
        return None
    return KeyFact(
        id=ANY_KEY, sha256="", grant_id=grant.id, partner=grant.partner, holder=grant.partner
    )


def ended(snapshot: Snapshot, key: KeyFact, at: datetime) -> str:
    """Return the code with which a credential is refused for ever, or an empty string.

    A replaced key ends by its own time too: where its tombstone has not come yet, and even
    where control cannot be heard.
    """
    code = snapshot.ended(key)
    over = key.ends_at is not None and at >= key.ends_at
    return "key_rotated" if over and code in {"", "key_revoked"} else code


def covers(grant: GrantProjection, route: str, model: str) -> list[GrantedCapability]:
    """Return the granted capabilities that open `model` on `route`, lowest tier first."""
    if model not in models_of(grant):
        return []
    found = [c for c in grant.capabilities if route in c.routes and model in c.models]
    return sorted(found, key=lambda c: (c.tier, c.slug)) if len(found) > 1 else found


def address_of(grant: GrantProjection) -> str:
    """Return an address that the grant lets call: a probe from elsewhere would prove nothing."""
    networks = networks_of(grant.networks, grant.tier, grant.egress)
    return str(ip_network(networks[0], strict=False)[0]) if networks else ""


def models_of(grant: GrantProjection) -> Sequence[str]:
    """Return the models in a grant's scope. An empty list means ALL of its capabilities',
    and only at tiers 0 and 1: above, it means none.
    """
    if grant.models:
        return grant.models
    return sorted({m for c in grant.capabilities if c.tier <= 1 for m in c.models})


def standing(grant: GrantProjection, at: datetime) -> tuple[str, str]:
    """Return the refusal code (empty where it stands) and what was found of a grant at `at`."""
    if code := lapsed(grant, at):
        return ("grant_expired", code) if code == "grant_expired" else ("grant_suspended", code)
    match grant.state:
        case GrantState.ACTIVE:
            if at < grant.not_before:
                return "grant_not_yet_valid", f"begins at {grant.not_before.isoformat()}"
            return "", "active"
        case GrantState.SUSPENDED:
            return "grant_suspended", grant.state_reason or "suspended"
        case GrantState.EXPIRED:
            return "grant_expired", "expired"
        case GrantState.REVOKING | GrantState.REVOKED:
            return "grant_revoked", grant.state
        case _:
            return "grant_not_active", grant.state


def staleness(tier: int, grace_seconds: int, policy_age: float | None) -> str:
    """Return why policy is too old for `tier`, or an empty string. Ages in seconds."""
    if policy_age is None:
        return "policy was never heard of"
    if tier >= GUARDED_TIER and policy_age > STALE_SECONDS:
        return f"tier {tier}: policy unheard of for {policy_age:.0f} s"
    if policy_age > max(grace_seconds, STALE_SECONDS):
        return f"policy unheard of for {policy_age:.0f} s, beyond the pilot's grace"
    return ""


def lock_targets(
    key: KeyFact, grant: GrantProjection | None, models: Sequence[str], capabilities: Sequence[str]
) -> list[tuple[str, str]]:
    """Return every lock target that calls with these facts fall under.

    Networks and principals are the call's own, and no fact of a key.
    """
    found = [
        (LockKind.EVERYTHING.value, "*"),
        (LockKind.PARTNER.value, key.partner),
        (LockKind.SUBPROCESSOR.value, key.holder),
        (LockKind.GRANT.value, key.grant_id),
        (LockKind.CREDENTIAL.value, key.id),
    ]
    if grant is not None:
        found.extend((LockKind.GRANT.value, former) for former in grant.lineage)
        found.append((LockKind.PILOT.value, grant.pilot))
        found.append((LockKind.STAGE.value, f"{grant.pilot}/{grant.stage}"))
    found.extend((LockKind.MODEL.value, model) for model in models)
    found.extend((LockKind.CAPABILITY.value, slug) for slug in capabilities)
    return found


def reachable_targets(key: KeyFact, grant: GrantProjection | None) -> list[tuple[str, str]]:
    """Return every lock target that some call of a credential falls under (`lock_targets`)."""
    if grant is None:
        return lock_targets(key, None, (), ())
    return lock_targets(key, grant, models_of(grant), [c.slug for c in grant.capabilities])


def _principal_lock(snapshot: Snapshot, hashed: str) -> LockFact | None:
    """Return an active lock on the user that a call names, by its hash or its id."""
    if not hashed:
        return None
    known = snapshot.principal(hashed)
    found = snapshot.lock_on(LockKind.PRINCIPAL, hashed)
    return found or (snapshot.lock_on(LockKind.PRINCIPAL, known.id) if known else None)


def _principal(judge: _Judge, snapshot: Snapshot, grant: GrantProjection) -> Verdict | None:
    """Check the user that the call names, against those that the grant is for."""
    hashed = judge.asked.principal
    known = snapshot.principal(hashed) if hashed else None
    name = known.id if known else hashed[:12]
    if known is not None and known.state == PrincipalState.RETIRED:
        return judge.refuse("principal", "principal_not_allowed", f"{name} is retired")
    if not grant.principals:
        if hashed:
            judge.passed("principal", name)
        return None
    if hashed in grant.principals.values():
        judge.passed("principal", name or SERVICE)
        return None
    if not hashed:
        return judge.refuse("principal", "principal_missing", "the grant is for named users")
    return judge.refuse("principal", "principal_not_allowed", f"{name} is none of the grant's")


def _lock_over(
    snapshot: Snapshot,
    asked: Asked,
    key: KeyFact,
    grant: GrantProjection | None,
    covering: Sequence[GrantedCapability],
) -> LockFact | None:
    """Return an active lock that the call falls under.

    A call that names no capability falls under a lock on any that covers it.
    """
    named = [asked.capability] if asked.capability else [c.slug for c in covering]
    models = [asked.model] if asked.model else []
    for kind, target in lock_targets(key, grant, models, named):
        if lock := snapshot.lock_on(kind, target):
            return lock
    return _principal_lock(snapshot, asked.principal) or snapshot.network_lock(asked.address)


def _scope(
    judge: _Judge, grant: GrantProjection, covering: Sequence[GrantedCapability]
) -> Verdict | None:
    """Check route, model and capability. Sets the judge's capability where all pass."""
    asked = judge.asked
    if asked.route not in _ROUTES:
        return judge.refuse("route", "route_unknown", asked.route)
    if not any(asked.route in c.routes for c in grant.capabilities):
        return judge.refuse("route", "route_out_of_scope", f"{asked.route} is in no capability")
    judge.passed("route", asked.route)
    if asked.model not in models_of(grant) or not any(
        asked.model in c.models for c in grant.capabilities
    ):
        return judge.refuse("model", "model_out_of_scope", "not among the grant's models")
    if not covering:
        return judge.refuse("model", "route_out_of_scope", "no capability opens it on this route")
    judge.passed("model", asked.model)
    if asked.capability:
        chosen = next((c for c in covering if c.slug == asked.capability), None)
        if chosen is None:
            return judge.refuse(
                "capability", "capability_out_of_scope", "the one named is not granted for this"
            )
    else:
        chosen = covering[0]
    judge.capability = chosen
    judge.passed("capability", chosen.slug)
    return None


def _reasons(decision: Decision) -> str:
    if decision.errors:
        return "undecided: " + "; ".join(decision.errors)
    return ", ".join(decision.reasons) or "no policy allows it"


class _Judge:
    """The verdict as it grows, one check after another."""

    __slots__ = (
        "asked",
        "bundle_revision",
        "capability",
        "checks",
        "declared",
        "grant",
        "key",
        "lock_id",
        "until",
    )

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.checks: list[Check] = []
        self.key: KeyFact | None = None
        self.grant: GrantProjection | None = None
        self.capability: GrantedCapability | None = None
        self.lock_id = ""
        self.declared = True
        self.until: datetime | None = None
        self.bundle_revision = ""

    def passed(self, name: str, found: str) -> None:
        self.checks.append(Check(name=name, passed=True, found=found))

    def refuse(self, name: str, code: str, found: str, *, says: str = "", why: str = "") -> Verdict:
        self.checks.append(Check(name=name, passed=False, found=found))
        message = says or CODES[code].says
        if why:
            message = f"{message.removesuffix('.')}: {why}."
        return self.verdict(False, code, message, why=why)

    def verdict(self, allow: bool, code: str, message: str, why: str = "") -> Verdict:
        return Verdict(
            allow, code, message, self.checks, self.key, self.grant, self.capability,
            self.lock_id, self.declared, self.until, self.bundle_revision, why,
        )  # fmt: skip
