"""Invariants 1 to 3 over the real store: whatever operators, time and the gateway do."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
from aiohttp import web
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import Connection, select

from console.errors import PilotError
from console.model.access import (
    Category,
    ChangePartner,
    NewCapability,
    NewPartner,
    NewPilot,
    RouteName,
    Stage,
    StageKey,
    Suspension,
    VerifyPartner,
)
from console.model.evidence import AcceptTerms, DecideAssessment, NewAssessment, PublishTerms
from console.model.grant import (
    TRANSITIONS,
    ActivateGrant,
    AmendGrant,
    Grant,
    GrantProjection,
    NewGrant,
    RenewGrant,
    ResumeGrant,
)
from console.model.ids import new_id
from console.model.limits import Limits
from console.model.operator import Operator
from console.services.cedar.shipped import bundle_in
from console.services.policy.clock import due, tick
from console.services.policy.evidence import terms
from console.services.policy.gateway_link import acknowledge, close
from console.services.policy.grants import amend, grants, renewal, suspension
from console.services.policy.judging.facts import Reader
from console.services.policy.judging.gates import gaps
from console.services.policy.migrations import STEPS
from console.services.policy.partners import offboarding, partners, standing
from console.services.policy.pilots import pilots
from console.services.policy.service import put_in_force
from console.services.policy.state import history, lookup
from console.services.policy.state.event_record import Actor
from console.services.policy.state.tables import ASSESSMENTS, GRANTS, PROJECTION
from console.services.store import Store
from console.services.store.outbox import after
from console.services.web import Ask
from console.services.wire.projections import Closing

BUNDLE = bundle_in()
ROOT = Operator(name="root", uid=0, roles=["admin"])
SLUGS = ("low", "high")
DAYS = st.floats(0.01, 40)
YEAR = 366 * 86400
LATE = datetime(2030, 1, 20, tzinfo=UTC)
"""A partner ends late in its story, so that there is one."""


class Policy(RuleBasedStateMachine):
    """One pilot, one partner, two capabilities (tier 1 and tier 3), and a clock of its own."""

    @initialize()
    def opens(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name) / "policy.db", STEPS, durable=False)
        self.at = datetime(2030, 1, 1, tzinfo=UTC)
        self.seen: dict[str, str] = {}
        self.events = 0
        self.closings = 0
        self.past: dict[datetime, dict[str, str]] = {}
        self.store.write_now(lambda conn: put_in_force(conn, BUNDLE))
        stage = Stage(key=StageKey.LIMITED, most_partners=5, longest_grant_seconds=YEAR)
        self.do(
            pilots.create_pilot,
            NewPilot(slug="p", title="P", models=["m"], stages=[stage], reason="r"),
        )
        for slug, tier in zip(SLUGS, (1, 3), strict=True):
            self.do(
                pilots.create_capability,
                NewCapability(
                    slug=slug,
                    title=slug,
                    pilot="p",
                    category=Category.DUAL_USE,
                    tier=tier,
                    models=["m"],
                    routes=[RouteName.CHAT],
                    longest_grant_seconds=YEAR,
                    reason="r",
                ),
            )
        self.do(
            partial(partners.create_partner, lambda: ["s"]),
            NewPartner(slug="acme", name="A", sponsor="s", reason="r"),
        )
        body = PublishTerms(pilot="p", title="T", text="t", reason="r")
        self.do(self.judged(terms.publish_terms), body)
        self.mend_everything(30)
        self.grant(20, "low")

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    def do(self, handler: Callable[[Connection, Ask], Any], body: Any, **path: str) -> Any:
        """Do what an operator asks; a refusal changes nothing."""
        ask = Ask(
            service="policy",
            route=None,
            operator=ROOT,
            uid=0,
            path=path,
            query={},
            body=body,
            raw=b"",
            revision=None,
            request_id="rid",
            validate_only=False,
            now=self.at,
            request=cast("web.Request", None),
        )
        before = self.store.read_now(lambda conn: after(conn, 0, 10_000).head)
        try:
            return self.store.write_now(lambda conn: handler(conn, ask))
        except PilotError:
            assert self.store.read_now(lambda conn: after(conn, 0, 10_000).head) == before
            return None

    def judged(self, handler: Any) -> Callable[[Connection, Ask], Any]:
        return lambda conn, ask: handler(BUNDLE, conn, ask)

    @rule(days=DAYS)
    def mend_everything(self, days: float) -> None:
        self.verify(days)
        self.accept()
        for slug in SLUGS:
            self.assess(days, slug)

    @rule(days=DAYS)
    def verify(self, days: float) -> None:
        body = VerifyPartner(until=self.at + timedelta(days=days), evidence="E", reason="r")
        self.do(self.judged(partners.verify_partner), body, partner="acme")

    @rule(days=DAYS)
    def publish(self, days: float) -> None:
        until = self.at + timedelta(days=days)
        body = PublishTerms(pilot="p", title="T", text="t", reaccept_by=until, reason="r")
        self.do(self.judged(terms.publish_terms), body)

    @rule()
    def accept(self) -> None:
        body = AcceptTerms(partner="acme", signatory="S", evidence="E", reason="r")
        self.do(self.judged(terms.accept_terms), body, pilot="p")

    @rule(days=DAYS, slug=st.sampled_from(SLUGS))
    def assess(self, days: float, slug: str) -> None:
        until = self.at + timedelta(days=days)
        body = NewAssessment(
            partner="acme",
            capability=slug,
            assessor="A",
            summary="s",
            valid_until=until,
            reason="r",
        )
        made = self.do(terms.create_assessment, body)
        path = {"assessment": made.id}
        self.do(self.judged(terms.accept_assessment), DecideAssessment(reason="r"), **path)

    @rule()
    def withdraw(self) -> None:
        held = self.store.read_now(
            lambda conn: conn.execute(select(ASSESSMENTS.c.id)).scalars().all()
        )
        for name in held:
            body = DecideAssessment(reason="r")
            self.do(self.judged(terms.withdraw_assessment), body, assessment=name)

    @rule(days=DAYS, slug=st.sampled_from(["low", "low", "low", "high"]))
    def grant(self, days: float, slug: str) -> None:
        body = NewGrant(
            pilot="p",
            stage=StageKey.LIMITED,
            partner="acme",
            capabilities=[slug],
            models=["m"],
            purpose="p",
            expires_at=self.at + timedelta(days=days),
            reason="r",
        )
        self.do(self.judged(grants.create_grant), body)

    @rule(pick=st.integers(0, 5))
    def activate(self, pick: int) -> None:
        if names := sorted(self.seen):
            body = ActivateGrant(reason="r")
            self.do(self.judged(grants.activate_grant), body, grant=names[pick % len(names)])

    @rule(pick=st.integers(0, 5), days=DAYS)
    def renew(self, pick: int, days: float) -> None:
        if names := sorted(self.seen):
            body = RenewGrant(expires_at=self.at + timedelta(days=days), reason="r")
            name = names[pick % len(names)]
            made = self.do(self.judged(renewal.renew_grant), body, grant=name)
            assert made is None or (made.renews, made.lineage[0]) == (name, name)

    @rule(
        pick=st.integers(0, 5),
        limit=st.one_of(st.none(), st.integers(1, 9)),
        networks=st.sampled_from([[], ["10.0.0.0/8"], ["10.1.0.0/16"]]),
        narrow=st.booleans(),
    )
    def amend(self, pick: int, limit: int | None, networks: list[str], narrow: bool) -> None:
        names = sorted(self.seen)
        if not names:
            return
        name = names[pick % len(names)]
        before = self.store.read_now(lambda conn: lookup.grant(conn, name))
        limits = Limits(requests_per_minute=limit)
        body = AmendGrant(limits=limits, networks=networks, reason="r")
        handler = amend.narrow_grant if narrow else amend.amend_grant
        new = self.do(self.judged(handler), body, grant=name)
        if narrow and new is not None:
            partner = self.store.read_now(lambda conn: lookup.partner(conn, new.partner))
            assert amend.widens(before, new, partner.egress) == []
            assert (before.state, new.state) != ("suspended", "provisioning")

    @rule(pick=st.integers(0, 9))
    def gateway_suspends(self, pick: int) -> None:
        if pick < len(names := sorted(self.seen)):
            held = Suspension(id=new_id("suspension"), at=self.at, by="oncall", reason="odd")
            self.store.write_now(lambda conn: suspension.suspend_grant(conn, names[pick], held))

    @rule(pick=st.integers(0, 5))
    def resume(self, pick: int) -> None:
        if names := sorted(self.seen):
            body = ResumeGrant(reason="r")
            name = names[pick % len(names)]
            self.do(self.judged(suspension.resume_grant), body, grant=name)

    @rule(pick=st.integers(0, 2))
    def partner_stops_and_goes(self, pick: int) -> None:
        held = Suspension(id=new_id("suspension"), at=self.at, by="oncall", reason="odd")
        body = ChangePartner(reason="r")
        if pick == 0:
            self.store.write_now(lambda conn: standing.suspend_partner(conn, BUNDLE, "acme", held))
        elif pick == 1:
            self.do(self.judged(standing.restrict_partner), body, partner="acme")
        else:
            self.do(self.judged(standing.resume_partner), body, partner="acme")

    @precondition(lambda self: hasattr(self, "at") and self.at > LATE)
    @rule()
    def offboard(self) -> None:
        def end(conn: Connection) -> None:
            offboarding.begin(conn, "acme", Actor("oncall", self.at), "over")

        self.store.write_now(end)

    @rule(part=st.sampled_from([1, 1, 1, 0.5]))
    def gateway_takes(self, part: float) -> None:
        head = self.store.read_now(
            lambda conn: conn.execute(select(PROJECTION.c.seq)).scalars().all()
        )
        taken = round(len(head) * part)
        self.store.write_now(lambda conn: acknowledge(conn, taken, self.at))

    @rule(pick=st.integers(0, 9))
    def gateway_ends(self, pick: int) -> None:
        if pick < len(names := sorted(self.seen)):
            self.closings += 1
            told = Closing(
                seq=self.closings,
                kind="grant",
                id=names[pick],
                reason="leak",
                by="oncall",
                at=self.at,
                event_id="",
            )
            self.store.write_now(lambda conn: close(conn, [told], self.at))

    @rule(days=st.floats(0.01, 9), taken=st.sampled_from([True, True, False]))
    def time_passes(self, days: float, taken: bool) -> None:
        self.at += timedelta(days=days)
        if taken:
            self.gateway_takes(1)
            self.store.read_now(self._none_opened_late)
        while self.store.read_now(lambda conn: due(conn, self.at)):
            self.store.write_now(lambda conn: tick(conn, BUNDLE, self.at))

    def _none_opened_late(self, conn: Connection) -> None:
        """What the gateway took after its evidence ended did not become active by that."""
        for grant in conn.execute(select(GRANTS.c.body)).scalars():
            if grant.state == "active" and self.seen.get(grant.id) != "active":
                assert gaps(Reader(conn).of_grant(grant), self.at) == []

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "store"):
            self.store.read_now(self._check)

    def _check(self, conn: Connection) -> None:
        events = [json.loads(item.body) for item in after(conn, 0, 10_000).items]
        new = [event["unmapped"] for event in events[self.events :]]
        self.events = len(events)
        held: list[Grant] = list(conn.execute(select(GRANTS.c.body)).scalars())
        for grant in held:
            missing = gaps(Reader(conn).of_grant(grant), self.at, expires_at=grant.expires_at)
            if grant.state in {"active", "provisioning"}:
                assert missing == [], "open, and something is missing"
                assert grant.tier < 3, "nothing opens from tier 3 up without an approval"
                assert grant.decision is not None
                assert grant.decision.allow
            if grant.state == "suspended":
                assert missing or grant.suspension, "suspended, and nothing is missing"
            if grant.suspension is not None:
                assert grant.state not in {"active", "provisioning"}, "open while suspended"
            if grant.renewed_by:
                later = next(each for each in held if each.id == grant.renewed_by)
                assert later.renews == grant.id
                assert grant.state in {"expired", "revoked"}
            for each in held:
                if grant.id in each.lineage and grant.state == "revoked":
                    assert each.state == "revoked", "what succeeds a revoked grant is revoked"
            before = self.seen.get(grant.id, "")
            told = [each for each in new if each["target"] == grant.id]
            moves = [each for each in told if each["action"] != "grant.warn"]
            # of several moves at once each has its own event; the gateway's closing has none here
            if before != grant.state and grant.state not in {"revoked", "suspended"}:
                assert moves, "a change of state without its event"
            if not moves and before not in {grant.state, ""}:
                assert grant.state == "revoked" or grant.suspension is not None
            if before in {"revoked", "denied"}:
                assert grant.state == before
            _follows(before, [each["after"]["state"] for each in moves if "state" in each["after"]])
            self.seen[grant.id] = grant.state
            partner = lookup.partner(conn, "acme")
            if partner.state in {"suspended", "offboarding", "prospect"}:
                assert grant.state not in {"active", "provisioning"}, partner.state
            told_last = conn.execute(
                select(PROJECTION.c.body)
                .where(PROJECTION.c.id == grant.id)
                .order_by(PROJECTION.c.seq.desc())
                .limit(1)
            ).scalar_one_or_none()
            if told_last is not None and grant.state not in {"active", "provisioning"}:
                there = msgspec.json.decode(told_last, type=GrantProjection)
                assert there.state != "active", "the gateway is told of every closing"
        self.past[self.at] = {grant.id: grant.state for grant in held}
        for moment in list(self.past)[-4:]:
            was = {each.id: each.state for each in conn.execute(history.grants_at(moment))}
            assert was == self.past[moment], "as-of is not what was stored then"


def _follows(before: str, states: list[str]) -> None:
    """Each event's state follows from the one before it, by the model's transitions."""
    for state in states:
        if before and before != state:
            assert state in TRANSITIONS[before]  # type: ignore[index]
        before = state


Policy.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)
TestEveryGrantIsWhatItsEvidenceAllows = Policy.TestCase
