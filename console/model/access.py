"""Pilots, stages, capabilities and partners: who may be given what, and how far."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.limits import UNLIMITED, Limits
from console.model.stored import Request, Stored
from console.model.text import Cidr, Name, Note, Reason, Slug, Time


class StageKey(StrEnum):
    """The rungs of a staged release, in order."""

    APPLIED = "applied"
    VETTED = "vetted"
    SANDBOX = "sandbox"
    LIMITED = "limited"
    EXPANDED = "expanded"
    SUNSET = "sunset"


class Category(StrEnum):
    """How a capability may be handled at all. Prohibited ones are never granted."""

    PROHIBITED = "prohibited"
    HIGH_RISK_DUAL_USE = "high-risk-dual-use"
    DUAL_USE = "dual-use"
    GENERAL = "general"


class RouteName(StrEnum):
    """The data-plane routes that a capability can open."""

    CHAT = "chat.completions"
    MESSAGES = "messages"
    RESPONSES = "responses"


class PartnerState(StrEnum):
    """Where a partner stands. Only active and restricted partners can hold active grants."""

    PROSPECT = "prospect"
    VETTING = "vetting"
    ACTIVE = "active"
    RESTRICTED = "restricted"
    SUSPENDED = "suspended"
    OFFBOARDING = "offboarding"
    OFFBOARDED = "offboarded"


class PilotState(StrEnum):
    """Whether a pilot goes on. A closed one never does again, and its slug is never used again."""

    ACTIVE = "active"
    CLOSING = "closing"
    CLOSED = "closed"


class ContentKeeping(StrEnum):
    """What is kept of what partners send and get: nothing, its hashes, or sealed copies."""

    NONE = "none"
    HASHED = "hashed"
    SEALED = "sealed"


Tier = Annotated[int, Meta(ge=0, le=4)]
Seconds = Annotated[int, Meta(ge=1, le=10 * 366 * 86400)]


Credit = Annotated[int, Meta(ge=1, le=10**15)] | None


class Stage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A rung of one pilot: how many partners it takes and how long a grant may run."""

    key: StageKey
    most_partners: Annotated[int, Meta(ge=0, le=100_000)]
    longest_grant_seconds: Seconds
    criteria: Annotated[list[Name], Meta(max_length=20)] = []
    """What must be so before a partner enters: shown whenever a grant is planned in it."""
    limits: Limits = UNLIMITED
    """What a grant in this stage gets where it names none of its own."""
    principal_limits: Limits = UNLIMITED
    """The same for each of its principals."""


class Pilot(Stored, kw_only=True, frozen=True):
    """One partner-only programme."""

    slug: str
    title: str
    models: list[str]
    stages: list[Stage]
    grace_seconds: int
    """How long calls below T3 go on while the gateway hears nothing from policy."""
    terms_id: str = ""
    """The usage terms in force, empty before any were published."""
    credit_micros: int | None = None
    """What all its partners may spend together, in micro-units; None sets no pool."""
    content: str = ContentKeeping.NONE
    content_days: int = 0
    """How long sealed content is kept."""
    state: Annotated[str, PilotState] = PilotState.ACTIVE
    ending: str = ""
    """Why it was closed, with the gateway's event of it."""


class ClosePilot(Request, kw_only=True, frozen=True):
    """What `pilot close` sends, to the gateway alone."""

    reason: Reason


class PilotProjection(msgspec.Struct, kw_only=True, frozen=True):
    """What policy tells the gateway of a pilot: projection kind `pilot`."""

    slug: str


class NewPilot(Request, kw_only=True, frozen=True):
    """What `pilot create` sends."""

    slug: Slug
    title: Name
    models: Annotated[list[Slug], Meta(min_length=1, max_length=50)]
    stages: Annotated[list[Stage], Meta(min_length=1, max_length=6)]
    grace_seconds: Annotated[int, Meta(ge=0, le=7 * 86400)] = 3600
    credit_micros: Credit = None
    content: ContentKeeping = ContentKeeping.NONE
    content_days: Annotated[int, Meta(ge=0, le=3650)] = 0
    reason: Reason
    labels: dict[str, Note] = {}


class CapabilityText(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A capability as a pilot's file says it."""

    title: Name
    category: Category
    tier: Tier
    models: Annotated[list[Slug], Meta(min_length=1, max_length=50)]
    routes: Annotated[list[RouteName], Meta(min_length=1, max_length=10)]
    longest_grant_seconds: Seconds


class PilotText(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A whole pilot as a file says it: what `pilot export` writes and `pilot import` reads."""

    slug: Slug
    title: Name
    models: Annotated[list[Slug], Meta(min_length=1, max_length=50)]
    grace_seconds: Annotated[int, Meta(ge=0, le=7 * 86400)] = 3600
    credit_micros: Credit = None
    content: ContentKeeping = ContentKeeping.NONE
    content_days: Annotated[int, Meta(ge=0, le=3650)] = 0
    stages: Annotated[list[Stage], Meta(min_length=1, max_length=6)]
    capabilities: dict[Slug, CapabilityText] = {}


class PilotFile(msgspec.Struct, kw_only=True, frozen=True):
    """What `pilot export` prints: a pilot as TOML."""

    slug: str
    text: str


class ImportPilot(Request, kw_only=True, frozen=True):
    """What `pilot import` sends: the pilot becomes what the text says, or is made so.

    Capabilities that the text leaves out stay: none is ever taken away by a file.
    """

    pilot: PilotText
    revision: int | None = None
    """The pilot's revision that the change was planned on; None where there is none yet."""
    reason: Reason


class SetStage(Request, kw_only=True, frozen=True):
    """What `pilot stage` sends: the rung is added, or its bounds replaced."""

    stage: Stage
    reason: Reason


class Capability(Stored, kw_only=True, frozen=True):
    """What a grant is about: not a model, but what may be done with which models."""

    slug: str
    title: str
    pilot: str
    category: str
    tier: int
    models: list[str]
    routes: list[str]
    longest_grant_seconds: int
    below: list[str] = []
    """In answers: capabilities of a higher tier, not prohibited, that open one of its models on
    one of its routes. Who is granted this one reaches what they guard."""


class NewCapability(Request, kw_only=True, frozen=True):
    """What `capability create` sends."""

    slug: Slug
    title: Name
    pilot: Slug
    category: Category
    tier: Tier
    models: Annotated[list[Slug], Meta(min_length=1, max_length=50)]
    routes: Annotated[list[RouteName], Meta(min_length=1, max_length=10)]
    longest_grant_seconds: Seconds
    reason: Reason
    labels: dict[str, Note] = {}


class Contact(msgspec.Struct, kw_only=True, frozen=True):
    """Whom to reach at a partner, for its security or its contract."""

    name: str
    email: str
    role: str


Email = Annotated[
    str,
    Meta(max_length=254, pattern=r"^[^\s@<>\x00-\x1f]+@[^\s@<>\x00-\x1f]+$(?!\n)"),
]


class NewContact(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A contact as it is sent."""

    name: Name
    email: Email
    role: Name = "security"


class Suspension(msgspec.Struct, kw_only=True, frozen=True):
    """That an operator suspended something, at the gateway: it lasts until it is resumed."""

    id: str
    at: datetime
    by: str
    reason: str


class Partner(Stored, kw_only=True, frozen=True):
    """A vetted organisation."""

    slug: str
    name: str
    sponsor: str
    """The operator who answers for it: never one of its approvers."""
    state: Annotated[str, PartnerState]
    verified_until: datetime | None
    """When its verification ends; None before it was ever verified."""
    verification: str
    """The reference to the evidence of the verification."""
    egress: list[str]
    """Networks its calls are declared to come from; others raise an alert."""
    subprocessors: list[str]
    """Slugs of the organisations that may hold its credentials."""
    contacts: list[Contact] = []
    suspension: Suspension | None = None
    """Who suspended it, while it is suspended."""
    resumed: str = ""
    """The suspension that was lifted last."""
    ending: str = ""
    """Why it was offboarded, with the gateway's event of it."""


class NewPartner(Request, kw_only=True, frozen=True):
    """What `partner create` sends."""

    slug: Slug
    name: Name
    sponsor: Name
    egress: Annotated[list[Cidr], Meta(max_length=200)] = []
    subprocessors: Annotated[list[Slug], Meta(max_length=200)] = []
    reason: Reason
    labels: dict[str, Note] = {}


class VerifyPartner(Request, kw_only=True, frozen=True):
    """What `partner verify` sends: evidence seen, and until when it holds."""

    until: Time
    evidence: Name
    reason: Reason


class DeclarePartner(Request, kw_only=True, frozen=True):
    """What `partner declare` sends: the whole new lists, replacing the old."""

    egress: Annotated[list[Cidr], Meta(max_length=200)] | None = None
    subprocessors: Annotated[list[Slug], Meta(max_length=200)] | None = None
    reason: Reason


class ChangePartner(Request, kw_only=True, frozen=True):
    """What `partner vet`, `restrict` and `resume` send."""

    reason: Reason


class AddContact(Request, kw_only=True, frozen=True):
    """What `partner add-contact` sends; the same address again replaces its entry."""

    contact: NewContact
    reason: Reason


class RemoveContact(Request, kw_only=True, frozen=True):
    """What `partner remove-contact` sends."""

    email: Annotated[str, Meta(max_length=254)]
    reason: Reason


class ChangeNetwork(Request, kw_only=True, frozen=True):
    """What `partner add-network` and `remove-network` send."""

    network: Cidr
    reason: Reason


class ChangeSubprocessor(Request, kw_only=True, frozen=True):
    """What `partner add-subprocessor` and `remove-subprocessor` send."""

    subprocessor: Slug
    reason: Reason


class PartnerProjection(msgspec.Struct, kw_only=True, frozen=True):
    """What policy tells the gateway of a partner: projection kind `partner`."""

    slug: str
    revision: int
    state: str
    resumed: str = ""
    """The suspension that was lifted last: the gateway lifts it as it applies this."""
