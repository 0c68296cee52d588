"""One SQLite file with one writer thread and a few reader threads.

Writes run whole transactions in turn. Those that wait while another commits share the
next commit, each in a savepoint of its own, so the disk is flushed once for all of
them. Readers see one consistent snapshot each and never hold the writer up.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from console.api.problems import refusal
from console.errors import PilotError
from console.services.store import faults
from console.services.store.migrations import Step, check, claim, make, migrate, publish

T = TypeVar("T")

MAX_TOGETHER = 64
"""How many waiting writes share one commit."""

_WAL_KEPT_BYTES = 32 * 1024 * 1024
_SIGNALS = "pilotctl.signals"


_check: ContextVar[Callable[[Connection], object] | None] = ContextVar("check", default=None)


@contextmanager
def checked_by(check: Callable[[Connection], object]) -> Iterator[None]:
    """Run `check` first in every transaction, a read's too, that this block begins.

    Where it raises, the transaction does nothing else. A task that is made inside the block
    keeps the check.
    """
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def signal(conn: Connection, topic: str) -> None:
    """Wake those who wait on `topic`, once this transaction has been committed."""
    conn.info.setdefault(_SIGNALS, set()).add(topic)


class _Job(NamedTuple):
    """A function to run in a transaction, and where its result goes."""

    run: Callable[[Connection], Any]
    result: Future[Any]

    def settle(self, value: Any, error: BaseException | None) -> None:
        """Hand the outcome over. StopIteration cannot travel through a future."""
        if isinstance(error, StopIteration):
            error = RuntimeError("a transaction ended in StopIteration")
        if error is None:
            self.result.set_result(value)
        else:
            self.result.set_exception(error)


class Store:
    """A service's store. Open it with `Store.open`, and close it."""

    def __init__(self, path: Path, *, durable: bool, readers: int) -> None:
        self.path = path
        self._engine = _engine(path, durable=durable, reads=False)
        self._reading = _engine(path, durable=durable, reads=True)
        self._conn = self._engine.connect()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix=f"read {path.name}")
        self._mine = threading.local()
        self._readers: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._writer = threading.Thread(target=self._work, name=f"write {path.name}", daemon=True)

    @classmethod
    def open(
        cls, path: Path, steps: Sequence[Step], *, durable: bool = True, readers: int = 2
    ) -> Store:
        """Open the store at `path`, making or migrating it with `steps`.

        `durable` flushes each commit to the disk; without it a commit survives the
        death of the process, not that of the machine. Raises `PilotError`: `store-newer`,
        `store-damaged`, `store-full`, `unavailable`.
        """
        with faults.named(path):
            if not path.exists():
                _make(path, steps)
            check(path, len(steps))
            store = cls(path, durable=durable, readers=readers)
            try:
                migrate(store._conn, steps)
            except BaseException:
                store._conn.close()
                raise
        store._writer.start()
        return store

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in one transaction and return what it returns, committed.

        Where it raises, nothing is changed. The caller may be cancelled; a
        transaction that has begun is finished all the same.
        """
        return await asyncio.wrap_future(self._submit(fn))

    def write_now(self, fn: Callable[[Connection], T]) -> T:
        """The same as `write`, blocking the calling thread."""
        return self._submit(fn).result()

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` on one consistent snapshot; it cannot change anything."""
        try:
            ours = asyncio.get_running_loop().run_in_executor(self._pool, self._look, _checked(fn))
        except RuntimeError as error:
            raise _is_closed(self.path) from error
        return await ours

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """The same as `read`, blocking the calling thread."""
        try:
            return self._pool.submit(self._look, _checked(fn)).result()
        except RuntimeError as error:
            if self._closed:
                raise _is_closed(self.path) from error
            raise

    async def until(
        self, topic: str, ready: Callable[[Connection], T | None], seconds: float
    ) -> T | None:
        """Read `ready` now and after each commit that signalled `topic`.

        Returns its first answer that is not None, or None after `seconds`.
        """
        end = asyncio.get_running_loop().time() + seconds
        while True:
            with self._listening(topic) as woken:
                if (value := await self.read(ready)) is not None:
                    return value
                if not await _within(woken, end):
                    return None

    async def signalled(self, topic: str, seconds: float) -> bool:
        """Sleep until a commit signals `topic`; False where none did in `seconds`."""
        with self._listening(topic) as woken:
            return await _within(woken, asyncio.get_running_loop().time() + seconds)

    def close(self) -> None:
        """Finish the writes that were accepted, then let the file go. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._writer.join()
        self._pool.shutdown(wait=True)
        for conn in self._readers:
            conn.close()
        # Last, so that SQLite folds the write-ahead log into the file.
        with suppress(Exception):
            self._conn.close()
        self._engine.dispose()
        self._reading.dispose()

    def _submit(self, fn: Callable[[Connection], T]) -> Future[T]:
        job = _Job(_checked(fn), Future())
        with self._lock:
            if self._closed:
                raise _is_closed(self.path)
            self._jobs.put(job)
        return job.result

    def _look(self, fn: Callable[[Connection], T]) -> T:
        with faults.named(self.path):
            conn: Connection | None = getattr(self._mine, "conn", None)
            if conn is None:
                conn = self._reading.connect()
                self._mine.conn = conn
                with self._lock:
                    self._readers.append(conn)
            with conn.begin():
                return fn(conn)

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs = [first]
            last = False
            with suppress(queue.Empty):
                while len(jobs) < MAX_TOGETHER:
                    more = self._jobs.get_nowait()
                    if more is None:
                        last = True
                        break
                    jobs.append(more)
            self._commit([job for job in jobs if job.result.set_running_or_notify_cancel()])
            if last:
                return

    def _commit(self, jobs: list[_Job]) -> None:
        """Run the jobs in one transaction. One that raises undoes itself only."""
        if not jobs:
            return
        conn = self._conn
        topics: set[str] = set()
        try:
            conn.begin()
            done = [(job, *_attempt(conn, job, topics, alone=len(jobs) == 1)) for job in jobs]
            if len(jobs) == 1 and done[0][2] is not None:
                conn.rollback()
            else:
                conn.commit()
        except BaseException as error:
            # The commit failed, or SQLite undid the transaction: nobody's change is there.
            topics.clear()
            with suppress(Exception):
                conn.rollback()
            done = [(job, None, error) for job in jobs]
        self._wake(topics)
        for job, value, failed in done:
            job.settle(value, failed and (faults.meaning(failed, self.path) or failed))

    def _wake(self, topics: set[str]) -> None:
        if not topics:
            return
        with self._lock:
            woken = [each for topic in topics for each in self._waiting.get(topic, ())]
        for loop, heard in woken:
            with suppress(RuntimeError):  # that loop has just been closed
                loop.call_soon_threadsafe(heard.set)

    @contextmanager
    def _listening(self, topic: str) -> Iterator[asyncio.Event]:
        """Hear of every commit from now on, so that none slips between reading and waiting."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.setdefault(topic, set()).add(entry)
        try:
            yield entry[1]
        finally:
            with self._lock:
                self._waiting[topic].discard(entry)


def _attempt(
    conn: Connection, job: _Job, topics: set[str], *, alone: bool
) -> tuple[Any, BaseException | None]:
    """Run one job and return its value or its error; the transaction goes on either way."""
    conn.info[_SIGNALS] = set()
    if not alone:
        conn.exec_driver_sql("SAVEPOINT job")
    try:
        value = job.run(conn)
    except BaseException as error:
        if not _open(conn):
            raise
        if not alone:
            conn.exec_driver_sql("ROLLBACK TO job")
            conn.exec_driver_sql("RELEASE job")
        return None, error
    if not alone:
        conn.exec_driver_sql("RELEASE job")
    topics |= conn.info[_SIGNALS]
    return value, None


def _checked(fn: Callable[[Connection], T]) -> Callable[[Connection], T]:
    """Return `fn` after the check of the present context, if there is one."""
    if (check := _check.get()) is None:
        return fn

    def run(conn: Connection) -> T:
        check(conn)
        return fn(conn)

    return run


def _open(conn: Connection) -> bool:
    """Tell whether SQLite itself still has the transaction open."""
    return bool(getattr(conn.connection.dbapi_connection, "in_transaction", False))


async def _within(woken: asyncio.Event, end: float) -> bool:
    left = end - asyncio.get_running_loop().time()
    if left <= 0:
        return False
    try:
        async with asyncio.timeout(left):
            await woken.wait()
    except TimeoutError:
        return False
    return True


def _is_closed(path: Path) -> PilotError:
    return refusal("unavailable", f"the service is stopping: {path.name} is closed")


def _make(path: Path, steps: Sequence[Step]) -> None:
    """Make the store under another name first: a file under its own name is always whole."""
    made = path.with_name(path.name + ".new")
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    claim(made)
    engine = _engine(made, durable=True, reads=False, wal=False)
    try:
        with engine.connect() as conn:
            make(conn, steps)
    finally:
        engine.dispose()
    publish(made, path)


def _engine(path: Path, *, durable: bool, reads: bool, wal: bool = True) -> Engine:
    def connect() -> sqlite3.Connection:
        # autocommit here: transactions are begun by the "begin" hook, and only there
        conn = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        for pragma in (
            f"journal_mode = {'wal' if wal else 'delete'}",
            f"synchronous = {'full' if durable else 'normal'}",
            "foreign_keys = on",
            f"journal_size_limit = {_WAL_KEPT_BYTES}",
            "temp_store = memory",
            f"query_only = {'on' if reads else 'off'}",
        ):
            conn.execute("PRAGMA " + pragma)
        return conn

    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=NullPool, hide_parameters=True
    )

    def begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    event.listen(engine, "begin", begin)
    return engine
