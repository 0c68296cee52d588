"""Hashing a big log's bundles on several processors, each reading its own from the folder.

Only what is found to be sound is told: the root of each full bundle whose entries hash to
its leaf tile. What else is to be said of a bundle takes the scan, which reads it again.
Workers are started afresh (spawned) and live by their pipe: when whoever verifies goes away,
whatever the way, they end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from console.trust.merkle import root_of
from console.trust.tiles import WIDTH, Tile, bundle_hashes, folder_reader

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

WORTH_SHARING = 50_000
"""Entries below which starting workers takes longer than it saves."""
MAX_WORKERS = 8
RANGE = 64
"""Bundles that a worker is given at a time."""
AHEAD = 2
"""Ranges that a worker has been given and not yet answered."""


class _Worker(NamedTuple):
    process: SpawnProcess
    line: Connection


def nothing_hashed(_size: int) -> Generator[bytes | None]:
    """Give no roots: the scan reads everything itself."""
    yield from ()


def bundle_roots(folder: Path, size: int) -> Generator[bytes | None]:
    """Yield the root of each full bundle of a log of `size` entries; None for an unsound one.

    It ends early where workers are not worth it, or are lost.
    """
    processors = usable_processors()
    if size < WORTH_SHARING or processors < 2:
        return
    workers: list[_Worker] = []
    try:
        with suppress(OSError, EOFError):
            for _ in range(min(processors, MAX_WORKERS)):
                workers.append(_start(folder))  # noqa: PERF401  # those that started are ended
            yield from _in_order(workers, size // WIDTH)
    finally:
        for worker in workers:
            worker.line.close()
        for worker in workers:
            worker.process.join()
            worker.process.close()


def _in_order(workers: list[_Worker], bundles: int) -> Generator[bytes | None]:
    """Hand out the ranges in turn, and yield what is answered in the same order."""
    ranges = -(-bundles // RANGE)
    ahead = AHEAD * len(workers)
    # The head's size is anyone's claim: no more is planned than is under way.
    for turn in range(ranges + ahead):
        if turn >= ahead:
            yield from workers[turn % len(workers)].line.recv()
        if turn < ranges:
            first = turn * RANGE
            workers[turn % len(workers)].line.send((first, min(first + RANGE, bundles)))


def _start(folder: Path) -> _Worker:
    # Most commands verify no log, and this takes longer to import than they take to run.
    from multiprocessing import get_context  # noqa: PLC0415

    from console.programs import safe_interpreters  # noqa: PLC0415

    context = get_context("spawn")
    ours, theirs = context.Pipe()
    with theirs:
        process = context.Process(target=_work, args=(str(folder), theirs), daemon=True)
        try:
            with safe_interpreters():
                process.start()
        except BaseException:
            ours.close()
            raise
    return _Worker(process, ours)


def _work(folder: str, line: Connection) -> None:
    """Answer ranges of bundles with their roots until the other end is closed."""
    # An interrupt is for the process that asks; closing the pipe is what ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with line, suppress(EOFError, OSError):
        while True:
            first, end = line.recv()
            line.send([sound_root(Path(folder), number) for number in range(first, end)])


def sound_root(folder: Path, number: int) -> bytes | None:
    """Return the root of a full bundle that is all right together with its leaf tile."""
    read = folder_reader(folder)
    try:
        raw, told = read(Tile(None, number).path), read(Tile(0, number).path)
    except OSError:
        return None
    hashes, end = bundle_hashes(raw, WIDTH)
    sound = len(hashes) == WIDTH and end == len(raw) and b"".join(hashes) == told
    return root_of(hashes) if sound else None


def usable_processors() -> int:
    """Return on how many processors this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
