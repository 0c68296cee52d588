"""The point's own store of call records: durable before the caller has its answer.

A running call is a row of `running`; a finished one gets the next number and moves to
`finished`, in one transaction, so numbers have no gap whenever the process dies. Writes
gather: while one transaction commits, everything that arrives waits for the next, so
the price of a commit is shared exactly as much as the load asks for. A call that begins
and ends within one gathering is written once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, text

from console.errors import PilotError
from console.model.traffic import SERVED, CallRecord, Outcome
from console.services.gateway.decision.refusal_codes import CODES
from console.services.store import Store, sql

STEPS = (
    sql(
        "CREATE TABLE running (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE finished ("
        " sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body BLOB NOT NULL)",
    ),
    sql("CREATE TABLE content (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL)"),
)

_GATHER_SECONDS = 0.02
"""A beginning waits so long for its end, and a refusal for others, before it is written."""

_insert_running = "INSERT OR IGNORE INTO running (id, body) VALUES (?, ?)"
_delete_running = "DELETE FROM running WHERE id = ?"
_insert_content = "INSERT INTO content (sequence, body) VALUES (?, ?)"
_insert_finished = "INSERT INTO finished (sequence, id, body) VALUES (?, ?, ?)"


class Finished(NamedTuple):
    """A finished record as it goes to control."""

    sequence: int
    body: bytes


class _Waiting(NamedTuple):
    record: CallRecord
    done: asyncio.Future[None] | None
    since: float = 0.0
    content: bytes = b""


class Spool:
    """Where a point keeps its call records until control holds them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begun: dict[str, _Waiting] = {}
        self._ended: list[_Waiting] = []
        self._written: set[str] = set()
        self._wanted = asyncio.Event()
        self._next = 0
        self.resumed = 0
        """The number of the last record that an earlier process left."""
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.grown = asyncio.Event()
        """Set after each commit that finished something."""
        self.kept = asyncio.Event()
        """Set after each commit that kept content."""

    async def start(self, above: int) -> int:
        """Take up work: numbers go on above `above`. Returns how many calls had been cut short.

        Calls that were running when the process died are finished as errors.
        """

        def resume(conn: Connection) -> tuple[int, int]:
            last = conn.execute(
                text("SELECT seq FROM sqlite_sequence WHERE name = 'finished'")
            ).scalar()
            last = max(last or 0, above)
            rows = conn.execute(text("SELECT id, body FROM running ORDER BY id")).all()
            ended = datetime.now(UTC)
            for row in rows:
                last += 1
                record = msgspec.structs.replace(
                    msgspec.json.decode(row.body, type=CallRecord),
                    sequence=last,
                    ended_at=ended,
                    outcome=Outcome.ERROR,
                    code="point_restarted",
                    status=CODES["point_restarted"].status,
                    error_type="point_restarted",
                    estimated=True,
                )
                conn.exec_driver_sql(_insert_finished, (last, row.id, msgspec.json.encode(record)))
                conn.exec_driver_sql(_delete_running, (row.id,))
            # Numbers given elsewhere under this name are held, though no row is here.
            conn.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = 'finished'")
            conn.exec_driver_sql("INSERT INTO sqlite_sequence VALUES ('finished', ?)", (last,))
            return last, len(rows)

        self._next, orphans = await self._store.write(resume)
        self.resumed = self._next
        self._task = asyncio.create_task(self._gather(), name="spool")
        return orphans

    @property
    def finished(self) -> int:
        """The number of the newest record that is written: its caller may have the answer."""
        return self._next

    def begin(self, record: CallRecord) -> None:
        """Note that a call runs. It is written soon, or together with its end."""
        self._begun[record.id] = _Waiting(record, None, asyncio.get_running_loop().time())
        self._soon()

    async def begin_now(self, record: CallRecord) -> None:
        """Note that a call runs, and wait until that is written. Raises PilotError."""
        done = asyncio.get_running_loop().create_future()
        self._begun[record.id] = _Waiting(record, done)
        self._wanted.set()
        await done

    def end(self, record: CallRecord, content: bytes = b"") -> asyncio.Future[None]:
        """Finish a call. The future is done once its record, and what is kept, is written.

        One that was not served waits for others: a burst of refusals costs those who are
        served a commit in 20 ms, however fast it comes.
        """
        done = asyncio.get_running_loop().create_future()
        self._ended.append(_Waiting(record, done, content=content))
        if record.outcome in SERVED:
            self._wanted.set()
        else:
            self._soon()
        return done

    def _soon(self) -> None:
        """Write within 20 ms, or with whatever is written earlier."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_GATHER_SECONDS, self._wanted.set)

    async def unacknowledged(self, after: int, limit: int) -> list[Finished]:
        """Return finished records after a sequence, in order."""

        def look(conn: Connection) -> list[Finished]:
            rows = conn.exec_driver_sql(
                "SELECT sequence, body FROM finished WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, limit),
            )
            return [Finished(row[0], row[1]) for row in rows]

        return await self._store.read(look)

    async def forget(self, upto: int) -> None:
        """Drop records that control holds."""

        def drop(conn: Connection) -> None:
            conn.exec_driver_sql("DELETE FROM finished WHERE sequence <= ?", (upto,))

        await self._store.write(drop)

    async def contents(self, limit: int) -> list[Finished]:
        """Return sealed content that control does not hold yet, in order."""

        def look(conn: Connection) -> list[Finished]:
            rows = conn.exec_driver_sql(
                "SELECT sequence, body FROM content ORDER BY sequence LIMIT ?", (limit,)
            )
            return [Finished(row[0], row[1]) for row in rows]

        return await self._store.read(look)

    async def forget_contents(self, upto: int) -> None:
        """Drop sealed content that control holds."""

        def drop(conn: Connection) -> None:
            conn.exec_driver_sql("PRAGMA secure_delete = on")
            conn.exec_driver_sql("DELETE FROM content WHERE sequence <= ?", (upto,))

        await self._store.write(drop)

    async def stop(self) -> None:
        """Write what waits, then stop."""
        self._stopping = True
        self._wanted.set()
        if self._task is not None:
            await self._task
        if self._timer is not None:
            self._timer.cancel()

    async def _gather(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            await self._wanted.wait()
            self._wanted.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            due = loop.time() - _GATHER_SECONDS
            await self._flush([w for w in self._begun.values() if w.done or w.since <= due])
            if self._begun:
                self._soon()
        await self._flush(list(self._begun.values()))

    async def _flush(self, begun: Sequence[_Waiting]) -> None:
        ended, self._ended = self._ended, []
        over = {waiting.record.id for waiting in ended}
        for call in over:
            self._begun.pop(call, None)
        begun = [w for w in begun if w.record.id not in over]
        for waiting in begun:
            del self._begun[waiting.record.id]
        if not ended and not begun:
            return
        moved = [(call,) for call in over & self._written]
        rows: list[tuple[int, str, bytes]] = []
        contents: list[tuple[int, bytes]] = []
        running: list[tuple[str, bytes]] = []

        def write(conn: Connection) -> None:
            if running:
                conn.exec_driver_sql(_insert_running, running)
            if moved:
                conn.exec_driver_sql(_delete_running, moved)
            if rows:
                conn.exec_driver_sql(_insert_finished, rows)
            if contents:
                conn.exec_driver_sql(_insert_content, contents)

        try:
            for place, waiting in enumerate(ended, self._next + 1):
                record = msgspec.structs.replace(waiting.record, sequence=place)
                rows.append((place, record.id, msgspec.json.encode(record)))
                if waiting.content:
                    contents.append((place, waiting.content))
            running += [(w.record.id, msgspec.json.encode(w.record)) for w in begun]
            await self._store.write(write)
        except Exception as error:
            failed = (
                error
                if isinstance(error, PilotError)
                else PilotError("record-failed", f"call records cannot be written: {error}")
            )
            for waiting in (*ended, *begun):
                if waiting.done is not None and not waiting.done.done():
                    waiting.done.set_exception(failed)
                    waiting.done.exception()  # an end may have nobody left who waits for it
            return
        self._next += len(rows)
        self._written.update(call for call, _ in running)
        self._written -= over
        for waiting in (*ended, *begun):
            if waiting.done is not None and not waiting.done.done():
                waiting.done.set_result(None)
        if contents:
            self.kept.set()
        if rows:
            self.grown.set()
