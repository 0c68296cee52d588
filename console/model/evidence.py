"""Usage terms and who accepted them; risk assessments. What gates a grant."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from console.model.stored import Request, Stored
from console.model.text import LongText, Name, Note, Reason, Slug, Time


class AssessmentState(StrEnum):
    """An assessment opens nothing before it is accepted, nor after it lapsed."""

    IN_REVIEW = "in_review"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class UsageTerms(Stored, kw_only=True, frozen=True):
    """The terms of one pilot, by version and hash."""

    pilot: str
    version: int
    title: str
    sha256: str
    text: str
    effective_at: datetime
    reaccept_by: datetime
    """Until then an acceptance of the version before still counts."""
    accepted_by: list[str] = []
    """Slugs of the partners that accepted this very version."""


class PublishTerms(Request, kw_only=True, frozen=True):
    """What `terms publish` sends. The first version needs no re-acceptance window."""

    pilot: Slug
    title: Name
    text: LongText
    reaccept_by: Time | None = None
    reason: Reason


class Acceptance(Stored, kw_only=True, frozen=True):
    """A partner's acceptance of one version."""

    terms_id: str
    pilot: str
    version: int
    partner: str
    signatory: str
    evidence: str


class AcceptTerms(Request, kw_only=True, frozen=True):
    """What `terms accept` sends: recorded by an operator on the partner's evidence."""

    partner: Slug
    signatory: Name
    evidence: Name
    version: Annotated[int, Meta(ge=1)] | None = None
    """The version accepted; the one in force where it is left out."""
    reason: Reason


class Assessment(Stored, kw_only=True, frozen=True):
    """A risk assessment of one partner for one capability."""

    partner: str
    capability: str
    assessor: str
    summary: str
    valid_until: datetime
    state: Annotated[str, AssessmentState]
    decided_by: str = ""


class NewAssessment(Request, kw_only=True, frozen=True):
    """What `assessment create` sends."""

    partner: Slug
    capability: Slug
    assessor: Name
    summary: LongText
    valid_until: Time
    reason: Reason
    labels: dict[str, Note] = {}


class DecideAssessment(Request, kw_only=True, frozen=True):
    """What `assessment accept`, `reject` and `withdraw` send."""

    reason: Reason
