"""Risk assessments of a partner for a capability: what gates its grants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.policy import (
    ASSESSMENT_ACCEPT,
    ASSESSMENT_CREATE,
    ASSESSMENT_LIST,
    ASSESSMENT_REJECT,
    ASSESSMENT_SHOW,
    ASSESSMENT_WITHDRAW,
)
from console.model.evidence import Assessment, AssessmentState, DecideAssessment, NewAssessment
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.model.text import LongText, Name, Slug
from console.operations.listing import pages
from console.operations.params import CapabilityFilter, Listing, PartnerFilter, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import to_the_second

AssessmentId = Annotated[
    str,
    Param("The assessment's id.", kind=Kind.ID, completes="assessment.list", positional=True),
]


class ListAssessments(Listing, kw_only=True, frozen=True):
    """Which assessments are listed."""

    partner: PartnerFilter = ""
    capability: CapabilityFilter = ""
    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(AssessmentState))
    ] = ""


@operation("assessment.list", title="List assessments", result=Page[Assessment])
def list_assessments(p: ListAssessments, _plan: Plan | None) -> Flow[Page[Assessment]]:
    """List the risk assessments, newest first."""
    return pages(ASSESSMENT_LIST, p, partner=p.partner, capability=p.capability, state=p.state)


class ShowAssessment(msgspec.Struct, kw_only=True, frozen=True):
    """Which assessment is shown."""

    assessment: AssessmentId


@operation("assessment.show", title="Show assessment", result=Assessment, subject="assessment")
def show(p: ShowAssessment, _plan: Plan | None) -> Flow[Assessment]:
    """Show a risk assessment and how it was decided."""
    return ASSESSMENT_SHOW(assessment=p.assessment)


class CreateAssessment(msgspec.Struct, kw_only=True, frozen=True):
    """What was assessed, and what was found."""

    partner: Annotated[
        Slug, Param("The partner.", kind=Kind.SLUG, completes="partner.list", positional=True)
    ]
    capability: Annotated[
        Slug,
        Param("The capability.", kind=Kind.SLUG, completes="capability.list", positional=True),
    ]
    assessor: Annotated[Name, Param("Who assessed it.")]
    summary: Annotated[LongText, Param("What was found.", kind=Kind.LONG_TEXT)]
    valid_until: Annotated[datetime, Param("Until when it holds: 180d, or a time.", kind=Kind.WHEN)]
    reason: Why


def _new(p: CreateAssessment) -> NewAssessment:
    return NewAssessment(
        partner=p.partner,
        capability=p.capability,
        assessor=p.assessor,
        summary=p.summary,
        valid_until=p.valid_until,
        reason=p.reason,
    )


def plan_create(p: CreateAssessment) -> Flow[Plan]:
    """Let policy check the assessment without recording it."""
    made = yield from ASSESSMENT_CREATE(_new(p), validate=True)
    return Plan(
        title=f"Record an assessment of {made.partner} for {made.capability}",
        sections=[
            Section(
                "What it does",
                [
                    f"by {made.assessor}: {made.state}",
                    f"it would hold until {to_the_second(made.valid_until)}",
                ],
            ),
            Section("What stays", ["it opens nothing before it is accepted"]),
        ],
        partners=1,
    )


@operation(
    "assessment.create",
    title="Record assessment",
    result=Assessment,
    effect=Effect.CHANGE,
    role=Role.OPERATOR,
    plan=plan_create,
)
def create(p: CreateAssessment, _plan: Plan | None) -> Flow[Assessment]:
    """Record a risk assessment. It gates nothing before it is accepted."""
    return ASSESSMENT_CREATE(_new(p))


class DecideOne(msgspec.Struct, kw_only=True, frozen=True):
    """Which assessment is decided."""

    assessment: AssessmentId
    reason: Why


def _about(found: Assessment) -> str:
    return f"the assessment of {found.partner} for {found.capability}"


def plan_accept(p: DecideOne) -> Flow[Plan]:
    """Look at what is accepted, on its present revision."""
    found = yield from ASSESSMENT_SHOW(assessment=p.assessment)
    return Plan(
        title=f"Accept {_about(found)}",
        sections=[
            Section(
                "What it does",
                [
                    f"it counts until {to_the_second(found.valid_until)} (now: {found.state})",
                    "grants that only waited for this may resume, below tier 3",
                ],
            ),
        ],
        revision=found.revision,
        subject=found,
        partners=1,
    )


@operation(
    "assessment.accept",
    title="Accept assessment",
    result=Assessment,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_accept,
    subject="assessment",
)
def accept(p: DecideOne, plan: Plan | None) -> Flow[Assessment]:
    """Accept a risk assessment, so that it counts for grants until it lapses."""
    plan = plan or (yield from plan_accept(p))
    assert plan.revision is not None
    decision = DecideAssessment(reason=p.reason)
    return (yield from ASSESSMENT_ACCEPT(decision, assessment=p.assessment, if_match=plan.revision))


def _plan_closing(p: DecideOne, verb: str) -> Flow[Plan]:
    found = yield from ASSESSMENT_SHOW(assessment=p.assessment)
    return Plan(
        title=f"{verb} {_about(found)}",
        sections=[
            Section("What it does", [f"it counts for nothing any more (now: {found.state})"]),
            Section(
                "What ends",
                [f"grants of {found.partner} that rest on it alone for {found.capability} suspend"],
            ),
        ],
        subject=found,
        partners=1,
    )


def plan_reject(p: DecideOne) -> Flow[Plan]:
    """Look at what is rejected."""
    return _plan_closing(p, "Reject")


@operation(
    "assessment.reject",
    title="Reject assessment",
    result=Assessment,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.OPERATOR,
    plan=plan_reject,
    subject="assessment",
)
def reject(p: DecideOne, _plan: Plan | None) -> Flow[Assessment]:
    """Reject a risk assessment under review."""
    return ASSESSMENT_REJECT(DecideAssessment(reason=p.reason), assessment=p.assessment)


def plan_withdraw(p: DecideOne) -> Flow[Plan]:
    """Look at what is withdrawn."""
    return _plan_closing(p, "Withdraw")


@operation(
    "assessment.withdraw",
    title="Withdraw assessment",
    result=Assessment,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.OPERATOR,
    plan=plan_withdraw,
    subject="assessment",
)
def withdraw(p: DecideOne, _plan: Plan | None) -> Flow[Assessment]:
    """Withdraw a risk assessment. Grants that rest on it suspend."""
    return ASSESSMENT_WITHDRAW(DecideAssessment(reason=p.reason), assessment=p.assessment)


OPERATIONS: tuple[Operation, ...] = (
    list_assessments, show, create, accept, reject, withdraw,
)  # fmt: skip
