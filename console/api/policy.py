"""The policy API's routes. The AuthZEN routes are in `authzen`."""

from __future__ import annotations

from typing import Any

from console.api import status
from console.api.route import PAGING, Route
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
from console.model.operator import Direction, Role
from console.model.policy import Bundle
from console.model.principal import NewPrincipal, Principal, RetirePrincipal
from console.model.stored import Page

STATUS = status.STATUS["policy"]

PILOT_LIST = Route("pilot.list", "policy", "GET", "/v1/pilots", Page[Pilot], query=PAGING)
PILOT_SHOW = Route("pilot.show", "policy", "GET", "/v1/pilots/{pilot}", Pilot)
PILOT_CREATE = Route(
    "pilot.create", "policy", "POST", "/v1/pilots", Pilot,
    Role.ADMIN, Direction.OPENS, NewPilot, created=True,
)  # fmt: skip
PILOT_STAGE = Route(
    "pilot.stage", "policy", "POST", "/v1/pilots/{pilot}/stages", Pilot,
    Role.ADMIN, Direction.OPENS, SetStage, if_match=True,
)  # fmt: skip

PILOT_EXPORT = Route("pilot.export", "policy", "GET", "/v1/pilots/{pilot}/text", PilotText)
PILOT_IMPORT = Route(
    "pilot.import", "policy", "POST", "/v1/pilots:import", Pilot,
    Role.ADMIN, Direction.OPENS, ImportPilot,
)  # fmt: skip

CAPABILITY_LIST = Route(
    "capability.list", "policy", "GET", "/v1/capabilities", Page[Capability],
    query=("pilot", *PAGING),
)  # fmt: skip
CAPABILITY_SHOW = Route(
    "capability.show", "policy", "GET", "/v1/capabilities/{capability}", Capability
)
CAPABILITY_CREATE = Route(
    "capability.create", "policy", "POST", "/v1/capabilities", Capability,
    Role.ADMIN, Direction.OPENS, NewCapability, created=True,
)  # fmt: skip

PARTNER_LIST = Route(
    "partner.list", "policy", "GET", "/v1/partners", Page[Partner],
    query=("state", "as_of", *PAGING),
)  # fmt: skip
PARTNER_SHOW = Route(
    "partner.show", "policy", "GET", "/v1/partners/{partner}", Partner, query=("as_of",)
)
PARTNER_CREATE = Route(
    "partner.create", "policy", "POST", "/v1/partners", Partner,
    Role.OPERATOR, Direction.OPENS, NewPartner, created=True,
)  # fmt: skip
PARTNER_VERIFY = Route(
    "partner.verify", "policy", "POST", "/v1/partners/{partner}/verification", Partner,
    Role.OPERATOR, Direction.OPENS, VerifyPartner, if_match=True,
)  # fmt: skip
PARTNER_DECLARE = Route(
    "partner.declare", "policy", "POST", "/v1/partners/{partner}/declarations", Partner,
    Role.OPERATOR, Direction.OPENS, DeclarePartner, if_match=True,
)  # fmt: skip

PARTNER_VET = Route(
    "partner.vet", "policy", "POST", "/v1/partners/{partner}/vetting", Partner,
    Role.OPERATOR, Direction.NEUTRAL, ChangePartner,
)  # fmt: skip
PARTNER_RESTRICT = Route(
    "partner.restrict", "policy", "POST", "/v1/partners/{partner}/restriction", Partner,
    Role.RESPONDER, Direction.CLOSES, ChangePartner,
)  # fmt: skip
PARTNER_RESUME = Route(
    "partner.resume", "policy", "POST", "/v1/partners/{partner}/resumption", Partner,
    Role.OPERATOR, Direction.OPENS, ChangePartner, if_match=True,
)  # fmt: skip
PARTNER_ADD_CONTACT = Route(
    "partner.add-contact", "policy", "POST", "/v1/partners/{partner}/contacts", Partner,
    Role.OPERATOR, Direction.NEUTRAL, AddContact,
)  # fmt: skip
PARTNER_REMOVE_CONTACT = Route(
    "partner.remove-contact", "policy", "POST", "/v1/partners/{partner}/contacts:remove", Partner,
    Role.OPERATOR, Direction.NEUTRAL, RemoveContact,
)  # fmt: skip
PARTNER_ADD_NETWORK = Route(
    "partner.add-network", "policy", "POST", "/v1/partners/{partner}/networks", Partner,
    Role.OPERATOR, Direction.OPENS, ChangeNetwork, if_match=True,
)  # fmt: skip
PARTNER_REMOVE_NETWORK = Route(
    "partner.remove-network", "policy", "POST", "/v1/partners/{partner}/networks:remove", Partner,
    Role.OPERATOR, Direction.CLOSES, ChangeNetwork,
)  # fmt: skip
PARTNER_ADD_SUBPROCESSOR = Route(
    "partner.add-subprocessor", "policy", "POST", "/v1/partners/{partner}/subprocessors", Partner,
    Role.OPERATOR, Direction.OPENS, ChangeSubprocessor, if_match=True,
)  # fmt: skip
PARTNER_REMOVE_SUBPROCESSOR = Route(
    "partner.remove-subprocessor", "policy", "POST",
    "/v1/partners/{partner}/subprocessors:remove", Partner,
    Role.OPERATOR, Direction.CLOSES, ChangeSubprocessor,
)  # fmt: skip

PRINCIPAL_LIST = Route(
    "principal.list", "policy", "GET", "/v1/principals", Page[Principal],
    query=("partner", "state", "kind", *PAGING),
)  # fmt: skip
PRINCIPAL_SHOW = Route("principal.show", "policy", "GET", "/v1/principals/{principal}", Principal)
PRINCIPAL_CREATE = Route(
    "principal.create", "policy", "POST", "/v1/principals", Principal,
    Role.OPERATOR, Direction.NEUTRAL, NewPrincipal, created=True,
)  # fmt: skip
PRINCIPAL_RETIRE = Route(
    "principal.retire", "policy", "POST", "/v1/principals/{principal}/retirement", Principal,
    Role.OPERATOR, Direction.CLOSES, RetirePrincipal,
)  # fmt: skip

TERMS_LIST = Route(
    "terms.list", "policy", "GET", "/v1/terms", Page[UsageTerms], query=("pilot", *PAGING)
)
TERMS_SHOW = Route("terms.show", "policy", "GET", "/v1/terms/{terms}", UsageTerms)
TERMS_PUBLISH = Route(
    "terms.publish", "policy", "POST", "/v1/terms", UsageTerms,
    Role.OPERATOR, Direction.NEUTRAL, PublishTerms, created=True,
)  # fmt: skip
TERMS_ACCEPT = Route(
    "terms.accept", "policy", "POST", "/v1/pilots/{pilot}/acceptances", Acceptance,
    Role.OPERATOR, Direction.OPENS, AcceptTerms, created=True,
)  # fmt: skip
TERMS_ACCEPTANCES = Route(
    "terms.acceptances", "policy", "GET", "/v1/acceptances", Page[Acceptance],
    query=("pilot", "partner", *PAGING),
)  # fmt: skip

ASSESSMENT_LIST = Route(
    "assessment.list", "policy", "GET", "/v1/assessments", Page[Assessment],
    query=("partner", "capability", "state", *PAGING),
)  # fmt: skip
ASSESSMENT_SHOW = Route(
    "assessment.show", "policy", "GET", "/v1/assessments/{assessment}", Assessment
)
ASSESSMENT_CREATE = Route(
    "assessment.create", "policy", "POST", "/v1/assessments", Assessment,
    Role.OPERATOR, Direction.NEUTRAL, NewAssessment, created=True,
)  # fmt: skip
ASSESSMENT_ACCEPT = Route(
    "assessment.accept", "policy", "POST", "/v1/assessments/{assessment}/acceptance", Assessment,
    Role.OPERATOR, Direction.OPENS, DecideAssessment, if_match=True,
)  # fmt: skip
ASSESSMENT_REJECT = Route(
    "assessment.reject", "policy", "POST", "/v1/assessments/{assessment}/rejection", Assessment,
    Role.OPERATOR, Direction.CLOSES, DecideAssessment,
)  # fmt: skip
ASSESSMENT_WITHDRAW = Route(
    "assessment.withdraw", "policy", "POST", "/v1/assessments/{assessment}/withdrawal", Assessment,
    Role.OPERATOR, Direction.CLOSES, DecideAssessment,
)  # fmt: skip

GRANT_LIST = Route(
    "grant.list", "policy", "GET", "/v1/grants", Page[Grant],
    query=("pilot", "partner", "capability", "state", "as_of", *PAGING),
)  # fmt: skip
GRANT_SHOW = Route("grant.show", "policy", "GET", "/v1/grants/{grant}", Grant, query=("as_of",))
GRANT_EXPIRING = Route(
    "grant.expiring", "policy", "GET", "/v1/grants:expiring", Page[Grant],
    query=("before", "partner", "pilot", *PAGING),
)  # fmt: skip
GRANT_CREATE = Route(
    "grant.create", "policy", "POST", "/v1/grants", Grant,
    Role.OPERATOR, Direction.OPENS, NewGrant, created=True,
)  # fmt: skip
GRANT_PLAN = Route(
    "grant.plan", "policy", "POST", "/v1/grants:plan", GrantPlan, Role.VIEWER, body=NewGrant
)
GRANT_ACTIVATE = Route(
    "grant.activate", "policy", "POST", "/v1/grants/{grant}/activation", Grant,
    Role.OPERATOR, Direction.OPENS, ActivateGrant, if_match=True,
)  # fmt: skip
GRANT_RENEW = Route(
    "grant.renew", "policy", "POST", "/v1/grants/{grant}/renewal", Grant,
    Role.OPERATOR, Direction.OPENS, RenewGrant, if_match=True, created=True,
)  # fmt: skip
GRANT_AMEND = Route(
    "grant.amend", "policy", "POST", "/v1/grants/{grant}/amendment", Grant,
    Role.OPERATOR, Direction.OPENS, AmendGrant, if_match=True,
)  # fmt: skip
GRANT_NARROW = Route(
    "grant.narrow", "policy", "POST", "/v1/grants/{grant}/narrowing", Grant,
    Role.RESPONDER, Direction.CLOSES, AmendGrant,
)  # fmt: skip
GRANT_RESUME = Route(
    "grant.resume", "policy", "POST", "/v1/grants/{grant}/resumption", Grant,
    Role.OPERATOR, Direction.OPENS, ResumeGrant, if_match=True,
)  # fmt: skip
GRANT_DECIDE = Route("grant.decide", "policy", "GET", "/v1/grants/{grant}/decision", GrantPlan)

BUNDLE_SHOW = Route("policy.bundle", "policy", "GET", "/v1/bundle", Bundle)

ROUTES: tuple[Route[Any], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Route)
)
