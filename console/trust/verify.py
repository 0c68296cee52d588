"""Verifying a whole log: signature, every entry, every tile, and its growth.

The root is recomputed from the entries, so hash tiles are checked, not believed. Older
checkpoints are checked by recomputing their roots from the same entries, which proves more
than a consistency proof does. Two sources of them: `known`, the note that the caller has
kept, and `history`, copies that lie with the log. A `Read` cannot list, so a log that is
served over HTTP has no history; in a folder it is every file `checkpoint.<size>`
(`history`), as `writer.TileWriter.publish` leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from console.errors import PilotError
from console.trust.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    open_checkpoint,
    parse_checkpoint,
)
from console.trust.damage import DamageKind, Findings, LogReport
from console.trust.diagnosis import Diagnosis
from console.trust.kept_checkpoints import folder_history
from console.trust.note import VerifierKey, split_note
from console.trust.parallel_hashing import bundle_roots, nothing_hashed
from console.trust.partials import check_partials
from console.trust.scan import Progress, Scan
from console.trust.tiles import CHECKPOINT, Read, folder_reader

_KINDS = {
    "log-note-malformed": DamageKind.CHECKPOINT_MALFORMED,
    "log-checkpoint-malformed": DamageKind.CHECKPOINT_MALFORMED,
    "log-signature-bad": DamageKind.SIGNATURE_BAD,
    "log-key-unknown": DamageKind.KEY_WRONG,
    "log-origin-wrong": DamageKind.ORIGIN_WRONG,
}

UNLISTED = "earlier partial tiles: a log that is served does not list them"
"""What a verification leaves out where there is no folder to look into."""


class _Older(NamedTuple):
    """An earlier head that the log must have grown from."""

    where: str
    checkpoint: Checkpoint


def verify_log(
    read: Read,
    key: VerifierKey,
    *,
    origin: str | None = None,
    known: Checkpoint | None = None,
    history: Iterable[tuple[str, bytes]] = (),
    progress: Progress | None = None,
) -> LogReport:
    """Verify the log that `read` reads and say what is wrong with it.

    `origin` is the log's first line, the key's name unless given. `known` is a checkpoint
    accepted before; `history` gives (name, signed note) of further ones. Damage is reported,
    never raised; what `read` raises other than an OSError passes through.
    """
    return _verify(
        read,
        key,
        origin=origin,
        known=known,
        history=history,
        progress=progress,
        roots=nothing_hashed,
        partials=_no_list,
    )


def verify_folder(
    folder: Path,
    key: VerifierKey,
    *,
    origin: str | None = None,
    known: Checkpoint | None = None,
    progress: Progress | None = None,
) -> LogReport:
    """Verify a log in a folder, with the history that lies in it, as `verify_log` does.

    A big one is hashed on every processor that may be used.
    """
    # Listed before the head is read: a log that grows meanwhile is no rollback.
    history = list(folder_history(folder))
    return _verify(
        folder_reader(folder),
        key,
        origin=origin,
        known=known,
        history=history,
        progress=progress,
        roots=partial(bundle_roots, folder),
        partials=partial(check_partials, folder),
    )


def _verify(
    read: Read,
    key: VerifierKey,
    *,
    origin: str | None,
    known: Checkpoint | None,
    history: Iterable[tuple[str, bytes]],
    progress: Progress | None,
    roots: Callable[[int], Generator[bytes | None]],
    partials: Callable[[int, Findings], list[str]],
) -> LogReport:
    found = Findings()
    head, signed = _head(read, key, origin, found)
    if head is None:
        return LogReport(None, None, 0, None, tuple(found.listed), found.unlisted)
    older = [] if known is None else [_Older("the known checkpoint", known)]
    older += _kept(history, key, origin, found)
    older = [each for each in older if _earlier(each, head, origin or key.name, found)]
    scan = Scan(
        read, head.size, found, cuts=[each.checkpoint.size for each in older], progress=progress
    )
    with closing(roots(head.size)) as hashed:
        scan.run(hashed)
    diagnosis = Diagnosis(scan, head, found)
    diagnosis.report()
    for where, past in older:
        if scan.unknown is not None and scan.unknown < past.size:
            continue  # the missing entries are named already, and nothing follows without them
        if not diagnosis.prefix_matches(past):
            found.add(
                DamageKind.GROWTH_INCONSISTENT,
                where,
                f"the log's first {past.size} entries no longer give the root signed for them",
            )
    left_out = partials(head.size, found)
    root = scan.by_entries.root if scan.hashed == head.size else None
    return LogReport(
        head, signed, scan.hashed, root, tuple(found.listed), found.unlisted, tuple(left_out)
    )


def _no_list(_size: int, _found: Findings) -> list[str]:
    return [UNLISTED]


def _head(
    read: Read, key: VerifierKey, origin: str | None, found: Findings
) -> tuple[Checkpoint | None, SignedCheckpoint | None]:
    """Read the log's checkpoint: its text even when the signature is not good."""
    try:
        note = read(CHECKPOINT)
    except OSError as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else "it cannot be read"
        found.add(DamageKind.CHECKPOINT_MISSING, CHECKPOINT, why)
        return None, None
    return _open(CHECKPOINT, note, key, origin, found)


def _open(
    where: str, note: bytes, key: VerifierKey, origin: str | None, found: Findings
) -> tuple[Checkpoint | None, SignedCheckpoint | None]:
    try:
        signed = open_checkpoint(note, key, origin=origin)
    except PilotError as error:
        found.add(_KINDS[error.code], where, error.message)
        reason = error
    else:
        return signed.checkpoint, signed
    try:
        head = parse_checkpoint(split_note(note)[0])
    except PilotError as error:
        if _KINDS[reason.code] != DamageKind.CHECKPOINT_MALFORMED:
            found.add(_KINDS[error.code], where, error.message)
        return None, None
    expected = origin or key.name
    if head.origin != expected and reason.code != "log-origin-wrong":
        message = f"this is the log {head.origin!a}, not {expected!a}"
        found.add(DamageKind.ORIGIN_WRONG, where, message)
    return head, None


def _kept(
    history: Iterable[tuple[str, bytes]], key: VerifierKey, origin: str | None, found: Findings
) -> list[_Older]:
    older = []
    for name, note in history:
        _, signed = _open(name, note, key, origin, found)
        if signed is None:
            continue
        if name != f"{CHECKPOINT}.{signed.checkpoint.size}":
            found.add(
                DamageKind.CHECKPOINT_MALFORMED,
                name,
                f"it is the checkpoint of {signed.checkpoint.size} entries",
            )
        older.append(_Older(name, signed.checkpoint))
    return older


def _earlier(older: _Older, head: Checkpoint, origin: str, found: Findings) -> bool:
    """Compare an older head with the present one; True if growth from it remains to be shown."""
    where, past = older
    if past.origin != origin:
        message = f"it is of the log {past.origin!a}, not {origin!a}"
        found.add(DamageKind.ORIGIN_WRONG, where, message)
        return False
    if past.size > head.size:
        found.add(
            DamageKind.ROLLBACK,
            where,
            f"it signed {past.size} entries; the log now shows only {head.size}",
        )
        return False
    if past.size == head.size:
        if past.root != head.root:
            found.add(
                DamageKind.SPLIT_VIEW,
                where,
                f"two different trees of {head.size} entries have been signed",
            )
        return False
    return past.size > 0
