"""The facets that policy answers: each question is one route of the contract."""

from __future__ import annotations

from console.api import authzen, policy
from console.api.engines import Paging
from console.api.flow import Flow, ask
from console.engines.native.query import query
from console.model.access import (
    Capability,
    DeclarePartner,
    NewCapability,
    NewPartner,
    NewPilot,
    Partner,
    Pilot,
    SetStage,
    VerifyPartner,
)
from console.model.evidence import (
    Acceptance,
    AcceptTerms,
    Assessment,
    DecideAssessment,
    NewAssessment,
    PublishTerms,
    UsageTerms,
)
from console.model.grant import ActivateGrant, Grant, GrantPlan, NewGrant, RenewGrant
from console.model.policy import Answer, Bundle, Evaluation
from console.model.stored import Page


class Pilots:
    """`facets.Pilots` at policy."""

    def find(self, paging: Paging) -> Flow[Page[Pilot]]:
        return ask(policy.PILOT_LIST, query=query(paging))

    def show(self, pilot: str) -> Flow[Pilot]:
        return ask(policy.PILOT_SHOW, path={"pilot": pilot})

    def create(self, new: NewPilot, *, validate: bool = False) -> Flow[Pilot]:
        return ask(policy.PILOT_CREATE, body=new, validate_only=validate)

    def stage(
        self, pilot: str, change: SetStage, revision: int, *, validate: bool = False
    ) -> Flow[Pilot]:
        return ask(
            policy.PILOT_STAGE,
            path={"pilot": pilot},
            body=change,
            if_match=revision,
            validate_only=validate,
        )


class Capabilities:
    """`facets.Capabilities` at policy."""

    def find(self, paging: Paging, *, pilot: str = "") -> Flow[Page[Capability]]:
        return ask(policy.CAPABILITY_LIST, query=query(paging, pilot=pilot))

    def show(self, capability: str) -> Flow[Capability]:
        return ask(policy.CAPABILITY_SHOW, path={"capability": capability})

    def create(self, new: NewCapability, *, validate: bool = False) -> Flow[Capability]:
        return ask(policy.CAPABILITY_CREATE, body=new, validate_only=validate)


class Partners:
    """`facets.Partners` at policy."""

    def find(self, paging: Paging, *, state: str = "") -> Flow[Page[Partner]]:
        return ask(policy.PARTNER_LIST, query=query(paging, state=state))

    def show(self, partner: str) -> Flow[Partner]:
        return ask(policy.PARTNER_SHOW, path={"partner": partner})

    def create(self, new: NewPartner, *, validate: bool = False) -> Flow[Partner]:
        return ask(policy.PARTNER_CREATE, body=new, validate_only=validate)

    def verify(
        self, partner: str, change: VerifyPartner, revision: int, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_VERIFY,
            path={"partner": partner},
            body=change,
            if_match=revision,
            validate_only=validate,
        )

    def declare(
        self, partner: str, change: DeclarePartner, revision: int, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_DECLARE,
            path={"partner": partner},
            body=change,
            if_match=revision,
            validate_only=validate,
        )


class Terms:
    """`facets.Terms` at policy."""

    def find(self, paging: Paging, *, pilot: str = "") -> Flow[Page[UsageTerms]]:
        return ask(policy.TERMS_LIST, query=query(paging, pilot=pilot))

    def show(self, terms: str) -> Flow[UsageTerms]:
        return ask(policy.TERMS_SHOW, path={"terms": terms})

    def publish(self, new: PublishTerms, *, validate: bool = False) -> Flow[UsageTerms]:
        return ask(policy.TERMS_PUBLISH, body=new, validate_only=validate)

    def accept(
        self, pilot: str, acceptance: AcceptTerms, *, validate: bool = False
    ) -> Flow[Acceptance]:
        return ask(
            policy.TERMS_ACCEPT, path={"pilot": pilot}, body=acceptance, validate_only=validate
        )

    def acceptances(
        self, paging: Paging, *, pilot: str = "", partner: str = ""
    ) -> Flow[Page[Acceptance]]:
        return ask(policy.TERMS_ACCEPTANCES, query=query(paging, pilot=pilot, partner=partner))


class Assessments:
    """`facets.Assessments` at policy."""

    def find(
        self, paging: Paging, *, partner: str = "", capability: str = "", state: str = ""
    ) -> Flow[Page[Assessment]]:
        return ask(
            policy.ASSESSMENT_LIST,
            query=query(paging, partner=partner, capability=capability, state=state),
        )

    def show(self, assessment: str) -> Flow[Assessment]:
        return ask(policy.ASSESSMENT_SHOW, path={"assessment": assessment})

    def create(self, new: NewAssessment, *, validate: bool = False) -> Flow[Assessment]:
        return ask(policy.ASSESSMENT_CREATE, body=new, validate_only=validate)

    def accept(
        self, assessment: str, decision: DecideAssessment, revision: int
    ) -> Flow[Assessment]:
        return ask(
            policy.ASSESSMENT_ACCEPT,
            path={"assessment": assessment},
            body=decision,
            if_match=revision,
        )

    def reject(self, assessment: str, decision: DecideAssessment) -> Flow[Assessment]:
        return ask(policy.ASSESSMENT_REJECT, path={"assessment": assessment}, body=decision)

    def withdraw(self, assessment: str, decision: DecideAssessment) -> Flow[Assessment]:
        return ask(policy.ASSESSMENT_WITHDRAW, path={"assessment": assessment}, body=decision)


class Grants:
    """`facets.Grants` at policy."""

    def find(
        self,
        paging: Paging,
        *,
        pilot: str = "",
        partner: str = "",
        capability: str = "",
        state: str = "",
    ) -> Flow[Page[Grant]]:
        filters = query(paging, pilot=pilot, partner=partner, capability=capability, state=state)
        return ask(policy.GRANT_LIST, query=filters)

    def show(self, grant: str) -> Flow[Grant]:
        return ask(policy.GRANT_SHOW, path={"grant": grant})

    def plan(self, new: NewGrant) -> Flow[GrantPlan]:
        return ask(policy.GRANT_PLAN, body=new)

    def create(self, new: NewGrant) -> Flow[Grant]:
        return ask(policy.GRANT_CREATE, body=new)

    def activate(self, grant: str, change: ActivateGrant, revision: int) -> Flow[Grant]:
        return ask(policy.GRANT_ACTIVATE, path={"grant": grant}, body=change, if_match=revision)

    def renew(
        self, grant: str, change: RenewGrant, revision: int, *, validate: bool = False
    ) -> Flow[Grant]:
        return ask(
            policy.GRANT_RENEW,
            path={"grant": grant},
            body=change,
            if_match=revision,
            validate_only=validate,
        )


class Decisions:
    """`facets.Decisions` at policy."""

    def of_grant(self, grant: str) -> Flow[GrantPlan]:
        return ask(policy.GRANT_DECIDE, path={"grant": grant})

    def evaluate(self, question: Evaluation) -> Flow[Answer]:
        return ask(authzen.EVALUATION, body=question)

    def bundle(self) -> Flow[Bundle]:
        return ask(policy.BUNDLE_SHOW)
