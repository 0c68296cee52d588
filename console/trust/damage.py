"""What can be wrong with a log, each kind under a name of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from console.trust.checkpoint import Checkpoint, SignedCheckpoint

MAX_LISTED = 1000
"""Damages that a report lists; a log of garbage would otherwise fill memory."""


class DamageKind(StrEnum):
    """The name of a kind of damage, as scripts meet it."""

    CHECKPOINT_MISSING = "checkpoint-missing"
    CHECKPOINT_MALFORMED = "checkpoint-malformed"
    SIGNATURE_BAD = "signature-bad"
    KEY_WRONG = "key-wrong"
    ORIGIN_WRONG = "origin-wrong"
    ENTRIES_MISSING = "entries-missing"
    ENTRY_ALTERED = "entry-altered"
    ENTRIES_REORDERED = "entries-reordered"
    ENTRIES_REWRITTEN = "entries-rewritten"
    """Entries were changed together with the hash tiles that would have told which ones."""
    BUNDLE_TRUNCATED = "bundle-truncated"
    BUNDLE_TRAILING = "bundle-trailing"
    BUNDLE_GARBLED = "bundle-garbled"
    TILE_MISSING = "tile-missing"
    TILE_TRUNCATED = "tile-truncated"
    TILE_TRAILING = "tile-trailing"
    TILE_ALTERED = "tile-altered"
    TILES_DISAGREE = "tiles-disagree"
    """Two resources contradict each other, and nothing signed says which one is right."""
    UNREADABLE = "unreadable"
    ROOT_MISMATCH = "root-mismatch"
    ROLLBACK = "rollback"
    SPLIT_VIEW = "split-view"
    GROWTH_INCONSISTENT = "growth-inconsistent"


class Damage(NamedTuple):
    """One thing that is wrong."""

    kind: DamageKind
    where: str
    """The resource or the entries: `tile/0/002`, `entry 513`, `entries 512-767`."""
    message: str
    """For people: what is wrong there, without repeating `where`."""


class LogReport(NamedTuple):
    """What verifying a whole log found."""

    checkpoint: Checkpoint | None
    """The head that the log serves, if it could be read at all."""
    signed: SignedCheckpoint | None
    """The same, if its signature is good."""
    entries: int
    """How many entries were read and hashed."""
    root: bytes | None
    """The root over the entries; None when some could not be read."""
    damage: tuple[Damage, ...]
    unlisted: int = 0
    """How many more damages there are than `damage` lists."""
    left_out: tuple[str, ...] = ()
    """What was not looked at, each in words."""

    @property
    def ok(self) -> bool:
        """Say whether the log is whole: signed, complete, and growing from what was known."""
        return self.signed is not None and not self.damage


class Findings:
    """The damages found so far, up to `MAX_LISTED`."""

    def __init__(self) -> None:
        self.listed: list[Damage] = []
        self.unlisted = 0

    def add(self, kind: DamageKind, where: str, message: str) -> None:
        """Note one damage."""
        if len(self.listed) < MAX_LISTED:
            self.listed.append(Damage(kind, where, message))
        else:
            self.unlisted += 1


def span(start: int, end: int) -> str:
    """Name the entries from `start` to `end` (exclusive)."""
    return f"entry {start}" if end - start == 1 else f"entries {start}-{end - 1}"
