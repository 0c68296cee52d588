"""The demo's cast, as data: three pilots, their capabilities, forty partners, operators.

Organisations are invented, operators are known by what they do. Every address lies in
127.0.0.0/8, so that declared egress networks are real and nothing leaves the machine.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from console.model.access import (
    Category,
    ContentKeeping,
    NewCapability,
    NewPilot,
    RouteName,
    Stage,
    StageKey,
)
from console.model.limits import Limits, Period
from console.model.operator import Role
from console.model.price import MICROS

DAY = 86_400
WHY = "set up with the programme"
BOTH = [RouteName.CHAT, RouteName.MESSAGES]
ALL = [*BOTH, RouteName.RESPONSES]


class Persona(NamedTuple):
    """One operator of the demo: the account exists in its store and nowhere else."""

    name: str
    roles: tuple[Role, ...]
    groups: tuple[str, ...]


PERSONAS = (
    Persona("owner-1", (Role.OPERATOR,), ("programme",)),
    Persona("duty-1", (Role.RESPONDER,), ("duty",)),
    Persona("duty-2", (Role.RESPONDER,), ("duty",)),
    Persona("approver-1", (Role.APPROVER,), ("risk",)),
    Persona("auditor-1", (Role.AUDITOR,), ("audit",)),
)
OWNER, DUTY, NIGHT = "owner-1", "duty-1", "duty-2"

TERMS = (
    "Partner access to the models of this pilot.\n\n"
    "1. Use is limited to the purpose stated in each grant.\n"
    "2. Credentials are held by the partner and its declared subprocessors only.\n"
    "3. Findings in third-party software are disclosed under coordinated embargo.\n"
    "4. Access ends at once on revocation; no copy of a credential is kept.\n"
)
TERMS_2 = TERMS + "5. Agents act under a principal of their own, named in every call.\n"

PRICES = {
    "aurora-1": (3 * MICROS, 15 * MICROS),
    "aurora-2": (5 * MICROS, 25 * MICROS),
    "aurora-3": (5 * MICROS, 25 * MICROS),
    "meridian-1": (2 * MICROS, 8 * MICROS),
    "polaris-1": (1 * MICROS, 4 * MICROS),
    "polaris-2": (60 * MICROS, 240 * MICROS),
}
"""Micro-units for a million tokens, in and out."""


def pilots() -> list[NewPilot]:
    """Return the programmes."""
    return [
        NewPilot(
            slug="aurora",
            title="Aurora trusted access",
            models=["aurora-1", "aurora-2", "aurora-3"],
            stages=[
                Stage(key=StageKey.SANDBOX, most_partners=20, longest_grant_seconds=30 * DAY),
                Stage(key=StageKey.LIMITED, most_partners=30, longest_grant_seconds=90 * DAY),
            ],
            credit_micros=4_000 * MICROS,
            reason=WHY,
        ),
        NewPilot(
            slug="meridian",
            title="Meridian life sciences",
            models=["meridian-1"],
            stages=[
                Stage(
                    key=StageKey.LIMITED,
                    most_partners=15,
                    longest_grant_seconds=90 * DAY,
                    criteria=["a biosafety officer is named", "screening is on record"],
                )
            ],
            credit_micros=1_500 * MICROS,
            content=ContentKeeping.HASHED,
            reason=WHY,
        ),
        NewPilot(
            slug="polaris",
            title="Polaris agents",
            models=["polaris-1", "polaris-2"],
            stages=[
                Stage(
                    key=StageKey.LIMITED,
                    most_partners=15,
                    longest_grant_seconds=90 * DAY,
                    limits=_agents(),
                ),
            ],
            credit_micros=2_500 * MICROS,
            reason=WHY,
        ),
    ]


def _agents() -> Limits:
    """Return the limits of the agents' stage."""
    return Limits(
        requests_per_minute=600,
        parallel=40,
        budget_micros=400 * MICROS,
        budget_period=Period.MONTH,
    )


_CAPABILITIES: tuple[tuple[str, str, str, Category, int, list[str], int], ...] = (
    ("general.assist", "General assistance", "aurora", Category.GENERAL, 0, ["aurora-1"], 365),
    ("cyber.patch-generation", "Patch generation", "aurora", Category.DUAL_USE, 1,
     ["aurora-1"], 90),
    ("cyber.vuln-discovery", "Vulnerability discovery", "aurora", Category.HIGH_RISK_DUAL_USE, 2,
     ["aurora-2"], 90),
    ("cyber.exploit-dev", "Exploit development", "aurora", Category.HIGH_RISK_DUAL_USE, 3,
     ["aurora-3"], 3),
    ("bio.literature", "Literature review", "meridian", Category.GENERAL, 0, ["meridian-1"], 365),
    ("bio.screening", "Sequence screening", "meridian", Category.DUAL_USE, 2,
     ["meridian-1"], 90),
    ("bio.synthesis-planning", "Synthesis planning", "meridian", Category.PROHIBITED, 4,
     ["meridian-1"], 1),
    ("agent.office", "Office agents", "polaris", Category.GENERAL, 1, ["polaris-1"], 90),
    ("agent.browse", "Browsing agents", "polaris", Category.DUAL_USE, 1,
     ["polaris-1", "polaris-2"], 90),
)  # fmt: skip


def capabilities() -> list[NewCapability]:
    """Return the capabilities, from harmless to never granted."""
    return [
        NewCapability(
            slug=slug,
            title=title,
            pilot=pilot,
            category=category,
            tier=tier,
            models=models,
            routes=ALL if pilot == "polaris" else BOTH,
            longest_grant_seconds=days * DAY,
            reason=WHY,
        )
        for slug, title, pilot, category, tier, models, days in _CAPABILITIES
    ]


def models_of(capability: str) -> list[str]:
    """Return the models of a capability."""
    return next(each[5] for each in _CAPABILITIES if each[0] == capability)


class Seat(NamedTuple):
    """One partner and what it is given."""

    slug: str
    name: str
    third: int
    """Its network is 127.0.THIRD.0/24."""
    pilot: str
    capability: str
    stage: StageKey = StageKey.LIMITED
    joins: float = 0.1
    """Days after the programme began."""
    term: int = 84
    """Days that each of its grants runs."""
    daily: int = 9
    """Mean calls a working day."""
    hours: tuple[int, int] = (8, 18)
    """Hours of its day, UTC."""
    subprocessor: str = ""
    principals: tuple[str, ...] = ()
    always: bool = False
    """Whether its machines call day and night, and so while the demo is watched."""

    @property
    def network(self) -> str:
        """The network it declared."""
        return f"127.0.{self.third}.0/24"

    def address(self, host: int) -> str:
        """Return an address in its network."""
        return f"127.0.{self.third}.{host}"

    @property
    def models(self) -> list[str]:
        """The models of its capability."""
        return models_of(self.capability)


_VULN, _PATCH, _ASSIST = "cyber.vuln-discovery", "cyber.patch-generation", "general.assist"
_SCREEN, _READ = "bio.screening", "bio.literature"
_OFFICE, _BROWSE = "agent.office", "agent.browse"

SEATS = (
    Seat("acme", "Acme Defence Research", 10, "aurora", _VULN, joins=0.1,
         subprocessor="datawharf", daily=12, always=True),
    Seat("northwind", "Northwind Grid Security", 20, "aurora", _PATCH, joins=0.1, daily=12,
         always=True),
    Seat("halcyon", "Halcyon Medical Devices", 30, "aurora", _ASSIST, StageKey.SANDBOX, 0.1, 27,
         daily=12, always=True),
    Seat("borealis", "Borealis Maritime", 40, "aurora", _VULN, joins=0.1, daily=12, always=True),
    Seat("kestrel", "Kestrel Satellite Systems", 50, "aurora", _PATCH, joins=0.1),
    Seat("argent", "Argent Rail Signalling", 101, "aurora", _PATCH, joins=1, daily=12, always=True),
    Seat("basalt", "Basalt Water Works", 102, "aurora", _PATCH, joins=1, daily=12, always=True),
    Seat("cinder", "Cinder Foundry Controls", 103, "aurora", _VULN, joins=2,
         subprocessor="quillhost"),
    Seat("dovetail", "Dovetail Freight", 104, "aurora", _ASSIST, joins=2),
    Seat("ember", "Ember Power Exchange", 105, "aurora", _PATCH, joins=3, hours=(6, 15),
         daily=12, always=True),
    Seat("fathom", "Fathom Subsea Cables", 106, "aurora", _VULN, joins=3),
    Seat("gannet", "Gannet Airspace", 107, "aurora", _PATCH, joins=4, daily=12, always=True),
    Seat("harrow", "Harrow Agricultural Robotics", 108, "aurora", _ASSIST, joins=4),
    Seat("isobar", "Isobar Weather Services", 109, "aurora", _PATCH, joins=5, daily=12,
         always=True),
    Seat("juniper-bay", "Juniper Bay Ports", 110, "aurora", _VULN, joins=5),
    Seat("keystone", "Keystone Bridges", 111, "aurora", _ASSIST, joins=6),
    Seat("lodestar", "Lodestar Navigation", 112, "aurora", _PATCH, joins=6, term=20),
    Seat("marlin", "Marlin Payment Rails", 113, "aurora", _PATCH, joins=7, term=25,
         hours=(12, 22)),
    Seat("nettle", "Nettle Bank Clearing", 114, "aurora", _VULN, joins=7, daily=12, always=True),
    Seat("osprey", "Osprey Turbines", 115, "aurora", _PATCH, joins=8, daily=12, always=True),
    Seat("pinnacle", "Pinnacle Lift Safety", 116, "aurora", _ASSIST, joins=8),
    Seat("quarry", "Quarry Mining Systems", 117, "aurora", _PATCH, joins=9),
    Seat("rookery", "Rookery Radio Spectrum", 118, "aurora", _VULN, joins=9),
    Seat("saltmarsh", "Saltmarsh Genomics", 119, "meridian", _SCREEN, joins=1,
         subprocessor="vialtrack", daily=12, always=True),
    Seat("tamarind", "Tamarind Vaccines", 120, "meridian", _SCREEN, joins=2, daily=12, always=True),
    Seat("umber", "Umber Clinical Data", 121, "meridian", _READ, joins=2, daily=12, always=True),
    Seat("verdigris", "Verdigris Soil Health", 122, "meridian", _READ, joins=3),
    Seat("wicker", "Wicker Protein Foundry", 123, "meridian", _SCREEN, joins=4),
    Seat("yarrow", "Yarrow Public Health", 124, "meridian", _READ, joins=5, daily=12, always=True),
    Seat("zephyr", "Zephyr Respiratory Trials", 125, "meridian", _SCREEN, joins=6),
    Seat("lanternfish", "Lanternfish Marine Biology", 126, "meridian", _READ, joins=0.2, daily=0),
    Seat("anvil", "Anvil Procurement", 127, "polaris", _OFFICE, joins=1,
         principals=("buyer-agent", "clerk-agent", "ledger-service"), daily=12, always=True),
    Seat("bramble", "Bramble Travel Desk", 128, "polaris", _BROWSE, joins=2,
         principals=("itinerary-agent",), daily=12, always=True),
    Seat("copperleaf", "Copperleaf Insurance", 129, "polaris", _OFFICE, joins=3),
    Seat("drumlin", "Drumlin Estates", 130, "polaris", _BROWSE, joins=4, term=40),
    Seat("eider", "Eider Archives", 131, "polaris", _OFFICE, joins=5, daily=12, always=True),
    Seat("foxglove", "Foxglove Legal Research", 132, "polaris", _BROWSE, joins=6,
         subprocessor="pagewright", daily=12, always=True),
    Seat("granary", "Granary Supply Chains", 133, "polaris", _OFFICE, joins=8, daily=12,
         always=True),
    Seat("hollow", "Hollow Oak Catalogues", 134, "polaris", _BROWSE, joins=8),
    Seat("inkwell", "Inkwell Publishing", 135, "polaris", _OFFICE, joins=9),
)  # fmt: skip
"""Who holds what. Kestrel accepts no terms: its grant stays a draft."""

WAITING = (("larkspur", "Larkspur Dams", 136), ("millrace", "Millrace Locks", 137))
"""Two that are being looked at: a prospect, and one in vetting."""

BY_SLUG = {seat.slug: seat for seat in SEATS}

EXTRA_TIME = timedelta(days=31)
"""How long before its end a grant is renewed: before anybody is warned of it."""
