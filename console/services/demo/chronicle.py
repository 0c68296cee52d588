"""Ninety days of a programme: who joined, what was renewed, rotated, suspended and ended.

Everything follows from the seed and the moment at which it ends; ids and keys alone are
new each time. The history is cut at its first day, never at its end: what is told to be
day 30 ends now, as day 90 does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from console.api import operators as op
from console.api import policy as po
from console.errors import PilotError
from console.model.account import IssuedToken, IssueToken, NewOperator
from console.services.demo import cast, incidents, partner_events
from console.services.demo.audit_desk import Desk
from console.services.demo.cast import OWNER
from console.services.demo.ground_truth import Made
from console.services.demo.personas import DAYS
from console.services.demo.stores import Books, written
from console.services.demo.story import Story
from console.services.gateway.control.calls import prices
from console.services.gateway.control.state.change_log import append
from console.services.policy.state.marks import set_mark
from console.services.settings import Settings
from console.services.wire.changes import PriceChange


def make(
    settings: Settings,
    *,
    seed: int,
    now: datetime,
    day: int = DAYS,
    calm: bool = False,
    progress: Callable[[int], object] = bool,
) -> Made:
    """Write the history of a pilot into the stores of a new home, up to `now`.

    `day` is how many days of it there are; `calm` leaves every incident out; `progress`
    hears of each day, in a thread of its own.
    Raises PilotError where a service refuses what the story does: then it is wrong.
    """
    first = now - timedelta(days=day)

    def do(books: Books, audit: Connection) -> Made:
        desk = Desk(audit, settings, now)
        books.begin(settings, first)
        set_mark(books.at_policy, "demo_day", day)
        story = Story(books, desk, seed=seed, first=first, end=now)
        plans = [_open_programme, partner_events.plan, *([] if calm else [incidents.plan])]
        story.tell(plans, progress)
        return Made(
            first=first,
            day=day,
            keys=story.keys,
            tokens=story.tokens,
            planted=story.planted,
            rows=story.counts(desk.size()),
        )

    try:
        return written(settings, do)
    except PilotError as error:
        raise PilotError("demo-history", f"the history went wrong: {error.message}") from error


def _open_programme(story: Story) -> None:
    """Sign the personas in, and set up what every partner's access stands on."""
    at = story.first
    for persona in cast.PERSONAS:
        body = NewOperator(
            name=persona.name, roles=list(persona.roles), groups=list(persona.groups),
            reason="a persona of the demo",
        )  # fmt: skip
        story.do(op.OPERATOR_ADD, "system", at, body)
        issued: IssuedToken = story.do(
            op.OPERATOR_TOKEN, "system", at, IssueToken(reason="to look at the demo as them"),
            operator=persona.name,
        )  # fmt: skip
        assert issued.secret is not None
        story.tokens[persona.name] = issued.secret
        story.books.names.append(persona.name)
    for price in story.prices.values():
        prices.store(story.books.at_gateway, price)
        append(story.books.at_gateway, PriceChange(price=price))
    for pilot in cast.pilots():
        story.do(po.PILOT_CREATE, OWNER, at, pilot)
    for capability in cast.capabilities():
        story.do(po.CAPABILITY_CREATE, OWNER, at, capability)
    for pilot in cast.pilots():
        story.publish(pilot.slug, cast.TERMS, at)
