"""The one table of what closes: by which events it is known, and how a restore keeps it.

Every operation whose direction is *closes* has a row, and so has each other operation that ends
something on its way. The replay of the log, the replay of the stores that are left, and the
tests walk this table; `tests/services/backup/test_restored_closings.py` holds it to the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from console.services.audit.log.leaf import Leaf
from console.services.backup import keep_gateway, keep_operators, keep_policy
from console.services.backup.history import History

Keep = Callable[[Connection, Leaf, History], bool]
"""Put into a restored store what an event recorded; return whether it was not there yet."""


class Closing(NamedTuple):
    """One operation that ends something."""

    operation: str
    events: tuple[str, ...]
    """The event codes that record it."""
    store: Literal["gateway", "policy"]
    """The restored store that it is kept in."""
    keep: Keep
    lifted_by: tuple[str, ...] = ()
    """The event codes that end it: then there is nothing to keep. Nothing lifts the others."""
    source: str = ""
    """The only service whose events count; any without it."""


CLOSINGS = (
    Closing("grant.revoke", ("grant.revoke",), "gateway", keep_gateway.end),
    Closing("key.revoke", ("key.revoke",), "gateway", keep_gateway.end),
    Closing("key.rotate", ("key.rotate", "key.retire"), "gateway", keep_gateway.rotate),
    Closing("partner.offboard", ("partner.offboard",), "gateway", keep_gateway.end),
    Closing("pilot.close", ("pilot.close",), "gateway", keep_gateway.end),
    Closing(
        "grant.suspend", ("grant.suspend",), "gateway", keep_gateway.suspend,
        lifted_by=("grant.resume", "suspension.lift"), source="gateway",
    ),
    Closing(
        "partner.suspend", ("partner.suspend",), "gateway", keep_gateway.suspend,
        lifted_by=("partner.resume", "suspension.lift"),
    ),
    Closing(
        "terms.publish", ("grant.suspend",), "gateway", keep_gateway.suspend_lapsed,
        lifted_by=("grant.resume", "grant.activate"), source="policy",
    ),
    Closing(
        "lock.add", ("lock.add",), "gateway", keep_gateway.lock, lifted_by=("lock.release",)
    ),
    Closing(
        "point.deregister", ("point.deregister",), "gateway", keep_gateway.deregister,
        lifted_by=("point.admit",),
    ),
    Closing("call.redact", ("content.redact",), "gateway", keep_gateway.redact),
    Closing("grant.narrow", ("grant.narrow",), "policy", keep_policy.narrow),
    Closing("grant.amend", ("grant.amend",), "policy", keep_policy.narrow),
    Closing(
        "partner.restrict", ("partner.restrict",), "policy", keep_policy.restrict,
        lifted_by=("partner.resume",),
    ),
    Closing("partner.remove-network", ("partner.remove-network",), "policy", keep_policy.declare),
    Closing("partner.add-network", ("partner.add-network",), "policy", keep_policy.declare),
    Closing(
        "partner.remove-subprocessor", ("partner.remove-subprocessor",), "policy",
        keep_policy.declare,
    ),
    Closing(
        "partner.add-subprocessor", ("partner.add-subprocessor",), "policy", keep_policy.declare
    ),
    Closing("partner.declare", ("partner.declare",), "policy", keep_policy.declare),
    Closing("principal.retire", ("principal.retire",), "policy", keep_policy.retire),
    Closing("assessment.reject", ("assessment.reject",), "policy", keep_policy.decide),
    Closing("assessment.withdraw", ("assessment.withdraw",), "policy", keep_policy.decide),
    Closing("operator.add", ("operator.add",), "policy", keep_operators.add),
    Closing("operator.set", ("operator.set",), "policy", keep_operators.change),
    Closing("operator.token", ("operator.token",), "policy", keep_operators.replace),
    Closing("operator.restore", ("operator.restore",), "policy", keep_operators.let_in),
    Closing("operator.cut", ("operator.cut",), "policy", keep_operators.cut),
    Closing("operator.freeze", ("operator.freeze",), "policy", keep_operators.freeze),
    Closing("operator.thaw", ("operator.thaw",), "policy", keep_operators.thaw),
    Closing("break-glass.seal", ("break-glass.seal",), "policy", keep_operators.seal),
)  # fmt: skip

_BY_EVENT: dict[str, list[Closing]] = {}
_LIFTS: dict[str, list[Closing]] = {}
for _each in CLOSINGS:
    for _event in _each.events:
        _BY_EVENT.setdefault(_event, []).append(_each)
    for _event in _each.lifted_by:
        _LIFTS.setdefault(_event, []).append(_each)


class Unkept(NamedTuple):
    """A closing that could not be kept, and why."""

    leaf: Leaf
    why: str


def in_force(history: History) -> Iterator[tuple[Closing, Leaf]]:
    """Yield the closings since the backup that nothing lifted, in order."""
    found: dict[int, tuple[Closing, Leaf]] = {}
    places: dict[tuple[str, str], list[int]] = {}
    for place, leaf in enumerate(history.events):
        if leaf.outcome == "failure":
            continue
        about = _about(leaf)
        for closing in _LIFTS.get(leaf.action, ()):
            for lifted in places.pop((closing.operation, about), ()):
                found.pop(lifted, None)
        for closing in _BY_EVENT.get(leaf.action, ()):
            if closing.source in {"", leaf.source}:
                found[place] = (closing, leaf)
                if closing.lifted_by:
                    places.setdefault((closing.operation, about), []).append(place)
    yield from found.values()


def _about(leaf: Leaf) -> str:
    """Return what an event is about, as closings and what lifts them both name it."""
    by_slug = leaf.kind == "partner" and leaf.source == "policy"
    return leaf.name if by_slug else leaf.target


def keep(
    history: History, store: Literal["gateway", "policy"], conn: Connection
) -> tuple[int, list[Unkept]]:
    """Keep in one restored store what was closed since; return how much was not there yet."""
    made, unkept = 0, []
    for closing, leaf in in_force(history):
        if closing.store != store:
            continue
        try:
            made += closing.keep(conn, leaf, history)
        except ValueError as error:  # msgspec's too: the event does not tell enough
            unkept.append(Unkept(leaf, str(error)))
    return made, unkept
