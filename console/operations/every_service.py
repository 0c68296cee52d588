"""What is asked of the gateway, policy and audit at once: each has a door of its own."""

from __future__ import annotations

from collections.abc import Mapping

from console.api.flow import Flow, Many
from console.api.operators import SESSIONS
from console.api.route import Api, Reply, Route
from console.errors import ExitCode, PilotError
from console.model.account import (
    CutOperator,
    FreezeOperator,
    OperatorCut,
    OperatorSession,
    ServiceCut,
)
from console.model.stored import Page


def sessions_of_services() -> Flow[Page[OperatorSession]]:
    """Return who has used each service since it started, the latest first.

    A service that does not answer makes the page partial. Raises `PilotError` where none does.
    """
    outcomes = yield Many([route.call() for route in SESSIONS.values()])
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


def at_every_service(
    routes: Mapping[Api, Route[ServiceCut]],
    operator: str,
    change: CutOperator | FreezeOperator,
    state: str,
) -> Flow[OperatorCut]:
    """Ask every service for `change`; the operator is `state` only where each says so.

    A service that does not answer is told as such. Raises `PilotError` where none does.
    """
    calls = [route.call(change, operator=operator) for route in routes.values()]
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
