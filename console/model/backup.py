"""What a backup is, and what a restore did."""

from __future__ import annotations

from datetime import datetime

import msgspec

FORMAT = "pilotctl.backup/v1"


class Member(msgspec.Struct, kw_only=True, frozen=True):
    """One file of a backup."""

    name: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, kw_only=True, frozen=True):
    """What a backup holds. It is signed with the log's key."""

    format: str
    version: str
    """Of the pilotctl that made it."""
    created_at: datetime
    created_by: str
    origin: str
    log_key: str
    """The verifier key of the log, C2SP signed-note form."""
    log_head: str
    """The newest signed checkpoint when it was made."""
    tree_size: int
    keys: str
    """`sealed` or `left out`."""
    members: list[Member]


class Backup(msgspec.Struct, kw_only=True, frozen=True):
    """A backup that was made."""

    file: str
    bytes: int
    sha256: str
    """Of the whole file: keep it apart from the file."""
    created_at: datetime
    origin: str
    tree_size: int
    stores: list[str]
    keys: str
    event_id: str
    """The event that records that it was made."""


class Restored(msgspec.Struct, kw_only=True, frozen=True):
    """What a restore did, or would do."""

    home: str
    backup_of: datetime
    changed: bool
    """False for a dry run."""
    newest_copy: list[str]
    """What newer than the backup was found, and used."""
    log: str
    """`continued`, or `new`: then `origin` names it, and its first leaf the old head."""
    origin: str
    tree_size: int
    old_origin: str = ""
    old_size: int = 0
    replayed: int = 0
    """Entries of the log that the backup lacked and the newest copy had."""
    tombstones: int = 0
    """Revocations newer than the backup that were kept."""
    closings: int = 0
    """Everything newer than the backup that ended something, and was kept."""
    keys_ended: int = 0
    """Keys that were revoked because no newer copy could say whether they had been."""
    grants_suspended: list[str] = []
    """Grants that were suspended because nothing newer could say whether they were narrowed."""
    partners_restricted: list[str] = []
    """Partners for which nothing new opens, until they are resumed, for the same reason."""
    tokens_ended: int = 0
    """Operators' and break-glass tokens that ended because nothing newer told of them."""
    operators_cut: list[str] = []
    """Operators that were cut off for the same reason."""
    lock_id: str = ""
    """The lock on everything under which the gateway starts."""
    aside: str = ""
    """Where the state lies that was there before."""
    next: list[str] = []
    """The commands that the pilot's owner runs next, in order."""
    warnings: list[str] = []
