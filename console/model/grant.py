"""Grants: the state machine, what a plan says, and what the gateway is told of one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.access import StageKey, Suspension
from console.model.limits import UNLIMITED, Limits
from console.model.stored import Request, Stored
from console.model.text import Cidr, Note, Reason, Slug, Time


class GrantState(StrEnum):
    """Where a grant stands. Only `active` lets a call through."""

    DRAFT = "draft"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    REVOKING = "revoking"
    REVOKED = "revoked"
    DENIED = "denied"


TRANSITIONS: dict[GrantState, frozenset[GrantState]] = {
    GrantState.DRAFT: frozenset(
        {
            GrantState.PENDING_APPROVAL,
            GrantState.PROVISIONING,
            GrantState.DENIED,
            GrantState.REVOKED,
        }
    ),
    GrantState.PENDING_APPROVAL: frozenset(
        {GrantState.APPROVED, GrantState.DENIED, GrantState.EXPIRED, GrantState.REVOKED}
    ),
    GrantState.APPROVED: frozenset(
        {GrantState.PROVISIONING, GrantState.EXPIRED, GrantState.REVOKED}
    ),
    GrantState.PROVISIONING: frozenset(
        {
            GrantState.ACTIVE,
            GrantState.SUSPENDED,
            GrantState.EXPIRED,
            GrantState.REVOKING,
            GrantState.REVOKED,
        }
    ),
    GrantState.ACTIVE: frozenset(
        {GrantState.SUSPENDED, GrantState.EXPIRED, GrantState.REVOKING, GrantState.REVOKED}
    ),
    GrantState.SUSPENDED: frozenset(
        {GrantState.PROVISIONING, GrantState.EXPIRED, GrantState.REVOKING, GrantState.REVOKED}
    ),
    GrantState.EXPIRED: frozenset({GrantState.REVOKED}),
    GrantState.REVOKING: frozenset({GrantState.REVOKED}),
    GrantState.REVOKED: frozenset(),
    GrantState.DENIED: frozenset(),
}
"""From each state, where a grant may go. Nothing leaves `revoked` or `denied`."""


class Gap(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that keeps a grant from being active, and how to mend it."""

    code: str
    """Stable: `terms_not_accepted`, `assessment_missing`, `verification_lapsed`, …"""
    message: str
    mend: str
    """The pilotctl line that would mend it, or an empty string where none can."""


class Decision(msgspec.Struct, kw_only=True, frozen=True):
    """A policy decision, with the bundle that made it. No answer is a deny."""

    id: str
    allow: bool
    bundle_revision: str
    reasons: list[str] = []
    """Names of the policies that decided."""
    errors: list[str] = []
    """Any diagnostic makes the decision a deny."""
    at: datetime


class Lapse(msgspec.Struct, kw_only=True, frozen=True):
    """A moment at which something under a grant ends, so that its calls must stop."""

    at: datetime
    code: str
    """`grant_expired`, `terms_lapsed`, `assessment_lapsed` or `verification_lapsed`."""


class Grant(Stored, kw_only=True, frozen=True):
    """A partner's access to capabilities on models, for a purpose and a time."""

    pilot: str
    stage: str
    partner: str
    capabilities: list[str]
    models: list[str]
    networks: list[str]
    """Networks the calls must come from. Empty means the partner's declared egress from tier 2
    up, and ALL below."""
    purpose: str
    not_before: datetime
    expires_at: datetime
    tier: int
    """The highest impact tier over what it reached when it was made: of its capabilities, and of
    others, not prohibited, that open one of its models on one of its routes."""
    below: list[str] = []
    """Those others of a higher tier than its capabilities have, the highest first."""
    state: Annotated[str, GrantState]
    state_reason: str = ""
    terms_id: str = ""
    assessment_ids: list[str] = []
    decision: Decision | None = None
    gaps: list[Gap] = []
    """What is missing while it is not active."""
    limits: Limits = UNLIMITED
    """Over all its keys and callers."""
    principal_limits: Limits = UNLIMITED
    """For each of its principals alone."""
    principals: list[str] = []
    """Ids of the principals that its calls must come from; `service` is the organisation itself,
    for calls that name no user. Empty means ALL: from tier 2 up only in grants of before."""
    renews: str = ""
    """The grant that this one succeeds: its credentials go on under this one."""
    renewed_by: str = ""
    """The successor that holds its credentials now."""
    lineage: list[str] = []
    """Every grant that it succeeds, the newest first."""
    suspension: Suspension | None = None
    """Who suspended it, while an operator's suspension lasts."""
    resumed: str = ""
    """The suspension that was lifted last."""


PrincipalId = Annotated[str, Meta(max_length=64)]


class NewGrant(Request, kw_only=True, frozen=True):
    """What `grant create` sends."""

    pilot: Slug
    stage: StageKey
    partner: Slug
    capabilities: Annotated[list[Slug], Meta(min_length=1, max_length=20)]
    models: Annotated[list[Annotated[str, Meta(max_length=63)]], Meta(max_length=50)] = []
    """Empty takes all of the capabilities' models at tiers 0 and 1; refused from tier 2."""
    networks: Annotated[list[Cidr], Meta(max_length=200)] = []
    """Empty takes the partner's declared egress from tier 2 up, and every network below."""
    purpose: Reason
    not_before: Time | None = None
    expires_at: Time
    limits: Limits | None = None
    """Those of the stage where it is left out."""
    principal_limits: Limits | None = None
    principals: Annotated[list[PrincipalId], Meta(max_length=1000)] = []
    """Ids of the principals that alone may call, `service` for the organisation itself. Empty is
    `service` from tier 2 up, and lets any below."""
    reason: Reason
    labels: dict[str, Note] = {}


class ActivateGrant(Request, kw_only=True, frozen=True):
    """What `grant activate` sends: a draft whose gaps are mended goes on."""

    reason: Reason


class RenewGrant(Request, kw_only=True, frozen=True):
    """What `grant renew` sends: a successor like the grant, with another end."""

    expires_at: Time
    stage: StageKey | None = None
    """Another stage of the pilot; the grant's own where it is left out."""
    reason: Reason


class AmendGrant(Request, kw_only=True, frozen=True):
    """What `grant amend` and `grant narrow` send: each member that is given replaces its own."""

    limits: Limits | None = None
    principal_limits: Limits | None = None
    networks: Annotated[list[Cidr], Meta(max_length=200)] | None = None
    principals: Annotated[list[PrincipalId], Meta(max_length=1000)] | None = None
    purpose: Reason | None = None
    reason: Reason


class SuspendAccess(Request, kw_only=True, frozen=True):
    """What `grant suspend` and `partner suspend` send, to the gateway alone."""

    reason: Reason


class ResumeGrant(Request, kw_only=True, frozen=True):
    """What `grant resume` sends."""

    reason: Reason


class OffboardPartner(Request, kw_only=True, frozen=True):
    """What `partner offboard` sends, to the gateway alone."""

    reason: Reason


class QuietGrant(msgspec.Struct, kw_only=True, frozen=True):
    """An open grant that nobody used for a while: access to reclaim."""

    id: str
    """The grant's id."""
    partner: str
    pilot: str
    stage: str
    capabilities: list[str]
    tier: int
    credentials: int
    """Living keys under it."""
    last_used_at: datetime | None = None
    """The last call that was served, under it or what it renews; None for never."""
    expires_at: datetime | None = None


class GrantPlan(msgspec.Struct, kw_only=True, frozen=True):
    """What `grant create` would do, as `validate_only` answers it. Nothing is stored."""

    grant: Grant
    becomes: str
    """The state it would reach at once: `active`, `pending_approval` or `draft`."""
    gaps: list[Gap]
    holders: dict[str, int]
    """Capability slug to the number of other partners that hold it now."""
    overlaps: list[str]
    """Ids of this partner's live grants over the same capabilities: they go on."""
    decision: Decision
    criteria: list[str] = []
    """What its stage asks for before a partner enters."""
    egress: list[str] = []
    """What the partner declares: from tier 2 up it stands where the grant names no network."""


class GrantedCapability(msgspec.Struct, kw_only=True, frozen=True):
    """What the gateway must know of a capability to decide a call."""

    slug: str
    tier: int
    category: str
    models: list[str]
    routes: list[str]


class GrantProjection(msgspec.Struct, kw_only=True, frozen=True):
    """What policy tells the gateway of a grant: enough to decide every call alone."""

    id: str
    revision: int
    pilot: str
    stage: str
    partner: str
    partner_state: str
    """Only `active` and `restricted` partners are served."""
    capabilities: list[GrantedCapability]
    models: list[str]
    networks: list[str]
    not_before: datetime
    lapses: list[Lapse]
    state: str
    state_reason: str = ""
    tier: int
    approval_id: str = ""
    """The consumed approval; without one nothing opens from tier 3 up."""
    grace_seconds: int
    egress: list[str]
    subprocessors: list[str]
    limits: Limits = UNLIMITED
    principal_limits: Limits = UNLIMITED
    principals: dict[str, str] = {}
    """Principal id to its salted hash, which is empty for `service`; no member lets any."""
    renews: str = ""
    """The gateway moves that grant's living credentials to this one as it opens."""
    lineage: list[str] = []
    """Every grant that this one succeeds, the newest first: a lock on one of them holds it."""
    resumed: str = ""
    """The suspension that was lifted last: the gateway lifts it as it applies this."""
    content: str = "none"
    """What the pilot keeps of what is sent and answered: `none`, `hashed` or `sealed`."""
    content_days: int = 0
    credit_micros: int | None = None
    """The pilot's credit pool, over all its grants."""
