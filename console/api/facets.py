"""What an engine answers, facet by facet: the questions, and never how they are asked.

An operation knows these protocols and nothing else of an engine. Each method is a flow
of the answer. A list is asked for page by page; times are aware; a filter that is empty
does not filter. `validate` asks for what a write would answer, without doing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from console.api.engines import Paging, TrustedHead
from console.api.flow import Flow
from console.model.access import (
    AddContact,
    Capability,
    ChangeNetwork,
    ChangePartner,
    ChangeSubprocessor,
    ClosePilot,
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
    SetOperator,
    ThawOperator,
)
from console.model.audit import (
    AcknowledgeAlert,
    Alert,
    AssignAlert,
    CloseAlert,
    CommentAlert,
    EscalateAlert,
    Event,
    EventProof,
    LogGrowth,
    LogHead,
    ReopenAlert,
    SnoozeAlert,
    StoreComparison,
)
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
    OffboardPartner,
    QuietGrant,
    RenewGrant,
    ResumeGrant,
    SuspendAccess,
)
from console.model.log import LogHandover, LogSuccession, RestartLog, RotateLogKey
from console.model.oncall import Delivery, NewOncall, OncallTarget, RemoveOncall, TryOncall
from console.model.operator import ServiceStatus
from console.model.policy import Answer, Bundle, Evaluation
from console.model.price import BudgetState, Price, SetPrice
from console.model.principal import NewPrincipal, Principal, RetirePrincipal
from console.model.rule import AddRule, ChangeRule, DetectionRule, RuleTrial, TuneRule
from console.model.silence import EndSilence, NewSilence, Silence
from console.model.stored import Page
from console.model.traffic import CallCheck, CallRecord, Explanation, UsageRow


class Pilots(Protocol):
    """The programmes and their stages."""

    def find(self, paging: Paging) -> Flow[Page[Pilot]]: ...
    def show(self, pilot: str) -> Flow[Pilot]: ...
    def create(self, new: NewPilot, *, validate: bool = False) -> Flow[Pilot]: ...
    def stage(
        self, pilot: str, change: SetStage, revision: int, *, validate: bool = False
    ) -> Flow[Pilot]: ...
    def export(self, pilot: str) -> Flow[PilotText]: ...
    def take_in(self, change: ImportPilot, *, validate: bool = False) -> Flow[Pilot]: ...


class Capabilities(Protocol):
    """What grants are about."""

    def find(self, paging: Paging, *, pilot: str = "") -> Flow[Page[Capability]]: ...
    def show(self, capability: str) -> Flow[Capability]: ...
    def create(self, new: NewCapability, *, validate: bool = False) -> Flow[Capability]: ...


class Partners(Protocol):
    """The vetted organisations."""

    def find(
        self, paging: Paging, *, state: str = "", as_of: datetime | None = None
    ) -> Flow[Page[Partner]]: ...
    def show(self, partner: str, *, as_of: datetime | None = None) -> Flow[Partner]: ...
    def create(self, new: NewPartner, *, validate: bool = False) -> Flow[Partner]: ...
    def verify(
        self, partner: str, change: VerifyPartner, revision: int, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def declare(
        self, partner: str, change: DeclarePartner, revision: int, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def vet(
        self, partner: str, change: ChangePartner, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def restrict(
        self, partner: str, change: ChangePartner, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def resume(
        self, partner: str, change: ChangePartner, revision: int, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def add_contact(
        self, partner: str, change: AddContact, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def remove_contact(
        self, partner: str, change: RemoveContact, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def add_network(
        self, partner: str, change: ChangeNetwork, revision: int, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def remove_network(
        self, partner: str, change: ChangeNetwork, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def add_subprocessor(
        self, partner: str, change: ChangeSubprocessor, revision: int, *, validate: bool = False
    ) -> Flow[Partner]: ...
    def remove_subprocessor(
        self, partner: str, change: ChangeSubprocessor, *, validate: bool = False
    ) -> Flow[Partner]: ...


class Principals(Protocol):
    """The users of partners, known by salted hashes."""

    def find(
        self, paging: Paging, *, partner: str = "", state: str = "", kind: str = ""
    ) -> Flow[Page[Principal]]: ...
    def show(self, principal: str) -> Flow[Principal]: ...
    def create(self, new: NewPrincipal, *, validate: bool = False) -> Flow[Principal]: ...
    def retire(
        self, principal: str, change: RetirePrincipal, *, validate: bool = False
    ) -> Flow[Principal]: ...


class Terms(Protocol):
    """Usage terms by version, and who accepted them."""

    def find(self, paging: Paging, *, pilot: str = "") -> Flow[Page[UsageTerms]]: ...
    def show(self, terms: str) -> Flow[UsageTerms]: ...
    def publish(self, new: PublishTerms, *, validate: bool = False) -> Flow[UsageTerms]: ...
    def accept(
        self, pilot: str, acceptance: AcceptTerms, *, validate: bool = False
    ) -> Flow[Acceptance]: ...
    def acceptances(
        self, paging: Paging, *, pilot: str = "", partner: str = ""
    ) -> Flow[Page[Acceptance]]: ...


class Assessments(Protocol):
    """Risk assessments of a partner for a capability."""

    def find(
        self, paging: Paging, *, partner: str = "", capability: str = "", state: str = ""
    ) -> Flow[Page[Assessment]]: ...
    def show(self, assessment: str) -> Flow[Assessment]: ...
    def create(self, new: NewAssessment, *, validate: bool = False) -> Flow[Assessment]: ...
    def accept(
        self, assessment: str, decision: DecideAssessment, revision: int
    ) -> Flow[Assessment]: ...
    def reject(self, assessment: str, decision: DecideAssessment) -> Flow[Assessment]: ...
    def withdraw(self, assessment: str, decision: DecideAssessment) -> Flow[Assessment]: ...


class Grants(Protocol):
    """Partners' access. A grant is ended through `Closings`, at the gateway."""

    def find(
        self,
        paging: Paging,
        *,
        pilot: str = "",
        partner: str = "",
        capability: str = "",
        state: str = "",
        as_of: datetime | None = None,
    ) -> Flow[Page[Grant]]: ...
    def show(self, grant: str, *, as_of: datetime | None = None) -> Flow[Grant]: ...
    def expiring(
        self, paging: Paging, *, before: datetime | None, partner: str = "", pilot: str = ""
    ) -> Flow[Page[Grant]]: ...
    def plan(self, new: NewGrant) -> Flow[GrantPlan]: ...
    def create(self, new: NewGrant) -> Flow[Grant]: ...
    def activate(self, grant: str, change: ActivateGrant, revision: int) -> Flow[Grant]: ...
    def renew(
        self, grant: str, change: RenewGrant, revision: int, *, validate: bool = False
    ) -> Flow[Grant]: ...
    def amend(
        self, grant: str, change: AmendGrant, revision: int, *, validate: bool = False
    ) -> Flow[Grant]: ...
    def narrow(self, grant: str, change: AmendGrant, *, validate: bool = False) -> Flow[Grant]: ...
    def resume(
        self, grant: str, change: ResumeGrant, revision: int, *, validate: bool = False
    ) -> Flow[Grant]: ...


class Decisions(Protocol):
    """Why something is allowed or not, and by which policies."""

    def of_grant(self, grant: str) -> Flow[GrantPlan]: ...
    def evaluate(self, question: Evaluation) -> Flow[Answer]: ...
    def bundle(self) -> Flow[Bundle]: ...


class Keys(Protocol):
    """Credentials under grants."""

    def find(
        self,
        paging: Paging,
        *,
        grant: str = "",
        partner: str = "",
        holder: str = "",
        state: str = "",
    ) -> Flow[Page[Credential]]: ...
    def show(self, credential: str) -> Flow[Credential]: ...
    def issue(self, new: IssueKey) -> Flow[IssuedKey]: ...
    def rotate(self, credential: str, change: RotateKey, revision: int) -> Flow[IssuedKey]: ...


class Locks(Protocol):
    """What lets nothing through until it is released."""

    def find(self, paging: Paging, *, kind: str = "", state: str = "") -> Flow[Page[Lock]]: ...
    def show(self, lock: str) -> Flow[Lock]: ...
    def blast(self, target: LockTarget) -> Flow[Blast]: ...
    def add(self, new: NewLock) -> Flow[Lock]: ...
    def release(self, lock: str, change: ReleaseLock, revision: int) -> Flow[Lock]: ...


class Closings(Protocol):
    """What the gateway alone closes: its permanent marks, and its suspensions."""

    def revoke(self, change: Revoke) -> Flow[Receipt]: ...
    def suspend_grant(self, grant: str, change: SuspendAccess) -> Flow[Receipt]: ...
    def suspend_partner(self, partner: str, change: SuspendAccess) -> Flow[Receipt]: ...
    def offboard(self, partner: str, change: OffboardPartner) -> Flow[Receipt]: ...
    def close_pilot(self, pilot: str, change: ClosePilot) -> Flow[Receipt]: ...
    def tombstones(self, paging: Paging, *, partner: str = "") -> Flow[Page[Tombstone]]: ...


class Points(Protocol):
    """The data-plane processes."""

    def find(self, paging: Paging) -> Flow[Page[Point]]: ...
    def deregister(self, point: str, change: DeregisterPoint) -> Flow[Receipt]: ...
    def admit(self, point: str, change: AdmitPoint) -> Flow[Point]: ...


class Receipts(Protocol):
    """What closing verbs can prove, as the gateway follows it."""

    def find(self, paging: Paging) -> Flow[Page[Receipt]]: ...
    def show(self, receipt: str) -> Flow[Receipt]: ...


class Calls(Protocol):
    """Partner requests through the data plane."""

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
    ) -> Flow[Page[CallRecord]]: ...
    def show(self, call: str) -> Flow[CallRecord]: ...
    def explain(self, call: str) -> Flow[Explanation]: ...
    def check(self, grant: str, asked: Mapping[str, str]) -> Flow[CallCheck]: ...
    def content(self, call: str, change: ReadContent) -> Flow[CallContent]: ...
    def redact(self, call: str, change: RedactContent) -> Flow[CallContent]: ...


class Usage(Protocol):
    """What calls add up to, and what nobody calls."""

    def quiet(
        self, paging: Paging, *, since: datetime | None, partner: str = "", pilot: str = ""
    ) -> Flow[Page[QuietGrant]]: ...
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
    ) -> Flow[Page[UsageRow]]: ...
    def exported(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        partner: str = "",
        pilot: str = "",
    ) -> Flow[Page[UsageRow]]: ...
    def budgets(self, *, partner: str = "") -> Flow[Page[BudgetState]]: ...


class Prices(Protocol):
    """What tokens cost, by the day."""

    def find(self, paging: Paging, *, model: str = "") -> Flow[Page[Price]]: ...
    def show(self, model: str) -> Flow[Price]: ...
    def set(self, new: SetPrice, *, validate: bool = False) -> Flow[Price]: ...


class Log(Protocol):
    """The transparency log, as it is served: nothing of it is believed unchecked."""

    def head(self) -> Flow[LogHead]: ...
    def growth(self, old: int, new: int) -> Flow[LogGrowth]: ...
    def proof(self, event: str, *, tree_size: int | None = None) -> Flow[EventProof]: ...
    def handovers(self, old_key: str = "") -> Flow[Page[LogHandover]]: ...
    def rotate_key(self, change: RotateLogKey) -> Flow[LogHandover]: ...
    def restart(self, change: RestartLog) -> Flow[LogHandover]: ...
    def compare(self, start: int) -> Flow[StoreComparison]:
        """Compare what is listed with what is in the log, from entry `start` on, a part."""
        ...

    def files(self, paths: Sequence[str]) -> Flow[list[bytes | None]]:
        """Return the files below the log (C2SP tlog-tiles paths), None where there is none."""
        ...


class Events(Protocol):
    """What happened."""

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
    ) -> Flow[Page[Event]]: ...
    def show(self, event: str) -> Flow[Event]: ...


class Alerts(Protocol):
    """Detections over calls and events, and their triage."""

    def find(
        self,
        paging: Paging,
        *,
        state: str = "",
        severity: str = "",
        partner: str = "",
        rule: str = "",
        assignee: str = "",
        silenced: str = "",
    ) -> Flow[Page[Alert]]: ...
    def show(self, alert: str) -> Flow[Alert]: ...
    def acknowledge(self, alert: str, change: AcknowledgeAlert) -> Flow[Alert]: ...
    def close(self, alert: str, change: CloseAlert) -> Flow[Alert]: ...
    def assign(self, alert: str, change: AssignAlert) -> Flow[Alert]: ...
    def snooze(self, alert: str, change: SnoozeAlert) -> Flow[Alert]: ...
    def escalate(self, alert: str, change: EscalateAlert) -> Flow[Alert]: ...
    def comment(self, alert: str, change: CommentAlert) -> Flow[Alert]: ...
    def reopen(self, alert: str, change: ReopenAlert) -> Flow[Alert]: ...


class Silences(Protocol):
    """What mutes alerts, and how much it has muted."""

    def find(self, paging: Paging, *, state: str = "") -> Flow[Page[Silence]]: ...
    def show(self, silence: str) -> Flow[Silence]: ...
    def add(self, new: NewSilence, *, validate: bool = False) -> Flow[Silence]: ...
    def end(self, silence: str, change: EndSilence) -> Flow[Silence]: ...


class Rules(Protocol):
    """What detections look for."""

    def find(
        self, paging: Paging, *, state: str = "", origin: str = ""
    ) -> Flow[Page[DetectionRule]]: ...
    def show(self, rule: str) -> Flow[DetectionRule]: ...
    def test(
        self,
        rule: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        threshold: int | None = None,
        window_seconds: int | None = None,
        factor: int | None = None,
    ) -> Flow[RuleTrial]: ...
    def add(self, new: AddRule, *, validate: bool = False) -> Flow[DetectionRule]: ...
    def remove(self, rule: str, change: ChangeRule, revision: int) -> Flow[DetectionRule]: ...
    def enable(self, rule: str, change: ChangeRule) -> Flow[DetectionRule]: ...
    def disable(self, rule: str, change: ChangeRule, revision: int) -> Flow[DetectionRule]: ...
    def tune(
        self, rule: str, change: TuneRule, revision: int, *, validate: bool = False
    ) -> Flow[DetectionRule]: ...


class Oncall(Protocol):
    """Who is paged, and whether it reached them."""

    def find(self, paging: Paging) -> Flow[Page[OncallTarget]]: ...
    def show(self, target: str) -> Flow[OncallTarget]: ...
    def deliveries(
        self, paging: Paging, *, state: str = "", target: str = ""
    ) -> Flow[Page[Delivery]]: ...
    def add(self, new: NewOncall, *, validate: bool = False) -> Flow[OncallTarget]: ...
    def remove(self, target: str, change: RemoveOncall) -> Flow[OncallTarget]: ...
    def test(self, target: str, change: TryOncall) -> Flow[Delivery]: ...


class Statuses(Protocol):
    """How each API is, and who it takes the caller for."""

    def policy(self) -> Flow[ServiceStatus]: ...
    def gateway(self) -> Flow[ServiceStatus]: ...
    def audit(self) -> Flow[ServiceStatus]: ...


class Operators(Protocol):
    """Who may use the operator APIs: accounts at policy, and each service's own door."""

    def find(
        self, paging: Paging, *, kind: str = "", state: str = "", role: str = ""
    ) -> Flow[Page[OperatorAccount]]:
        """Accounts, the newest first."""

    def show(self, operator: str) -> Flow[OperatorAccount]:
        """One account, by its name."""

    def add(self, new: NewOperator, *, validate: bool = False) -> Flow[OperatorAccount]:
        """Add an account."""

    def change(
        self, operator: str, change: SetOperator, revision: int, *, validate: bool = False
    ) -> Flow[OperatorAccount]:
        """Give an account other roles or groups."""

    def restore(
        self, operator: str, change: RestoreOperator, revision: int
    ) -> Flow[OperatorAccount]:
        """Let in again who was cut off."""

    def token(self, operator: str, new: IssueToken) -> Flow[IssuedToken]:
        """Issue a bearer token, shown once."""

    def seal(self, new: SealBreakGlass) -> Flow[IssuedToken]:
        """Seal a break-glass account: its token is shown once."""

    def cut(self, operator: str, change: CutOperator) -> Flow[OperatorCut]:
        """Cut somebody off at every service; one that does not answer is told so."""

    def freeze(self, operator: str, change: FreezeOperator) -> Flow[OperatorCut]:
        """Let somebody open nothing more at any service, and still close."""

    def thaw(self, operator: str, change: ThawOperator, revision: int) -> Flow[OperatorAccount]:
        """Let somebody who was frozen do everything again."""

    def sessions(self) -> Flow[Page[OperatorSession]]:
        """Who has used each service since it started."""


class LogTrust(Protocol):
    """What this console believes of the log. The session answers, from its pinned heads."""

    def key(self) -> Flow[str]:
        """Return the log's verifier key (C2SP signed note), pinned at first contact."""
        ...

    def keys(self) -> list[str]:
        """Return the keys that have signed the pinned log, oldest first, without asking it."""
        ...

    def check(self, note: str) -> Flow[TrustedHead]:
        """Open the checkpoint `note` with the pinned key, and check that the log only grew.

        Raises `PilotError` with exit 11 where the signature or the growth does not hold.
        """
        ...

    def succession(self) -> Flow[LogSuccession]:
        """Read the log that took the place of the pinned one, and check it against the pin.

        Raises `PilotError`: `log-not-restarted` where none did, exit 11 where it does not hold.
        """
        ...

    def repin(self) -> Flow[LogSuccession]:
        """Check the same, and hold the new log to its head from now on."""
        ...
