"""A pilot in memory, answered route by route, so that the screen needs no service."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec

from console.api.flow import CheckHead, Many, Report, TrustedHead, Wait
from console.api.route import Call, Reply
from console.errors import ExitCode, PilotError
from console.model.access import Capability, Partner, Pilot, Stage, StageKey
from console.model.audit import Alert, Comment, Event, Evidence, LogHead
from console.model.content import CallContent
from console.model.enforcement import (
    Blast,
    Credential,
    IssuedKey,
    Lock,
    Point,
    PointProof,
    Receipt,
)
from console.model.grant import Decision, Gap, Grant, GrantPlan
from console.model.oncall import Delivery, OncallTarget
from console.model.operator import Operator, ServiceStatus
from console.model.rule import DetectionRule
from console.model.silence import Matcher, Silence
from console.model.stored import Page
from console.model.traffic import CallRecord, Check, Explanation, UsageRow
from console.net.driver import Exchange

SECRET = "plk_" + "Zq7" * 14
PARTNERS = ("acme", "northwind", "halcyon", "tern-labs", "quillfeather")
STATES = ("active", "active", "suspended", "draft", "pending_approval")
MODELS = ("aurora-1", "aurora-2")


def an_id(prefix: str, number: int) -> str:
    return f"{prefix}_01J9ZK{number:020d}"


def salted(value: Any, salt: Callable[[str, str], str]) -> Any:
    """Return the struct with each free text of it changed by `salt(type.member, text)`."""
    if isinstance(value, msgspec.Struct):
        changed = {}
        for name in value.__struct_fields__:
            member = getattr(value, name)
            changed[name] = (
                salt(f"{type(value).__name__}.{name}", member)
                if isinstance(member, str)
                else salted(member, salt)
            )
        return msgspec.structs.replace(value, **changed)
    if isinstance(value, list):
        return [salt("list", one) if isinstance(one, str) else salted(one, salt) for one in value]
    if isinstance(value, dict):
        return {key: salted(one, salt) for key, one in value.items()}
    return value


@dataclass
class Drive:
    on_report: Callable[[Report], None]
    idempotency_key: str
    on_exchange: Callable[[Any], None] = lambda _: None


@dataclass
class FakePilot:
    """The session of a pilot in memory. `down` names APIs that do not answer."""

    tier: str = "production"
    read_only: bool = False
    theme: str = ""
    roles: tuple[str, ...] = ("admin",)
    partners: int = 5
    salt: Callable[[str, str], str] | None = None
    down: set[str] = field(default_factory=set)
    refuse: set[str] = field(default_factory=set)
    slow: dict[str, float] = field(default_factory=dict)
    sent: list[Call] = field(default_factory=list)
    lose: int = 0
    stall_writes: float = 0.0
    keys_used: list[str] = field(default_factory=list)
    closed: bool = False
    suspect: bool = False
    lacks: dict[str, list[str]] = field(default_factory=dict)
    """What each API says that it lacks of others."""
    pace: float = 20.0
    """How many times faster than the clock the flows' waits go by."""

    def __post_init__(self) -> None:
        self.now = datetime.now(UTC)
        settings = {"tier": self.tier, "read_only": self.read_only, "theme": self.theme}
        self.profile = SimpleNamespace(
            name="prod", setting=lambda name: settings.get(name, ""), bindings=()
        )
        self.receipts: dict[str, list[Receipt]] = {}
        self._make()

    def set_clock(self, patch: Any) -> None:
        """Make the screen take this pilot's present for its own: here it is the real one."""

    def _stored(self, prefix: str, number: int, **more: Any) -> dict[str, Any]:
        at = self.now - timedelta(hours=number + 2)
        return {
            "id": an_id(prefix, number), "revision": 3, "created_at": at, "created_by": "kds",
            "updated_at": at, "updated_by": "kds", **more,
        }  # fmt: skip

    def _make(self) -> None:
        now = self.now
        names = [PARTNERS[n] if n < 5 else f"partner-{n:03d}" for n in range(self.partners)]
        self.all: dict[type, list[Any]] = {
            Pilot: [
                Pilot(**self._stored("plt", 1), slug="aurora", title="Aurora early access",
                      models=list(MODELS), grace_seconds=3600, terms_id=an_id("trm", 1),
                      stages=[Stage(key=StageKey.LIMITED, most_partners=40,
                                    longest_grant_seconds=86400 * 90)])
            ],
            Capability: [
                Capability(**self._stored("cap", n), slug=slug, title=slug, pilot="aurora",
                           category="dual-use", tier=tier, models=list(MODELS),
                           routes=["messages"], longest_grant_seconds=86400 * 90)
                for n, (slug, tier) in enumerate(
                    [("cyber.vuln-discovery", 2), ("cyber.patch-generation", 1),
                     ("cyber.exploit-dev", 3)])
            ],
            Partner: [
                Partner(**self._stored("ptn", n), slug=slug, name=f"{slug.title()} Research",
                        sponsor="kds", state="active", verified_until=now + timedelta(days=90 + n),
                        verification="file 7", egress=["203.0.113.0/24"],
                        subprocessors=["datawharf"] if n % 2 == 0 else [])
                for n, slug in enumerate(names)
            ],
            Grant: [
                Grant(**self._stored("grt", n), pilot="aurora", stage="limited", partner=slug,
                      capabilities=["cyber.vuln-discovery"], models=["aurora-1"],
                      networks=["203.0.113.0/24"] if n % 2 else [], purpose="defence",
                      not_before=now, expires_at=now + timedelta(hours=6 if n == 0 else 1700 + n),
                      tier=2, state=STATES[n % 5],
                      state_reason="terms_lapsed" if n % 5 == 2 else "",
                      gaps=[Gap(code="assessment_missing", message="no assessment",
                                mend="pilotctl assessment create acme")] if n % 5 == 3 else [])
                for n, slug in enumerate(names)
            ],
            Credential: [
                Credential(**self._stored("crd", n), grant_id=an_id("grt", n), partner=slug,
                           holder=slug if n else "datawharf", hint=f"{n:02d}4F", version=1,
                           state="in_use", last_used_at=now - timedelta(seconds=40 + n),
                           last_network="203.0.113.7")
                for n, slug in enumerate(names)
            ],
            Lock: [
                Lock(**self._stored("lck", 1), kind="subprocessor", target="datawharf",
                     reason="incident", message="locked", state="active",
                     blast=Blast(partners=["acme", "halcyon"]))
            ],
            Alert: [
                Alert(**self._stored("alr", n), rule=rule, rule_revision="0" * 64, title=title,
                      severity=severity, fingerprint=f"f{n}", count=count,
                      first_seen_at=now - timedelta(hours=1),
                      last_seen_at=now - timedelta(minutes=n * 7 + 2),
                      partner=names[n % len(names)], grant_id=an_id("grt", n),
                      credential_id=an_id("crd", n),
                      state="new",
                      evidence=[Evidence(kind="call", id=an_id("req", n), at=now,
                                         summary="key used after it was revoked")])
                for n, (rule, title, severity, count) in enumerate([
                    ("revoked-used", "revoked credential still presented", "critical", 31),
                    ("egress", "network outside declared egress", "high", 4),
                    ("denials", "refusal rate 4.1x its week", "medium", 118)])
            ],
            CallRecord: [
                CallRecord(id=an_id("req", n), point="gw-1", sequence=n,
                           started_at=now - timedelta(seconds=n * 3), partner=names[n % len(names)],
                           grant_id=an_id("grt", n % 5), credential_id=an_id("crd", n % 5),
                           model=MODELS[n % 2], route="messages",
                           outcome="denied" if n % 7 == 0 else "allowed",
                           code="grant_revoked" if n % 7 == 0 else "", status=200,
                           address="203.0.113.7", input_tokens=100 + n, output_tokens=20 * n,
                           total_ms=120.0 + n, pilot="aurora")
                for n in range(60)
            ],
            Event: [
                Event(index=4182 - n, source="policy" if n % 2 else "gateway", sequence=n,
                      id=an_id("evt", n), at=now - timedelta(minutes=n), actor="kds",
                      action="grant.create" if n % 2 else "lock.add", kind="grant",
                      target=an_id("grt", n % 5), partner=names[n % len(names)],
                      outcome="success", reason="asked for", body='{"class_uid":3005}')
                for n in range(40)
            ],
            UsageRow: [
                UsageRow(group=slug, calls=8120 - 900 * n, allowed=8000 - 900 * n, denied=120,
                         errors=0, input_tokens=2_100_000 // (n + 1), output_tokens=90_000,
                         estimated_calls=2, last_at=now)
                for n, slug in enumerate(names[:5])
            ],
            Point: [
                Point(name=f"gw-{n}", url=f"http://127.0.0.1:844{n}", state="serving",
                      applied_sequence=90412, lease_until=now, last_seen_at=now, in_flight=n)
                for n in (1, 2, 3)
            ],
            Silence: [
                Silence(**self._stored("sil", 1), owner="mhr", reason="migration of their egress",
                        matchers=[Matcher(field="rule", pattern="egress-*")], state="active",
                        ends_at=now + timedelta(hours=3), hits=41, alerts=2)
            ],
            DetectionRule: [
                DetectionRule(**{**self._stored("rule", n), "id": name}, title=title, kind=kind,
                              reads="calls", severity=severity, threshold=20, window_seconds=60,
                              origin="shipped", state=state)
                for n, (name, title, kind, severity, state) in enumerate([
                    ("denial-burst", "Burst of refused calls", "count", "high", "on"),
                    ("off-hours-use", "Use at odd hours", "hours", "low", "off")])
            ],
            OncallTarget: [
                OncallTarget(**self._stored("onc", 1), slug="night", kind="webhook", level=1,
                             url="https://pager.example.org/x", severities=["high", "critical"],
                             delivered_at=now - timedelta(hours=2), failing="it answered 503")
            ],
            Delivery: [
                Delivery(id=an_id("msg", 1), target="night", alert_id=an_id("alr", 0),
                         title="revoked credential still presented", severity="critical",
                         why="created", state="failed", attempts=12, created_at=now,
                         error="it answered 503")
            ],
        }  # fmt: skip

    # what the console asks of a session

    def drive(self, *, seconds: float = math.inf, idempotency_key: str = "",
              on_report: Callable[[Report], None] | None = None, awaited_api: str = "",
              is_given_up: Callable[[], bool] = lambda: False) -> Drive:  # fmt: skip
        return Drive(on_report or (lambda _: None), idempotency_key)

    async def arun(self, flow: Any, drive: Drive | None = None) -> Any:
        drive = drive or self.drive()
        answer: Any = None
        while True:
            try:
                step = flow.throw(answer) if isinstance(answer, PilotError) else flow.send(answer)
            except StopIteration as stop:
                return stop.value
            match step:
                case Call():
                    answer = await self._exchange(step, drive)
                case Many():
                    answer = [await self._exchange(call, drive) for call in step.calls]
                case Wait():
                    await asyncio.sleep(step.seconds / self.pace)
                    answer = math.inf
                case Report():
                    drive.on_report(step)
                    answer = None
                case CheckHead():
                    answer = self.trusted_head()

    def trusted_head(self) -> TrustedHead | PilotError:
        """Believe every head of the log, unless the pilot says that it does not hold."""
        if self.suspect:
            return PilotError("log-shrank", "the log has another past", exit=ExitCode.LOG_FAILED)
        return TrustedHead("fake", 4182, b"", datetime.now(UTC))

    async def aclose(self) -> None:
        self.closed = True

    async def _exchange(self, call: Call, drive: Drive) -> Reply | PilotError:
        began = time.monotonic()
        await asyncio.sleep(self.slow.get(call.route.api, 0.001))
        api = call.route.api
        if api in self.down:
            return PilotError("unreachable", f"the {api} API is not running",
                              exit=ExitCode.UNAVAILABLE, source=api)  # fmt: skip
        if call.route.writes and call.route.created and not call.validate_only:
            self.sent.append(call)
            await asyncio.sleep(self.stall_writes)
            self.keys_used.append(drive.idempotency_key)
            if self.lose:
                self.lose -= 1
                key = drive.idempotency_key or "K1"
                return PilotError("unknown-outcome", "sent, and no answer came",
                                  exit=ExitCode.UNVERIFIED,
                                  detail={"idempotency_key": key})  # fmt: skip
        if call.route.id in self.refuse:
            return PilotError("unavailable", f"{route_words(call)} is not to be had",
                              exit=ExitCode.UNAVAILABLE)  # fmt: skip
        value = self.answer(call)
        drive.on_exchange(
            Exchange(call, api, an_id("rid", 1), 200, (time.monotonic() - began) * 1000, 1)
        )
        if isinstance(value, PilotError):
            return value
        return Reply(200, salted(value, self.salt) if self.salt else value)

    def _page(self, kind: type, call: Call) -> Page[Any]:
        items = self.all.get(kind, [])
        for name in ("partner", "state", "grant", "credential", "target"):
            wanted = call.query.get(name)
            if not wanted or wanted == "open":
                continue
            member = {"grant": "grant_id", "credential": "credential_id"}.get(name, name)
            items = [each for each in items if getattr(each, member, wanted) == wanted]
        limit = int(call.query.get("limit") or 100)
        after = int(call.query.get("cursor") or 0)
        more = str(after + limit) if len(items) > after + limit else ""
        return Page(as_of=datetime.now(UTC), source="fake", items=items[after : after + limit],
                    next_cursor=more)  # fmt: skip

    def _one(self, kind: type, name: str) -> Any:
        for each in self.all[kind]:
            if name in {getattr(each, "slug", ""), getattr(each, "id", "")}:
                return each
        return PilotError("not-found", f"there is no {name}", exit=ExitCode.NOT_FOUND)

    def answer(self, call: Call) -> Any:
        route, path = call.route, next(iter(call.path.values()), "")
        if route.id.endswith(".status"):
            operator = Operator(name="mhr", uid=1000, roles=list(self.roles))
            return ServiceStatus(service=route.api, version="1", as_of=datetime.now(UTC),
                                 operator=operator, sequence=4182,
                                 dependency_notes=self.lacks.get(route.api, []))  # fmt: skip
        kinds = {
            "pilot": Pilot, "capability": Capability, "partner": Partner, "grant": Grant,
            "key": Credential, "lock": Lock, "alert": Alert, "call": CallRecord, "audit": Event,
            "usage": UsageRow, "point": Point, "silence": Silence, "rule": DetectionRule,
            "oncall": Delivery if route.id == "oncall.deliveries" else OncallTarget,
        }  # fmt: skip
        noun, _, verb = route.id.partition(".")
        special = getattr(self, f"_{noun}_{verb}", None)
        if special is not None:
            return special(call)
        if verb == "show" and noun in kinds:
            return self._one(kinds[noun], path)
        if verb in {"list", "usage", "acceptances", "deliveries"} or route.id in {
            "usage.list",
            "usage.export",
        }:
            return self._page(kinds.get(noun, object), call)
        return PilotError("not-found", f"{route.id} is not played", exit=ExitCode.NOT_FOUND)

    def _log_head(self, call: Call) -> LogHead:
        return LogHead(origin="fake", key="key", tree_size=4182, checkpoint="note",
                       checkpointed_at=datetime.now(UTC))  # fmt: skip

    def _lock_blast(self, call: Call) -> Blast:
        return Blast(partners=["acme"], grants=[an_id("grt", 0)], credentials=2, streams=1,
                     stays=["cyber.patch-generation until 71 d"])  # fmt: skip

    def _grant_plan(self, call: Call) -> GrantPlan:
        grant = msgspec.structs.replace(
            self.all[Grant][0], capabilities=list(call.body.capabilities)
        )
        return self._decided(grant)

    def _grant_decision(self, call: Call) -> GrantPlan:
        return self._decided(self.all[Grant][0])

    _grant_decide = _grant_decision

    def _decided(self, grant: Grant) -> GrantPlan:
        decision = Decision(id=an_id("dec", 1), allow=True, bundle_revision="r1", at=self.now)
        return GrantPlan(grant=grant, becomes="draft", holders={}, overlaps=[], decision=decision,
                         gaps=[Gap(code="terms_not_accepted", message="terms v4 not accepted",
                                   mend="pilotctl terms accept aurora")])  # fmt: skip

    def _grant_create(self, call: Call) -> Grant:
        return msgspec.structs.replace(self.all[Grant][3], partner=call.body.partner)

    def _key_issue(self, call: Call) -> IssuedKey:
        return IssuedKey(credential=self.all[Credential][0], secret=SECRET,
                         base_urls=["http://127.0.0.1:8440"])  # fmt: skip

    def _call_content(self, call: Call) -> CallContent:
        now = datetime.now(UTC)
        return CallContent(
            call=call.path["call"], pilot="aurora", partner="acme", state="kept", stored_at=now,
            expires_at=now + timedelta(days=3),
            request=f'{{"input": "\x1b[31mthe first words, asked_for {call.body.reason}"}}',
            answer="\n".join(f'data: {{"delta": "word {n}"}}' for n in range(60)),
        )  # fmt: skip

    def _key_rotate(self, call: Call) -> IssuedKey:
        old = next(k for k in self.all[Credential] if k.id == call.path["credential"])
        now = datetime.now(UTC)
        gone = call.body.grace_seconds == 0
        replaced = msgspec.structs.replace(
            old, state="revoked" if gone else "rotating", replaced_by=an_id("crd", 77),
            rotated_at=now, ends_at=now + timedelta(seconds=call.body.grace_seconds),
        )  # fmt: skip
        self.all[Credential][self.all[Credential].index(old)] = replaced
        new = msgspec.structs.replace(old, id=an_id("crd", 77), version=2, replaces=old.id)
        receipt = ""
        if gone:
            receipt = self._receipt("key.retire", "credential", old.id, call.body.reason).id
        return IssuedKey(credential=new, secret=SECRET, replaced=replaced, receipt_id=receipt)

    def _receipt(self, action: str, kind: str, target: str, reason: str) -> Receipt:
        now = datetime.now(UTC)
        name = an_id("rcp", 100 + len(self.receipts))
        points = [PointProof(point=f"gw-{n}", state="waiting") for n in (1, 2, 3)]
        start = Receipt(
            id=name, action=action, kind=kind, target=target, partner="acme", reason=reason,
            by="mhr", requested_at=now, recorded_at=now, sequence=90412, credentials=2,
            points=points, prober="gateway control", event_id=an_id("evt", 900), state="verifying",
        )  # fmt: skip
        steps = [start]
        for n in range(3):
            at = now + timedelta(milliseconds=58 + 60 * n)
            points = [
                msgspec.structs.replace(point, state="refused", method="probe", at=at,
                                        sequence=90412, probes=2, codes=["grant_revoked"],
                                        streams_cut=int(each == 0)) if each == n else point
                for each, point in enumerate(points)
            ]  # fmt: skip
            done = n == 2
            steps.append(msgspec.structs.replace(
                start, points=points, state="verified" if done else "verifying",
                enforced_at=at if done else None))  # fmt: skip
        self.receipts[name] = steps
        return start

    def _tombstone_create(self, call: Call) -> Receipt:
        body = call.body
        grant = next((g for g in self.all[Grant] if g.id == body.id), None)
        if grant is not None:
            self.all[Grant] = [
                msgspec.structs.replace(g, state="revoked") if g is grant else g
                for g in self.all[Grant]
            ]
        return self._receipt("grant.revoke", str(body.kind), body.id, body.reason)

    def _lock_add(self, call: Call) -> Lock:
        target = call.body.target
        receipt = self._receipt("lock.add", str(target.kind), target.id, call.body.reason)
        lock = Lock(**self._stored("lck", 50 + len(self.receipts)), kind=str(target.kind),
                    target=target.id, reason=call.body.reason, message="", state="active",
                    receipt_id=receipt.id)  # fmt: skip
        self.all[Lock].insert(0, lock)
        return lock

    def _receipt_show(self, call: Call) -> Any:
        steps = self.receipts.get(call.path["receipt"], [])
        if not steps:
            return PilotError("not-found", "no such receipt", exit=ExitCode.NOT_FOUND)
        return steps.pop(0) if len(steps) > 1 else steps[0]

    def _alert_acknowledge(self, call: Call) -> Alert:
        return self._changed_alert(call, state="in_progress", assignee="mhr")

    def _alert_close(self, call: Call) -> Alert:
        return self._changed_alert(call, state="resolved", verdict=str(call.body.verdict))

    def _alert_assign(self, call: Call) -> Alert:
        return self._changed_alert(call, assignee=call.body.assignee)

    def _alert_snooze(self, call: Call) -> Alert:
        return self._changed_alert(call, state="snoozed", snoozed_until=call.body.until)

    def _alert_escalate(self, call: Call) -> Alert:
        return self._changed_alert(call, severity=str(call.body.severity or "critical"), level=2)

    def _alert_comment(self, call: Call) -> Alert:
        told = Comment(at=datetime.now(UTC), by="mhr", text=call.body.text)
        return self._changed_alert(call, comments=[told])

    def _alert_reopen(self, call: Call) -> Alert:
        return self._changed_alert(call, state="reopened", verdict="")

    def _changed_alert(self, call: Call, **changes: Any) -> Any:
        found = self._one(Alert, call.path["alert"])
        if isinstance(found, PilotError):
            return found
        changed = msgspec.structs.replace(found, **changes)
        self.all[Alert] = [changed if a is found else a for a in self.all[Alert]]
        return changed

    def _call_explain(self, call: Call) -> Any:
        found = self._one(CallRecord, call.path["call"])
        if isinstance(found, PilotError):
            return found
        checks = [Check(name="grant", passed=False, found="revoked")]
        return Explanation(call=msgspec.structs.replace(found, checks=checks),
                           summary="the grant was revoked", mend="")  # fmt: skip


def route_words(call: Call) -> str:
    return f"{call.route.method} {call.route.path}"
