"""What capabilities reach: models on routes, and which others reach the same at a higher tier.

A tier guards what a model can be used for on a route. A capability of a lower tier over the
same model and route lets a call through there that the higher one would hold to its own gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.access import Capability, Category
from console.services.policy.gates import APPROVAL_TIER
from console.services.policy.tables import CAPABILITIES


def pairs(capability: Capability) -> set[tuple[str, str]]:
    """Return the models that a capability opens, each with the route."""
    return set(product(capability.models, capability.routes))


def above(capability: Capability, others: Iterable[Capability]) -> list[Capability]:
    """Return those of a higher tier that reach some of the same, the highest first.

    What is prohibited is never granted: it neither guards nor uncovers anything.
    """
    if capability.category == Category.PROHIBITED:
        return []
    reached = pairs(capability)
    found = [
        each
        for each in others
        if each.tier > capability.tier
        and each.category != Category.PROHIBITED
        and not reached.isdisjoint(pairs(each))
    ]
    return sorted(found, key=lambda each: (-each.tier, each.slug))


def every(conn: Connection) -> list[Capability]:
    """Return every capability of every pilot: a model is the same one in each of them."""
    return list(conn.execute(select(CAPABILITIES.c.body).order_by(CAPABILITIES.c.slug)).scalars())


def shown(capability: Capability, others: Sequence[Capability]) -> Capability:
    """Return a capability with the names of those above it."""
    return msgspec.structs.replace(
        capability, below=[each.slug for each in above(capability, others)]
    )


def uncovers(
    new: Capability, held: Capability | None, others: Iterable[Capability]
) -> PilotError | None:
    """Return the refusal of a capability that would uncover what a higher one guards.

    `held` is what it was before: what it reached already, it uncovers no more than it did.
    """
    reached = pairs(new) - (pairs(held) if held and held.tier <= new.tier else set())
    guards = [
        each
        for each in above(new, others)
        if each.tier >= APPROVAL_TIER and not reached.isdisjoint(pairs(each))
    ]
    if not guards:
        return None
    highest = guards[0]
    model, route = min(reached & pairs(highest))
    return refusal(
        "needs-approval",
        f"{new.slug} (tier {new.tier}) would open {model} on {route}, which {highest.slug} "
        f"guards at tier {highest.tier}: that takes two other people",
        mend="approvals do not exist yet: give it another model or route, or the same tier",
    )
