"""The facets that the gateway answers: each question is one route of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from console.api import gateway
from console.api.engines import Paging
from console.api.flow import Flow, ask
from console.engines.native.query import query, time
from console.model.access import ClosePilot
from console.model.content import CallContent, ReadContent, RedactContent
from console.model.enforcement import (
    AdmitPoint,
    Blast,
    Credential,
    DeregisterPoint,
    IssuedKey,
    IssueKey,
    Lock,
    LockTarget,
    NewLock,
    Point,
    Receipt,
    ReleaseLock,
    Revoke,
    RotateKey,
    Tombstone,
)
from console.model.grant import OffboardPartner, QuietGrant, SuspendAccess
from console.model.price import BudgetState, Price, SetPrice
from console.model.stored import Page
from console.model.traffic import CallCheck, CallRecord, Explanation, UsageRow


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
        filters = query(paging, grant=grant, partner=partner, holder=holder, state=state)
        return ask(gateway.KEY_LIST, query=filters)

    def show(self, credential: str) -> Flow[Credential]:
        return ask(gateway.KEY_SHOW, path={"credential": credential})

    def issue(self, new: IssueKey) -> Flow[IssuedKey]:
        return ask(gateway.KEY_ISSUE, body=new)

    def rotate(self, credential: str, change: RotateKey, revision: int) -> Flow[IssuedKey]:
        path = {"credential": credential}
        return ask(gateway.KEY_ROTATE, path=path, body=change, if_match=revision)


class Locks:
    """`facets.Locks` at the gateway."""

    def find(self, paging: Paging, *, kind: str = "", state: str = "") -> Flow[Page[Lock]]:
        return ask(gateway.LOCK_LIST, query=query(paging, kind=kind, state=state))

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

    def suspend_grant(self, grant: str, change: SuspendAccess) -> Flow[Receipt]:
        return ask(gateway.GRANT_SUSPEND, path={"grant": grant}, body=change)

    def suspend_partner(self, partner: str, change: SuspendAccess) -> Flow[Receipt]:
        return ask(gateway.PARTNER_SUSPEND, path={"partner": partner}, body=change)

    def offboard(self, partner: str, change: OffboardPartner) -> Flow[Receipt]:
        return ask(gateway.PARTNER_OFFBOARD, path={"partner": partner}, body=change)

    def close_pilot(self, pilot: str, change: ClosePilot) -> Flow[Receipt]:
        return ask(gateway.PILOT_CLOSE, path={"pilot": pilot}, body=change)

    def tombstones(self, paging: Paging, *, partner: str = "") -> Flow[Page[Tombstone]]:
        return ask(gateway.TOMBSTONE_LIST, query=query(paging, partner=partner))


class Points:
    """`facets.Points` at the gateway."""

    def find(self, paging: Paging) -> Flow[Page[Point]]:
        return ask(gateway.POINT_LIST, query=query(paging))

    def deregister(self, point: str, change: DeregisterPoint) -> Flow[Receipt]:
        return ask(gateway.POINT_DEREGISTER, path={"point": point}, body=change)

    def admit(self, point: str, change: AdmitPoint) -> Flow[Point]:
        return ask(gateway.POINT_ADMIT, path={"point": point}, body=change)


class Receipts:
    """`facets.Receipts` at the gateway."""

    def find(self, paging: Paging) -> Flow[Page[Receipt]]:
        return ask(gateway.RECEIPT_LIST, query=query(paging))

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
        capability: str = "",
        principal: str = "",
        network: str = "",
        outcome: str = "",
        code: str = "",
        text: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Flow[Page[CallRecord]]:
        filters = query(
            paging,
            partner=partner,
            grant=grant,
            credential=credential,
            model=model,
            capability=capability,
            principal=principal,
            network=network,
            outcome=outcome,
            code=code,
            text=text,
            since=time(since),
            until=time(until),
        )
        return ask(gateway.CALL_LIST, query=filters)

    def show(self, call: str) -> Flow[CallRecord]:
        return ask(gateway.CALL_SHOW, path={"call": call})

    def explain(self, call: str) -> Flow[Explanation]:
        return ask(gateway.CALL_EXPLAIN, path={"call": call})

    def check(self, grant: str, asked: Mapping[str, str]) -> Flow[CallCheck]:
        return ask(gateway.CALL_CHECK, query={**asked, "grant": grant})

    def content(self, call: str, change: ReadContent) -> Flow[CallContent]:
        return ask(gateway.CALL_CONTENT, path={"call": call}, body=change)

    def redact(self, call: str, change: RedactContent) -> Flow[CallContent]:
        return ask(gateway.CALL_REDACT, path={"call": call}, body=change)


class Usage:
    """`facets.Usage` at the gateway."""

    def quiet(
        self, paging: Paging, *, since: datetime | None, partner: str = "", pilot: str = ""
    ) -> Flow[Page[QuietGrant]]:
        filters = query(paging, since=time(since), partner=partner, pilot=pilot)
        return ask(gateway.GRANT_QUIET, query=filters)

    def by(
        self,
        group: str,
        *,
        also: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        partner: str = "",
        grant: str = "",
        key: str = "",
        model: str = "",
        capability: str = "",
        principal: str = "",
        network: str = "",
        pilot: str = "",
    ) -> Flow[Page[UsageRow]]:
        return ask(
            gateway.USAGE,
            query={
                "by": group,
                "also": also,
                "since": time(since),
                "until": time(until),
                "partner": partner,
                "grant": grant,
                "key": key,
                "model": model,
                "capability": capability,
                "principal": principal,
                "network": network,
                "pilot": pilot,
            },
        )

    def exported(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        partner: str = "",
        pilot: str = "",
    ) -> Flow[Page[UsageRow]]:
        filters = {"since": time(since), "until": time(until), "partner": partner, "pilot": pilot}
        return ask(gateway.USAGE_EXPORT, query=filters)

    def budgets(self, *, partner: str = "") -> Flow[Page[BudgetState]]:
        return ask(gateway.BUDGETS, query={"partner": partner})


class Prices:
    """`facets.Prices` at the gateway."""

    def find(self, paging: Paging, *, model: str = "") -> Flow[Page[Price]]:
        return ask(gateway.PRICE_LIST, query=query(paging, model=model))

    def show(self, model: str) -> Flow[Price]:
        return ask(gateway.PRICE_SHOW, path={"model": model})

    def set(self, new: SetPrice, *, validate: bool = False) -> Flow[Price]:
        return ask(gateway.PRICE_SET, body=new, validate_only=validate)
