"""The snapshot: everything that decides calls at one change sequence, indexed.

A value. `after` returns the next one and leaves this one as it was, so a call in flight
keeps the snapshot that let it in until it is judged against a newer one. Tombstones only
ever join: no change takes one away, in whatever order changes are read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from functools import lru_cache
from itertools import chain

import msgspec

from console.model.enforcement import LockKind, TombstoneKind
from console.model.grant import GrantProjection
from console.model.price import Price, price_of
from console.model.principal import PrincipalProjection
from console.services.wire.changes import (
    BundleChange,
    Change,
    GrantChange,
    KeyChange,
    KeyFact,
    LiftChange,
    LockChange,
    LockFact,
    MoveChange,
    PriceChange,
    PrincipalChange,
    ReleaseChange,
    RotateChange,
    State,
    SuspendChange,
    SuspensionFact,
    TombstoneChange,
    TombstoneFact,
)
from console.services.wire.projections import BundleFact


class Snapshot:
    """All grants, keys, locks and tombstones at `sequence`. Never changed once made."""

    __slots__ = (
        "_grants",
        "_hashes",
        "_keys",
        "_keys_of_grant",
        "_locks",
        "_network_locks",
        "_prices",
        "_principals",
        "_principals_by_hash",
        "_suspended",
        "_targets",
        "_tombstones",
        "bundle",
        "sequence",
    )

    def __init__(self, state: State) -> None:
        self.sequence = state.sequence
        self.bundle: BundleFact | None = state.bundle
        self._grants: dict[str, GrantProjection] = {g.id: g for g in state.grants}
        self._keys: dict[str, KeyFact] = {}
        self._hashes: dict[str, KeyFact] = {}
        self._keys_of_grant: dict[str, tuple[KeyFact, ...]] = {}
        for key in state.keys:
            self._add_key(key)
        self._locks: dict[str, LockFact] = {lock.id: lock for lock in state.locks}
        self._principals: dict[str, PrincipalProjection] = {}
        self._principals_by_hash: dict[str, PrincipalProjection] = {}
        for principal in state.principals:
            self._set_principal(principal)
        self._tombstones: set[tuple[str, str]] = {(t.kind, t.id) for t in state.tombstones}
        self._prices: dict[str, tuple[Price, ...]] = {}
        for price in state.prices:
            self._set_price(price)
        self._suspended: dict[tuple[str, str], SuspensionFact] = {
            (each.kind, each.target): each for each in state.suspensions
        }
        self._index_locks()

    def after(self, changes: Iterable[Change]) -> Snapshot:
        """Return the snapshot with those of `changes` that are newer than this one."""
        new = Snapshot.__new__(Snapshot)
        new.sequence = self.sequence
        new.bundle = self.bundle
        new._grants = dict(self._grants)
        new._keys = dict(self._keys)
        new._hashes = dict(self._hashes)
        new._keys_of_grant = dict(self._keys_of_grant)
        new._locks = dict(self._locks)
        new._principals = dict(self._principals)
        new._principals_by_hash = dict(self._principals_by_hash)
        new._tombstones = set(self._tombstones)
        new._suspended = dict(self._suspended)
        new._prices = dict(self._prices)
        for change in changes:
            if change.seq > new.sequence:
                new._apply(change)
        new._index_locks()
        return new

    def keeping(self, old: Snapshot) -> Snapshot:
        """Return this snapshot with the tombstones of `old` as well: none is ever forgotten."""
        new = self.after(())
        new._tombstones |= old._tombstones
        return new

    def _apply(self, change: Change) -> None:
        self.sequence = change.seq
        match change.body:
            case GrantChange(grant=grant):
                self._set_grant(grant)
            case MoveChange(grant=grant, keys=keys):
                self._set_grant(grant)
                for key in keys:
                    self._move_key(key)
            case KeyChange(key=key):
                self._add_key(key)
            case RotateChange(old=old, new=key):
                self._end_key(old)
                self._add_key(key)
            case PrincipalChange(principal=principal):
                self._set_principal(principal)
            case SuspendChange(suspension=held):
                self._suspended[held.kind, held.target] = held
            case LiftChange(id=id):
                self._suspended = {
                    on: each for on, each in self._suspended.items() if each.id != id
                }
            case LockChange(lock=lock):
                self._locks[lock.id] = lock
            case ReleaseChange(id=id):
                self._locks.pop(id, None)
            case TombstoneChange(ends=ends):
                self._tombstones.update((end.kind, end.id) for end in ends)
            case BundleChange(bundle=bundle):
                self.bundle = bundle
            case PriceChange(price=price):
                self._set_price(price)

    def _set_price(self, price: Price) -> None:
        kept = [p for p in self._prices.get(price.model, ()) if p.starts_on != price.starts_on]
        self._prices[price.model] = (*kept, price)

    def _set_grant(self, grant: GrantProjection) -> None:
        held = self._grants.get(grant.id)
        if held is None or held.revision <= grant.revision:
            self._grants[grant.id] = grant

    def _set_principal(self, principal: PrincipalProjection) -> None:
        held = self._principals.get(principal.id)
        if held is None or held.revision <= principal.revision:
            self._principals[principal.id] = principal
            self._principals_by_hash[principal.hash] = principal

    def _move_key(self, key: KeyFact) -> None:
        """Take a credential as it is under its successor grant."""
        held = self._keys.get(key.id)
        if held is not None:
            left = tuple(k for k in self._keys_of_grant[held.grant_id] if k.id != key.id)
            self._keys_of_grant[held.grant_id] = left
            del self._keys[key.id], self._hashes[held.sha256]
        self._add_key(key)

    def _add_key(self, key: KeyFact) -> None:
        if key.id in self._keys:
            return
        self._keys[key.id] = key
        self._hashes[key.sha256] = key
        self._keys_of_grant[key.grant_id] = (*self._keys_of_grant.get(key.grant_id, ()), key)

    def _end_key(self, ending: KeyFact) -> None:
        """Take in when a key ends: never later than was known."""
        key = self._keys.get(ending.id)
        if key is None or ending.ends_at is None:
            return
        if key.ends_at is None or ending.ends_at < key.ends_at:
            self._move_key(msgspec.structs.replace(key, ends_at=ending.ends_at))

    def _index_locks(self) -> None:
        ordered = sorted(self._locks.values(), key=lambda lock: lock.id)
        self._network_locks = [lock for lock in ordered if lock.kind == LockKind.NETWORK]
        self._targets: dict[tuple[str, str], LockFact] = {}
        for lock in ordered:
            self._targets.setdefault((lock.kind, lock.target), lock)

    def key(self, id: str) -> KeyFact | None:
        """Return the credential with this id."""
        return self._keys.get(id)

    def key_by_hash(self, sha256: str) -> KeyFact | None:
        """Return the credential whose key has this SHA-256 (hex)."""
        return self._hashes.get(sha256)

    def keys_of(self, grant_id: str) -> tuple[KeyFact, ...]:
        """Return the credentials under a grant, and under those that succeed it."""
        own = self._keys_of_grant.get(grant_id, ())
        later = (self._keys_of_grant.get(each, ()) for each in self.successors(grant_id))
        return tuple(chain(own, *later))

    def successors(self, grant_id: str) -> list[str]:
        """Return the ids of the grants that succeed this one, directly or not."""
        return [each.id for each in self._grants.values() if grant_id in each.lineage]

    def each_key(self) -> Iterator[KeyFact]:
        """Iterate over every credential."""
        return iter(self._keys.values())

    def principal(self, named: str) -> PrincipalProjection | None:
        """Return the principal with this id or salted hash."""
        return self._principals.get(named) or self._principals_by_hash.get(named)

    def principals(self) -> Iterator[PrincipalProjection]:
        """Iterate over every projected principal."""
        return iter(self._principals.values())

    def grant(self, id: str) -> GrantProjection | None:
        """Return a grant as it was last projected."""
        return self._grants.get(id)

    def grants(self) -> Iterator[GrantProjection]:
        """Iterate over every projected grant."""
        return iter(self._grants.values())

    def locks(self) -> Iterator[LockFact]:
        """Iterate over the active locks."""
        return iter(self._locks.values())

    def lock_on(self, kind: str, target: str) -> LockFact | None:
        """Return the active lock on exactly this target."""
        return self._targets.get((kind, target))

    def network_lock(self, address: str) -> LockFact | None:
        """Return an active lock on a network that holds `address`."""
        for lock in self._network_locks:
            if within(address, lock.target):
                return lock
        return None

    def ended(self, key: KeyFact) -> str:
        """Return the code of the tombstone over a credential, or an empty string."""
        grant = self._grants.get(key.grant_id)
        for each in (key.grant_id, *(grant.lineage if grant else ())):
            if (TombstoneKind.GRANT.value, each) in self._tombstones:
                return "grant_revoked"
        if ("partner", key.partner) in self._tombstones:
            return "grant_revoked"
        if grant is not None and ("pilot", grant.pilot) in self._tombstones:
            return "grant_revoked"
        if (TombstoneKind.CREDENTIAL.value, key.id) in self._tombstones:
            return "key_revoked"
        return ""

    def price(self, model: str, day: date) -> Price | None:
        """Return the price of a model that holds on a day (UTC)."""
        return price_of(self._prices.get(model, ()), day)

    def suspension(self, kind: str, target: str) -> SuspensionFact | None:
        """Return the suspension of exactly this."""
        return self._suspended.get((kind, target))

    def suspended(self, key: KeyFact) -> SuspensionFact | None:
        """Return a suspension over a credential: of its grant, of one that this renews, or of
        its partner.
        """
        if not self._suspended:
            return None
        grant = self._grants.get(key.grant_id)
        for each in (key.grant_id, *(grant.lineage if grant else ())):
            if held := self._suspended.get(("grant", each)):
                return held
        return self._suspended.get(("partner", key.partner))

    def tombstoned(self, kind: str, id: str) -> bool:
        """Tell whether an id carries the permanent mark."""
        return (kind, id) in self._tombstones

    def state(self) -> State:
        """Return the snapshot as what goes over the wire."""
        return State(
            sequence=self.sequence,
            grants=list(self._grants.values()),
            keys=list(self._keys.values()),
            locks=list(self._locks.values()),
            principals=list(self._principals.values()),
            tombstones=[TombstoneFact(kind=k, id=i) for k, i in sorted(self._tombstones)],
            suspensions=list(self._suspended.values()),
            bundle=self.bundle,
            prices=[price for kept in self._prices.values() for price in kept],
        )


EMPTY = Snapshot(State(sequence=0))
"""Nothing known: it refuses everything."""


@lru_cache(maxsize=65_536)
def within(address: str, network: str) -> bool:
    """Tell whether an IP address lies in a network. What does not parse lies in none.

    An IPv4 address in its IPv6-mapped form is the IPv4 address (RFC 4291 §2.5.5.2).
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        return parsed in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def lapsed(grant: GrantProjection, at: datetime) -> str:
    """Return the code of the first lapse at or before `at`, or an empty string."""
    passed = [lapse for lapse in grant.lapses if lapse.at <= at]
    return (
        min(passed, key=lambda lapse: (lapse.code != "grant_expired", lapse.at)).code
        if passed
        else ""
    )


def next_lapse(grant: GrantProjection, at: datetime) -> datetime | None:
    """Return the next moment after `at` at which something under the grant ends."""
    return min((lapse.at for lapse in grant.lapses if lapse.at > at), default=None)
