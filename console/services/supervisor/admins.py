"""Whether anybody could administer the pilot that is about to start, and who its operators are."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Sequence, Set
from contextlib import closing
from typing import Any

import msgspec

from console.errors import ExitCode, PilotError
from console.model.account import AccountKind, AccountState, OperatorAccount
from console.model.operator import Operator, Role
from console.services.settings import Settings

STORES = ("policy", "gateway", "audit")
"""Whose stores hold marks: what one was told while the others were down holds everywhere."""


def described(operators: Sequence[Operator]) -> str:
    """Return who is what, in one line."""
    return "; ".join(f"{each.name}: {', '.join(each.roles) or 'no role'}" for each in operators)


def refuse_without_admin(read: Settings) -> None:
    """Raise `PilotError` (`no-admin`) where the settings leave nobody who is an admin."""
    if not _states_of_admins(read):
        raise PilotError(
            "no-admin",
            f"{read.home.config} names operators and no admin ({described(read.operators)}): "
            "nobody could add, thaw or restore an operator",
            exit=ExitCode.USAGE,
            hint='add an [[operators]] table for yourself with roles = ["admin"]',
        )


def restricted_admins(read: Settings) -> str:
    """Return that every admin is cut or frozen, and the owner's command; empty where one is not.

    That is told and not refused: who freezes the only admin must not keep the pilot, and with
    it every closing, down after a restart.
    """
    states = _states_of_admins(read)
    if not states or AccountState.ACTIVE in states.values():
        return ""
    frozen = [name for name, state in states.items() if state == AccountState.FROZEN]
    verb, name = ("thaw", frozen[0]) if frozen else ("restore", next(iter(states)))
    home = shlex.quote(str(read.home.path))
    return (
        f"no admin may do anything ({'; '.join(f'{a} is {b.value}' for a, b in states.items())}): "
        f"as the owner of the folder: pilotctl owner {verb} {name} --home {home} --reason '…'"
    )


def _states_of_admins(read: Settings) -> dict[str, AccountState]:
    """Return in which state each admin will be, by the file, the accounts and the marks."""
    known = {
        account.slug: account
        for account in (
            msgspec.json.decode(body, type=OperatorAccount)
            for (body,) in _rows(read, "policy", "SELECT body FROM operator_accounts")
        )
    }
    marks = {
        mark
        for service in STORES
        for mark in _rows(read, service, "SELECT kind, name, generation FROM operator_marks")
    }
    states = {
        name: _state(account, marks)
        for name, account in known.items()
        if not account.standing
        and account.kind == AccountKind.PERSON
        and Role.ADMIN in account.roles
        and account.state != AccountState.CUT
    }
    for each in read.operators:
        states.pop(each.name, None)
        if Role.ADMIN in each.roles:
            states[each.name] = _state(known.get(each.name), marks)
    return states


def _state(account: OperatorAccount | None, marks: Set[tuple[object, ...]]) -> AccountState:
    """Return the state of an account once the file is followed; without one it is added."""
    if account is None:
        return AccountState.ACTIVE
    is_cut = ("cut", account.slug, account.generation) in marks
    if is_cut and not account.was_removed:
        return AccountState.CUT
    is_frozen = ("frozen", account.slug, account.thaws) in marks
    return AccountState.FROZEN if is_frozen else AccountState.ACTIVE


def _rows(read: Settings, service: str, query: str) -> list[tuple[Any, ...]]:
    """Return what a service's store answers; nothing where it is not there or not readable."""
    store = read.home.store(service)
    if not store.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()
    except sqlite3.Error:
        return []


def operators_of(read: Settings) -> str:
    """Return who is what by `pilot.toml`, for a person; empty where it names nobody."""
    if not read.names_operators:
        return ""
    said = f"operators of {read.home.config}: {described(read.operators)}"
    if any(each.uid == os.geteuid() for each in read.operators):
        return said
    return f"{said}; the user who runs the services is none of them"
