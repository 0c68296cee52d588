"""A call record while its call runs."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import msgspec

from console.model.ids import new_id
from console.model.price import Price
from console.model.traffic import CallRecord, Check, Outcome
from console.services.gateway.decision.decide import Asked, Verdict
from console.services.gateway.decision.refusal_codes import CODES
from console.services.gateway.decision.snapshot import Snapshot
from console.services.gateway.point.content_capture import Kept
from console.services.gateway.point.dialect.dialects import Dialect
from console.services.gateway.point.dialect.usage_meter import Meter
from console.services.wire.changes import KeyFact
from console.services.wire.points import Gauge


class Draft:
    """What is known of a call so far. `code` stays empty while nothing went wrong."""

    __slots__ = (
        "_asked", "_began", "_verdict", "address", "answer_began", "checks", "code", "dialect",
        "error_type", "gauges", "held", "id", "is_builtin", "kept", "key", "lock_id", "meter",
        "path", "point", "price", "principal", "recorded", "sequence", "started_at", "status",
        "stream", "upstream", "upstream_ms", "user_agent",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: str,
        point: str,
        path: str,
        dialect: Dialect,
        address: str,
        user_agent: str,
    ) -> None:
        self.id = id
        self.point = point
        self.path = path
        self.dialect = dialect
        self.address = address
        self.user_agent = user_agent
        self.started_at = datetime.now(UTC)
        self._began = time.perf_counter()
        self._asked: Asked | None = None
        self._verdict: Verdict | None = None
        self.key: KeyFact | None = None
        self.checks: list[Check] = []
        self.code = ""
        self.status = 0
        self.error_type = ""
        self.lock_id = ""
        self.stream = False
        self.upstream = ""
        self.is_builtin = False
        """Whether that is the built-in one, which writes nothing that does not pass."""
        self.upstream_ms = 0.0
        self.meter: Meter | None = None
        self.answer_began = False
        """Whether the upstream said 200: whatever follows, it may count the call."""
        self.sequence = 0
        self.principal = ""
        """Salted hash of the user that the caller named."""
        self.kept: Kept | None = None
        """What is kept of what is sent and answered."""
        self.price: Price | None = None
        """By which the call counts."""
        self.held: int | None = None
        """The most it may cost, in micro-units; None while it holds nothing of a limit."""
        self.gauges: list[Gauge] = []
        """How its limits stood as it began."""
        self.recorded: asyncio.Future[None] | None = None
        """Set once the finished record was handed over."""

    def attribute(self, snapshot: Snapshot, asked: Asked) -> None:
        """Note whose key it was, where nothing was decided."""
        self.key = snapshot.key_by_hash(asked.key_sha256)
        self.sequence = snapshot.sequence

    def decided(self, asked: Asked, verdict: Verdict, sequence: int) -> None:
        """Note the decision that was made, at a change sequence."""
        self._asked = asked
        self._verdict = verdict
        self.key = verdict.key
        self.checks = verdict.checks
        self.lock_id = verdict.lock_id
        self.sequence = sequence

    def refused(self, verdict: Verdict) -> None:
        """Note a refusal: the decision itself, or the one that ended the call."""
        self.code = verdict.code
        self.error_type = verdict.why
        self.checks = verdict.checks
        self.lock_id = verdict.lock_id
        self.key = self.key or verdict.key
        self.status = CODES[verdict.code].status

    def again(self) -> Draft:
        """Return a draft for a second record of the same request, with an id of its own."""
        other = Draft(
            id=new_id("call"),
            point=self.point,
            path=self.path,
            dialect=self.dialect,
            address=self.address,
            user_agent=self.user_agent,
        )
        if self._asked is not None and self._verdict is not None:
            other.decided(self._asked, self._verdict, self.sequence)
        other.principal = self.principal
        return other

    def running(self) -> CallRecord:
        """Return the record of a call that has begun: it costs all that it may.

        Where the point dies with the call, that is what stays.
        """
        return msgspec.structs.replace(self._record(None), cost_micros=self.held or 0)

    def used(self) -> tuple[int, int]:
        """Return the tokens that the call came to, in and out, and their cost."""
        if self.meter is None:
            return 0, 0
        read = self.meter.input_tokens if self._reached else 0
        written = self.meter.output_tokens
        return read + written, self.price.cost(read, written) if self.price else 0

    @property
    def held_beyond(self) -> int:
        """What a call may have cost beyond what is counted, in micro-units, of what it holds.

        Zero where its upstream said what it came to. Else only what passed is known, however
        the call ended, and reasoning need not pass.
        """
        meter = self.meter
        if meter is None or not self._reached or not meter.estimated:
            return 0
        return 0 if self.is_builtin else max(0, (self.held or 0) - self.used()[1])

    def finished(self) -> CallRecord:
        """Return the record of the call as it ended just now."""
        return self._record(datetime.now(UTC))

    def _record(self, ended_at: datetime | None) -> CallRecord:
        verdict, asked, meter, key = self._verdict, self._asked, self.meter, self.key
        grant = verdict.grant if verdict else None
        capability = verdict.capability if verdict else None
        kind = CODES.get(self.code)
        served = meter is not None
        return CallRecord(
            id=self.id,
            point=self.point,
            sequence=0,
            started_at=self.started_at,
            ended_at=ended_at,
            pilot=grant.pilot if grant else "",
            stage=grant.stage if grant else "",
            partner=key.partner if key else "",
            grant_id=key.grant_id if key else "",
            credential_id=key.id if key else "",
            holder=key.holder if key else "",
            capability=capability.slug if capability else "",
            tier=capability.tier if capability else 0,
            model=asked.model[:200] if asked else "",
            route=(asked.route if asked else "") or self.path[:100],
            stream=self.stream,
            outcome=kind.outcome if kind else Outcome.ALLOWED,
            code=self.code,
            status=self.status or (kind.status if kind else 200),
            address=self.address,
            declared=verdict.declared if verdict else True,
            user_agent=self.user_agent,
            input_tokens=meter.input_tokens if meter and self._reached else 0,
            output_tokens=meter.output_tokens if meter else 0,
            estimated=bool(served and self._reached and meter and meter.estimated),
            finish_reason=meter.finish_reason if meter else "",
            error_type=self.error_type,
            upstream=self.upstream,
            upstream_ms=round(self.upstream_ms, 3),
            total_ms=round((time.perf_counter() - self._began) * 1000, 3),
            snapshot_sequence=self.sequence,
            bundle_revision=verdict.bundle_revision if verdict else "",
            checks=self.checks,
            lock_id=self.lock_id,
            principal=self.principal,
            content=self.kept.mode if self.kept else "",
            request_sha256=self.kept.request_sha256 if self.kept else "",
            answer_sha256=self.kept.answer_sha256 if self.kept and ended_at else "",
            cost_micros=self.used()[1],
            held_micros=self.held_beyond if ended_at else 0,
        )

    @property
    def _reached(self) -> bool:
        """Whether the upstream may have counted the call: it was sent, and not refused there."""
        refused = {"upstream_unreachable", "upstream_error", "upstream_malformed"}
        return self.answer_began or self.code not in refused
