"""Usage terms by version, who accepted them, and risk assessments."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, select, update

from console.api.policy import ASSESSMENT_ACCEPT
from console.api.problems import refusal
from console.model.account import AccountState
from console.model.evidence import (
    Acceptance,
    AcceptTerms,
    Assessment,
    AssessmentState,
    DecideAssessment,
    NewAssessment,
    PublishTerms,
    UsageTerms,
)
from console.model.ids import new_id
from console.model.stored import Page
from console.model.text import rfc3339
from console.services.cedar.engine import CedarBundle
from console.services.operators import accounts
from console.services.policy.judging.settle import settle_all
from console.services.policy.state import lookup
from console.services.policy.state.event_record import Actor, record
from console.services.policy.state.tables import ACCEPTANCES, ASSESSMENTS, TERMS
from console.services.web import Ask, fresh, page


def list_terms(conn: Connection, ask: Ask) -> Page[UsageTerms]:
    """List the terms, newest first, of one pilot where it is named."""
    asked = select(TERMS)
    if name := ask.query.get("pilot"):
        asked = asked.where(TERMS.c.pilot == lookup.pilot(conn, name).slug)
    return page(
        conn,
        asked,
        ask,
        keys=[TERMS.c.created_at.desc(), TERMS.c.id.desc()],
        decode=lambda row: _with_acceptances(conn, row.body),
    )


def show_terms(conn: Connection, ask: Ask) -> UsageTerms:
    """Show one version of the terms."""
    return _with_acceptances(conn, lookup.terms(conn, ask.path["terms"]))


def publish_terms(bundle: CedarBundle, conn: Connection, ask: Ask) -> UsageTerms:
    """Publish the next version of a pilot's terms: in force at once.

    An acceptance of an earlier version counts until `reaccept_by`.
    """
    body: PublishTerms = ask.body
    pilot = lookup.open_pilot(conn, body.pilot)
    versions = _versions(conn, pilot.slug)
    actor = Actor.of(ask)
    if versions and body.reaccept_by is None:
        raise refusal(
            "invalid",
            f"reaccept_by: version {versions[-1].version} has been published: say until when "
            "an acceptance of it still counts",
            mend="--reaccept-by 30d",
        )
    if body.reaccept_by is not None and body.reaccept_by <= ask.now:
        raise refusal("invalid", f"reaccept_by: {rfc3339(body.reaccept_by)} is past")
    terms = UsageTerms(
        id=new_id("terms"),
        pilot=pilot.slug,
        version=versions[-1].version + 1 if versions else 1,
        title=body.title,
        sha256=hashlib.sha256(body.text.encode()).hexdigest(),
        text=body.text,
        effective_at=actor.at,
        reaccept_by=body.reaccept_by or actor.at,
        **actor.stamp(),
    )
    conn.execute(
        TERMS.insert().values(
            id=terms.id,
            pilot=terms.pilot,
            version=terms.version,
            created_at=actor.at,
            body=terms,
        )
    )
    record(
        conn,
        actor,
        "terms.publish",
        "terms",
        terms.id,
        name=f"{pilot.slug} version {terms.version}",
        reason=body.reason,
        after={
            "pilot": terms.pilot,
            "version": terms.version,
            "title": terms.title,
            "sha256": terms.sha256,
            "reaccept_by": terms.reaccept_by,
        },
    )
    settle_all(conn, bundle, actor, pilot=pilot.slug)
    return terms


def accept_terms(bundle: CedarBundle, conn: Connection, ask: Ask) -> Acceptance:
    """Record that a partner accepted the terms, on its evidence."""
    body: AcceptTerms = ask.body
    pilot = lookup.open_pilot(conn, ask.path["pilot"])
    partner = lookup.partner(conn, body.partner)
    terms = _version(_versions(conn, pilot.slug), pilot.slug, body.version)
    there = conn.execute(
        select(ACCEPTANCES.c.body).where(
            ACCEPTANCES.c.terms_id == terms.id, ACCEPTANCES.c.partner == partner.slug
        )
    ).scalar_one_or_none()
    if there is not None:
        raise refusal(
            "exists",
            f"{partner.slug} has accepted version {terms.version} of {pilot.slug} already",
            current=there,
        )
    actor = Actor.of(ask)
    acceptance = Acceptance(
        id=new_id("acceptance"),
        terms_id=terms.id,
        pilot=pilot.slug,
        version=terms.version,
        partner=partner.slug,
        signatory=body.signatory,
        evidence=body.evidence,
        **actor.stamp(),
    )
    conn.execute(
        ACCEPTANCES.insert().values(
            id=acceptance.id,
            terms_id=terms.id,
            pilot=pilot.slug,
            version=terms.version,
            partner=partner.slug,
            created_at=actor.at,
            body=acceptance,
        )
    )
    record(
        conn,
        actor,
        "terms.accept",
        "acceptance",
        acceptance.id,
        name=f"{pilot.slug} version {terms.version}",
        partner=partner.slug,
        reason=body.reason,
        after=acceptance,
    )
    settle_all(conn, bundle, actor, partner=partner.slug, pilot=pilot.slug)
    return acceptance


def list_acceptances(conn: Connection, ask: Ask) -> Page[Acceptance]:
    """List who accepted which terms, newest first."""
    asked = select(ACCEPTANCES)
    if name := ask.query.get("pilot"):
        asked = asked.where(ACCEPTANCES.c.pilot == lookup.pilot(conn, name).slug)
    if name := ask.query.get("partner"):
        asked = asked.where(ACCEPTANCES.c.partner == lookup.partner(conn, name).slug)
    return page(
        conn,
        asked,
        ask,
        keys=[ACCEPTANCES.c.created_at.desc(), ACCEPTANCES.c.id.desc()],
        decode=lambda row: row.body,
    )


def list_assessments(conn: Connection, ask: Ask) -> Page[Assessment]:
    """List the risk assessments, newest first."""
    asked = select(ASSESSMENTS)
    if name := ask.query.get("partner"):
        asked = asked.where(ASSESSMENTS.c.partner == lookup.partner(conn, name).slug)
    if name := ask.query.get("capability"):
        asked = asked.where(ASSESSMENTS.c.capability == lookup.capability(conn, name).slug)
    if state := ask.query.get("state"):
        asked = asked.where(ASSESSMENTS.c.state == lookup.one_of("state", state, AssessmentState))
    return page(
        conn,
        asked,
        ask,
        keys=[ASSESSMENTS.c.created_at.desc(), ASSESSMENTS.c.id.desc()],
        decode=lambda row: row.body,
    )


def show_assessment(conn: Connection, ask: Ask) -> Assessment:
    """Show one assessment."""
    return lookup.assessment(conn, ask.path["assessment"])


def create_assessment(conn: Connection, ask: Ask) -> Assessment:
    """Enter an assessment. It opens nothing before it is accepted."""
    body: NewAssessment = ask.body
    partner = lookup.partner(conn, body.partner)
    capability = lookup.capability(conn, body.capability)
    if body.valid_until <= ask.now:
        raise refusal("invalid", f"valid_until: {rfc3339(body.valid_until)} is past")
    actor = Actor.of(ask)
    assessment = Assessment(
        id=new_id("assessment"),
        partner=partner.slug,
        capability=capability.slug,
        assessor=body.assessor,
        summary=body.summary,
        valid_until=body.valid_until,
        state=AssessmentState.IN_REVIEW,
        labels=lookup.labels(body.labels),
        **actor.stamp(),
    )
    conn.execute(
        ASSESSMENTS.insert().values(
            id=assessment.id,
            partner=assessment.partner,
            capability=assessment.capability,
            state=assessment.state,
            valid_until=assessment.valid_until,
            created_at=actor.at,
            body=assessment,
        )
    )
    record(
        conn,
        actor,
        "assessment.create",
        "assessment",
        assessment.id,
        name=capability.slug,
        partner=partner.slug,
        reason=body.reason,
        after={
            "capability": assessment.capability,
            "assessor": assessment.assessor,
            "valid_until": assessment.valid_until,
            "state": assessment.state,
            "summary_sha256": hashlib.sha256(body.summary.encode()).hexdigest(),
        },
    )
    return assessment


def accept_assessment(bundle: CedarBundle, conn: Connection, ask: Ask) -> Assessment:
    """Accept an assessment that is in review: it counts until its end."""
    return _decide(bundle, conn, ask, "accept", AssessmentState.ACCEPTED)


def reject_assessment(bundle: CedarBundle, conn: Connection, ask: Ask) -> Assessment:
    """Reject an assessment that is in review."""
    return _decide(bundle, conn, ask, "reject", AssessmentState.REJECTED)


def withdraw_assessment(bundle: CedarBundle, conn: Connection, ask: Ask) -> Assessment:
    """Withdraw an assessment, accepted or not: grants that rest on it suspend."""
    return _decide(bundle, conn, ask, "withdraw", AssessmentState.WITHDRAWN)


_FROM = {
    AssessmentState.ACCEPTED: {AssessmentState.IN_REVIEW},
    AssessmentState.REJECTED: {AssessmentState.IN_REVIEW},
    AssessmentState.WITHDRAWN: {AssessmentState.IN_REVIEW, AssessmentState.ACCEPTED},
    AssessmentState.EXPIRED: {AssessmentState.ACCEPTED, AssessmentState.IN_REVIEW},
}
"""To each state, from where."""


def any_ended(conn: Connection, at: datetime) -> bool:
    """Tell whether an assessment has come to its end and is not marked so."""
    return conn.execute(_ended(at).limit(1)).first() is not None


def expire_assessments(conn: Connection, actor: Actor) -> None:
    """Mark the assessments whose end has come. The grants under them have lapsed by then."""
    for assessment in conn.execute(_ended(actor.at).limit(500)).scalars().all():
        _move(
            conn,
            assessment,
            AssessmentState.EXPIRED,
            actor,
            verb="expire",
            reason="its validity ended",
        )


def _ended(at: datetime) -> Select[Any]:
    return select(ASSESSMENTS.c.body).where(
        ASSESSMENTS.c.state.in_(_FROM[AssessmentState.EXPIRED]),
        ASSESSMENTS.c.valid_until <= at,
    )


def _decide(
    bundle: CedarBundle, conn: Connection, ask: Ask, verb: str, to: AssessmentState
) -> Assessment:
    body: DecideAssessment = ask.body
    assessment = lookup.assessment(conn, ask.path["assessment"])
    fresh(ask, assessment)
    if assessment.state == to:
        return assessment
    if assessment.state not in _FROM[to]:
        raise refusal(
            "state",
            f"{assessment.id} is {assessment.state}: too late to {verb} it",
            current=assessment,
        )
    if to is AssessmentState.ACCEPTED and assessment.valid_until <= ask.now:
        raise refusal("state", f"{assessment.id} ended {rfc3339(assessment.valid_until)}")
    if to is AssessmentState.ACCEPTED:
        _refuse_own(conn, assessment, ask)
    actor = Actor.of(ask)
    changed = _move(
        conn, assessment, to, actor, verb=verb, reason=body.reason, decided_by=actor.name
    )
    settle_all(conn, bundle, actor, partner=assessment.partner, capability=assessment.capability)
    return changed


def _refuse_own(conn: Connection, assessment: Assessment, ask: Ask) -> None:
    """Refuse to accept one's own assessment where somebody else could accept it.

    One who is frozen could, after a thaw: freezing everybody else makes nobody the last one.
    """
    makers = {assessment.created_by.casefold(), assessment.assessor.strip().casefold()}
    if ask.operator.name.casefold() not in makers:
        return
    others = [
        each
        for each in accounts.people(conn, ASSESSMENT_ACCEPT.role)
        if each.slug.casefold() not in makers
    ]
    if others:
        active = [each.slug for each in others if each.state == AccountState.ACTIVE]
        frozen = others[0].slug
        who = _some(active) if active else f"{frozen} after pilotctl operator thaw {frozen}"
        raise refusal(
            "refused",
            f"{ask.operator.name} made {assessment.id}: a second person accepts it",
            mend=f"ask {who}: pilotctl assessment accept {assessment.id}",
            current=assessment,
        )


def _some(names: Sequence[str]) -> str:
    more = f" or {len(names) - 3} others" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _move(
    conn: Connection,
    assessment: Assessment,
    to: AssessmentState,
    actor: Actor,
    *,
    verb: str,
    reason: str,
    decided_by: str | None = None,
) -> Assessment:
    changed = put(
        conn, assessment, to, actor,
        decided_by=assessment.decided_by if decided_by is None else decided_by,
    )  # fmt: skip
    record(
        conn,
        actor,
        f"assessment.{verb}",
        "assessment",
        assessment.id,
        name=assessment.capability,
        partner=assessment.partner,
        reason=reason,
        before={"state": assessment.state},
        after={"state": to},
    )
    return changed


def put(
    conn: Connection, assessment: Assessment, to: AssessmentState, actor: Actor, *, decided_by: str
) -> Assessment:
    """Store an assessment in another state."""
    changed = msgspec.structs.replace(
        assessment, state=to, decided_by=decided_by, **actor.touch(assessment)
    )
    conn.execute(
        update(ASSESSMENTS).where(ASSESSMENTS.c.id == assessment.id).values(state=to, body=changed)
    )
    return changed


def _versions(conn: Connection, pilot: str) -> list[UsageTerms]:
    asked = select(TERMS.c.body).where(TERMS.c.pilot == pilot).order_by(TERMS.c.version)
    return list(conn.execute(asked).scalars())


def _version(versions: Sequence[UsageTerms], pilot: str, wanted: int | None) -> UsageTerms:
    if not versions:
        raise refusal(
            "not-found",
            f"pilot {pilot} has no terms yet",
            mend=f"pilotctl terms publish {pilot} --title TITLE --file FILE --reason WHY",
        )
    for terms in versions:
        if terms.version == wanted:
            return terms
    if wanted is None:
        return versions[-1]
    raise refusal(
        "not-found",
        f"pilot {pilot} has no terms of version {wanted}: the newest is {versions[-1].version}",
    )


def _with_acceptances(conn: Connection, terms: UsageTerms) -> UsageTerms:
    asked = (
        select(ACCEPTANCES.c.partner)
        .where(ACCEPTANCES.c.terms_id == terms.id)
        .order_by(ACCEPTANCES.c.partner)
    )
    return msgspec.structs.replace(terms, accepted_by=list(conn.execute(asked).scalars()))
