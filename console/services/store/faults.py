"""What SQLite's failures mean to the person who runs the service."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from console.errors import ExitCode, PilotError

_FULL = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,  # over a quota or a file size limit
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def damaged(path: Path, why: str) -> PilotError:
    """Return the error for a store file that cannot be trusted."""
    return PilotError(
        "store-damaged",
        f"the store {path} is damaged: {why}",
        exit=ExitCode.UNAVAILABLE,
        hint="nothing was changed; restore the file from a copy, or move it away to start empty",
    )


MIN_FREE_BYTES = 2_000_000
"""A disk with less room is told: a store's next transactions may be refused."""


def disk_notes(path: Path) -> list[str]:
    """Say in words that the disk of a store has too little room; empty where it has enough."""
    found = os.statvfs(path.parent)
    free = found.f_bavail * found.f_frsize
    if free >= MIN_FREE_BYTES:
        return []
    return [f"the disk of {path.parent} is full ({free // 1000} kB are free): writes are refused"]


def full(path: Path) -> PilotError:
    """Return the error for a store that cannot grow. What was being written is undone."""
    return PilotError(
        "store-full",
        f"the store {path} cannot be written: no space is left on its disk",
        exit=ExitCode.UNAVAILABLE,
        hint="nothing was changed; free some space and try again",
    )


def newer(path: Path, found: int, known: int) -> PilotError:
    """Return the error for a store written by a later release."""
    return PilotError(
        "store-newer",
        f"the store {path} has schema version {found}; this pilotctl knows up to {known}",
        exit=ExitCode.FAILED,
        hint="nothing was changed; run the newer pilotctl that wrote it, or restore an older copy",
    )


def busy(path: Path) -> PilotError:
    """Return the error for a store that another process holds locked."""
    return PilotError(
        "unavailable",
        f"the store {path} is locked by another process",
        exit=ExitCode.UNAVAILABLE,
        hint="retry; if it stays so, look for a second copy of the service",
    )


def unwritable(path: Path, why: str) -> PilotError:
    """Return the error for a store that cannot be opened or written at all."""
    return PilotError(
        "unavailable",
        f"the store {path} cannot be used: {why}",
        exit=ExitCode.UNAVAILABLE,
        hint="check that the folder exists and belongs to the user who runs the service",
    )


def meaning(error: BaseException, path: Path) -> PilotError | None:
    """Return what a database error says about the store itself.

    None for anything else: a broken constraint is the caller's matter.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, sqlite3.Error):
        return None
    extended = getattr(cause, "sqlite_errorcode", 0)
    primary = extended & 0xFF
    if primary in _DAMAGED:
        return damaged(path, str(cause))
    if primary in _FULL or extended in _FULL:
        return full(path)
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return busy(path)
    if primary in {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    }:
        return unwritable(path, str(cause))
    return None


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn what the database and the disk say inside the block into errors about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise full(path) from error
        raise unwritable(path, error.strerror or str(error)) from error
    except (DBAPIError, sqlite3.Error) as error:
        if said := meaning(error, path):
            raise said from error
        raise
