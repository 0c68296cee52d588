"""`facets.Operators`: accounts at policy, and each service's own door."""

from __future__ import annotations

from collections.abc import Iterable

from console.api import operators as routes
from console.api.engines import Paging
from console.api.flow import Call, Flow, Many, Reply, ask
from console.api.route import Route
from console.engines.native.query import query
from console.errors import ExitCode, PilotError
from console.model.account import (
    CutOperator,
    FreezeOperator,
    IssuedToken,
    IssueToken,
    NewOperator,
    OperatorAccount,
    OperatorCut,
    OperatorSession,
    RestoreOperator,
    SealBreakGlass,
    ServiceCut,
    SetOperator,
    ThawOperator,
)
from console.model.stored import Page


class Operators:
    """`facets.Operators` at policy, the gateway and audit."""

    def find(
        self, paging: Paging, *, kind: str = "", state: str = "", role: str = ""
    ) -> Flow[Page[OperatorAccount]]:
        filters = query(paging, kind=kind, state=state, role=role)
        return ask(routes.OPERATOR_LIST, query=filters)

    def show(self, operator: str) -> Flow[OperatorAccount]:
        return ask(routes.OPERATOR_SHOW, path={"operator": operator})

    def add(self, new: NewOperator, *, validate: bool = False) -> Flow[OperatorAccount]:
        return ask(routes.OPERATOR_ADD, body=new, validate_only=validate)

    def change(
        self, operator: str, change: SetOperator, revision: int, *, validate: bool = False
    ) -> Flow[OperatorAccount]:
        return ask(
            routes.OPERATOR_SET,
            path={"operator": operator},
            body=change,
            if_match=revision,
            validate_only=validate,
        )

    def restore(
        self, operator: str, change: RestoreOperator, revision: int
    ) -> Flow[OperatorAccount]:
        path = {"operator": operator}
        return ask(routes.OPERATOR_RESTORE, path=path, body=change, if_match=revision)

    def token(self, operator: str, new: IssueToken) -> Flow[IssuedToken]:
        return ask(routes.OPERATOR_TOKEN, path={"operator": operator}, body=new)

    def seal(self, new: SealBreakGlass) -> Flow[IssuedToken]:
        return ask(routes.BREAK_GLASS_SEAL, body=new)

    def thaw(self, operator: str, change: ThawOperator, revision: int) -> Flow[OperatorAccount]:
        path = {"operator": operator}
        return ask(routes.OPERATOR_THAW, path=path, body=change, if_match=revision)

    def cut(self, operator: str, change: CutOperator) -> Flow[OperatorCut]:
        return _everywhere(routes.CUT.values(), operator, change, "cut")

    def freeze(self, operator: str, change: FreezeOperator) -> Flow[OperatorCut]:
        return _everywhere(routes.FREEZE.values(), operator, change, "frozen")

    def sessions(self) -> Flow[Page[OperatorSession]]:
        calls = [Call(route) for route in routes.SESSIONS.values()]
        outcomes = yield Many(calls)
        pages = [each.value for each in outcomes if isinstance(each, Reply)]
        failed = [each for each in outcomes if isinstance(each, PilotError)]
        if not pages:
            raise failed[0]
        items = [item for page in pages for item in page.items]
        return Page(
            as_of=min(page.as_of for page in pages),
            source=", ".join(page.source for page in pages),
            items=sorted(items, key=lambda each: each.last_at, reverse=True),
            partial=bool(failed),
            warnings=[error.message for error in failed],
        )


def _everywhere(
    at: Iterable[Route], operator: str, change: CutOperator | FreezeOperator, state: str
) -> Flow[OperatorCut]:
    """Ask every service at once; it is so only where each says so."""
    calls = [Call(route, {"operator": operator}, {}, change) for route in at]
    outcomes = yield Many(calls)
    said = [_cut_at(call.route.api, outcome) for call, outcome in zip(calls, outcomes, strict=True)]
    failed = [each for each in outcomes if isinstance(each, PilotError)]
    if len(failed) == len(calls):
        raise failed[0]
    whole = all(each.state == state for each in said)
    return OperatorCut(operator=operator, state=state if whole else "partial", services=said)


def _cut_at(service: str, outcome: Reply | PilotError) -> ServiceCut:
    if isinstance(outcome, Reply):
        cut: ServiceCut = outcome.value
        return cut
    if outcome.exit is ExitCode.NOT_FOUND:
        return ServiceCut(service=service, state="unknown", why="it knows no such operator")
    return ServiceCut(service=service, state="unknown", why=outcome.message)
