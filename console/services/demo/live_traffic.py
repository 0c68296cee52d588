"""What unfolds while the demo is watched: the partners' clients, and incidents in rounds.

Seeded: who calls what, from where, how often, and when each incident begins. The first
round comes within the first minute, others every ten, with other partners each time.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from console.services.demo.cast import BY_SLUG, SEATS, Seat

EVERY_SECONDS = 45.0
"""Mean seconds between the calls of a client: a norm of the history is not passed by it."""
ROUND_SECONDS = 600.0
FOREIGN = tuple(f"127.0.{third}.6" for third in (66, 67, 68, 69, 70, 71, 72))
"""Where a leaked key is used from: first from one network, then from many."""
INCIDENT_ADDRESS = FOREIGN[0]


class Caller(NamedTuple):
    """One client of the data plane: whose key, from where, asking for what."""

    key: str
    """`partner` or `partner/holder`: which issued key it presents."""
    addresses: tuple[str, ...]
    """Where it calls from. Beyond the first ten calls it goes through all of them."""
    model: str
    route: str
    stream: bool
    every: float
    """Mean seconds between its calls."""
    starts: float = 0.0
    """Seconds after the traffic began."""
    calls: int = 0
    """At most so many calls; 0 for no end."""
    words: int = 0
    """How long its prompt is; 0 for a sentence."""
    slower: float = 0.0
    """Mean seconds between its calls beyond the first twenty; 0 for as before."""
    user: str = ""
    """What it calls its user."""


class Round(NamedTuple):
    """One round of incidents: whose key leaks, who probes, whose spend jumps."""

    leaks: str
    probes: str
    wants: str
    """What the prober tries: a model that it was never given."""
    spends: str


ROUNDS = (
    Round("acme/datawharf", "halcyon", "aurora-2", "bramble"),
    Round("saltmarsh/vialtrack", "umber", "aurora-1", "hollow"),
    Round("foxglove/pagewright", "dovetail", "aurora-2", "foxglove"),
)


def callers(seed: int, *, incident_after: float, rounds: int = 12) -> list[Caller]:
    """Return every client of the data plane, those of the incidents too, as `seed` has it."""
    dice = random.Random(seed)  # noqa: S311 - a scenario, not a secret
    out: list[Caller] = []
    for seat in SEATS:
        if seat.always:
            out += _usual(seat, dice)
    for number in range(rounds):
        which = ROUNDS[number % len(ROUNDS)]
        out += incidents(which, incident_after + number * ROUND_SECONDS)
    return out


def _usual(seat: Seat, dice: random.Random) -> list[Caller]:
    found = [
        Caller(
            key=seat.slug,
            addresses=(seat.address(dice.randint(2, 9)),),
            model=next(each for each in seat.models if each != "polaris-2"),
            route=dice.choice(("chat.completions", "messages")),
            stream=dice.random() < 0.5,
            every=EVERY_SECONDS,
            starts=round(dice.uniform(0, 20), 1),
            user=seat.principals[0] if seat.principals else "",
        )
    ]
    if seat.subprocessor:
        own = found[0]._replace(
            key=f"{seat.slug}/{seat.subprocessor}",
            addresses=(seat.address(240),),
            every=2 * EVERY_SECONDS,
            user="",
        )
        found.append(own)
    return found


def incidents(which: Round, starts: float) -> list[Caller]:
    """Return the clients of one round: a leak, a probe, a jump in spend, some seconds apart."""
    leaks, probes, spends = (
        BY_SLUG[slug.partition("/")[0]] for slug in (which.leaks, which.probes, which.spends)
    )
    return [
        Caller(
            key=which.leaks, addresses=FOREIGN, model=leaks.models[0], route="chat.completions",
            stream=True, every=2.0, starts=starts, calls=45, slower=7.0,
        ),
        Caller(
            key=which.probes, addresses=(probes.address(77),), model=which.wants,
            route="messages", stream=False, every=0.15, starts=starts + 12.0, calls=40,
        ),
        Caller(
            key=which.spends, addresses=(spends.address(78),), model="polaris-2",
            route="chat.completions", stream=False, every=3.0, starts=starts + 25.0, calls=16,
            words=10_000, user=spends.principals[0] if spends.principals else "",
        ),
    ]  # fmt: skip
