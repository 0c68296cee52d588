"""The telling of a pilot's history: acts in the order of time, and what an act may do."""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from console.api import gateway as gw
from console.api import policy as po
from console.errors import PilotError
from console.model.access import AddContact, NewContact, NewPartner, VerifyPartner
from console.model.enforcement import (
    Credential,
    IssuedKey,
    IssueKey,
    LockKind,
    LockTarget,
    NewLock,
    ReleaseLock,
    Revoke,
    RotateKey,
    TombstoneKind,
)
from console.model.evidence import (
    AcceptTerms,
    Assessment,
    DecideAssessment,
    NewAssessment,
    PublishTerms,
)
from console.model.grant import (
    Grant,
    GrantState,
    NewGrant,
    RenewGrant,
)
from console.services.demo import cast, synthetic_calls
from console.services.demo.audit_desk import Desk
from console.services.demo.cast import DUTY, OWNER, Seat
from console.services.demo.ground_truth import Planted
from console.services.demo.stores import Books
from console.services.gateway.control.calls import call_store
from console.services.gateway.control.state.change_log import head
from console.services.gateway.control.state.schema import CALLS, CREDENTIALS
from console.services.policy.state.tables import GRANTS, PARTNERS

TAKEN_EVERY = 6
"""Days of the history that are taken into the log together."""
BUSY = 1.0
"""How busy the partners are: 1 is what the cast says."""


class Story:
    """The telling: a clock that goes from act to act, and a day's calls at the day's end."""

    def __init__(
        self, books: Books, desk: Desk, *, seed: int, first: datetime, end: datetime
    ) -> None:
        self.books, self.desk = books, desk
        self.first, self.end = first, end
        self.dice = random.Random(seed)  # noqa: S311 - a scenario, not a secret
        self.extra: dict[date, list[synthetic_calls.Sent]] = defaultdict(list)
        self.planted: list[Planted] = []
        self.keys: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.prices = synthetic_calls.prices_on(first.date())
        self._acts: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._order = count()

    def on(self, when: datetime, act: Callable[[datetime], None]) -> None:
        """Let something happen at a moment of the history; not after its end."""
        if self.first <= when < self.end:
            heapq.heappush(self._acts, (when, next(self._order), act))

    def day(self, offset: float) -> datetime:
        """Return the moment so many days after the beginning."""
        return self.first + timedelta(days=offset)

    def workday(self, offset: int, hour: float) -> datetime:
        """Return an hour (UTC) of the first working day from that one on."""
        found = (self.first + timedelta(days=offset)).date()
        while not synthetic_calls.is_workday(found):
            found += timedelta(days=1)
        return datetime.combine(found, time(), UTC) + timedelta(hours=hour)

    def tell(
        self, plans: Iterable[Callable[[Story], None]], progress: Callable[[int], object] = bool
    ) -> None:
        """Tell it from the first day to the last; `progress` hears how many days are done.

        The plans come first, in their order: each says what is to happen, and when.
        """
        for plan in plans:
            plan(self)
        today = self.first.date()
        while (midnight := datetime.combine(today, time(), UTC)) < self.end:
            if self.books.halted.is_set():
                raise PilotError("interrupted", "nobody waits for it any more")
            until = min(midnight + timedelta(days=1), self.end)
            self._acts_before(until)
            self._calls_of(today, until)
            today += timedelta(days=1)
            progress((today - self.first.date()).days)

    def do(
        self, route: Any, who: str, at: datetime, body: msgspec.Struct | None = None, **path: str
    ) -> Any:
        """Do what a route does."""
        return self.books.do(route, who, at, body, **path)

    def key_of(self, slug: str, holder: str = "") -> Credential | None:
        """Return a partner's newest living key, its own or a subprocessor's."""
        rows = self.books.at_gateway.execute(
            select(CREDENTIALS.c.body)
            .where(
                CREDENTIALS.c.partner == slug,
                CREDENTIALS.c.holder == (holder or slug),
                CREDENTIALS.c.state.in_(("issued", "in_use")),
            )
            .order_by(CREDENTIALS.c.created_at.desc())
        )
        found: Credential | None = rows.scalars().first()
        return found

    def grants_of(self, slug: str, *states: str) -> list[Grant]:
        """Return a partner's grants in these states, the newest first."""
        rows = self.books.at_policy.execute(
            select(GRANTS.c.body)
            .where(GRANTS.c.partner == slug, GRANTS.c.state.in_(states))
            .order_by(GRANTS.c.created_at.desc())
        )
        return list(rows.scalars())

    def knows(self, slug: str) -> bool:
        """Tell whether a partner has come."""
        asked = select(PARTNERS.c.id).where(PARTNERS.c.slug == slug)
        return self.books.at_policy.execute(asked).first() is not None

    def issue(self, grant_id: str, slug: str, holder: str, at: datetime, why: str) -> None:
        """Issue a key and remember it for the partner's live client."""
        issued: IssuedKey = self.do(
            gw.KEY_ISSUE, OWNER, at, IssueKey(grant_id=grant_id, holder=holder, reason=why)
        )
        self._remember(issued, slug, holder)

    def revoke_key(self, key: Credential, who: str, at: datetime, why: str) -> None:
        """Revoke a key, and prove it."""
        body = Revoke(kind=TombstoneKind.CREDENTIAL, id=key.id, reason=why)
        self.do(gw.REVOKE, who, at, body)

    def lock(self, kind: LockKind, id: str, at: datetime, why: str, *, hours: float = 0) -> None:
        """Lock something; release it so many hours later, where that is not 0."""
        body = NewLock(target=LockTarget(kind=kind, id=id), reason=why)
        lock = self.do(gw.LOCK_ADD, DUTY, at, body)
        if hours:
            self.on(
                at + timedelta(hours=hours),
                lambda when: self.do(
                    gw.LOCK_RELEASE, OWNER, when, ReleaseLock(reason="explained"), lock=lock.id
                ),
            )

    def _remember(self, issued: IssuedKey, slug: str, holder: str) -> None:
        assert issued.secret is not None
        self.keys[slug if holder == slug else f"{slug}/{holder}"] = issued.secret

    def _acts_before(self, until: datetime) -> None:
        while self._acts and self._acts[0][0] < until:
            when, _, act = heapq.heappop(self._acts)
            self.books.until(when)
            act(when)
        self.books.until(until)

    def _calls_of(self, today: date, until: datetime) -> None:
        gateway = self.books.at_gateway
        sent = synthetic_calls.usual(gateway, today, until, self.dice, BUSY)
        sent += (each for each in self.extra.pop(today, []) if each.at < until)
        if sent:
            synthetic_calls.keep(
                gateway,
                sent,
                self.dice,
                synthetic_calls.Known(
                    self.books.salt, self.prices, self.books.bundle.revision, head(gateway)
                ),
            )
            call_store.digest(gateway, until - timedelta(seconds=1))
        if today.toordinal() % TAKEN_EVERY == 0 or until == self.end:
            self.desk.catch_up(self.books, until)

    def publish(
        self, pilot: str, text: str, at: datetime, reaccept_by: datetime | None = None
    ) -> None:
        """Publish a version of a pilot's terms."""
        body = PublishTerms(
            pilot=pilot, title=f"Partner terms of {pilot}", text=text, reaccept_by=reaccept_by,
            reason="reviewed by the programme",
        )  # fmt: skip
        self.do(po.TERMS_PUBLISH, OWNER, at, body)

    def admit(self, seat: Seat, at: datetime) -> None:
        """Take a partner in: vetted, verified, terms accepted, its risk assessed."""
        self.do(
            po.PARTNER_CREATE, OWNER, at,
            NewPartner(
                slug=seat.slug, name=seat.name, sponsor=OWNER, egress=[seat.network],
                subprocessors=[seat.subprocessor] if seat.subprocessor else [],
                reason="application accepted",
            ),
        )  # fmt: skip
        contact = NewContact(
            name="security desk", email=f"desk@{seat.slug}.example", role="security"
        )
        self.do(
            po.PARTNER_ADD_CONTACT, OWNER, at, AddContact(contact=contact, reason="named by them"),
            partner=seat.slug,
        )  # fmt: skip
        self.do(
            po.PARTNER_VERIFY, OWNER, at,
            VerifyPartner(
                until=at + timedelta(days=365), evidence="vetting file", reason="papers checked"
            ),
            partner=seat.slug,
        )  # fmt: skip
        if seat.slug != "kestrel":
            self.accept(seat, at)
        self.assess(seat.slug, seat.capability, at)

    def accept(self, seat: Seat, at: datetime) -> None:
        """Record that a partner accepted the terms of its pilot."""
        body = AcceptTerms(
            partner=seat.slug, signatory=f"{seat.name}, legal",
            evidence="countersigned copy on file", reason="copy received",
        )  # fmt: skip
        self.do(po.TERMS_ACCEPT, OWNER, at, body, pilot=seat.pilot)

    def assess(self, slug: str, capability: str, at: datetime, *, days: int = 180) -> Assessment:
        """Assess a partner's risk with a capability; a second person accepts it."""
        made: Assessment = self.do(
            po.ASSESSMENT_CREATE, OWNER, at,
            NewAssessment(
                partner=slug, capability=capability, assessor="programme risk desk",
                summary="Residual risk accepted with egress declared and keys held in custody.",
                valid_until=at + timedelta(days=days), reason="risk desk",
            ),
        )  # fmt: skip
        accepted: Assessment = self.do(
            po.ASSESSMENT_ACCEPT, self.books.admin, at, DecideAssessment(reason="read and agreed"),
            assessment=made.id,
        )  # fmt: skip
        return accepted

    def grant(
        self, seat: Seat, at: datetime, ends: datetime, capability: str = "", **more: Any
    ) -> Grant:
        """Give a partner its capability, or another, until `ends`."""
        wanted = capability or seat.capability
        grant: Grant = self.do(
            po.GRANT_CREATE, OWNER, at,
            NewGrant(
                pilot=seat.pilot, stage=seat.stage, partner=seat.slug, capabilities=[wanted],
                models=cast.models_of(wanted), expires_at=ends,
                purpose=f"{seat.name}: work within its own estate",
                reason="requested by the sponsor", **more,
            ),
        )  # fmt: skip
        return grant

    def open(self, seat: Seat, at: datetime, ends: datetime) -> None:
        """Give a partner its grant, and its keys."""
        grant = self.grant(seat, at, ends)
        for holder in filter(None, (seat.slug, seat.subprocessor)):
            self.issue(grant.id, seat.slug, holder, at, "first key")

    def renew(self, slug: str, at: datetime, ends: datetime) -> None:
        """Renew what a partner has, if it still has it."""
        for grant in self.grants_of(slug, GrantState.ACTIVE)[:1]:
            if ends > grant.expires_at:
                body = RenewGrant(expires_at=ends, reason="the work goes on")
                self.do(po.GRANT_RENEW, OWNER, at, body, grant=grant.id)

    def rotate(self, slug: str, at: datetime, holder: str = "") -> Credential | None:
        """Rotate a partner's key; its client has the new one. Returns the old one."""
        key = self.key_of(slug, holder)
        if key is None:
            return None
        body = RotateKey(grace_seconds=2 * cast.DAY, reason="yearly rotation")
        issued: IssuedKey = self.do(gw.KEY_ROTATE, OWNER, at, body, credential=key.id)
        self._remember(issued, slug, holder or slug)
        return key

    def counts(self, log: int) -> dict[str, int]:
        """Return how much was written."""

        def rows(conn: Connection, table: Any) -> int:
            return int(conn.execute(select(func.count()).select_from(table)).scalar_one())

        return {
            "calls": rows(self.books.at_gateway, CALLS),
            "keys": rows(self.books.at_gateway, CREDENTIALS),
            "grants": rows(self.books.at_policy, GRANTS),
            "events": log,
        }
