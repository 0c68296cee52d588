"""A pilot that stands still: fixed objects, a fixed clock, and a log that is really proven."""

from __future__ import annotations

import math
import sys
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from fake_pilot import FakePilot, an_id

import console.tui.link.api_link
from console.api.flow import TrustedHead
from console.errors import ExitCode, PilotError
from console.model.audit import Event, EventProof, LogHead
from console.model.enforcement import Credential, LogProof, PointProof, Receipt
from console.model.evidence import Acceptance, Assessment, UsageTerms
from console.model.grant import Gap, Grant
from console.model.policy import Bundle
from console.model.stored import Page
from console.model.text import rfc3339
from console.model.traffic import CallRecord, UsageRow
from console.trust.merkle import inclusion_proof, leaf_hashes, root_of

NOW = datetime(2026, 11, 23, 9, 12, 30, tzinfo=UTC)
EVENTS = 64
HISTORY = (
    ("gateway", "jlt", "lock.add", "lock", "subprocessor of two partners, incident 7"),
    ("gateway", "mhr", "grant.revoke", "grant", "leaked by a subprocessor"),
    ("policy", "kds", "terms.publish", "terms", "version 4"),
    ("policy", "kds", "grant.create", "grant", "sponsor request"),
    ("audit", "system", "alert.create", "alert", ""),
    ("policy", "system", "grant.activate", "grant", "the gateway has it"),
)


class _Kind(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, datetime)


class Still(datetime, metaclass=_Kind):
    """A clock that stands, until it is put ahead."""

    ahead = timedelta(0)

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return (NOW + cls.ahead).astimezone(tz)


def stop_the_clock(patch: Any) -> None:
    """Make every part of the screen take `NOW` for the present, and each API equally fast."""
    for name, module in list(sys.modules.items()):
        if name.startswith("console.tui") and getattr(module, "datetime", None) is datetime:
            patch.setattr(module, "datetime", Still)
    patch.setattr(console.tui.link.api_link, "coarse_age", lambda _: "5s")
    patch.setattr(console.tui.link.api_link, "coarse_latency", lambda _: "10ms")


class StillPilot(FakePilot):
    """`FakePilot` at `NOW`, with a log whose proofs hold, and a week of usage."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.now = NOW
        self._make()
        self._sharpen()

    def set_clock(self, patch: Any) -> None:
        stop_the_clock(patch)

    def _sharpen(self) -> None:
        more = {"purpose": "defensive work in its own estate"}
        grants = [msgspec.structs.replace(each, **more) for each in self.all[Grant]]
        first = grants[0]
        grants += [
            msgspec.structs.replace(
                first, id=an_id("grt", 70), capabilities=["cyber.patch-generation"], tier=1,
                models=["aurora-1", "aurora-2"], expires_at=NOW + timedelta(days=71),
            ),
            msgspec.structs.replace(
                first, id=an_id("grt", 71), capabilities=["cyber.exploit-dev"], tier=3,
                state="pending_approval",
                gaps=[Gap(code="approval_missing", message="two approvals", mend="")],
            ),
        ]  # fmt: skip
        self.all[Grant] = grants
        keys = [msgspec.structs.replace(each, version=2) for each in self.all[Credential]]
        spare = msgspec.structs.replace(
            keys[0], id=an_id("crd", 70), holder="acme", hint="9E1C", version=3,
            grant_id=an_id("grt", 70), last_used_at=NOW - timedelta(hours=3),
        )  # fmt: skip
        self.all[Credential] = [*keys, spare]
        self.all[CallRecord] = [
            msgspec.structs.replace(
                each,
                started_at=NOW - timedelta(seconds=3 * at),
                address="198.51.100.7" if at % 20 == 0 else "203.0.113.7",
                declared=at % 20 != 0,
                total_ms=120 + 431.0 * (at % 5),
            )
            for at, each in enumerate(self.all[CallRecord])
        ]  # fmt: skip
        self.all[Event] = [self._event(EVENTS - 1 - at) for at in range(EVENTS)]
        leaves = [each.body.encode() for each in reversed(self.all[Event])]
        self.leaves, self.hashes = leaves, leaf_hashes(leaves)
        self.root = root_of(self.hashes)
        self.all[UsageTerms] = [
            UsageTerms(
                **self._stored("trm", 1), pilot="aurora", version=4, title="Partner terms",
                text="Use it for the stated purpose only.", sha256="0" * 64,
                effective_at=NOW - timedelta(days=3), reaccept_by=NOW + timedelta(days=2),
                accepted_by=["acme"],
            )
        ]  # fmt: skip
        self.all[Assessment] = [
            Assessment(**self._stored("rsk", at), partner=partner,
                       capability="cyber.vuln-discovery", state=state, assessor="kds",
                       summary="bounded to its own estate", valid_until=NOW + timedelta(days=90))
            for at, (partner, state) in enumerate(
                [("acme", "accepted"), ("northwind", "in_review")]
            )
        ]  # fmt: skip
        self.all[Acceptance] = [
            Acceptance(**self._stored("acc", 1), partner="acme", pilot="aurora", version=4,
                       terms_id=an_id("trm", 1), signatory="counsel", evidence="file 12")
        ]  # fmt: skip
        self.all[Receipt] = [self.receipt(1, "verified"), self.receipt(2, "unverified")]

    def _event(self, index: int) -> Event:
        source, actor, action, kind, reason = HISTORY[index % len(HISTORY)]
        partner = ("acme", "northwind", "halcyon")[index % 3]
        number = index % 5
        target = an_id({"grant": "grt", "lock": "lck", "credential": "crd", "terms": "trm",
                        "alert": "alr"}[kind], number)  # fmt: skip
        at = NOW - timedelta(minutes=7 * (EVENTS - 1 - index))
        body = {
            "class_uid": 6003,
            "metadata": {"event_code": action, "log_name": source, "sequence": index,
                         "uid": an_id("evt", index)},
            "unmapped": {"actor": actor, "at": rfc3339(at), "kind": kind, "outcome": "success",
                         "partner": partner, "reason": reason, "target": target},
        }  # fmt: skip
        return Event(index=index, source=source, sequence=index, id=an_id("evt", index), at=at,
                     actor=actor, action=action, kind=kind, target=target, partner=partner,
                     outcome="success", reason=reason,
                     body=msgspec.json.encode(body).decode())  # fmt: skip

    def receipt(self, number: int, state: str) -> Receipt:
        at = NOW - timedelta(minutes=2 * number)
        done = state == "verified"
        points = [
            PointProof(point=f"gw-{n}", state="refused" if done or n < 3 else "unproven",
                       method="probe" if done or n < 3 else "",
                       at=at + timedelta(milliseconds=60 * n) if done or n < 3 else None,
                       sequence=90412, probes=2, codes=["grant_revoked"],
                       streams_cut=int(n == 1))
            for n in (1, 2, 3)
        ]  # fmt: skip
        return Receipt(
            id=an_id("rcp", number), action="grant.revoke", kind="grant",
            target=an_id("grt", number - 1), partner="acme", reason="leaked by a subprocessor",
            by="mhr", requested_at=at, recorded_at=at + timedelta(milliseconds=31), sequence=90412,
            credentials=2, points=points, prober="gateway control", event_id=an_id("evt", 1),
            state=state, enforced_at=at + timedelta(milliseconds=187) if done else None,
            why="" if done else "gw-3 does not answer; its lease has not lapsed yet",
        )  # fmt: skip

    # what it answers beyond the other

    def _usage_list(self, call: Any) -> Page[UsageRow]:
        by = call.query.get("by", "partner")
        back = NOW - datetime.fromisoformat(call.query["since"]) if "since" in call.query else None
        names = {
            "partner": ("acme", "northwind", "halcyon", "tern-labs", "quillfeather"),
            "model": ("aurora-1", "aurora-2"),
        }.get(by, ("acme",))
        if by == "hour":
            hours = int((back or timedelta(days=1)).total_seconds() // 3600) + 1
            top = NOW.replace(minute=0, second=0)
            rows = [
                self._used(
                    (top - timedelta(hours=h)).isoformat(),
                    0.2 + 0.2 * math.sin(h / 3.8) + 0.6 / (1 + h),
                )
                for h in range(hours)
            ]
        else:
            rows = [
                msgspec.structs.replace(
                    self._used(name, (8 - at) / (1 + at)),
                    norm_tokens=int(291_000 * (8 - 1.7 * at) / (1 + at)),
                )
                for at, name in enumerate(names)
            ]
        return Page(as_of=NOW, source="still", items=rows)

    def _used(self, group: str, weight: float) -> UsageRow:
        calls = int(1000 * weight) + 3
        return UsageRow(group=group, calls=calls, allowed=calls - calls // 30, denied=calls // 30,
                        errors=calls // 90, input_tokens=int(260_000 * weight),
                        output_tokens=int(31_000 * weight), estimated_calls=calls // 200,
                        cost_micros=int(1_240_000 * weight),
                        first_at=NOW - timedelta(days=1),
                        last_at=NOW - timedelta(seconds=40))  # fmt: skip

    def _receipt_list(self, call: Any) -> Page[Receipt]:
        return Page(as_of=NOW, source="still", items=self.all[Receipt])

    def _receipt_show(self, call: Any) -> Any:
        found = [each for each in self.all[Receipt] if each.id == call.path["receipt"]]
        return found[0] if found else super()._receipt_show(call)

    def _terms_list(self, call: Any) -> Page[UsageTerms]:
        return Page(as_of=NOW, source="still", items=self.all[UsageTerms])

    def _terms_acceptances(self, call: Any) -> Page[Acceptance]:
        return Page(as_of=NOW, source="still", items=self.all[Acceptance])

    def _assessment_list(self, call: Any) -> Page[Assessment]:
        wanted = call.query.get("partner")
        items = [each for each in self.all[Assessment] if wanted in {None, each.partner}]
        return Page(as_of=NOW, source="still", items=items)

    def _policy_bundle(self, call: Any) -> Bundle:
        return Bundle(
            revision="624a1df135c784db", schema="", activated_at=NOW - timedelta(days=9),
            policies='// A call goes through under an active grant of its own partner.\n'
                     '@id("active-grant-covers-call")\npermit (principal, action, resource)\n'
                     'when { resource.state == "active" };\n\n'
                     '@id("prohibited-category")\nforbid (principal, action, resource)\n'
                     'when { resource.categories.contains("prohibited") };\n',
        )  # fmt: skip

    def _log_head(self, call: Any) -> LogHead:
        return LogHead(origin="still", key="key", tree_size=EVENTS, checkpoint=f"still\n{EVENTS}\n",
                       checkpointed_at=NOW)  # fmt: skip

    def _log_proof(self, call: Any) -> Any:
        found = [each for each in self.all[Event] if each.id == call.path["event"]]
        if not found:
            return PilotError("not-found", "no such event", exit=ExitCode.NOT_FOUND)
        index = found[0].index
        path = inclusion_proof(index, EVENTS, self._node)
        proof = LogProof(index=index, tree_size=EVENTS,
                         leaf=b64encode(self.leaves[index]).decode(),
                         hashes=[b64encode(each).decode() for each in path],
                         checkpoint=f"still\n{EVENTS}\n")  # fmt: skip
        return EventProof(event_id=found[0].id, proof=proof)

    def trusted_head(self) -> TrustedHead:
        """Believe every head of the log: it is the one root."""
        return TrustedHead("still", EVENTS, self.root, NOW)

    def _node(self, level: int, index: int) -> bytes:
        return root_of(self.hashes[index << level : (index + 1) << level])
