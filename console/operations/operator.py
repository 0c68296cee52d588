"""Operators: who may use the operator APIs, with which roles, and who was cut off."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.operators import (
    CUT,
    FREEZE,
    OPERATOR_ADD,
    OPERATOR_LIST,
    OPERATOR_RESTORE,
    OPERATOR_SET,
    OPERATOR_SHOW,
    OPERATOR_THAW,
    OPERATOR_TOKEN,
)
from console.errors import PilotError
from console.model.account import (
    AccountKind,
    AccountState,
    CutOperator,
    FreezeOperator,
    IssuedToken,
    IssueToken,
    NewOperator,
    OperatorAccount,
    OperatorCut,
    OperatorSession,
    RestoreOperator,
    SetOperator,
    ThawOperator,
)
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.operations.every_service import at_every_service, sessions_of_services
from console.operations.listing import pages
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation
from console.operations.values import to_the_second

OperatorId = Annotated[
    str,
    Param("The operator's name.", kind=Kind.SLUG, completes="operator.list", positional=True),
]
Roles = Annotated[
    list[Role],
    Param("What they may do.", kind=Kind.CHOICE, choices=tuple(Role), repeats=True, flag="role"),
]
Groups = Annotated[
    list[str],
    Param("A group; approvers of one change come from distinct ones.", repeats=True, flag="group"),
]
Ends = Annotated[
    datetime | None,
    Param("When it ends: 90d, or a time; when it is ended without.", kind=Kind.WHEN, flag="ends"),
]


class ListOperators(Listing, kw_only=True, frozen=True):
    """Which operators are listed."""

    kind: Annotated[
        str, Param("Only of this kind.", kind=Kind.CHOICE, choices=tuple(AccountKind))
    ] = ""
    state: Annotated[
        str, Param("Only in this state.", kind=Kind.CHOICE, choices=tuple(AccountState))
    ] = ""
    role: Annotated[str, Param("Only with this role.", kind=Kind.CHOICE, choices=tuple(Role))] = ""


@operation("operator.list", title="List operators", result=Page[OperatorAccount])
def list_operators(p: ListOperators, _plan: Plan | None) -> Flow[Page[OperatorAccount]]:
    """List operators: roles, groups, tokens, and who was cut off."""
    return pages(OPERATOR_LIST, p, kind=p.kind, state=p.state, role=p.role)


class OneOperator(msgspec.Struct, kw_only=True, frozen=True):
    """Which operator."""

    operator: OperatorId


@operation("operator.show", title="Show operator", result=OperatorAccount, subject="operator")
def show(p: OneOperator, _plan: Plan | None) -> Flow[OperatorAccount]:
    """Show an operator: roles, groups, and the tokens by their last characters."""
    return OPERATOR_SHOW(operator=p.operator)


class Everyone(msgspec.Struct, kw_only=True, frozen=True):
    """Nothing is chosen: every session is listed."""


@operation(
    "operator.sessions", title="List sessions", result=Page[OperatorSession], role=Role.AUDITOR
)
def sessions(_p: Everyone, _plan: Plan | None) -> Flow[Page[OperatorSession]]:
    """List who has used each service since it started: by what, from where, how often."""
    return sessions_of_services()


class AddOperator(msgspec.Struct, kw_only=True, frozen=True):
    """Who is added, and what they may do."""

    operator: Annotated[str, Param("The new operator's name.", positional=True)]
    roles: Roles
    groups: Groups = []
    user: Annotated[
        str, Param("The OS user that they are on this machine's sockets; none without it.")
    ] = ""
    kind: Annotated[
        AccountKind,
        Param(
            "Who uses it.", kind=Kind.CHOICE,
            choices=(AccountKind.PERSON.value, AccountKind.SERVICE.value),
        ),
    ] = AccountKind.PERSON  # fmt: skip
    reason: Why


def _new(p: AddOperator) -> NewOperator:
    return NewOperator(
        name=p.operator, kind=p.kind, user=p.user, roles=p.roles, groups=p.groups, reason=p.reason
    )


def plan_add(p: AddOperator) -> Flow[Plan]:
    """Ask policy whether it could be."""
    account = yield from OPERATOR_ADD(_new(p), validate=True)
    by = f"as the OS user {account.user}" if account.user else "by a token (operator token)"
    return Plan(
        title=f"Add operator {account.slug}",
        sections=[
            Section(
                "What it does",
                [
                    f"{account.slug} may use the operator APIs, {by}",
                    f"roles: {', '.join(account.roles)}",
                    f"groups: {', '.join(account.groups) or 'none'}",
                ],
            )
        ],
        subject=account,
    )


@operation(
    "operator.add",
    title="Add operator",
    result=OperatorAccount,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_add,
)
def add(p: AddOperator, _plan: Plan | None) -> Flow[OperatorAccount]:
    """Add an operator: an OS user of this machine, or one who signs in by a token."""
    return OPERATOR_ADD(_new(p))


class ChangeOperator(msgspec.Struct, kw_only=True, frozen=True):
    """What they may do from now on."""

    operator: OperatorId
    roles: Roles = []
    groups: Groups = []
    reason: Why


def _change(p: ChangeOperator) -> SetOperator:
    return SetOperator(roles=p.roles or None, groups=p.groups or None, reason=p.reason)


def _listed(groups: list[str]) -> str:
    return ", ".join(groups) or "none"


def plan_set(p: ChangeOperator) -> Flow[Plan]:
    """Look at the present roles and groups."""
    now = yield from OPERATOR_SHOW(operator=p.operator)
    after = yield from OPERATOR_SET(
        _change(p), operator=p.operator, if_match=now.revision, validate=True
    )
    return Plan(
        title=f"Change operator {now.slug}",
        sections=[
            Section(
                "What it does",
                [
                    f"roles: {', '.join(now.roles)} -> {', '.join(after.roles)}",
                    f"groups: {_listed(now.groups)} -> {_listed(after.groups)}",
                ],
            )
        ],
        revision=now.revision,
        subject=now,
    )


@operation(
    "operator.set",
    title="Change operator",
    result=OperatorAccount,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_set,
    subject="operator",
)
def change(p: ChangeOperator, plan: Plan | None) -> Flow[OperatorAccount]:
    """Give an operator other roles or groups. What is left out stays."""
    plan = plan or (yield from plan_set(p))
    assert plan.revision is not None
    return (yield from OPERATOR_SET(_change(p), operator=p.operator, if_match=plan.revision))


class CutOne(msgspec.Struct, kw_only=True, frozen=True):
    """Who is cut off."""

    operator: OperatorId
    reason: Why


def plan_cut(p: CutOne) -> Flow[Plan]:
    """Look at their sessions, where that can be had: it must work while anything is down."""
    try:
        found = yield from sessions_of_services()
        theirs = [each for each in found.items if each.operator == p.operator]
    except PilotError:
        theirs = []
    return Plan(
        title=f"Cut off operator {p.operator}",
        sections=[
            Section(
                "What ends",
                [
                    f"everything {p.operator} is signed in with: the OS user, every token",
                    "at the gateway, policy and audit, each by itself and at once",
                    "answers that are still streaming to them",
                    *(f"a session at {each.service}, by {each.by}" for each in theirs[:12]),
                ],
            ),
            Section("What stays", ["what they did, and the keys and grants of partners"]),
        ],
        name=p.operator,
        irreversible="Letting them in again is operator restore, by an admin, with new tokens.",
    )


@operation(
    "operator.cut",
    title="Cut off operator",
    result=OperatorCut,
    effect=Effect.DESTRUCTIVE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_cut,
    subject="operator",
)
def cut(p: CutOne, _plan: Plan | None) -> Flow[OperatorCut]:
    """Cut an operator off, at every service, at once. Only an admin cuts an admin off.

    Each service refuses them from its own answer on. One that does not answer is named, and
    learns of it from the others; until then: exit 9.
    """
    return at_every_service(CUT, p.operator, CutOperator(reason=p.reason), "cut")


class FreezeOne(msgspec.Struct, kw_only=True, frozen=True):
    """Who is frozen."""

    operator: OperatorId
    reason: Why


def plan_freeze(p: FreezeOne) -> Flow[Plan]:
    """Look at their roles, where that can be had: it must work while anything is down."""
    try:
        now = yield from OPERATOR_SHOW(operator=p.operator)
        stay = f"their roles, for a thaw: {', '.join(now.roles)}"
    except PilotError:
        stay = "their roles, for a thaw"
    return Plan(
        title=f"Freeze operator {p.operator}",
        sections=[
            Section(
                "What it does",
                [
                    f"{p.operator} opens nothing, at the gateway, policy and audit, at once",
                    "they still look, and still close: lock, suspend, revoke",
                ],
            ),
            Section("What stays", ["what they are signed in with", stay]),
        ],
    )


@operation(
    "operator.freeze",
    title="Freeze operator",
    result=OperatorCut,
    effect=Effect.CHANGE,
    direction=Direction.CLOSES,
    role=Role.RESPONDER,
    plan=plan_freeze,
    subject="operator",
)
def freeze(p: FreezeOne, _plan: Plan | None) -> Flow[OperatorCut]:
    """Freeze an operator, an admin too: they open nothing, at any service, and still close.

    One that does not answer is named, and learns of it from the others; until then: exit 9.
    """
    return at_every_service(FREEZE, p.operator, FreezeOperator(reason=p.reason), "frozen")


class ThawOne(msgspec.Struct, kw_only=True, frozen=True):
    """Who is thawed."""

    operator: OperatorId
    reason: Why


def plan_thaw(p: ThawOne) -> Flow[Plan]:
    """Look at who was frozen, and why."""
    now = yield from OPERATOR_SHOW(operator=p.operator)
    return Plan(
        title=f"Thaw operator {now.slug}",
        sections=[
            Section(
                "What it does",
                [
                    f"{now.slug} is {now.state}: {now.state_reason or 'no reason is kept'}",
                    f"their roles again: {', '.join(now.roles)}",
                    "with the tokens that they have",
                ],
            )
        ],
        revision=now.revision,
        subject=now,
    )


@operation(
    "operator.thaw",
    title="Thaw operator",
    result=OperatorAccount,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_thaw,
    subject="operator",
)
def thaw(p: ThawOne, plan: Plan | None) -> Flow[OperatorAccount]:
    """Let an operator who was frozen do everything again."""
    plan = plan or (yield from plan_thaw(p))
    assert plan.revision is not None
    return (
        yield from OPERATOR_THAW(
            ThawOperator(reason=p.reason), operator=p.operator, if_match=plan.revision
        )
    )


class RestoreOne(msgspec.Struct, kw_only=True, frozen=True):
    """Who is let in again."""

    operator: OperatorId
    reason: Why


def plan_restore(p: RestoreOne) -> Flow[Plan]:
    """Look at who was cut off, and why."""
    now = yield from OPERATOR_SHOW(operator=p.operator)
    return Plan(
        title=f"Let operator {now.slug} in again",
        sections=[
            Section(
                "What it does",
                [
                    f"{now.slug} is {now.state}: {now.state_reason or 'no reason is kept'}",
                    f"their roles again: {', '.join(now.roles)}",
                    "the tokens of before stay dead",
                ],
            )
        ],
        revision=now.revision,
        subject=now,
    )


@operation(
    "operator.restore",
    title="Restore operator",
    result=OperatorAccount,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_restore,
    subject="operator",
)
def restore(p: RestoreOne, plan: Plan | None) -> Flow[OperatorAccount]:
    """Let an operator in again who was cut off. Their old tokens stay dead."""
    plan = plan or (yield from plan_restore(p))
    assert plan.revision is not None
    return (
        yield from OPERATOR_RESTORE(
            RestoreOperator(reason=p.reason), operator=p.operator, if_match=plan.revision
        )
    )


class IssueOne(msgspec.Struct, kw_only=True, frozen=True):
    """Whose token it is, and until when."""

    operator: OperatorId
    ends_at: Ends = None
    replace: Annotated[bool, Param("End their other tokens at once.", kind=Kind.FLAG)] = False
    reason: Why


def plan_token(p: IssueOne) -> Flow[Plan]:
    """Look at whose token it would be."""
    now = yield from OPERATOR_SHOW(operator=p.operator)
    others = len(now.tokens)
    stays = "they end at once" if p.replace else "they go on"
    return Plan(
        title=f"Issue a token of {now.slug}",
        sections=[
            Section(
                "What it does",
                [
                    f"whoever has it is {now.slug}: {', '.join(now.roles)}",
                    f"until {to_the_second(p.ends_at)}" if p.ends_at else "until it is ended",
                ],
            ),
            Section("What stays", [f"other tokens: {others}, {stays}" if others else "no other"]),
        ],
        subject=now,
    )


@operation(
    "operator.token",
    title="Issue operator token",
    result=IssuedToken,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_token,
    subject="operator",
    secret="secret",  # noqa: S106 - the name of the result's member
)
def token(p: IssueOne, _plan: Plan | None) -> Flow[IssuedToken]:
    """Issue a bearer token of an operator. It is shown once, and stored nowhere."""
    new = IssueToken(ends_at=p.ends_at, replace=p.replace, reason=p.reason)
    return OPERATOR_TOKEN(new, operator=p.operator)


OPERATIONS: tuple[Operation, ...] = (
    list_operators, show, sessions, add, change, token, cut, freeze, thaw, restore,
)  # fmt: skip
