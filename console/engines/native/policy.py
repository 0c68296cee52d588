"""The facets that policy answers: each question is one route of the contract."""

from __future__ import annotations

from datetime import datetime

from console.api import authzen, policy
from console.api.engines import Paging
from console.api.flow import Flow, ask
from console.engines.native.query import query, time
from console.model.access import (
    AddContact,
    Capability,
    ChangeNetwork,
    ChangePartner,
    ChangeSubprocessor,
    DeclarePartner,
    ImportPilot,
    NewCapability,
    NewPartner,
    NewPilot,
    Partner,
    Pilot,
    PilotText,
    RemoveContact,
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
from console.model.grant import (
    ActivateGrant,
    AmendGrant,
    Grant,
    GrantPlan,
    NewGrant,
    RenewGrant,
    ResumeGrant,
)
from console.model.policy import Answer, Bundle, Evaluation
from console.model.principal import NewPrincipal, Principal, RetirePrincipal
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

    def export(self, pilot: str) -> Flow[PilotText]:
        return ask(policy.PILOT_EXPORT, path={"pilot": pilot})

    def take_in(self, change: ImportPilot, *, validate: bool = False) -> Flow[Pilot]:
        return ask(policy.PILOT_IMPORT, body=change, validate_only=validate)


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

    def find(
        self, paging: Paging, *, state: str = "", as_of: datetime | None = None
    ) -> Flow[Page[Partner]]:
        return ask(policy.PARTNER_LIST, query=query(paging, state=state, as_of=time(as_of)))

    def show(self, partner: str, *, as_of: datetime | None = None) -> Flow[Partner]:
        return ask(policy.PARTNER_SHOW, path={"partner": partner}, query={"as_of": time(as_of)})

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

    def vet(self, partner: str, change: ChangePartner, *, validate: bool = False) -> Flow[Partner]:
        return ask(
            policy.PARTNER_VET,
            path={"partner": partner},
            body=change,
            validate_only=validate,
        )

    def restrict(
        self, partner: str, change: ChangePartner, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_RESTRICT,
            path={"partner": partner},
            body=change,
            validate_only=validate,
        )

    def resume(
        self, partner: str, change: ChangePartner, revision: int, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_RESUME,
            path={"partner": partner},
            body=change,
            if_match=revision,
            validate_only=validate,
        )

    def add_contact(
        self, partner: str, change: AddContact, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_ADD_CONTACT,
            path={"partner": partner},
            body=change,
            validate_only=validate,
        )

    def remove_contact(
        self, partner: str, change: RemoveContact, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_REMOVE_CONTACT,
            path={"partner": partner},
            body=change,
            validate_only=validate,
        )

    def add_network(
        self, partner: str, change: ChangeNetwork, revision: int, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_ADD_NETWORK,
            path={"partner": partner},
            body=change,
            if_match=revision,
            validate_only=validate,
        )

    def remove_network(
        self, partner: str, change: ChangeNetwork, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_REMOVE_NETWORK,
            path={"partner": partner},
            body=change,
            validate_only=validate,
        )

    def add_subprocessor(
        self, partner: str, change: ChangeSubprocessor, revision: int, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_ADD_SUBPROCESSOR,
            path={"partner": partner},
            body=change,
            if_match=revision,
            validate_only=validate,
        )

    def remove_subprocessor(
        self, partner: str, change: ChangeSubprocessor, *, validate: bool = False
    ) -> Flow[Partner]:
        return ask(
            policy.PARTNER_REMOVE_SUBPROCESSOR,
            path={"partner": partner},
            body=change,
            validate_only=validate,
        )


class Principals:
    """`facets.Principals` at policy."""

    def find(
        self, paging: Paging, *, partner: str = "", state: str = "", kind: str = ""
    ) -> Flow[Page[Principal]]:
        filters = query(paging, partner=partner, state=state, kind=kind)
        return ask(policy.PRINCIPAL_LIST, query=filters)

    def show(self, principal: str) -> Flow[Principal]:
        return ask(policy.PRINCIPAL_SHOW, path={"principal": principal})

    def create(self, new: NewPrincipal, *, validate: bool = False) -> Flow[Principal]:
        return ask(policy.PRINCIPAL_CREATE, body=new, validate_only=validate)

    def retire(
        self, principal: str, change: RetirePrincipal, *, validate: bool = False
    ) -> Flow[Principal]:
        return ask(
            policy.PRINCIPAL_RETIRE,
            path={"principal": principal},
            body=change,
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
        as_of: datetime | None = None,
    ) -> Flow[Page[Grant]]:
        filters = query(paging, pilot=pilot, partner=partner, capability=capability, state=state)
        return ask(policy.GRANT_LIST, query={**filters, "as_of": time(as_of)})

    def show(self, grant: str, *, as_of: datetime | None = None) -> Flow[Grant]:
        return ask(policy.GRANT_SHOW, path={"grant": grant}, query={"as_of": time(as_of)})

    def expiring(
        self, paging: Paging, *, before: datetime | None, partner: str = "", pilot: str = ""
    ) -> Flow[Page[Grant]]:
        filters = query(paging, before=time(before), partner=partner, pilot=pilot)
        return ask(policy.GRANT_EXPIRING, query=filters)

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

    def amend(
        self, grant: str, change: AmendGrant, revision: int, *, validate: bool = False
    ) -> Flow[Grant]:
        return ask(
            policy.GRANT_AMEND,
            path={"grant": grant},
            body=change,
            if_match=revision,
            validate_only=validate,
        )

    def narrow(self, grant: str, change: AmendGrant, *, validate: bool = False) -> Flow[Grant]:
        return ask(policy.GRANT_NARROW, path={"grant": grant}, body=change, validate_only=validate)

    def resume(
        self, grant: str, change: ResumeGrant, revision: int, *, validate: bool = False
    ) -> Flow[Grant]:
        return ask(
            policy.GRANT_RESUME,
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
