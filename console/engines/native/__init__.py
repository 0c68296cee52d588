"""Our own services as the engine of every facet: each question is one route of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.api import audit as audit_api
from console.api import gateway as gateway_api
from console.api import policy as policy_api
from console.api.engines import Engines
from console.api.flow import Flow, ask
from console.engines.native import audit, gateway, operators, policy
from console.model.operator import ServiceStatus

if TYPE_CHECKING:
    from console.api.facets import LogTrust


def native(log_trust: LogTrust) -> Engines:
    """Return our own services as the engine of each facet."""
    return Engines(
        pilots=policy.Pilots(),
        capabilities=policy.Capabilities(),
        partners=policy.Partners(),
        principals=policy.Principals(),
        terms=policy.Terms(),
        assessments=policy.Assessments(),
        grants=policy.Grants(),
        decisions=policy.Decisions(),
        keys=gateway.Keys(),
        locks=gateway.Locks(),
        closings=gateway.Closings(),
        points=gateway.Points(),
        receipts=gateway.Receipts(),
        calls=gateway.Calls(),
        usage=gateway.Usage(),
        prices=gateway.Prices(),
        log=audit.Log(),
        events=audit.Events(),
        alerts=audit.Alerts(),
        silences=audit.Silences(),
        rules=audit.Rules(),
        oncall=audit.Oncall(),
        operators=operators.Operators(),
        statuses=Statuses(),
        log_trust=log_trust,
    )


class Statuses:
    """`facets.Statuses`: each API about itself."""

    def policy(self) -> Flow[ServiceStatus]:
        return ask(policy_api.STATUS)

    def gateway(self) -> Flow[ServiceStatus]:
        return ask(gateway_api.STATUS)

    def audit(self) -> Flow[ServiceStatus]:
        return ask(audit_api.STATUS)
