"""Keeping what ended of operators over a restore: cuts, roles, tokens, break-glass accounts.

Policy's accounts are brought up to date first; then every restored store is given the same
roster and the same marks, so that each service decides alike from its first request on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from console.model.account import AccountKind, AccountState, OperatorAccount
from console.services.audit.log.leaf import Leaf
from console.services.backup.history import History
from console.services.operators import accounts, roster_store
from console.services.operators.cutoff import CUT, FREEZE, Restriction
from console.services.operators.roster import Mark
from console.services.operators.tables import ACCOUNTS
from console.services.store import Store


def cut(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep an operator cut off, by the generation of the account that the event names."""
    return _restrict(conn, leaf, CUT, "generation")


def freeze(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep an operator frozen, by how often the event says that they were thawed."""
    return _restrict(conn, leaf, FREEZE, "thaws")


def _restrict(conn: Connection, leaf: Leaf, how: Restriction, counted: str) -> bool:
    number = leaf.told(counted)
    mark = Mark(
        name=leaf.target, generation=number if isinstance(number, int) else 0,
        kind=how.mark, at=leaf.at, by=leaf.actor, reason=leaf.reason,
    )  # fmt: skip
    return _mark(conn, mark)


def _mark(conn: Connection, mark: Mark) -> bool:
    account = accounts.find(conn, mark.name)
    counted = "thaws" if mark.kind == FREEZE.mark else "generation"
    if account is not None and getattr(account, counted) < mark.generation:
        accounts.take(conn, msgspec.structs.replace(account, **{counted: mark.generation}))
    new = roster_store.add(conn, [mark])
    accounts.learn(conn, [mark])
    return new


def add(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Have an account that was added since, without its tokens: those are lost."""
    account = _account(leaf)
    if accounts.find(conn, account.slug) is not None:
        return False
    accounts.take(conn, msgspec.structs.replace(account, tokens=[]))
    return True


def change(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Keep the roles and groups that an operator had last."""
    return _update(conn, leaf, "roles", "groups")


def let_in(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Have an account in the generation in which it was let in again, without tokens."""
    return _update(conn, leaf, "generation", "state", "state_reason", "tokens")


def thaw(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """Have an account thawed as often as it was."""
    return _update(conn, leaf, "thaws", "state", "state_reason")


def replace(conn: Connection, leaf: Leaf, _history: History) -> bool:
    """End the tokens that were no longer there after one was issued."""
    now, held = _account(leaf), accounts.find(conn, leaf.target)
    if held is None:
        return False
    left = {each.id for each in now.tokens}
    tokens = [each for each in held.tokens if each.id in left]
    if tokens == held.tokens:
        return False
    accounts.take(conn, msgspec.structs.replace(held, tokens=tokens))
    return True


def seal(conn: Connection, leaf: Leaf, history: History) -> bool:
    """Cut the break-glass accounts that a new one replaced, and the new one: its token is lost.

    An event that does not say which it replaced may have replaced all of them.
    """
    replaced = leaf.told("replaced")
    ended = False
    for account in _all(conn):
        if account.kind != AccountKind.BREAK_GLASS or account.state == AccountState.CUT:
            continue
        if isinstance(replaced, list) and account.slug not in replaced:
            continue
        ended |= _cut(conn, account, leaf.at, leaf.actor, "replaced")
    if add(conn, leaf, history):
        fresh = accounts.find(conn, leaf.target)
        assert fresh is not None
        ended |= _cut(conn, fresh, leaf.at, leaf.actor, "a restore lost its token")
    return ended


class Ended(NamedTuple):
    """What ended because nothing could tell whether it had been ended already."""

    tokens: int
    operators: list[str]


def end_unsure(
    conn: Connection,
    owners: Collection[str],
    at: datetime,
    by: str,
    why: str,
    *,
    only: Collection[str] | None = None,
) -> Ended:
    """End every token, and every account but those of the `owners` (OS users).

    `only` names the accounts that are unsure, where not all of them are.
    """
    tokens, names = 0, []
    for account in _all(conn):
        if only is not None and account.slug not in only:
            continue
        tokens += len(account.tokens)
        if account.tokens:
            accounts.take(conn, msgspec.structs.replace(account, tokens=[]))
        if account.state != AccountState.CUT and account.user not in owners:
            names.append(account.slug)
            _cut(conn, account, at, by, why)
    return Ended(tokens, names)


def agree(policy: Store, others: Sequence[Store], marks: Iterable[Mark]) -> None:
    """Give every store the marks of all, and a roster that is newer than any of theirs."""
    stores = (policy, *others)
    known = [*marks, *(each for store in stores for each in store.read_now(roster_store.marks))]
    newest = max(store.read_now(roster_store.roster).sequence for store in stores)

    def publish(conn: Connection) -> None:
        for mark in known:
            if mark.kind in {CUT.mark, FREEZE.mark}:
                _mark(conn, mark)
        roster_store.add(conn, known)
        accounts.publish(conn, after=newest)

    policy.write_now(publish)
    roster = policy.read_now(roster_store.roster)
    for store in others:
        store.write_now(
            lambda conn: (roster_store.keep(conn, roster), roster_store.add(conn, known))
        )


def _cut(conn: Connection, account: OperatorAccount, at: datetime, by: str, why: str) -> bool:
    mark = Mark(
        name=account.slug, generation=account.generation, kind="cut", at=at, by=by, reason=why
    )
    return _mark(conn, mark)


def _all(conn: Connection) -> list[OperatorAccount]:
    return list(conn.execute(select(ACCOUNTS.c.body).order_by(ACCOUNTS.c.name)).scalars())


def _account(leaf: Leaf) -> OperatorAccount:
    """Return the account that an event left behind. Raises `ValueError` for only a digest of it."""
    try:
        return msgspec.convert(leaf.after, OperatorAccount, strict=False)
    except msgspec.ValidationError:
        raise ValueError("its event does not tell what the account became") from None


def _update(conn: Connection, leaf: Leaf, *names: str) -> bool:
    now, held = _account(leaf), accounts.find(conn, leaf.target)
    if held is None:
        return False
    changed = msgspec.structs.replace(held, **{name: getattr(now, name) for name in names})
    if changed == held:
        return False
    accounts.take(conn, changed)
    return True
