"""Who may use a service: the standing operators, the roster that policy told, and the cuts.

Every service decides alone, from what it keeps: with policy down nobody is locked out, and
whoever was cut off here stays so whatever policy says later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from console.api.problems import refusal
from console.errors import PilotError
from console.model.account import AccountKind, OperatorSession
from console.model.operator import Operator, Role

LONGEST_AGENT = 120
MOST_SESSIONS = 5000


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


class Caller(NamedTuple):
    """Someone who was let in, and by what."""

    operator: Operator
    by: str
    token_id: str = ""
    generation: int = 0
    """Of the account: whoever was cut off and let in again is another caller."""
    ends_at: datetime | None = None
    """When the token ends."""


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


class Identities:
    """Who may use one service now. Kept in memory; `take` follows each change of what is kept."""

    def __init__(self, service: str, standing: Sequence[Operator]) -> None:
        self.service = service
        self.standing = tuple(standing)
        self._sessions: dict[tuple[str, str, str, str], OperatorSession] = {}
        self._marks: set[Mark] = set()
        self._roster = Roster(sequence=0, entries=[])
        self.take(self._roster, ())
        self._built: tuple[object, Directory] = (None, self.directory)

    def take(self, roster: Roster, marks: Iterable[Mark]) -> None:
        """Decide by this roster and these marks from now on; a mark that is known stays."""
        self._marks |= set(marks)
        if roster.sequence >= self._roster.sequence:
            self._roster = roster
        self.directory = Directory(self.standing, self._roster, self._marks)

    def add(self, mark: Mark) -> None:
        """Decide by this mark, too, from now on."""
        self.take(self._roster, [mark])

    def built(
        self, version: object, read: Callable[[], tuple[Roster, Iterable[Mark]]]
    ) -> Directory:
        """Return who may use this service by what `read` returns, as of this `version`.

        Only another version is read. Called from the threads of the store, too.
        """
        known = self._built
        if known[0] != version:
            known = (version, Directory(self.standing, *read()))
            self._built = known
        return known[1]

    def entry(self, name: str) -> Entry | None:
        """Return an account as this service knows it."""
        return self.directory.entry(name)

    def names(self) -> list[str]:
        """Return the names of everybody who is not cut off, break-glass accounts apart."""
        return self.directory.names()

    def saw(self, caller: Caller, source: str, agent: str, at: datetime) -> bool:
        """Count a request; tell whether it is the first of a session."""
        key = (caller.operator.name, caller.by, source, agent[:LONGEST_AGENT])
        known = self._sessions.get(key)
        if known is None and len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[key] = OperatorSession(
            operator=key[0], by=key[1], source=key[2], agent=key[3], service=self.service,
            first_at=known.first_at if known else at, last_at=at,
            requests=known.requests + 1 if known else 1,
        )  # fmt: skip
        return known is None

    def sessions(self) -> list[OperatorSession]:
        """Return who has used this service since it started, the newest use first."""
        return sorted(self._sessions.values(), key=lambda each: each.last_at, reverse=True)

    def uses(self) -> list[Mark]:
        """Return when each account was last used here: what policy learns of the others."""
        last: dict[str, datetime] = {}
        for each in self._sessions.values():
            last[each.operator] = max(each.last_at, last.get(each.operator, each.last_at))
        return [
            Mark(
                name=name, generation=entry.generation, kind="used", at=at, by=name, reason=""
            )
            for name, at in last.items()
            if (entry := self.entry(name)) is not None
            and entry.kind != AccountKind.BREAK_GLASS
        ]  # fmt: skip

    def end_sessions(self, name: str) -> int:
        """Forget the sessions of someone who was cut off; return how many there were."""
        theirs = [key for key in self._sessions if key[0] == name]
        for key in theirs:
            del self._sessions[key]
        return len(theirs)


def hash_of(raw: str) -> str:
    """Return what is stored of a token: its SHA-256, hex."""
    return hashlib.sha256(raw.encode()).hexdigest()


def closes_only(operator: Operator) -> bool:
    """Tell whether someone may look and close, and nothing else."""
    return operator.frozen or operator.kind == AccountKind.BREAK_GLASS


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
