"""Whether anybody could administer the pilot that is about to start, and who its operators are."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing

import msgspec

from console.errors import ExitCode, PilotError
from console.model.account import OperatorAccount
from console.model.operator import Operator, Role
from console.services.settings import Settings


def described(operators: Sequence[Operator]) -> str:
    """Return who is what, in one line."""
    return "; ".join(f"{each.name}: {', '.join(each.roles) or 'no role'}" for each in operators)


def refuse_without_admin(read: Settings) -> None:
    """Raise `PilotError` (`no-admin`) where nobody could add, thaw or restore an operator."""
    if any(Role.ADMIN in each.roles for each in read.operators) or _has_admin_account(read):
        return
    raise PilotError(
        "no-admin",
        f"{read.home.config} names operators and no admin ({described(read.operators)}): "
        "nobody could add, thaw or restore one",
        exit=ExitCode.USAGE,
        hint='add an [[operators]] table for yourself with roles = ["admin"]',
    )


def _has_admin_account(read: Settings) -> bool:
    """Tell whether somebody who is not in the file is an admin by an account of their own."""
    store = read.home.store("policy")
    if not store.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT body FROM operator_accounts WHERE state != 'cut' AND kind = 'person'"
            ).fetchall()
    except sqlite3.Error:
        return False
    found = [msgspec.json.decode(body, type=OperatorAccount) for (body,) in rows]
    return any(Role.ADMIN in each.roles and not each.standing for each in found)


def operators_of(read: Settings) -> str:
    """Return who is what by `pilot.toml`, for a person; empty where it names nobody."""
    if not read.names_operators:
        return ""
    said = f"operators of {read.home.config}: {described(read.operators)}"
    if any(each.uid == os.geteuid() for each in read.operators):
        return said
    return f"{said}; the user who runs the services is none of them"
