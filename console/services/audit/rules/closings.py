"""Closings that were verified, and the calls that were admitted against one in force.

A closing is known by its receipt. It is in force from the moment at which every point was
proven to enforce it until it is lifted; a tombstone is never lifted. What closes, what
lifts, and what a closing covers is learned from the log alone. Pure: what is known is kept
by `closing_store`, or in memory by a trial over a history.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import msgspec

from console.model.enforcement import LockKind
from console.model.traffic import CallRecord
from console.services.audit.log.leaf import Leaf

POINT = "point"
"""The kind of a closing that takes a point out of service."""

COVERS: Mapping[str, Callable[[CallRecord], str]] = MappingProxyType(
    {
        LockKind.EVERYTHING: lambda _call: "*",
        LockKind.PARTNER: lambda call: call.partner,
        LockKind.PRINCIPAL: lambda call: call.principal,
        LockKind.GRANT: lambda call: call.grant_id,
        LockKind.CREDENTIAL: lambda call: call.credential_id,
        LockKind.CAPABILITY: lambda call: call.capability,
        LockKind.MODEL: lambda call: call.model,
        LockKind.STAGE: lambda call: f"{call.pilot}/{call.stage}",
        LockKind.PILOT: lambda call: call.pilot,
        LockKind.SUBPROCESSOR: lambda call: call.holder,
        LockKind.NETWORK: lambda call: call.address,
        POINT: lambda call: call.point,
    }
)
"""What of a call a closing of each kind is compared with. A network holds the address."""

VERIFIED = "receipt.verify"
"""The gateway's event that every point was proven to enforce a closing."""

LIFTING = frozenset({"lock.release", "suspension.lift", "point.admit"})
"""The gateway's events that end a closing."""

NAMING = frozenset({"grant.renew", "principal.create"})
"""Policy's events that give a closing's target another name: a successor, a salted hash."""

ACTIONS = frozenset({VERIFIED, *LIFTING, *NAMING})
"""The events that tell something of closings."""


class Closing(NamedTuple):
    """A closing of `target`, in force after `verified_at` until it is lifted."""

    receipt: str
    kind: str
    target: str
    action: str
    verified_at: datetime
    lifted_at: datetime | None = None
    lifted_sequence: int | None = None
    """The gateway change that lifted it: a call admitted from then on is in order."""

    def forbids(self, call: CallRecord) -> bool:
        """Tell whether it was verified and in force as a call that it covers began."""
        if call.started_at <= self.verified_at:
            return False
        if self.lifted_sequence is not None and call.snapshot_sequence >= self.lifted_sequence:
            return False
        return self.lifted_at is None or call.started_at < self.lifted_at


class Lifted(NamedTuple):
    """What lifts closings: that of a receipt, or where none is named every one of a target."""

    receipt: str
    kind: str
    target: str
    at: datetime
    sequence: int | None

    def lifts(self, closing: Closing) -> bool:
        """Tell whether it lifts a closing."""
        if self.receipt:
            return closing.receipt == self.receipt
        same = (closing.kind, closing.target) == (self.kind, self.target)
        return same and closing.verified_at <= self.at


class Named(NamedTuple):
    """Other names under which a closing may cover what is called `name`."""

    kind: str
    name: str
    others: tuple[str, ...]


Fact: TypeAlias = Closing | Lifted | Named


class _Receipt(msgspec.Struct):
    """What a verified receipt says (`console.model.enforcement.Receipt`)."""

    kind: str
    target: str
    action: str = ""
    enforced_at: datetime | None = None


def fact_of(leaf: Leaf) -> Fact | None:
    """Return what an event tells of closings; None where it tells nothing."""
    match leaf.action:
        case "receipt.verify":
            return _closing(leaf)
        case "lock.release" | "suspension.lift" | "point.admit":
            sequence = leaf.told("sequence")
            change = sequence if isinstance(sequence, int) else None
            receipt = _text(leaf.told("receipt_id"))
            return Lifted(receipt, leaf.kind, leaf.target, leaf.at, change)
        case "grant.renew":
            lineage = leaf.told("lineage")
            former = filter(_text, lineage if isinstance(lineage, list) else [])
            return Named(LockKind.GRANT, leaf.target, tuple(former))
        case "principal.create":
            return Named(LockKind.PRINCIPAL, _text(leaf.told("hash")), (leaf.target,))
        case _:
            return None


class Known:
    """The closings that may cover some calls, and the other names of these calls' parts."""

    def __init__(self) -> None:
        self._closings: dict[tuple[str, str], list[Closing]] = defaultdict(list)
        self._others: dict[tuple[str, str], tuple[str, ...]] = {}

    @classmethod
    def of(cls, leaves: Iterable[Leaf]) -> Known:
        """Return what a whole log tells."""
        known, lifts = cls(), []
        held: dict[str, Closing] = {}
        for leaf in leaves:
            match fact_of(leaf):
                case Closing() as closing:
                    held.setdefault(closing.receipt, closing)
                case Lifted() as lifted:
                    lifts.append(lifted)
                case Named() as named:
                    known.name(named)
        for lift in lifts:
            for receipt, closing in held.items():
                if closing.lifted_at is None and lift.lifts(closing):
                    held[receipt] = closing._replace(
                        lifted_at=lift.at, lifted_sequence=lift.sequence
                    )
        known.add(held.values())
        return known

    def add(self, closings: Iterable[Closing]) -> None:
        """Take in closings, each with how it was lifted."""
        for closing in closings:
            self._closings[closing.kind, closing.target].append(closing)

    def name(self, named: Named) -> None:
        """Take in other names."""
        held = self._others.get((named.kind, named.name), ())
        self._others[named.kind, named.name] = (*held, *named.others)

    def names(self, kind: str, name: str) -> tuple[str, ...]:
        """Return the names under which a closing of a kind may cover `name`."""
        return (name, *self._others.get((kind, name), ()))

    def forbade(self, call: CallRecord) -> bool:
        """Tell whether a closing in force forbade a call as it began."""
        return any(closing.forbids(call) for closing in self._over(call))

    def _over(self, call: CallRecord) -> Iterator[Closing]:
        if not self._closings:
            return
        for kind, of in COVERS.items():
            if kind != LockKind.NETWORK:
                for name in self.names(kind, of(call)):
                    yield from self._closings.get((kind, name), ())
        for (kind, target), closings in self._closings.items():
            if kind == LockKind.NETWORK and _within(call.address, target):
                yield from closings


def _closing(leaf: Leaf) -> Closing | None:
    try:
        receipt = msgspec.convert(leaf.after, _Receipt)
    except msgspec.ValidationError:
        return None
    if receipt.kind not in COVERS:
        return None
    at = receipt.enforced_at or leaf.at
    return Closing(leaf.target, receipt.kind, receipt.target, receipt.action, at)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _within(address: str, network: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return parsed in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
