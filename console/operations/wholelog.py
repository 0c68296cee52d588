"""Verifying a whole log, in a folder or as an API serves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from console.api.audit import HEAD, compared_from, log_files
from console.api.flow import Flow, Report, check_head, pinned_key, signing_keys
from console.errors import ExitCode, PilotError
from console.model.audit import LogCheck, LogFinding
from console.trust.checkpoint import Checkpoint, open_checkpoint
from console.trust.damage import LogReport
from console.trust.note import VerifierKey
from console.trust.tiles import CHECKPOINT, WIDTH, Tile, bundles_of, tiles_of
from console.trust.verify import UNLISTED, verify_folder

MAX_LEFT_OUT = 20
"""What was not looked at is listed up to here, then counted."""
MEND = "put the audit store back from a backup, and find out who changed it"
AT_ONCE = 16
"""Files that are asked for side by side."""


def in_folder(
    folder: str,
    vkey: str,
    known: str | None,
    former: Sequence[str] = (),
    *,
    origin: str | None = None,
) -> LogCheck:
    """Verify the C2SP tile log in `folder`. `known` is a signed checkpoint seen before.

    `origin` is what the first line of its checkpoints must say, the key's name without it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise PilotError("not-found", f"there is no folder {folder!r}", exit=ExitCode.NOT_FOUND)
    key = VerifierKey.parse(vkey)
    report = verify_folder(path, key, origin=origin, known=_known(known, key, former, origin))
    return _as_check(folder, key, report)


def in_folder_of_ours(folder: str, known: str | None) -> Flow[LogCheck]:
    """Verify a copy of the pinned log, held to whichever of its keys signed the copy."""
    pinned = yield from pinned_key()
    keys = yield from signing_keys()
    signed = _signed_by(folder, keys)
    if not signed:
        # a key that nobody here has met may have followed: the log itself says so
        with suppress(PilotError):
            yield from check_head((yield from HEAD()).checkpoint)
        keys = yield from signing_keys()
        signed = _signed_by(folder, keys)
    return in_folder(folder, signed or pinned, known, keys)


def _signed_by(folder: str, keys: Sequence[str]) -> str:
    """Return the newest of a log's keys that signed the checkpoint in `folder`; empty for none."""
    for key in reversed(keys):
        parsed = VerifierKey.parse(key)
        with suppress(PilotError, OSError):
            open_checkpoint((Path(folder) / CHECKPOINT).read_bytes(), parsed, origin=parsed.name)
            return key
    return ""


def over_api(known: str | None) -> Flow[LogCheck]:
    """Verify our own log, read file by file, held to the pinned key and head.

    The files are kept in a folder of their own while it lasts, so that the memory needed
    does not grow with the log.
    """
    key = VerifierKey.parse((yield from pinned_key()))
    head = yield from HEAD()
    findings: list[LogFinding] = []
    size = 0
    try:
        trusted = yield from check_head(head.checkpoint)
        # checking may have followed a rotation, or found that an earlier key signed it
        size, key = trusted.size, VerifierKey.parse(trusted.key or str(key))
    except PilotError as error:
        if error.exit is not ExitCode.LOG_FAILED:
            raise
        findings.append(LogFinding(code=error.code, where=CHECKPOINT, message=error.message))
        size = _claimed(head.checkpoint, key) or 0
    with TemporaryDirectory(prefix="pilotctl-log-") as name:
        folder = Path(name)
        (folder / CHECKPOINT).write_bytes(head.checkpoint.encode())
        yield from _fetch(size, folder)
        keys = yield from signing_keys()
        report = verify_folder(folder, key, known=_known(known, key, keys))
    findings += yield from _compared(size)
    check = _as_check(head.origin, key, report)
    named = {finding.message for finding in check.findings}
    findings = [each for each in findings if each.message not in named]
    return msgspec.structs.replace(
        check,
        findings=[*findings, *check.findings],
        good=check.good and not findings,
        left_out=[UNLISTED],
    )


def _claimed(note: str, key: VerifierKey) -> int | None:
    """Return the size of a head that is well signed, though it does not fit the pinned one."""
    try:
        return open_checkpoint(note.encode(), key).checkpoint.size
    except PilotError:
        return None


def _fetch(size: int, folder: Path) -> Flow[None]:
    """Write every tile and bundle of a log of `size` entries below `folder`.

    What the log does not have is left out, for the verification to name.
    """
    tiles = chain(tiles_of(size), bundles_of(size))
    done = 0
    while batch := list(islice(tiles, AT_ONCE)):
        yield from _fetch_batch(batch, folder)
        done += sum(tile.width for tile in batch if tile.level is None)
        if done:
            yield Report(f"{done} of {size} entries read")


def _fetch_batch(batch: list[Tile], folder: Path) -> Flow[None]:
    got = yield from log_files([tile.path for tile in batch])
    # A log may have dropped a partial tile once it has the full one.
    grown = [tile for tile, raw in _missing(batch, got) if tile.width < WIDTH]
    full = (yield from log_files([tile.full.path for tile in grown])) if grown else []
    files = [
        *zip((tile.path for tile in batch), got, strict=True),
        *zip((tile.full.path for tile in grown), full, strict=True),
    ]
    for path, raw in files:
        if raw is not None:
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(raw)


def _missing(batch: list[Tile], got: list[bytes | None]) -> Iterator[tuple[Tile, bytes | None]]:
    return ((tile, raw) for tile, raw in zip(batch, got, strict=True) if raw is None)


def _compared(size: int) -> Flow[list[LogFinding]]:
    """Have the store compared with the log: what is listed is what was signed."""
    findings: list[LogFinding] = []
    done, end = 0, size
    while True:
        part = yield from compared_from(done)
        findings += part.findings
        end = max(end, part.tree_size) if not done else end
        if part.next <= done:
            break
        done = part.next
        yield Report(f"{done} of {max(done, end)} entries compared with the store")
        if done >= min(end, part.tree_size):
            break
    if done < size:
        told = f"the store answers for {done} of the {size} entries that are signed: {MEND}"
        findings.append(LogFinding(code="store-comparison-short", where="store", message=told))
    return findings


def _known(
    note: str | None, key: VerifierKey, former: Sequence[str] = (), origin: str | None = None
) -> Checkpoint | None:
    """Open a checkpoint seen before: the log's key signed it, or one that handed over to it."""
    if note is None:
        return None
    for each in former:
        with suppress(PilotError):
            return open_checkpoint(
                note.encode(), VerifierKey.parse(each), origin=key.name
            ).checkpoint
    return open_checkpoint(note.encode(), key, origin=origin).checkpoint


def _as_check(log: str, key: VerifierKey, report: LogReport) -> LogCheck:
    findings = [
        LogFinding(code=damage.kind, where=damage.where, message=damage.message)
        for damage in report.damage
    ]
    if report.unlisted:
        findings.append(
            LogFinding(code="more", where="", message=f"and {report.unlisted} more, not listed")
        )
    head = report.checkpoint
    return LogCheck(
        log=log,
        origin=head.origin if head else key.name,
        tree_size=head.size if head else 0,
        root=report.root.hex() if report.root is not None else "",
        entries=report.entries,
        good=report.ok,
        findings=findings,
        left_out=_listed(report.left_out),
    )


def _listed(left_out: Sequence[str]) -> list[str]:
    more = len(left_out) - MAX_LEFT_OUT
    return [*left_out[:MAX_LEFT_OUT], *([f"and {more} more"] if more > 0 else [])]
