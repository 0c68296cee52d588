"""Whether a break-glass account can be used, and what makes one that can."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from console.model.account import AccountKind, AccountState
from console.services.operators.tables import ACCOUNTS

SEAL = "pilotctl break-glass seal --replace --reason '…' --secret-file PATH"
"""What makes one that can be used, and ends those before it."""


def trouble(conn: Connection, at: datetime) -> str:
    """Say that no break-glass account can be used, where some were sealed; empty otherwise."""
    asked = select(ACCOUNTS.c.body).where(ACCOUNTS.c.kind == AccountKind.BREAK_GLASS.value)
    sealed = sorted(conn.execute(asked).scalars(), key=lambda each: each.created_at)
    for account in sealed:
        living = [each for each in account.tokens if each.ends_at is None or each.ends_at > at]
        if account.state != AccountState.CUT and living:
            return ""
    if not sealed:
        return ""
    newest = sealed[-1]
    why = newest.state_reason or "its token has ended"
    return f"no break-glass account can be used (the newest, {newest.slug}: {why}): {SEAL}"
