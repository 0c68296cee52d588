"""Who may use one service now: what it keeps of the roster and the marks, and who was there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from console.model.account import AccountKind, OperatorSession
from console.model.operator import Operator
from console.services.operators import roster_store
from console.services.operators.roster import Directory, Entry, Mark, Roster
from console.services.web.callers import Caller

MAX_AGENT_CHARACTERS = 120
MAX_SESSIONS = 5000


class Identities:
    """Who may use one service now. Kept in memory; `take` follows each change of what is kept."""

    def __init__(self, service: str, standing: Sequence[Operator]) -> None:
        self.service = service
        self.standing = tuple(standing)
        self._sessions: dict[tuple[str, str, str, str], OperatorSession] = {}
        self._ended: dict[tuple[str, int], datetime] = {}
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

    def refresh(self, conn: Connection) -> None:
        """Decide by what is kept."""
        self.take(roster_store.roster(conn), roster_store.marks(conn))

    def directory_in(self, conn: Connection) -> Directory:
        """Return who may use the service by what is kept in this very transaction.

        Only another version is read. Called from the threads of the store, too.
        """
        version = roster_store.version(conn)
        known = self._built
        if known[0] != version:
            kept = roster_store.roster(conn), roster_store.marks(conn)
            known = (version, Directory(self.standing, *kept))
            self._built = known
        return known[1]

    def caller(
        self, uid: int | None, token_sha256: str, at: datetime, conn: Connection | None = None
    ) -> Caller:
        """Return who asks, by what this process knows, or by what is kept in a transaction.

        Raises the problem `not-an-operator`.
        """
        directory = self.directory if conn is None else self.directory_in(conn)
        return directory.caller(uid, token_sha256, at)

    def is_operator(self, uid: int) -> bool:
        """Tell whether an OS user is somebody here who is not cut off."""
        return self.directory.is_operator(uid)

    def entry(self, name: str) -> Entry | None:
        """Return an account as this service knows it."""
        return self.directory.entry(name)

    def names(self) -> list[str]:
        """Return the names of everybody who is not cut off, break-glass accounts apart."""
        return self.directory.names()

    def saw(self, caller: Caller, source: str, agent: str, at: datetime) -> bool:
        """Count a request; tell whether it is the first of a session."""
        key = (caller.operator.name, caller.by, source, agent[:MAX_AGENT_CHARACTERS])
        known = self._sessions.get(key)
        if known is None and len(self._sessions) >= MAX_SESSIONS:
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
        """Return when each account was last used here: what policy learns of the others.

        Who was cut off stays in it: when a stolen token was used last is asked afterwards.
        """
        last: dict[str, datetime] = {}
        for each in self._sessions.values():
            last[each.operator] = max(each.last_at, last.get(each.operator, each.last_at))
        found = [(self.entry(name), at) for name, at in last.items()]
        found += [
            (entry, at)
            for (name, generation), at in self._ended.items()
            if (entry := self.entry(name)) and entry.generation == generation
        ]
        return [
            Mark(
                name=entry.name, generation=entry.generation, kind="used", at=at, by=entry.name,
                reason="",
            )
            for entry, at in found
            if entry is not None and entry.kind != AccountKind.BREAK_GLASS
        ]  # fmt: skip

    def end_sessions(self, name: str) -> int:
        """Forget the sessions of someone who was cut off; return how many there were."""
        theirs = [key for key in self._sessions if key[0] == name]
        entry = self.entry(name)
        for key in theirs:
            last = self._sessions.pop(key).last_at
            if entry is not None:
                ended = (name, entry.generation)
                self._ended[ended] = max(last, self._ended.get(ended, last))
        return len(theirs)
