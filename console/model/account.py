"""Operators as objects: accounts with roles and groups, their tokens, their sessions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from console.model.operator import Role
from console.model.stored import Request, Stored
from console.model.text import Reason, Time

OperatorName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z_][a-z0-9_.\-]{0,62}$(?!\n)",
        description="lower-case letters, digits, '_', '-' and '.', at most 63",
    ),
]
GroupName = Annotated[
    str, Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9][a-z0-9\-.]*$(?!\n)")
]


RESERVED_NAMES = frozenset({"system", "service", "break-glass"})
"""Actors of events that are no person: nobody else may be called so."""
BREAK_GLASS_NAME = "break-glass-"
"""How the name of each break-glass account begins."""


def is_reserved(name: str) -> bool:
    """Tell whether pilotctl itself acts by this name, so that no operator may have it."""
    return name in RESERVED_NAMES or name.startswith(BREAK_GLASS_NAME)


REMOVED = "no longer in pilot.toml"
"""Why an account is cut off that followed the file, and no person cut."""


class AccountKind(StrEnum):
    """Who uses an account. A break-glass account can only close, and its use is an alert."""

    PERSON = "person"
    SERVICE = "service"
    BREAK_GLASS = "break-glass"


class AccountState(StrEnum):
    """`frozen` may look and close, and opens nothing; `cut` ends every session and token."""

    ACTIVE = "active"
    FROZEN = "frozen"
    CUT = "cut"


class OperatorToken(msgspec.Struct, kw_only=True, frozen=True):
    """A bearer token of an account. The token itself is nowhere: only its SHA-256 is stored."""

    id: str
    hint: str
    """The last four characters, to tell tokens apart."""
    created_at: datetime
    created_by: str
    ends_at: datetime | None = None


class OperatorAccount(Stored, kw_only=True, frozen=True):
    """Someone, or something, that may use the operator APIs."""

    slug: str
    """Their name, as it is typed and as events hold it."""
    kind: str
    user: str
    """The OS user that it is on this machine's sockets; empty for none."""
    roles: list[str]
    groups: list[str]
    """Approvers of one change come from distinct groups."""
    state: Annotated[str, AccountState]
    state_reason: str = ""
    generation: int = 0
    """Counts how often it was let in again: a cut holds for one generation, for ever."""
    thaws: int = 0
    """Counts how often it was thawed: a freeze holds until the next thaw."""
    standing: bool = False
    """Named in `pilot.toml`: its user and roles are changed there."""
    tokens: list[OperatorToken] = []
    used_at: datetime | None = None
    """When it was last used, to the minute; of a break-glass account, when it was first."""
    unaware: list[str] = []
    """In the answer to a change: services that have not taken it in yet. They do so when they
    can be reached."""

    @property
    def was_removed(self) -> bool:
        """Whether the file, and no person, cut the account off: naming it again lets it in."""
        by_no_person = self.updated_by in RESERVED_NAMES and self.state_reason == REMOVED
        return self.state == AccountState.CUT and by_no_person


class NewOperator(Request, kw_only=True, frozen=True):
    """What `operator add` sends."""

    name: OperatorName
    kind: AccountKind = AccountKind.PERSON
    user: Annotated[str, Meta(max_length=64)] = ""
    roles: Annotated[list[Role], Meta(min_length=1, max_length=6)]
    groups: Annotated[list[GroupName], Meta(max_length=20)] = []
    reason: Reason


class SetOperator(Request, kw_only=True, frozen=True):
    """What `operator set` sends: what is None stays."""

    roles: Annotated[list[Role], Meta(min_length=1, max_length=6)] | None = None
    groups: Annotated[list[GroupName], Meta(max_length=20)] | None = None
    reason: Reason


class CutOperator(Request, kw_only=True, frozen=True):
    """What `operator cut` sends to each service."""

    reason: Reason


class FreezeOperator(Request, kw_only=True, frozen=True):
    """What `operator freeze` sends to each service."""

    reason: Reason


class ThawOperator(Request, kw_only=True, frozen=True):
    """What `operator thaw` sends: everything that the account may do, with its tokens."""

    reason: Reason


class RestoreOperator(Request, kw_only=True, frozen=True):
    """What `operator restore` sends: a new generation, without the old tokens."""

    reason: Reason


class IssueToken(Request, kw_only=True, frozen=True):
    """What `operator token` sends. `replace` ends the account's other tokens at once."""

    ends_at: Time | None = None
    replace: bool = False
    reason: Reason


class SealBreakGlass(Request, kw_only=True, frozen=True):
    """What `break-glass seal` sends. `replace` cuts every break-glass account before it."""

    ends_at: Time | None = None
    replace: bool = False
    reason: Reason


class IssuedToken(msgspec.Struct, kw_only=True, frozen=True):
    """The answer to `operator token`. `secret` is there once; a replayed answer has none."""

    account: OperatorAccount
    token: OperatorToken
    secret: str | None = None
    replayed: bool = False

    def redacted(self) -> IssuedToken:
        """Return the answer as it may be kept and told again: without the token."""
        return msgspec.structs.replace(self, secret=None, replayed=True)


class ServiceCut(msgspec.Struct, kw_only=True, frozen=True):
    """What one service says of an operator who was cut off or frozen."""

    service: str
    state: str
    """`cut` or `frozen`, or `unknown` where the service did not answer."""
    at: datetime | None = None
    event_id: str = ""
    sessions: int = 0
    """Sessions of theirs that ended with it."""
    why: str = ""


class OperatorCut(msgspec.Struct, kw_only=True, frozen=True):
    """How an operator was cut off or frozen: service by service, each from its own answer."""

    operator: str
    state: str
    """`cut` or `frozen` where every service said so, else `partial`."""
    services: list[ServiceCut]


class OperatorSession(msgspec.Struct, kw_only=True, frozen=True):
    """Someone who has used a service since it started, and by what."""

    operator: str
    service: str
    by: str
    """`user root` on a socket of this machine, or `token …` by its last characters."""
    source: str
    """The caller's address, or `this machine`."""
    agent: str
    first_at: datetime
    last_at: datetime
    requests: int
