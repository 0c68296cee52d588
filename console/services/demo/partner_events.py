"""What happened to single partners over the months, apart from incidents.

They join and are renewed in time; some are restricted, suspended, revoked or leave.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from console.api import gateway as gw
from console.api import policy as po
from console.model.access import ChangePartner, NewPartner
from console.model.enforcement import LockKind, Revoke, TombstoneKind
from console.model.grant import AmendGrant, GrantState, OffboardPartner, SuspendAccess
from console.model.limits import Limits
from console.model.price import MICROS
from console.model.principal import NewPrincipal, Principal, PrincipalKind
from console.services.demo import cast, lapsing_access
from console.services.demo.cast import BY_SLUG, DUTY, OWNER, SEATS, Seat
from console.services.demo.story import Story

TERMS_LAPSE_AFTER = timedelta(minutes=4)
"""After the end of the history: when the terms that one partner accepted count no more."""

_OWN_WAY = {"kestrel", "borealis", "lodestar", "drumlin", "marlin", "lanternfish"}
"""Partners whose grants do not simply go on."""


def joining(story: Story, seat: Seat) -> Callable[[datetime], None]:
    """Return how a partner joins: admitted, given its access, and renewed in time."""

    def act(at: datetime) -> None:
        story.admit(seat, at)
        if seat.slug == "lanternfish":
            return
        term = timedelta(days=seat.term)
        if seat.slug == "kestrel":
            story.on(
                max(at, story.end - timedelta(hours=5)),
                lambda when: _ignore(story.grant(seat, when, when + timedelta(days=30))),
            )
            return
        story.open(seat, at, at + term)
        for name in seat.principals:
            who: Principal = story.do(
                po.PRINCIPAL_CREATE, OWNER, at,
                NewPrincipal(
                    partner=seat.slug, identifier=name, note=name.replace("-", " "),
                    kind=PrincipalKind.SERVICE if "service" in name else PrincipalKind.AGENT,
                    reason="named in the request",
                ),
            )  # fmt: skip
            assert who.hash
        if seat.slug not in _OWN_WAY:
            _renewals(story, seat, at, term)

    return act


def _renewals(story: Story, seat: Seat, at: datetime, term: timedelta) -> None:
    """Renew in time, again and again: before anybody is warned."""
    early = cast.EXTRA_TIME if term > timedelta(days=30) else timedelta(days=8)
    when = at + term - early
    while when < story.end:
        ends = when + term
        story.on(when, partial(_renewed, story, seat.slug, ends))
        when = ends - early


def knocking(story: Story, slug: str, name: str, third: int) -> Callable[[datetime], None]:
    """Return how an organisation comes that is being looked at still."""

    def act(at: datetime) -> None:
        body = NewPartner(
            slug=slug, name=name, sponsor=OWNER, egress=[f"127.0.{third}.0/24"],
            reason="application received",
        )  # fmt: skip
        story.do(po.PARTNER_CREATE, OWNER, at, body)
        if slug == "millrace":
            later = at + timedelta(days=2)
            story.on(
                later,
                lambda when: story.do(
                    po.PARTNER_VET, OWNER, when, ChangePartner(reason="papers asked for"),
                    partner=slug,
                ),
            )  # fmt: skip

    return act


def plan(story: Story) -> None:
    """Plan how partners join, and what happened to single ones, apart from incidents."""
    end = story.end

    def borealis(at: datetime) -> None:
        story.renew("borealis", at, end + timedelta(hours=6))

    def exploit(slug: str) -> Callable[[datetime], None]:
        def act(at: datetime) -> None:
            seat = BY_SLUG[slug]
            story.assess(slug, "cyber.exploit-dev", at)
            story.grant(seat, at, at + timedelta(hours=71), "cyber.exploit-dev")

        return act

    def restrict(at: datetime) -> None:
        body = ChangePartner(reason="its ownership is under review")
        story.do(po.PARTNER_RESTRICT, OWNER, at, body, partner="umber")

    def offboard(at: datetime) -> None:
        body = OffboardPartner(reason="the contract ended")
        story.do(gw.PARTNER_OFFBOARD, OWNER, at, body, partner="inkwell")

    def suspend(at: datetime) -> None:
        for grant in story.grants_of("copperleaf", GrantState.ACTIVE)[:1]:
            body = SuspendAccess(reason="its audit report is late")
            story.do(gw.GRANT_SUSPEND, DUTY, at, body, grant=grant.id)

    def revoke(at: datetime) -> None:
        for grant in story.grants_of("keystone", GrantState.ACTIVE)[:1]:
            body = Revoke(kind=TombstoneKind.GRANT, id=grant.id, reason="used outside its purpose")
            story.do(gw.REVOKE, DUTY, at, body)

    def amend(at: datetime) -> None:
        for grant in story.grants_of("anvil", GrantState.ACTIVE)[:1]:
            body = AmendGrant(
                limits=Limits(requests_per_minute=300, parallel=20, budget_micros=250 * MICROS),
                reason="a smaller pool for this quarter",
            )
            with_path = {"grant": grant.id}
            story.do(po.GRANT_AMEND, OWNER, at, body, **with_path)

    def again(at: datetime) -> None:
        story.open(BY_SLUG["marlin"], at, at + timedelta(days=84))

    def stage_lock(at: datetime) -> None:
        if story.knows("juniper-bay"):
            story.lock(LockKind.PARTNER, "juniper-bay", at, "asked for by their security desk")

    def new_terms(at: datetime) -> None:
        story.publish("meridian", cast.TERMS_2, at, end + TERMS_LAPSE_AFTER)
        for seat in SEATS:
            if (
                seat.pilot == "meridian"
                and seat.slug != lapsing_access.SEAT.slug
                and story.knows(seat.slug)
            ):
                when = min(
                    at + timedelta(hours=story.dice.uniform(2, 60)), end - timedelta(hours=2)
                )
                story.on(when, partial(story.accept, seat))

    for number, seat in enumerate(SEATS):
        story.on(story.day(seat.joins) + timedelta(minutes=7 * number), joining(story, seat))
    for slug, name, third in cast.WAITING:
        story.on(story.day(11), knocking(story, slug, name, third))
    story.on(max(story.day(0.5), end - timedelta(days=20)), new_terms)
    story.on(max(story.day(0.3), end - timedelta(days=20)), borealis)
    story.on(end - timedelta(hours=4), exploit("northwind"))
    story.on(story.day(62), restrict)
    story.on(story.day(66), offboard)
    story.on(story.day(76), suspend)
    story.on(story.day(69), revoke)
    story.on(story.day(64), amend)
    story.on(story.day(34), again)
    story.on(end - timedelta(days=2), stage_lock)
    for offset, slug in ((22, "argent"), (36, "gannet"), (67, "basalt"), (88, "isobar")):
        story.on(story.day(offset + 0.4), partial(_rotated, story, slug))


def _renewed(story: Story, slug: str, ends: datetime, at: datetime) -> None:
    story.renew(slug, at, ends)


def _rotated(story: Story, slug: str, at: datetime) -> None:
    story.rotate(slug, at)


def _ignore(_done: object) -> None:
    """A callback's answer that nobody needs."""
