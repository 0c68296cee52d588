"""Break-glass: a sealed account that can only close, for the night when nobody can sign in."""

from __future__ import annotations

from typing import Annotated

import msgspec

from console.api.flow import Flow
from console.api.operators import BREAK_GLASS_SEAL, OPERATOR_LIST
from console.model.account import (
    AccountKind,
    AccountState,
    IssuedToken,
    OperatorAccount,
    SealBreakGlass,
)
from console.model.operator import Direction, Role
from console.model.stored import Page
from console.operations.listing import pages
from console.operations.operator import Ends
from console.operations.params import Listing, Why
from console.operations.spec import Effect, Kind, Operation, Param, Plan, Section, operation


@operation("break-glass.list", title="List break-glass accounts", result=Page[OperatorAccount])
def list_sealed(p: Listing, _plan: Plan | None) -> Flow[Page[OperatorAccount]]:
    """List the sealed accounts: which are ready, which were used, which are spent."""
    return pages(OPERATOR_LIST, p, kind=AccountKind.BREAK_GLASS)


class SealOne(msgspec.Struct, kw_only=True, frozen=True):
    """Until when it is good, and what becomes of those before it."""

    ends_at: Ends = None
    replace: Annotated[
        bool, Param("Cut off every break-glass account before it.", kind=Kind.FLAG)
    ] = False
    reason: Why


def plan_seal(p: SealOne) -> Flow[Plan]:
    """Look at those that are there."""
    found = yield from pages(
        OPERATOR_LIST, Listing(), kind=AccountKind.BREAK_GLASS, state=AccountState.ACTIVE
    )
    names = [each.slug for each in found.items]
    before = "are cut off" if p.replace else "stay good"
    return Plan(
        title="Seal a break-glass account",
        sections=[
            Section(
                "What it does",
                [
                    "whoever holds the token may look, lock, suspend and revoke: nothing else",
                    "it works at each service while policy and any identity provider are down",
                    "its first use is a critical alert",
                ],
            ),
            Section("What stays", [f"{', '.join(names)} {before}"] if names else ["no other"]),
        ],
    )


@operation(
    "break-glass.seal",
    title="Seal break-glass",
    result=IssuedToken,
    effect=Effect.CHANGE,
    direction=Direction.OPENS,
    role=Role.ADMIN,
    plan=plan_seal,
    secret="secret",  # noqa: S106 - the name of the result's member
)
def seal(p: SealOne, _plan: Plan | None) -> Flow[IssuedToken]:
    """Seal a break-glass account. Its token is shown once: keep it offline, in a safe.

    To use it: PILOTCTL_BREAK_GLASS=FILE pilotctl lock add everything --reason '...'. Once
    it was used, replace it: break-glass seal --replace.
    """
    new = SealBreakGlass(ends_at=p.ends_at, replace=p.replace, reason=p.reason)
    return BREAK_GLASS_SEAL(new)


OPERATIONS: tuple[Operation, ...] = (list_sealed, seal)
