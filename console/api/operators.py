"""The routes about operators: policy keeps the accounts, and each service can cut one off."""

from __future__ import annotations

from typing import Any

from console.api.route import PAGING, Api, Route
from console.model.account import (
    CutOperator,
    FreezeOperator,
    IssuedToken,
    IssueToken,
    NewOperator,
    OperatorAccount,
    OperatorSession,
    RestoreOperator,
    SealBreakGlass,
    ServiceCut,
    SetOperator,
    ThawOperator,
)
from console.model.operator import Direction, Role
from console.model.stored import Page

OPERATOR_LIST = Route(
    "operator.list", "policy", "GET", "/v1/operators", Page[OperatorAccount],
    query=("kind", "state", "role", *PAGING),
)  # fmt: skip
OPERATOR_SHOW = Route("operator.show", "policy", "GET", "/v1/operators/{operator}", OperatorAccount)
OPERATOR_ADD = Route(
    "operator.add", "policy", "POST", "/v1/operators", OperatorAccount,
    Role.ADMIN, Direction.OPENS, NewOperator, created=True,
)  # fmt: skip
OPERATOR_SET = Route(
    "operator.set", "policy", "POST", "/v1/operators/{operator}/roles", OperatorAccount,
    Role.ADMIN, Direction.OPENS, SetOperator, if_match=True,
)  # fmt: skip
OPERATOR_RESTORE = Route(
    "operator.restore", "policy", "POST", "/v1/operators/{operator}/restoration", OperatorAccount,
    Role.ADMIN, Direction.OPENS, RestoreOperator, if_match=True,
)  # fmt: skip
OPERATOR_THAW = Route(
    "operator.thaw", "policy", "POST", "/v1/operators/{operator}/thaw", OperatorAccount,
    Role.ADMIN, Direction.OPENS, ThawOperator, if_match=True,
)  # fmt: skip
OPERATOR_TOKEN = Route(
    "operator.token", "policy", "POST", "/v1/operators/{operator}/tokens", IssuedToken,
    Role.ADMIN, Direction.OPENS, IssueToken, created=True,
)  # fmt: skip
BREAK_GLASS_SEAL = Route(
    "break-glass.seal", "policy", "POST", "/v1/break-glass", IssuedToken,
    Role.ADMIN, Direction.OPENS, SealBreakGlass, created=True,
)  # fmt: skip

ACCOUNTS: tuple[Route[Any], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Route)
)
"""What policy alone serves."""


def _cut(api: Api) -> Route[Any]:
    return Route(
        f"{api}.operator.cut", api, "POST", "/v1/operators/{operator}/cut", ServiceCut,
        Role.RESPONDER, Direction.CLOSES, CutOperator,
    )  # fmt: skip


def _freeze(api: Api) -> Route[Any]:
    return Route(
        f"{api}.operator.freeze", api, "POST", "/v1/operators/{operator}/freeze", ServiceCut,
        Role.RESPONDER, Direction.CLOSES, FreezeOperator,
    )  # fmt: skip


def _sessions(api: Api) -> Route[Any]:
    return Route(
        f"{api}.operator.sessions", api, "GET", "/v1/sessions", Page[OperatorSession],
        Role.AUDITOR,
    )  # fmt: skip


CUT: dict[Api, Route[Any]] = {
    "gateway": _cut("gateway"),
    "policy": _cut("policy"),
    "audit": _cut("audit"),
}
"""The same question to each service: from its answer on, it takes nothing more from them."""

FREEZE: dict[Api, Route[Any]] = {
    "gateway": _freeze("gateway"),
    "policy": _freeze("policy"),
    "audit": _freeze("audit"),
}
"""The same question to each service: from its answer on, they open nothing there."""

SESSIONS: dict[Api, Route[Any]] = {
    "gateway": _sessions("gateway"),
    "policy": _sessions("policy"),
    "audit": _sessions("audit"),
}


def routes(api: Api) -> tuple[Route[Any], ...]:
    """Return the routes about operators that `api` serves."""
    return (*(ACCOUNTS if api == "policy" else ()), CUT[api], FREEZE[api], SESSIONS[api])
