"""Who a request is from, and what is asked of whoever knows the operators."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import Connection

from console.model.account import AccountKind
from console.model.operator import Operator


class Caller(NamedTuple):
    """Someone who was let in, and by what."""

    operator: Operator
    by: str
    token_id: str = ""
    generation: int = 0
    """Of the account: whoever was cut off and let in again is another caller."""
    ends_at: datetime | None = None
    """When the token ends."""


class Authenticator(Protocol):
    """Says who a caller is, of those who may use one service."""

    def caller(
        self, uid: int | None, token_sha256: str, at: datetime, conn: Connection | None = None
    ) -> Caller:
        """Return who asks: by the token if one was sent, else by the OS user.

        By what is kept in the transaction of `conn` where there is one, else by what the
        process knows. Raises the problem `not-an-operator`.
        """
        ...

    def is_operator(self, uid: int) -> bool:
        """Tell whether an OS user is somebody here who is not cut off."""
        ...

    def saw(self, caller: Caller, source: str, agent: str, at: datetime) -> bool:
        """Count a request; tell whether it is the first of a session."""
        ...


def hash_of(raw: str) -> str:
    """Return what is stored of a token: its SHA-256, hex."""
    return hashlib.sha256(raw.encode()).hexdigest()


def closes_only(operator: Operator) -> bool:
    """Tell whether someone may look and close, and nothing else."""
    return operator.frozen or operator.kind == AccountKind.BREAK_GLASS
