"""Our own services as the engine of every facet: each question is one route of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from console.api import audit, authzen, gateway, policy
from console.api.engines import Engines, Paging
from console.api.flow import Call, Flow, Many, Reply, ask
from console.errors import ExitCode, PilotError
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
from console.model.audit import (
    AcknowledgeAlert,
    Alert,
    CloseAlert,
    Event,
    EventProof,
    LogGrowth,
    LogHead,
)
from console.model.enforcement import (
    Blast,
    Credential,
    IssuedKey,
    IssueKey,
    Lock,
    LockTarget,
    NewLock,
    Point,
    Receipt,
    ReleaseLock,
    Revoke,
    Tombstone,
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
from console.model.grant import ActivateGrant, Grant, GrantPlan, NewGrant
from console.model.operator import ServiceStatus
from console.model.policy import Answer, Bundle, Evaluation
from console.model.stored import Page
from console.model.text import rfc3339
from console.model.traffic import CallRecord, Explanation, UsageRow

if TYPE_CHECKING:
    from console.api.facets import LogTrust


def native(log_trust: LogTrust) -> Engines:
    """Return our own services as the engine of each facet."""
    return Engines(
        pilots=Pilots(),
        capabilities=Capabilities(),
        partners=Partners(),
        terms=Terms(),
        assessments=Assessments(),
        grants=Grants(),
        decisions=Decisions(),
        keys=Keys(),
        locks=Locks(),
        closings=Closings(),
        points=Points(),
        receipts=Receipts(),
        calls=Calls(),
        usage=Usage(),
        log=Log(),
        events=Events(),
        alerts=Alerts(),
        statuses=Statuses(),
        log_trust=log_trust,
    )


def _query(paging: Paging, **filters: str) -> dict[str, str | None]:
    return {"cursor": paging.cursor, "limit": str(paging.limit), **filters}


def _time(moment: datetime | None) -> str:
    return rfc3339(moment) if moment else ""


class Pilots:
    """`facets.Pilots` at policy."""

    def find(self, paging: Paging) -> Flow[Page[Pilot]]:
        return ask(policy.PILOT_LIST, query=_query(paging))

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
        return ask(policy.CAPABILITY_LIST, query=_query(paging, pilot=pilot))

    def show(self, capability: str) -> Flow[Capability]:
        return ask(policy.CAPABILITY_SHOW, path={"capability": capability})

    def create(self, new: NewCapability, *, validate: bool = False) -> Flow[Capability]:
        return ask(policy.CAPABILITY_CREATE, body=new, validate_only=validate)


class Partners:
    """`facets.Partners` at policy."""

    def find(self, paging: Paging, *, state: str = "") -> Flow[Page[Partner]]:
        return ask(policy.PARTNER_LIST, query=_query(paging, state=state))

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
        return ask(policy.TERMS_LIST, query=_query(paging, pilot=pilot))

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
        return ask(policy.TERMS_ACCEPTANCES, query=_query(paging, pilot=pilot, partner=partner))


class Assessments:
    """`facets.Assessments` at policy."""

    def find(
        self, paging: Paging, *, partner: str = "", capability: str = "", state: str = ""
    ) -> Flow[Page[Assessment]]:
        return ask(
            policy.ASSESSMENT_LIST,
            query=_query(paging, partner=partner, capability=capability, state=state),
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
        filters = _query(paging, pilot=pilot, partner=partner, capability=capability, state=state)
        return ask(policy.GRANT_LIST, query=filters)

    def show(self, grant: str) -> Flow[Grant]:
        return ask(policy.GRANT_SHOW, path={"grant": grant})

    def plan(self, new: NewGrant) -> Flow[GrantPlan]:
        return ask(policy.GRANT_PLAN, body=new)

    def create(self, new: NewGrant) -> Flow[Grant]:
        return ask(policy.GRANT_CREATE, body=new)

    def activate(self, grant: str, change: ActivateGrant, revision: int) -> Flow[Grant]:
        return ask(policy.GRANT_ACTIVATE, path={"grant": grant}, body=change, if_match=revision)


class Decisions:
    """`facets.Decisions` at policy."""

    def of_grant(self, grant: str) -> Flow[GrantPlan]:
        return ask(policy.GRANT_DECIDE, path={"grant": grant})

    def evaluate(self, question: Evaluation) -> Flow[Answer]:
        return ask(authzen.EVALUATION, body=question)

    def bundle(self) -> Flow[Bundle]:
        return ask(policy.BUNDLE_SHOW)


class Keys:
    """`facets.Keys` at the gateway."""

    def find(
        self,
        paging: Paging,
        *,
        grant: str = "",
        partner: str = "",
        holder: str = "",
        state: str = "",
    ) -> Flow[Page[Credential]]:
        filters = _query(paging, grant=grant, partner=partner, holder=holder, state=state)
        return ask(gateway.KEY_LIST, query=filters)

    def show(self, credential: str) -> Flow[Credential]:
        return ask(gateway.KEY_SHOW, path={"credential": credential})

    def issue(self, new: IssueKey) -> Flow[IssuedKey]:
        return ask(gateway.KEY_ISSUE, body=new)


class Locks:
    """`facets.Locks` at the gateway."""

    def find(self, paging: Paging, *, kind: str = "", state: str = "") -> Flow[Page[Lock]]:
        return ask(gateway.LOCK_LIST, query=_query(paging, kind=kind, state=state))

    def show(self, lock: str) -> Flow[Lock]:
        return ask(gateway.LOCK_SHOW, path={"lock": lock})

    def blast(self, target: LockTarget) -> Flow[Blast]:
        return ask(gateway.LOCK_BLAST, body=target)

    def add(self, new: NewLock) -> Flow[Lock]:
        return ask(gateway.LOCK_ADD, body=new)

    def release(self, lock: str, change: ReleaseLock, revision: int) -> Flow[Lock]:
        return ask(gateway.LOCK_RELEASE, path={"lock": lock}, body=change, if_match=revision)


class Closings:
    """`facets.Closings` at the gateway."""

    def revoke(self, change: Revoke) -> Flow[Receipt]:
        return ask(gateway.REVOKE, body=change)

    def tombstones(self, paging: Paging, *, partner: str = "") -> Flow[Page[Tombstone]]:
        return ask(gateway.TOMBSTONE_LIST, query=_query(paging, partner=partner))


class Points:
    """`facets.Points` at the gateway."""

    def find(self, paging: Paging) -> Flow[Page[Point]]:
        return ask(gateway.POINT_LIST, query=_query(paging))


class Receipts:
    """`facets.Receipts` at the gateway."""

    def find(self, paging: Paging) -> Flow[Page[Receipt]]:
        return ask(gateway.RECEIPT_LIST, query=_query(paging))

    def show(self, receipt: str) -> Flow[Receipt]:
        return ask(gateway.RECEIPT_SHOW, path={"receipt": receipt})


class Calls:
    """`facets.Calls` at the gateway."""

    def find(
        self,
        paging: Paging,
        *,
        partner: str = "",
        grant: str = "",
        credential: str = "",
        model: str = "",
        outcome: str = "",
        code: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Flow[Page[CallRecord]]:
        filters = _query(
            paging,
            partner=partner,
            grant=grant,
            credential=credential,
            model=model,
            outcome=outcome,
            code=code,
            since=_time(since),
            until=_time(until),
        )
        return ask(gateway.CALL_LIST, query=filters)

    def show(self, call: str) -> Flow[CallRecord]:
        return ask(gateway.CALL_SHOW, path={"call": call})

    def explain(self, call: str) -> Flow[Explanation]:
        return ask(gateway.CALL_EXPLAIN, path={"call": call})


class Usage:
    """`facets.Usage` at the gateway."""

    def by(
        self,
        group: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        partner: str = "",
    ) -> Flow[Page[UsageRow]]:
        return ask(
            gateway.USAGE,
            query={
                "by": group,
                "since": _time(since),
                "until": _time(until),
                "partner": partner,
            },
        )


class Log:
    """`facets.Log` at audit."""

    def head(self) -> Flow[LogHead]:
        return ask(audit.HEAD)

    def growth(self, old: int, new: int) -> Flow[LogGrowth]:
        return ask(audit.GROWTH, query={"old": str(old), "new": str(new)})

    def proof(self, event: str, *, tree_size: int | None = None) -> Flow[EventProof]:
        size = "" if tree_size is None else str(tree_size)
        return ask(audit.PROOF, path={"event": event}, query={"tree_size": size})

    def files(self, paths: Sequence[str]) -> Flow[list[bytes | None]]:
        outcomes = yield Many([Call(audit.TILE, {"file": path}) for path in paths])
        return [_file(outcome) for outcome in outcomes]


def _file(outcome: Reply | PilotError) -> bytes | None:
    if isinstance(outcome, Reply):
        return bytes(outcome.value)
    if outcome.exit is ExitCode.NOT_FOUND:
        return None
    raise outcome


class Events:
    """`facets.Events` at audit."""

    def find(
        self,
        paging: Paging,
        *,
        actor: str = "",
        action: str = "",
        target: str = "",
        partner: str = "",
        outcome: str = "",
        source: str = "",
        text: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
    ) -> Flow[Page[Event]]:
        filters = _query(
            paging,
            actor=actor,
            action=action,
            target=target,
            partner=partner,
            outcome=outcome,
            source=source,
            text=text,
            since=_time(since),
            until=_time(until),
            after="" if after is None else str(after),
        )
        return ask(audit.EVENT_LIST, query=filters)

    def show(self, event: str) -> Flow[Event]:
        return ask(audit.EVENT_SHOW, path={"event": event})


class Alerts:
    """`facets.Alerts` at audit."""

    def find(
        self,
        paging: Paging,
        *,
        state: str = "",
        severity: str = "",
        partner: str = "",
        rule: str = "",
    ) -> Flow[Page[Alert]]:
        filters = _query(paging, state=state, severity=severity, partner=partner, rule=rule)
        return ask(audit.ALERT_LIST, query=filters)

    def show(self, alert: str) -> Flow[Alert]:
        return ask(audit.ALERT_SHOW, path={"alert": alert})

    def acknowledge(self, alert: str, change: AcknowledgeAlert) -> Flow[Alert]:
        return ask(audit.ALERT_ACKNOWLEDGE, path={"alert": alert}, body=change)

    def close(self, alert: str, change: CloseAlert) -> Flow[Alert]:
        return ask(audit.ALERT_CLOSE, path={"alert": alert}, body=change)


class Statuses:
    """`facets.Statuses`: each API about itself."""

    def policy(self) -> Flow[ServiceStatus]:
        return ask(policy.STATUS)

    def gateway(self) -> Flow[ServiceStatus]:
        return ask(gateway.STATUS)

    def audit(self) -> Flow[ServiceStatus]:
        return ask(audit.STATUS)
