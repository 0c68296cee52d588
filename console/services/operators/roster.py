"""Who may use a service: the standing operators, the roster that policy told, and the cuts.

Every service decides alone, from what it keeps: with policy down nobody is locked out, and
whoever was cut off here stays so whatever policy says later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from console.api.problems import refusal
from console.errors import PilotError
from console.model.account import AccountKind
from console.model.operator import Operator, Role
from console.services.web.callers import Caller


class RosterToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token as services know it."""

    id: str
    hint: str
    sha256: str
    ends_at: datetime | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An account as services know it. `uid` is None where it is no OS user."""

    name: str
    kind: str
    uid: int | None
    roles: list[str]
    groups: list[str]
    generation: int
    tokens: list[RosterToken] = []
    thaws: int = 0
    standing: bool = False
    """Named in `pilot.toml` as policy read it."""

    @property
    def is_admin(self) -> bool:
        """Whether it may do everything."""
        return Role.ADMIN in self.roles


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What is so for ever of one generation of an account: `cut`, `frozen`, or `used`.

    A freeze counts by thaws instead: its `generation` is how often the account was thawed.
    """

    name: str
    generation: int
    kind: str
    at: datetime
    by: str
    reason: str


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """Every account that policy keeps. A lower sequence is older, and ignored."""

    sequence: int
    entries: list[Entry]
    marks: list[Mark] = []


class Directory:
    """Who may use one service by a roster and its marks; a pure value."""

    def __init__(self, standing: Sequence[Operator], roster: Roster, marks: Iterable[Mark]) -> None:
        self._marked = {(mark.kind, mark.name, mark.generation) for mark in marks}
        named = {entry.name: entry for entry in roster.entries}
        entries = [_standing(each, named.get(each.name)) for each in standing]
        names = {entry.name for entry in entries}
        # one who is no longer in pilot.toml is nobody, even before policy says so
        entries += [
            entry for entry in roster.entries if entry.name not in names and not entry.standing
        ]
        self._entries = {entry.name: entry for entry in entries}
        # a standing operator wins over an account that claims the same user
        self._by_uid = {entry.uid: entry for entry in reversed(entries) if entry.uid is not None}
        self._by_token = {
            token.sha256: (entry, token) for entry in entries for token in entry.tokens
        }

    def entry(self, name: str) -> Entry | None:
        """Return an account, None where there is none of this name."""
        return self._entries.get(name)

    def is_operator(self, uid: int) -> bool:
        """Tell whether an OS user is somebody here who is not cut off."""
        found = self._by_uid.get(uid)
        return found is not None and not self.is_cut(found)

    def names(self) -> list[str]:
        """Return the names of everybody who is not cut off, break-glass accounts apart."""
        return [
            entry.name
            for entry in self._entries.values()
            if entry.kind != AccountKind.BREAK_GLASS and not self.is_cut(entry)
        ]

    def is_cut(self, entry: Entry) -> bool:
        """Tell whether this generation of the account was cut off."""
        return ("cut", entry.name, entry.generation) in self._marked

    def is_frozen(self, entry: Entry) -> bool:
        """Tell whether the account was frozen, and not thawed since."""
        return ("frozen", entry.name, entry.thaws) in self._marked

    def caller(self, uid: int | None, token_sha256: str, at: datetime) -> Caller:
        """Return who asks: by the token if one was sent, else by the OS user.

        Raises the problem `not-an-operator`.
        """
        if token_sha256:
            found = self._by_token.get(token_sha256)
            if found is None:
                raise _nobody("no operator has this token")
            entry, token = found
            if token.ends_at is not None and at >= token.ends_at:
                raise _nobody(f"this token of {entry.name} has ended")
            operator = self._let_in(entry, -1)
            by = f"token …{token.hint}"
            return Caller(operator, by, token.id, entry.generation, token.ends_at)
        if uid is None:
            raise _nobody("a token is needed here: there is no OS user at the other end")
        known = self._by_uid.get(uid)
        if known is None:
            raise _nobody(f"the OS user with the id {uid} is no operator here")
        operator = self._let_in(known, uid)
        return Caller(operator, f"user {known.name}", generation=known.generation)

    def _let_in(self, entry: Entry, uid: int) -> Operator:
        if self.is_cut(entry):
            raise refusal(
                "not-an-operator", f"{entry.name} was cut off",
                mend="an admin lets them in again: pilotctl operator restore; so does the owner, "
                "at the machine: pilotctl owner restore",
            )  # fmt: skip
        return Operator(
            name=entry.name, uid=uid, roles=entry.roles, groups=entry.groups, kind=entry.kind,
            frozen=self.is_frozen(entry),
        )  # fmt: skip


def roles_of_break_glass() -> list[str]:
    """Return what a break-glass account may do: what a responder may, and only closing."""
    return [Role.RESPONDER.value]


def _standing(operator: Operator, entry: Entry | None) -> Entry:
    kept: Mapping[str, object] = {} if entry is None else {
        "generation": entry.generation, "tokens": entry.tokens, "thaws": entry.thaws,
    }  # fmt: skip
    plain = Entry(
        name=operator.name, kind=AccountKind.PERSON.value, uid=operator.uid,
        roles=operator.roles, groups=operator.groups, generation=0,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **kept)


def _nobody(why: str) -> PilotError:
    return refusal("not-an-operator", why, mend="ask an admin: pilotctl operator add")
