"""Comparing what the store lists with what the log holds, entry by entry.

The log's files are what is signed and what consoles pin; the store is what is searched.
An entry that was changed in the store, or deleted from it, is shown as the log holds it,
with `fault` naming what is wrong. Rows are compared as they are read; a pass over everything,
at start and at intervals, finds what a filter would hide.
"""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.audit import Event, LogFinding, StoreComparison
from console.model.number import whole_number
from console.model.stored import Page
from console.services.audit.log import event_search, ledger
from console.services.audit.log.leaf import BadLeaf, Leaf, read_leaf
from console.services.audit.log.publisher import Head, Publisher
from console.services.audit.state.schema import LEAVES, TREE
from console.services.store import Store
from console.services.web import Ask, Found
from console.trust.merkle import leaf_hash
from console.trust.tiles import WIDTH, TileReader, folder_reader, tile_at

MAX_FAULTS = 1000
"""Entries that are remembered by index, and restored on one page."""
COMPARED_AT_ONCE = 1000
"""Entries that a pass compares in one read of the store."""
MAX_COMPARED = 10_000
"""Entries that one request compares."""
PASS_SECONDS = 600.0
"""How long after a pass the next one begins, at least."""
PASS_SHARE = 30
"""It is this many times what the last one took: a big log is not compared all the time."""

MISSING = "store-entry-missing"
CHANGED = "store-entry-changed"
HIDDEN = "store-entry-hidden"
UNREADABLE = "log-entry-unreadable"

_WORDS = {
    MISSING: "the store has lost this entry; it is shown as the log holds it",
    CHANGED: "the store holds another entry here; it is shown as the log holds it",
    HIDDEN: "the store's index does not find this entry; it is shown as the log holds it",
    UNREADABLE: "the log's files do not hold this entry as it was signed",
}
MEND = "put the audit store back from a backup, and find out who changed it"


class _Log(NamedTuple):
    """The published log at the head that one read compares with."""

    head: Head
    size: int
    reader: TileReader
    hashes: dict[int, list[bytes]]

    def hash_of(self, index: int) -> bytes:
        number, offset = divmod(index, WIDTH)
        if number not in self.hashes:
            self.hashes[number] = self.reader.hashes(tile_at(0, number, self.reader.size))
        return self.hashes[number][offset]

    def entry(self, index: int) -> bytes | None:
        """Return the entry's bytes; None where the files do not hold what was signed."""
        with suppress(OSError, PilotError):
            body = self.reader.entry(index)
            if leaf_hash(body) == self.hash_of(index):
                return body
        return None


class StoreCheck:
    """Reads of the store, each compared with the published log."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.faults: dict[int, str] = {}
        """Index to the code of what is wrong there, as the last pass found it."""
        self.unlisted = 0
        """Faults beyond `MAX_FAULTS`."""

    def listing(self, conn: Connection, ask: Ask) -> Page[Event]:
        """Answer `audit.list`, with what the store lost and without what it made up."""
        page = event_search.events(conn, ask)
        log = self._log(conn)
        if log is None:
            return page
        ascending = bool(ask.query.get("after", ""))
        low, high = _span(page, ask, log.size, ascending=ascending)
        items = self._restored(log, page.items, ask.query, low, high)
        items.sort(key=lambda event: event.index, reverse=not ascending)
        warnings = list(page.warnings)
        if faults := [event for event in items if event.fault]:
            warnings.append(f"{len(faults)} of these are not in the store as the log holds them")
        if self.unlisted:
            warnings.append(f"{self.unlisted} more entries are not: pilotctl audit verify")
        return msgspec.structs.replace(page, items=items, warnings=warnings)

    def show(self, conn: Connection, ask: Ask) -> Event:
        """Answer `audit.show`."""
        return self.find(conn, ask.path["event"])

    def find(self, conn: Connection, named: str) -> Event:
        """Return the event of that id or index. Raises the problem `not-found`."""
        log = self._log(conn)
        try:
            found = event_search.found(conn, named)
        except PilotError:
            if log is None or (lost := self._lost(log, named)) is None:
                raise
            return lost
        return found if log is None else self._checked(log, found)

    def tail(self, conn: Connection, said: Mapping[str, str], after: int) -> Found:
        """Return the events after an index for a stream, restored as a list's are."""
        found = event_search.tail(conn, said, after)
        log = self._log(conn)
        if log is None:
            return found
        events = [event for _, event in found.rows]
        items = self._restored(log, events, said, after + 1, min(found.reached, log.size - 1))
        items.sort(key=lambda event: event.index)
        return Found([(event.index, event) for event in items], found.reached)

    def compare(self, conn: Connection, ask: Ask) -> StoreComparison:
        """Answer `log.compare`: `MAX_COMPARED` entries at most, from `from` on."""
        said = ask.query.get("from", "") or "0"
        start = whole_number(said)
        if start is None:
            raise refusal("malformed", f"from: not an index: {said[:40]!a}")
        log = self._log(conn)
        size = log.size if log else 0
        end = min(size, start + MAX_COMPARED)
        faults = self._faults(conn, log, start, end) if log else {}
        return StoreComparison(
            tree_size=size,
            next=end,
            findings=[finding(index, code) for index, code in faults.items()],
        )

    async def run(self, store: Store) -> None:
        """Compare everything now and then, giving way to whoever asks something."""
        while True:
            began = time.monotonic()
            with suppress(PilotError):  # the store is busy or closing: at the next pass
                await self.compare_all(store)
            await asyncio.sleep(max(PASS_SECONDS, PASS_SHARE * (time.monotonic() - began)))

    def notes(self) -> list[str]:
        """Return what the last pass found, in words for a service's status."""
        if not self.faults:
            return []
        count = len(self.faults) + self.unlisted
        named = ", ".join(str(index) for index in list(self.faults)[:5])
        told = f"the store differs from the log in {count} entries, the first are {named}"
        return [f"{told}: pilotctl audit verify"]

    async def compare_all(self, store: Store) -> None:
        """Compare the whole store, and remember what is wrong with it."""
        found: dict[int, str] = {}
        unlisted, start = 0, 0
        while True:
            began = time.monotonic()
            faults = await store.read(self._chunk(start))
            if faults is None:
                break
            for index, code in faults.items():
                if len(found) < MAX_FAULTS:
                    found[index] = code
                else:
                    unlisted += 1
            start += COMPARED_AT_ONCE
            if found:  # told while the pass goes on
                self.faults, self.unlisted = {**self.faults, **found}, unlisted
            await asyncio.sleep(time.monotonic() - began)
        self.faults, self.unlisted = found, unlisted

    def _chunk(self, start: int) -> Callable[[Connection], dict[int, str] | None]:
        def compare(conn: Connection) -> dict[int, str] | None:
            log = self._log(conn)
            if log is None or start >= log.size:
                return None
            return self._faults(conn, log, start, min(log.size, start + COMPARED_AT_ONCE))

        return compare

    def _log(self, conn: Connection) -> _Log | None:
        """Return the log that this snapshot of the store belongs to; None amid a handover."""
        head = self._publisher.head
        if conn.execute(select(TREE.c.key)).scalar() != str(head.key):
            return None
        size = min(head.size, ledger.tree(conn).size)
        reader = TileReader(folder_reader(self._publisher.folder), head.size)
        return _Log(head, size, reader, {})

    def _faults(self, conn: Connection, log: _Log, start: int, end: int) -> dict[int, str]:
        """Compare the entries from `start` to `end` (exclusive)."""
        query = select(LEAVES).where(LEAVES.c.idx >= start, LEAVES.c.idx < end)
        rows = {row.idx: row for row in conn.execute(query)}
        faults = {}
        sound: list[tuple[int, Leaf]] = []
        for index in range(start, end):
            row = rows.get(index)
            if code := MISSING if row is None else self._fault(log, event_search.listed(row)):
                faults[index] = code
            elif row is not None:
                sound.append((index, read_leaf(row.body)))
        hidden = dict.fromkeys(event_search.unfindable(conn, sound), HIDDEN)
        return dict(sorted({**faults, **hidden}.items()))

    def _fault(self, log: _Log, event: Event) -> str:
        """Return the code of what is wrong with a row of the store; empty where nothing is."""
        if event.index >= log.size:
            return ""
        body = event.body.encode()
        try:
            same = leaf_hash(body) == log.hash_of(event.index)
        except (OSError, PilotError):
            same = False
        if not same and not self._publisher.is_current(log.head):
            return ""  # the log was handed over while this was read
        if same and event == _event(event.index, body):
            return ""
        if not same and log.entry(event.index) is None:
            return UNREADABLE
        return CHANGED

    def _checked(self, log: _Log, event: Event) -> Event:
        """Return the event as the log holds it, with what is wrong with the store's."""
        code = self._fault(log, event)
        if not code:
            return event
        body = log.entry(event.index)
        true = _event(event.index, body) if body is not None else None
        return msgspec.structs.replace(true or event, fault=_WORDS[code])

    def _restored(
        self, log: _Log, events: Iterable[Event], said: Mapping[str, str], low: int, high: int
    ) -> list[Event]:
        """Check events, and add those between `low` and `high` that the store has lost."""
        items = [self._checked(log, event) for event in events]
        there = {event.index for event in items}
        high = min(high, log.size - 1)
        if any(said.get(name) for name in event_search.FILTERS):
            lost: Iterable[int] = (each for each in self.faults if low <= each <= high)
        else:
            whole = high - low + 1 == sum(low <= each <= high for each in there)
            lost = () if whole else range(low, high + 1)
        added = 0
        for index in lost:
            if added == MAX_FAULTS:
                break
            if index in there:
                continue
            body = log.entry(index)
            event = _event(index, body) if body is not None else None
            if event is not None and event_search.matches(read_leaf(event.body.encode()), said):
                code = self.faults.get(index, MISSING)
                items.append(msgspec.structs.replace(event, fault=_WORDS[code]))
                added += 1
        return items

    def _lost(self, log: _Log, named: str) -> Event | None:
        """Return an event that the store has lost, by its index or, after a pass, its id."""
        known = whole_number(named)
        indices: Sequence[int] = list(self.faults) if known is None else [known]
        for index in indices:
            body = log.entry(index) if index < log.size else None
            event = _event(index, body) if body is not None else None
            if event is not None and named in {event.id, str(index)}:
                return msgspec.structs.replace(event, fault=_WORDS[MISSING])
        return None


def finding(index: int, code: str) -> LogFinding:
    """Return a fault of the store as `audit verify` lists it."""
    message = {
        MISSING: f"it is in the log, and the store has lost it: {MEND}",
        CHANGED: f"the store holds another one than the log: {MEND}",
        HIDDEN: f"the store's index does not find it under every filter: {MEND}",
        UNREADABLE: "the log's files do not hold it as it was signed: restart audit",
    }[code]
    return LogFinding(code=code, where=f"entry {index}", message=message)


def _event(index: int, body: bytes) -> Event | None:
    """Return the event that an entry's bytes say; None where they are no event."""
    try:
        return event_search.as_event(index, read_leaf(body))
    except BadLeaf:
        return None


def _span(page: Page[Event], ask: Ask, size: int, *, ascending: bool) -> tuple[int, int]:
    """Return the first and last index that a page is about."""
    at = _cursor(ask.query.get("cursor", ""))
    ends = _cursor(page.next_cursor)
    if ascending:
        start = int(ask.query["after"]) if at is None else at
        return start + 1, size - 1 if ends is None else ends
    first = size - 1 if at is None else at - 1
    return (0 if ends is None else ends), first


def _cursor(told: str) -> int | None:
    """Return the index that a cursor of the list goes on from."""
    if not told:
        return None
    values: Any = msgspec.json.decode(urlsafe_b64decode(told + "=" * (-len(told) % 4)))
    return int(values[1])
