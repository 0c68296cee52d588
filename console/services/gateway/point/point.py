"""One enforcement point: what it knows, and the judging of calls by it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from console.errors import PilotError
from console.model.access import RouteName
from console.model.grant import Decision, GrantProjection
from console.services.cedar.engine import CedarBundle, decide_call
from console.services.gateway.decision.boot_clock import boottime
from console.services.gateway.decision.decide import Asked, Moment, Verdict, decide, models_of
from console.services.gateway.decision.refusal_codes import CODES
from console.services.gateway.decision.snapshot import EMPTY, Snapshot
from console.services.gateway.point.calls_in_flight import InFlight, Running
from console.services.gateway.point.lease import LeaseHeld
from console.services.wire.changes import Change, State
from console.services.wire.points import StoppedCall
from console.services.wire.projections import BundleFact

_JUDGED_ONE_BY_ONE = 64
"""Up to so many changes at once, each is told apart by the calls that it ended."""


_LOOKS_EVERY_SECONDS = 0.05
_STOPPED = "point_stopped"


class Point:
    """A point's snapshot, lease and calls in flight."""

    def __init__(self, name: str, bundle: CedarBundle) -> None:
        self.name = name
        self.lease = LeaseHeld()
        self.calls = InFlight()
        self.snapshot: Snapshot = EMPTY
        self.probes = 0
        self.leaving = False
        """It was told to stop: what is in flight may end, and nothing begins."""
        self._shipped = bundle
        self._bundle = bundle
        self._answers: dict[str, tuple[GrantProjection, dict[tuple[str, str, str], Decision]]] = {}

    async def unready(self) -> str:
        """Return why the point serves nothing now, or an empty string."""
        if self.leaving:
            return "this point is stopping"
        return "" if self.lease.holds else "this point holds no lease"

    def judge(self, asked: Asked) -> Verdict:
        """Decide a call by what is known at this moment."""
        return decide(self.snapshot, asked, self.moment(), self._authorize)

    def moment(self) -> Moment:
        """Return the circumstances as they are now."""
        return Moment(datetime.now(UTC), self.lease.holds, self.lease.policy_age)

    def open_models(self, asked: Asked) -> list[str]:
        """Return the models that the asking key could call now, on any route and for any user."""
        key = self.snapshot.key_by_hash(asked.key_sha256)
        grant = self.snapshot.grant(key.grant_id) if key else None
        if grant is None:
            return []
        return [
            model
            for model in models_of(grant)
            if any(
                self.judge(asked._replace(route=route, model=model, principal=user)).allow
                for route in RouteName
                for user in grant.principals.values() or ("",)
            )
        ]

    def load(self, state: State) -> None:
        """Start afresh from a snapshot. Tombstones that are known already stay."""
        self.snapshot = Snapshot(state).keeping(self.snapshot)
        self._rebind(self.snapshot.bundle)
        self.judge_again()

    def apply(self, changes: Sequence[Change]) -> None:
        """Take changes in, in order, and end at once what they no longer allow."""
        steps = (
            [[change] for change in changes]
            if len(self.calls) and len(changes) <= _JUDGED_ONE_BY_ONE
            else [list(changes)]
        )
        for step in steps:
            before = self.snapshot.bundle
            self.snapshot = self.snapshot.after(step)
            if self.snapshot.bundle is not before:
                self._rebind(self.snapshot.bundle)
            self.judge_again()

    def judge_again(self) -> int:
        """Judge the calls in flight as of now; end those that are refused. Returns how many."""
        return self.calls.judge(lambda call: self.judge(call.asked), self.snapshot.sequence)

    def may_go_on(self, call: Running) -> bool:
        """Tell whether a call in flight may be sent its next bytes, at this very moment."""
        if call.cut is not None:
            return False
        until = call.verdict.until
        if self.lease.holds and (until is None or datetime.now(UTC) < until):
            return True
        verdict = self.judge(call.asked)
        if verdict.allow:
            call.verdict = verdict
            return True
        call.cut = verdict
        return False

    async def let_end(self, seconds: float) -> None:
        """Let nothing begin, and wait until the calls in flight have ended, at most so long."""
        self.leaving = True
        end = boottime() + seconds
        while len(self.calls) and self.lease.holds and boottime() < end:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(_LOOKS_EVERY_SECONDS)

    def stop_calls(self) -> list[StoppedCall]:
        """End every call that is still in flight, as one that was cut by our own stop.

        It was allowed and may have cost something: its record says so, and refuses nothing.
        """
        return [
            StoppedCall(call.id, call.verdict.key.partner if call.verdict.key else "")
            for call in self.calls.end_all(
                lambda call: call.verdict._replace(
                    allow=False, code=_STOPPED, message=CODES[_STOPPED].says, why="stopped"
                )
            )
        ]

    def guard(self) -> None:
        """Drop what is in flight if the lease is gone. Runs whenever the process wakes."""
        if len(self.calls) and not self.lease.holds:
            self.calls.drop_all(lambda call: self.judge(call.asked))

    def _rebind(self, fact: BundleFact | None) -> None:
        self._answers.clear()
        if fact is None:
            self._bundle = self._shipped
        elif fact.revision != self._bundle.revision:
            self._bundle = _parsed(fact) or self._bundle

    def _authorize(
        self, grant: GrantProjection, capability: str, model: str, route: str
    ) -> Decision:
        """Ask Cedar, once for each question about this very projection of the grant."""
        kept = self._answers.get(grant.id)
        if kept is None or kept[0] is not grant:
            kept = self._answers[grant.id] = (grant, {})
        question = (capability, model, route)
        answer = kept[1].get(question)
        if answer is None:
            answer = kept[1][question] = decide_call(self._bundle, grant, capability, model, route)
        return answer


def _parsed(fact: BundleFact) -> CedarBundle | None:
    """Parse a bundle; one that does not validate is refused and the one before stands."""
    try:
        return CedarBundle(fact.policies, fact.schema)
    except PilotError:
        return None
