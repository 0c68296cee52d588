"""Whether a key, or a whole log, was named as the successor of another: pure checks.

A rotation is believed because the old key signed a tree that holds its announcement. A
restart is only ever shown: that a log names another as its past is its own claim, and
people decide; what can be checked is which of the old entries it still holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from console.errors import ExitCode, PilotError
from console.trust.checkpoint import Checkpoint, open_checkpoint
from console.trust.merkle import CompactRange, leaf_hash, leaf_hashes, verify_inclusion
from console.trust.note import VerifierKey


class Restarted(NamedTuple):
    """What the first leaf of a log says of the one before it."""

    old_size: int
    old_root: bytes
    carried: int
    by: str
    reason: str
    at: str


def announced_key(
    leaf: bytes,
    *,
    index: int,
    size: int,
    root: bytes,
    hashes: Sequence[bytes],
    old: VerifierKey,
    new: str,
) -> VerifierKey:
    """Return the key that the event `leaf`, entry `index` of the old key's tree, announces.

    Raises `PilotError` (exit 11) unless it is in that tree, names both keys, and the new one
    is for the same log.
    """
    verify_inclusion(leaf_hash(leaf), index, size, hashes, root)
    facts = _facts(leaf, "log.rotate-key")
    if (facts.get("old_key"), facts.get("new_key")) != (str(old), new):
        raise _wrong("the announcement names other keys")
    key = VerifierKey.parse(new)
    if key.name != old.name:
        raise _wrong("the announced key is another log's")
    return key


def restart_of(leaf: bytes, old: VerifierKey, new: str) -> Restarted:
    """Read a log's first leaf, which must name the log of key `old` as the one before it."""
    facts = _facts(leaf, "log.restart")
    said = (facts.get("old_origin"), facts.get("old_key"), facts.get("new_key"))
    if said != (old.name, str(old), new):
        raise _wrong("the first entry of the new log names another log before it")
    event = json.loads(leaf)["unmapped"]
    try:
        return Restarted(
            int(facts["old_size"]),
            bytes.fromhex(facts["old_root"]),
            int(facts["carried"]),
            str(event["actor"]),
            str(event["reason"]),
            str(event["at"]),
        )
    except (KeyError, ValueError, TypeError):
        raise _wrong("the first entry of the new log is not understood") from None


def successor_head(note: bytes, *, old: VerifierKey, new: VerifierKey) -> Checkpoint:
    """Return the head that `note` signs for the log of `new`, which follows that of `old`.

    Raises `PilotError` (`log-not-served`, exit 9) while the head is still the old log's; any
    other is exit 11, as `open_checkpoint` says.
    """
    try:
        return open_checkpoint(note, new, origin=new.name).checkpoint
    except PilotError:
        if not _is_head(note, old):
            raise
    raise PilotError(
        "log-not-served",
        f"{old.name!a} has ended, and the head of {new.name!a}, which takes its place, "
        "is not served yet",
        exit=ExitCode.UNVERIFIED,
        hint="ask again in a moment",
    )


class Carried:
    """Adds up a new log entry by entry, and the old entries among them."""

    def __init__(self, pinned_size: int) -> None:
        self.first = b""
        self.whole = CompactRange()
        self.old = CompactRange()
        """The tree of the entries after the first, up to the pinned size."""
        self._pinned = pinned_size

    def add(self, entries: Iterable[bytes]) -> None:
        """Take the next entries."""
        taken = list(entries)
        if not taken:
            return
        start = self.whole.size
        hashes = leaf_hashes(taken)
        self.whole.extend(hashes)
        if start == 0:
            self.first = taken[0]
        past = hashes[1:] if start == 0 else hashes
        self.old.extend(past[: max(0, self._pinned - self.old.size)])


def _is_head(note: bytes, key: VerifierKey) -> bool:
    try:
        open_checkpoint(note, key, origin=key.name)
    except PilotError:
        return False
    return True


def _facts(leaf: bytes, action: str) -> dict[str, Any]:
    facts: Any = None
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        event = json.loads(leaf)
        metadata = event["metadata"]
        if (metadata["event_code"], metadata["log_name"]) == (action, "audit"):
            facts = event["unmapped"]["facts"]
    if not isinstance(facts, dict):
        raise _wrong(f"the entry is no {action} of audit's own")
    return facts


def _wrong(why: str) -> PilotError:
    return PilotError("log-handover-wrong", why, exit=ExitCode.LOG_FAILED)
