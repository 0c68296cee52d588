"""The operators of `pilot.toml`: their accounts follow the file, and each change is an event."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select

from console.model.account import REMOVED, AccountKind, AccountState, OperatorAccount
from console.model.ids import new_id
from console.model.operator import Operator
from console.services.events import SYSTEM, event
from console.services.operators import accounts, roster_store
from console.services.operators.roster import Mark
from console.services.operators.tables import ACCOUNTS, TOKENS
from console.services.store import emit

ADDED = "named in pilot.toml"
CHANGED = "changed in pilot.toml"


def sync_configured_operators(
    conn: Connection, operators: Iterable[Operator], at: datetime, *, by_default: bool = False
) -> None:
    """Make the accounts follow `pilot.toml`, with an event for each change.

    Whoever is no longer named there is cut off, and let in again where they are named again;
    a cut that a person made stays, and so does a freeze. `by_default`: the file names nobody, and
    `operators` is the user who runs the services. A new store says nothing of that one.
    """
    named = {each.name: each for each in operators}
    rows: list[OperatorAccount] = list(
        conn.execute(select(ACCOUNTS.c.body).order_by(ACCOUNTS.c.name)).scalars()
    )
    silent = by_default and not rows
    known = {row.slug: row for row in rows}
    for each in named.values():
        before = known.get(each.name)
        after = _named(conn, each, before, at)
        if after == before:
            continue
        accounts.save(conn, after)
        if not silent:
            _record(conn, _action(before, after), after, before, at)
    for row in rows:
        if row.standing and row.slug not in named:
            _remove(conn, row, at)
    accounts.publish(conn)


def _named(
    conn: Connection, operator: Operator, before: OperatorAccount | None, at: datetime
) -> OperatorAccount:
    """Return the account as the file has it, at a new revision where that is a change."""
    if before is None:
        return OperatorAccount(
            id=new_id("operator"), created_at=at, created_by=SYSTEM, updated_at=at,
            updated_by=SYSTEM, slug=operator.name, kind=AccountKind.PERSON.value,
            user=operator.name, roles=operator.roles, groups=operator.groups,
            state=AccountState.ACTIVE.value, standing=True,
        )  # fmt: skip
    members: dict[str, Any] = {
        "kind": AccountKind.PERSON.value, "user": operator.name, "roles": operator.roles,
        "groups": operator.groups, "standing": True,
    }  # fmt: skip
    if before.was_removed:
        members |= {
            "state": accounts.state_let_in(conn, before).value, "state_reason": "", "tokens": [],
            "generation": before.generation + 1,
        }  # fmt: skip
    after = msgspec.structs.replace(before, **members)
    return before if after == before else _touched(after, at)


def _action(before: OperatorAccount | None, after: OperatorAccount) -> str:
    if before is None:
        return "operator.add"
    return "operator.set" if before.state == after.state else "operator.restore"


def _remove(conn: Connection, before: OperatorAccount, at: datetime) -> None:
    """Cut off who is no longer named, here and, by the mark, at every service."""
    if before.state == AccountState.CUT:
        after = _touched(msgspec.structs.replace(before, standing=False), at, before.updated_by)
        accounts.save(conn, after)
        _record(conn, "operator.set", after, before, at)
        return
    after = _touched(
        msgspec.structs.replace(
            before, state=AccountState.CUT.value, state_reason=REMOVED, standing=False, tokens=[]
        ),
        at,
    )
    conn.execute(delete(TOKENS).where(TOKENS.c.name == before.slug))
    accounts.save(conn, after)
    event_id = _record(conn, "operator.cut", after, before, at)
    mark = Mark(
        name=before.slug, generation=before.generation, kind="cut", at=at, by=SYSTEM,
        reason=REMOVED,
    )  # fmt: skip
    roster_store.add(conn, [mark], event_id)


def _touched(account: OperatorAccount, at: datetime, by: str = SYSTEM) -> OperatorAccount:
    return msgspec.structs.replace(
        account, revision=account.revision + 1, updated_at=at, updated_by=by
    )


def _record(
    conn: Connection,
    action: str,
    after: OperatorAccount,
    before: OperatorAccount | None,
    at: datetime,
) -> str:
    reason = ADDED if before is None else CHANGED if after.standing else REMOVED
    return emit(
        conn,
        event(
            action, service="policy", actor=SYSTEM, kind="operator", target=after.slug,
            name=after.slug, reason=reason, at=at, before=before, after=after,
        ),
    )  # fmt: skip
