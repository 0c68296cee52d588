"""The demo's pilot, as data: five partners, five capabilities, one incident.

Everything follows from the seed: who calls what, from where, how often, and when the
incident begins. Source addresses lie in 127.0.0.0/8, so that declared egress networks
are real and nothing leaves the machine.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import msgspec

from console.model.access import (
    Category,
    NewCapability,
    NewPartner,
    NewPilot,
    RouteName,
    Stage,
    StageKey,
)

DAY = 86_400
PILOT = "aurora"
WHY = "the demo's opening scene"
TERMS = (
    "Partner access to the aurora models.\n\n"
    "1. Use is limited to the purpose stated in each grant.\n"
    "2. Credentials are held by the partner and its declared subprocessors only.\n"
    "3. Findings in third-party software are disclosed under coordinated embargo.\n"
    "4. Access ends at once on revocation; no copy of a credential is kept.\n"
)


class Seat(msgspec.Struct, frozen=True):
    """One partner of the demo and what it is given."""

    slug: str
    name: str
    network: str
    capability: str
    stage: StageKey
    ends_in: timedelta
    subprocessor: str = ""
    accepts_terms: bool = True


class Caller(msgspec.Struct, frozen=True):
    """One client of the data plane: whose key, from where, asking for what."""

    key: str
    """`partner` or `partner/holder`: which issued key it presents."""
    address: str
    model: str
    route: str
    stream: bool
    every: float
    """Mean seconds between its calls."""
    starts: float = 0.0
    """Seconds after the traffic began."""
    calls: int = 0
    """At most so many calls; 0 for no end."""


SEATS = (
    Seat(
        "acme", "Acme Defence Research", "127.0.10.0/24", "cyber.vuln-discovery",
        StageKey.LIMITED, timedelta(days=60), subprocessor="datawharf",
    ),
    Seat(
        "northwind", "Northwind Grid Security", "127.0.20.0/24", "cyber.patch-generation",
        StageKey.LIMITED, timedelta(days=71),
    ),
    Seat(
        "halcyon", "Halcyon Medical Devices", "127.0.30.0/24", "general.assist",
        StageKey.SANDBOX, timedelta(days=25),
    ),
    Seat(
        "borealis", "Borealis Maritime", "127.0.40.0/24", "cyber.vuln-discovery",
        StageKey.LIMITED, timedelta(hours=6),
    ),
    Seat(
        "kestrel", "Kestrel Satellite Systems", "127.0.50.0/24", "cyber.patch-generation",
        StageKey.LIMITED, timedelta(days=30), accepts_terms=False,
    ),
)  # fmt: skip
"""Who holds what. The last has not accepted the terms: its grant stays a draft."""

INCIDENT_ADDRESS = "127.0.66.6"
"""Where the subprocessor's key is used from once it has leaked."""


def pilot() -> NewPilot:
    """Return the programme itself."""
    return NewPilot(
        slug=PILOT,
        title="Aurora trusted access",
        models=["aurora-1", "aurora-2"],
        stages=[
            Stage(key=StageKey.SANDBOX, most_partners=20, longest_grant_seconds=30 * DAY),
            Stage(key=StageKey.LIMITED, most_partners=10, longest_grant_seconds=90 * DAY),
        ],
        reason=WHY,
    )


def capabilities() -> list[NewCapability]:
    """Return the capabilities, from harmless to never granted."""
    both = [RouteName.CHAT, RouteName.MESSAGES]
    rows = (
        ("general.assist", "General assistance", Category.GENERAL, 0, ["aurora-1"], 365),
        (
            "cyber.patch-generation", "Patch generation", Category.DUAL_USE, 1,
            ["aurora-1", "aurora-2"], 90,
        ),
        (
            "cyber.vuln-discovery", "Vulnerability discovery", Category.HIGH_RISK_DUAL_USE, 2,
            ["aurora-1"], 90,
        ),
        ("cyber.exploit-dev", "Exploit development", Category.HIGH_RISK_DUAL_USE, 3,
         ["aurora-2"], 3),
        ("bio.synthesis-planning", "Synthesis planning", Category.PROHIBITED, 4, ["aurora-2"], 1),
    )  # fmt: skip
    return [
        NewCapability(
            slug=slug,
            title=title,
            pilot=PILOT,
            category=category,
            tier=tier,
            models=models,
            routes=both,
            longest_grant_seconds=days * DAY,
            reason=WHY,
        )
        for slug, title, category, tier, models, days in rows
    ]


def partner(seat: Seat, sponsor: str) -> NewPartner:
    """Return the organisation that sits in `seat`."""
    return NewPartner(
        slug=seat.slug,
        name=seat.name,
        sponsor=sponsor,
        egress=[seat.network],
        subprocessors=[seat.subprocessor] if seat.subprocessor else [],
        reason=WHY,
    )


def models_of(seat: Seat) -> list[str]:
    """Return the models of the capability that `seat` is given."""
    return next(list(c.models) for c in capabilities() if c.slug == seat.capability)


def ends(seat: Seat, now: datetime) -> datetime:
    """Return when the seat's grant ends."""
    return now + seat.ends_in


def callers(seed: int, *, incident_after: float) -> list[Caller]:
    """Return every client of the data plane, the incident's too, as `seed` has it.

    The incident: `incident_after` seconds in, the subprocessor's key turns up outside
    the declared egress; a little later one partner tries a model that it was never given.
    """
    dice = random.Random(seed)  # noqa: S311 - a scenario, not a secret
    out: list[Caller] = []
    for seat in SEATS:
        if not seat.accepts_terms:
            continue
        prefix = seat.network.rsplit(".", 1)[0]
        out += [
            Caller(
                key=seat.slug,
                address=f"{prefix}.{dice.randint(2, 200)}",
                model=dice.choice(models_of(seat)),
                route=dice.choice(tuple(RouteName)).value,
                stream=dice.random() < 0.5,
                every=round(dice.uniform(0.8, 3.0), 2),
            )
            for _ in range(dice.choice((1, 2)))
        ]
        if seat.subprocessor:
            out.append(
                Caller(
                    key=f"{seat.slug}/{seat.subprocessor}",
                    address=f"{prefix}.{dice.randint(201, 250)}",
                    model=models_of(seat)[0],
                    route=RouteName.CHAT.value,
                    stream=False,
                    every=2.5,
                )
            )
    leaked = Caller(
        key="acme/datawharf",
        address=INCIDENT_ADDRESS,
        model="aurora-1",
        route=RouteName.CHAT.value,
        stream=True,
        every=0.6,
        starts=incident_after,
    )
    probing = Caller(
        key="halcyon",
        address="127.0.30.77",
        model="aurora-2",
        route=RouteName.MESSAGES.value,
        stream=False,
        every=0.15,
        starts=incident_after + 4.0,
        calls=40,
    )
    return [*out, leaked, probing]
