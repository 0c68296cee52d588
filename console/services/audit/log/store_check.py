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
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.audit import Event, LogFinding, StoreComparison
from console.model.number import whole_number
from console.model.stored import Page
from console.services.audit.log import event_search, stored_rows
from console.services.audit.log.leaf import BadLeaf, Leaf, read_leaf
from console.services.audit.log.publisher import Head, Publisher, names_other_log, not_yet
from console.services.audit.log.stored_rows import COLUMNS, listed
from console.services.audit.state.schema import LEAVES
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
INVENTED = "store-entry-invented"
STATE = "store-state-damaged"

_WORDS = {
    MISSING: "the store has lost this entry; it is shown as the log holds it",
    CHANGED: "the store holds another entry here; it is shown as the log holds it",
    HIDDEN: "the store's index does not find this entry; it is shown as the log holds it",
    UNREADABLE: "the log's files do not hold this entry as it was signed",
    INVENTED: "the log does not hold this entry: it was written into the store from outside",
}
MEND = "put the audit store back from a backup, and find out who changed it"


class _Log(NamedTuple):
    """The published log at the head that one read compares with."""

    head: Head
    size: int
    extent: int
    """Entries of the log with those that are not published yet."""
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
        self._gaps = stored_rows.Gaps()
        self.faults: dict[int, str] = {}
        """Index to the code of what is wrong there, as the last pass found it."""
        self.unlisted = 0
        """Faults beyond `MAX_FAULTS`."""

    def listing(self, conn: Connection, ask: Ask) -> Page[Event]:
        """Answer `audit.list`, with what the store lost and without what it made up."""
        log = self._log(conn)
        page = event_search.events(conn, ask, self.size(conn, log))
        if log is None:
            told = "another log follows: nothing here was compared with what is signed"
            return msgspec.structs.replace(page, warnings=[*page.warnings, told])
        ascending = bool(ask.query.get("after", ""))
        span = _span(page, ask, log.size, ascending=ascending)
        lost = self._gaps.of(conn, log.extent)
        items = self._restored(log, page.items, ask.query, span, lost.indices)
        items.sort(key=lambda event: event.index, reverse=not ascending)
        warnings = list(page.warnings)
        if faults := [event for event in items if event.fault]:
            warnings.append(f"{len(faults)} of these are not in the store as the log holds them")
        if lost.number:
            warnings.append(f"{lost.number} entries are missing from the store: {MEND}")
        if stored_rows.outside(conn, log.extent, 1):
            warnings.append("the store holds entries that the log does not: pilotctl audit verify")
        if self.unlisted:
            warnings.append(f"{self.unlisted} more entries are not: pilotctl audit verify")
        partial = page.partial or lost.number > len(lost.indices)
        return msgspec.structs.replace(page, items=items, warnings=warnings, partial=partial)

    def show(self, conn: Connection, ask: Ask) -> Event:
        """Answer `audit.show`."""
        return self.find(conn, ask.path["event"])

    def find(self, conn: Connection, named: str) -> Event:
        """Return the event of that id or index. Raises the problem `not-found`."""
        log = self._log(conn)
        try:
            found = event_search.found(conn, named)
        except PilotError:
            if log is None:
                raise
            lost = self._gaps.of(conn, log.extent)
            if (event := self._lost(log, named, lost.indices)) is not None:
                return event
            if not lost.number:
                raise
            told = f"the store has no event {named[:80]!a}, and has lost {lost.number} entries"
            raise refusal("not-found", f"{told}: it may be one of them", mend=MEND) from None
        if log is None:
            return found
        if not 0 <= found.index < log.extent:
            lost = self._gaps.of(conn, log.extent)
            return self._lost(log, named, lost.indices) or self._checked(log, found)
        return self._checked(log, found)

    def size(self, conn: Connection, log: _Log | None) -> int:
        """Return how many entries are listed: never more than the log has."""
        return log.extent if log else stored_rows.counted(conn)

    def newest(self, conn: Connection) -> int:
        """Return the newest entry's index, -1 in an empty log."""
        return self.size(conn, self._log(conn)) - 1

    def tail(self, conn: Connection, said: Mapping[str, str], after: int) -> Found:
        """Return the events after an index for a stream, restored as a list's are."""
        log = self._log(conn)
        found = event_search.tail(conn, said, after, self.size(conn, log))
        if log is None:
            return found
        events = [event for _, event in found.rows]
        lost = self._gaps.of(conn, log.extent).indices if _is_filtered(said) else ()
        items = self._restored(log, events, said, range(after + 1, found.reached + 1), lost)
        items.sort(key=lambda event: event.index)
        return Found([(event.index, event) for event in items], found.reached)

    def leaves(self, conn: Connection, after: int) -> tuple[list[tuple[int, Leaf]], int]:
        """Return the next leaves after an index as the log holds them, and how far they go.

        An entry that neither the store nor the log's files hold is left out: a pass tells it.
        """
        log = self._log(conn)
        after = min(after, log.extent - 1) if log else after
        found = self.tail(conn, {}, after)
        read = [(index, stored_rows.leaf_of(event.body.encode())) for index, event in found.rows]
        return [(index, leaf) for index, leaf in read if leaf is not None], found.reached

    def compare(self, conn: Connection, ask: Ask) -> StoreComparison:
        """Answer `log.compare`: `MAX_COMPARED` entries at most, from `from` on."""
        said = ask.query.get("from", "") or "0"
        start = whole_number(said)
        if start is None:
            raise refusal("malformed", f"from: not an index: {said[:40]!a}")
        log = self._log(conn)
        if log is None:
            raise not_yet()
        end = min(log.size, start + MAX_COMPARED)
        faults = self._faults(conn, log, start, end)
        findings = [finding(index, code) for index, code in faults.items()]
        if end == log.size:
            most = MAX_FAULTS - len(findings)
            invented = stored_rows.outside(conn, log.extent, max(most, 1))
            findings += [finding(index, INVENTED) for index in invented]
            if stored_rows.counted(conn) < log.size:
                told = f"the store's own count of the log is not what was signed: {MEND}"
                findings.append(LogFinding(code=STATE, where="store", message=told))
        return StoreComparison(tree_size=log.size, next=end, findings=findings)

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
            faults = await store.read(self._chunk(self._publisher.head, start))
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

    def _chunk(self, head: Head, start: int) -> Callable[[Connection], dict[int, str] | None]:
        """Return what compares a part of what `head` has signed; None behind its end.

        The head was published before the store is read: what it signs must be there.
        """

        def compare(conn: Connection) -> dict[int, str] | None:
            log = self._log(conn, head)
            if log is None or start > log.size:
                return None
            end = min(log.size, start + COMPARED_AT_ONCE)
            faults = self._faults(conn, log, start, end)
            if start + COMPARED_AT_ONCE > log.size:
                invented = stored_rows.outside(conn, log.extent, MAX_FAULTS)
                faults |= dict.fromkeys(invented, INVENTED)
            return faults

        return compare

    def _log(self, conn: Connection, settled: Head | None = None) -> _Log | None:
        """Return the log that this snapshot of the store belongs to; None amid a handover.

        `settled` is a head that was published before the snapshot was taken.
        """
        head = settled or self._publisher.head
        if names_other_log(conn, head):
            return None
        extent = stored_rows.extent(conn, head.size)
        size = head.size if settled else min(head.size, extent)
        reader = TileReader(folder_reader(self._publisher.folder), head.size)
        return _Log(head, size, max(size, extent), reader, {})

    def _faults(self, conn: Connection, log: _Log, start: int, end: int) -> dict[int, str]:
        """Compare the entries from `start` to `end` (exclusive)."""
        query = select(*COLUMNS).where(LEAVES.c.idx >= start, LEAVES.c.idx < end)
        rows = {row.idx: row for row in conn.execute(query)}
        faults = {}
        sound: list[tuple[int, Leaf]] = []
        for index in range(start, end):
            row = rows.get(index)
            if code := MISSING if row is None else self._fault(log, listed(row)):
                faults[index] = code
            elif row is not None and (leaf := stored_rows.leaf_of(row.body)) is not None:
                sound.append((index, leaf))
        hidden = dict.fromkeys(event_search.unfindable(conn, sound), HIDDEN)
        return dict(sorted({**faults, **hidden}.items()))

    def _fault(self, log: _Log, event: Event) -> str:
        """Return the code of what is wrong with a row of the store; empty where nothing is."""
        if not 0 <= event.index < log.extent:
            return INVENTED
        if event.index >= log.size:
            return "" if event == _event(event.index, event.body.encode()) else CHANGED
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
        body = log.entry(event.index) if code != INVENTED else None
        true = _event(event.index, body) if body is not None else None
        return msgspec.structs.replace(true or event, fault=_WORDS[code])

    def _restored(
        self,
        log: _Log,
        events: Iterable[Event],
        said: Mapping[str, str],
        span: range,
        gaps: Sequence[int],
    ) -> list[Event]:
        """Check events, and add those within `span` that the store has lost."""
        items = [self._checked(log, event) for event in events]
        there = {event.index for event in items}
        items = [event for event in items if not event.fault or _matches(event, said)]
        span = range(span.start, min(span.stop, log.size))
        lost: Iterable[int] = reversed(span)
        if _is_filtered(said):
            lost = (each for each in {*gaps, *self.faults} if each in span)
        for index in islice((each for each in lost if each not in there), MAX_FAULTS):
            body = log.entry(index)
            event = _event(index, body) if body is not None else None
            if event is not None and _matches(event, said):
                code = self.faults.get(index, MISSING)
                items.append(msgspec.structs.replace(event, fault=_WORDS[code]))
        return items

    def _lost(self, log: _Log, named: str, gaps: Iterable[int]) -> Event | None:
        """Return an event that the store has lost, by its index or its id.

        By its id it is found where its row is missing, or after a pass.
        """
        known = whole_number(named)
        indices = [known] if known is not None else [*gaps, *self.faults]
        for index in indices:
            body = log.entry(index) if index < log.size else None
            event = _event(index, body) if body is not None else None
            if event is not None and named in {event.id, str(index)}:
                return msgspec.structs.replace(event, fault=_WORDS[MISSING])
        return None


def _is_filtered(said: Mapping[str, str]) -> bool:
    return any(said.get(name) for name in event_search.FILTERS)


def _matches(event: Event, said: Mapping[str, str]) -> bool:
    """Tell whether a filter finds an event, from its body; one without is always shown."""
    leaf = stored_rows.leaf_of(event.body.encode())
    return leaf is None or event_search.matches(leaf, said)


def finding(index: int, code: str) -> LogFinding:
    """Return a fault of the store as `audit verify` lists it."""
    message = {
        MISSING: f"it is in the log, and the store has lost it: {MEND}",
        CHANGED: f"the store holds another one than the log: {MEND}",
        HIDDEN: f"the store's index does not find it under every filter: {MEND}",
        UNREADABLE: "the log's files do not hold it as it was signed: restart audit",
        INVENTED: f"the store holds it, and the log does not: {MEND}",
    }[code]
    return LogFinding(code=code, where=f"entry {index}", message=message)


def _event(index: int, body: bytes) -> Event | None:
    """Return the event that an entry's bytes say; None where they are no event."""
    try:
        return event_search.as_event(index, read_leaf(body))
    except BadLeaf:
        return None


def _span(page: Page[Event], ask: Ask, size: int, *, ascending: bool) -> range:
    """Return the indices that a page is about."""
    at = _cursor(ask.query.get("cursor", ""))
    ends = _cursor(page.next_cursor)
    if ascending:
        start = int(ask.query["after"]) if at is None else at
        return range(start + 1, size if ends is None else ends + 1)
    return range(0 if ends is None else ends, size if at is None else at)


def _cursor(told: str) -> int | None:
    """Return the index that a cursor of the list goes on from."""
    if not told:
        return None
    values: Any = msgspec.json.decode(urlsafe_b64decode(told + "=" * (-len(told) % 4)))
    return int(values[1])
