"""What capabilities reach: models on routes, and which others reach the same at a higher tier.

A tier guards what a model can be used for on a route. A capability of a lower tier over the
same model and route lets a call through there that the higher one would hold to its own gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.access import Capability, Category
from console.model.grant import Grant
from console.services.policy.judging.gates import APPROVAL_TIER
from console.services.policy.state.tables import CAPABILITIES


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


class ReachedTier(NamedTuple):
    """The tier that a grant is judged at: the highest over the models and routes it opens."""

    tier: int
    guards: Sequence[Capability] = ()
    """Capabilities of a tier above the grant's own that open some of the same, highest first."""
    pair: tuple[str, str] = ("", "")
    """A model and a route that the grant shares with the first of them."""

    @property
    def below(self) -> list[str]:
        """The names of the guards."""
        return [each.slug for each in self.guards]

    @property
    def words(self) -> str:
        """Name the tier, and the capability that it comes from where the grant has another."""
        if not self.guards:
            return f"tier {self.tier}"
        model, route = self.pair
        return f"tier {self.tier} (that of {self.guards[0].slug}, over {model} on {route})"

    @property
    def said(self) -> str:
        """Say of a grant what it is judged at."""
        return f"{'judged at' if self.guards else 'of'} {self.words}"


def reached(
    capabilities: Sequence[Capability], models: Iterable[str], others: Iterable[Capability]
) -> ReachedTier:
    """Return the tier that a grant of these capabilities and models is judged at.

    It does not depend on which capability was registered first.
    """
    named = set(models)
    opened = {pair for each in capabilities for pair in pairs(each) if pair[0] in named}
    own = max((each.tier for each in capabilities), default=0)
    guards = [
        each
        for each in others
        if each.tier > own
        and each.category != Category.PROHIBITED
        and not opened.isdisjoint(pairs(each))
    ]
    if not guards:
        return ReachedTier(own)
    guards.sort(key=lambda each: (-each.tier, each.slug))
    return ReachedTier(guards[0].tier, guards, min(opened & pairs(guards[0])))


def reached_now(conn: Connection, grant: Grant, capabilities: Sequence[Capability]) -> ReachedTier:
    """Return the tier that more access under a grant is judged at. The grant keeps its own."""
    models = grant.models or [model for each in capabilities for model in each.models]
    found = reached(capabilities, models, every(conn))
    return found if found.tier > grant.tier else ReachedTier(grant.tier)


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


def unguards(before: Iterable[Capability], after: Iterable[Capability]) -> PilotError | None:
    """Return the refusal of a change that takes a guard of tier 3 or above from what it guards.

    A model on a route is guarded by the highest capability over it, and by a prohibited one
    whatever else is over it. Without it, the next grant or capability there is judged lower.
    """
    left = _highest(after)
    lost = [
        (guard, pair)
        for (pair, is_prohibited), guard in _highest(before).items()
        if (is_prohibited or guard.tier >= APPROVAL_TIER)
        and ((pair, is_prohibited) not in left or left[pair, is_prohibited].tier < guard.tier)
    ]
    if not lost:
        return None
    named = [
        f"{model} on {route} would lose its guard {guard.slug} "
        f"({'prohibited' if guard.category == Category.PROHIBITED else f'tier {guard.tier}'})"
        for guard, (model, route) in sorted(lost, key=lambda each: (each[0].slug, each[1]))
    ]
    return refusal(
        "needs-approval",
        f"{'; '.join(named)}: that takes two other people",
        mend="approvals do not exist yet: leave its models and routes as they are",
    )


def _highest(capabilities: Iterable[Capability]) -> dict[tuple[tuple[str, str], bool], Capability]:
    """Return the highest capability over each model and route, prohibited ones on their own."""
    found: dict[tuple[tuple[str, str], bool], Capability] = {}
    for each in capabilities:
        for pair in pairs(each):
            name = pair, each.category == Category.PROHIBITED
            if name not in found or found[name].tier < each.tier:
                found[name] = each
    return found
