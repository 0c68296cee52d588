"""What a partner declares, one at a time: contacts, networks, subprocessors."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from console.api.flow import Flow
from console.api.policy import (
    PARTNER_ADD_CONTACT,
    PARTNER_ADD_NETWORK,
    PARTNER_ADD_SUBPROCESSOR,
    PARTNER_REMOVE_CONTACT,
    PARTNER_REMOVE_NETWORK,
    PARTNER_REMOVE_SUBPROCESSOR,
    PARTNER_SHOW,
)
from console.model.access import (
    AddContact,
    ChangeNetwork,
    ChangeSubprocessor,
    Contact,
    NewContact,
    Partner,
    RemoveContact,
)
from console.model.operator import Direction, Role
from console.model.text import Name, Slug
from console.operations.params import Why
from console.operations.partner_life import PartnerSlug
from console.operations.spec import Effect, Kind, Param, Plan, Section, operation


def _plan(title: str, old: Partner, new: Partner, member: str) -> Plan:
    before, after = getattr(old, member), getattr(new, member)
    return Plan(
        title=f"{title} of {old.slug}",
        sections=[
            Section("What it does", [_line(each) for each in after] or ["none is left"]),
            Section("What it replaces", [_line(each) for each in before] or ["none declared"]),
        ],
        revision=old.revision,
        subject=old,
        partners=1,
    )


def _line(value: Any) -> str:
    if isinstance(value, Contact):
        return f"{value.name} <{value.email}>, {value.role}"
    return str(value)


class AddOneContact(msgspec.Struct, kw_only=True, frozen=True):
    """Whom to reach at the partner."""

    partner: PartnerSlug
    name: Annotated[Name, Param("Their name, or the desk's.")]
    email: Annotated[str, Param("Their address; the same one again replaces who had it.")]
    role: Annotated[Name, Param("What for: security, legal, billing.")] = "security"
    reason: Why


def _contact(p: AddOneContact) -> AddContact:
    return AddContact(
        contact=NewContact(name=p.name, email=p.email.strip(), role=p.role), reason=p.reason
    )


def plan_add_contact(p: AddOneContact) -> Flow[Plan]:
    """Let policy check the contact without adding it."""
    old = yield from PARTNER_SHOW(partner=p.partner)
    new = yield from PARTNER_ADD_CONTACT(_contact(p), partner=p.partner, validate=True)
    return _plan("Contacts", old, new, "contacts")


@operation(
    "partner.add-contact",
    title="Add contact",
    result=Partner,
    effect=Effect.CHANGE,
    role=Role.OPERATOR,
    plan=plan_add_contact,
    subject="partner",
)
def add_contact(p: AddOneContact, _plan: Plan | None) -> Flow[Partner]:
    """Add someone to reach at a partner, for its security or anything else."""
    return PARTNER_ADD_CONTACT(_contact(p), partner=p.partner)


class RemoveOneContact(msgspec.Struct, kw_only=True, frozen=True):
    """Who is no longer to be reached."""

    partner: PartnerSlug
    email: Annotated[str, Param("The contact's address.", positional=True)]
    reason: Why


def plan_remove_contact(p: RemoveOneContact) -> Flow[Plan]:
    """Let policy check that there is such a contact."""
    old = yield from PARTNER_SHOW(partner=p.partner)
    change = RemoveContact(email=p.email, reason=p.reason)
    new = yield from PARTNER_REMOVE_CONTACT(change, partner=p.partner, validate=True)
    return _plan("Contacts", old, new, "contacts")


@operation(
    "partner.remove-contact",
    title="Remove contact",
    result=Partner,
    effect=Effect.CHANGE,
    role=Role.OPERATOR,
    plan=plan_remove_contact,
    subject="partner",
)
def remove_contact(p: RemoveOneContact, _plan: Plan | None) -> Flow[Partner]:
    """Remove a contact of a partner by its address."""
    change = RemoveContact(email=p.email, reason=p.reason)
    return PARTNER_REMOVE_CONTACT(change, partner=p.partner)


class OneNetwork(msgspec.Struct, kw_only=True, frozen=True):
    """Which declared network."""

    partner: PartnerSlug
    network: Annotated[
        str, Param("A network its calls come from.", kind=Kind.NETWORK, positional=True)
    ]
    reason: Why


def plan_add_network(p: OneNetwork) -> Flow[Plan]:
    """Let policy check the network without declaring it."""
    old = yield from PARTNER_SHOW(partner=p.partner)
    change = ChangeNetwork(network=p.network, reason=p.reason)
    new = yield from PARTNER_ADD_NETWORK(
        change, partner=p.partner, if_match=old.revision, validate=True
    )
    return _plan("Declared networks", old, new, "egress")


@operation(
    "partner.add-network",
    title="Add network",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_add_network,
    subject="partner",
)
def add_network(p: OneNetwork, plan: Plan | None) -> Flow[Partner]:
    """Declare one more network that a partner calls from: it raises no alert any more."""
    plan = plan or (yield from plan_add_network(p))
    assert plan.revision is not None
    change = ChangeNetwork(network=p.network, reason=p.reason)
    return (yield from PARTNER_ADD_NETWORK(change, partner=p.partner, if_match=plan.revision))


def plan_remove_network(p: OneNetwork) -> Flow[Plan]:
    """Let policy check that it is declared."""
    old = yield from PARTNER_SHOW(partner=p.partner)
    change = ChangeNetwork(network=p.network, reason=p.reason)
    new = yield from PARTNER_REMOVE_NETWORK(change, partner=p.partner, validate=True)
    return _plan("Declared networks", old, new, "egress")


@operation(
    "partner.remove-network",
    title="Remove network",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.OPERATOR,
    plan=plan_remove_network,
    subject="partner",
)
def remove_network(p: OneNetwork, _plan: Plan | None) -> Flow[Partner]:
    """Take a declared network back: calls from it raise an alert from now on."""
    change = ChangeNetwork(network=p.network, reason=p.reason)
    return PARTNER_REMOVE_NETWORK(change, partner=p.partner)


class OneSubprocessor(msgspec.Struct, kw_only=True, frozen=True):
    """Which organisation beside the partner."""

    partner: PartnerSlug
    subprocessor: Annotated[
        Slug, Param("An organisation that may hold its keys.", kind=Kind.SLUG, positional=True)
    ]
    reason: Why


def plan_add_subprocessor(p: OneSubprocessor) -> Flow[Plan]:
    """Let policy check the subprocessor without declaring it."""
    old = yield from PARTNER_SHOW(partner=p.partner)
    change = ChangeSubprocessor(subprocessor=p.subprocessor, reason=p.reason)
    new = yield from PARTNER_ADD_SUBPROCESSOR(
        change, partner=p.partner, if_match=old.revision, validate=True
    )
    return _plan("Subprocessors", old, new, "subprocessors")


@operation(
    "partner.add-subprocessor",
    title="Add subprocessor",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.OPERATOR,
    plan=plan_add_subprocessor,
    subject="partner",
)
def add_subprocessor(p: OneSubprocessor, plan: Plan | None) -> Flow[Partner]:
    """Let one more organisation hold a partner's keys."""
    plan = plan or (yield from plan_add_subprocessor(p))
    assert plan.revision is not None
    change = ChangeSubprocessor(subprocessor=p.subprocessor, reason=p.reason)
    return (yield from PARTNER_ADD_SUBPROCESSOR(change, partner=p.partner, if_match=plan.revision))


def plan_remove_subprocessor(p: OneSubprocessor) -> Flow[Plan]:
    """Let policy check that it is declared; say that its keys go on."""
    old = yield from PARTNER_SHOW(partner=p.partner)
    change = ChangeSubprocessor(subprocessor=p.subprocessor, reason=p.reason)
    new = yield from PARTNER_REMOVE_SUBPROCESSOR(change, partner=p.partner, validate=True)
    plan = _plan("Subprocessors", old, new, "subprocessors")
    keys = [
        "the keys it holds go on until they are revoked or locked:",
        f"pilotctl key list --partner {p.partner} --holder {p.subprocessor}",
        f"pilotctl lock add subprocessor {p.subprocessor} --reason WHY",
    ]
    return msgspec.structs.replace(plan, sections=[*plan.sections, Section("What stays", keys)])


@operation(
    "partner.remove-subprocessor",
    title="Remove subprocessor",
    result=Partner,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.OPERATOR,
    plan=plan_remove_subprocessor,
    subject="partner",
)
def remove_subprocessor(p: OneSubprocessor, _plan: Plan | None) -> Flow[Partner]:
    """Let an organisation get no more keys of a partner. Those it has, are locked or revoked."""
    change = ChangeSubprocessor(subprocessor=p.subprocessor, reason=p.reason)
    return PARTNER_REMOVE_SUBPROCESSOR(change, partner=p.partner)
