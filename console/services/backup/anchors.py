"""Whose backup it is: the keys by which a backup is believed, before anything of it is used.

Those are the key that the operator names, else those of the state folder, else the log key in
the backup's sealed part, which only the passphrase opens. A key that a backup merely names is
anybody's.
"""

from __future__ import annotations

import io
import sqlite3
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from console.errors import ExitCode, PilotError
from console.model.backup import Manifest
from console.model.log import HandoverKind
from console.services.audit.log import handover
from console.services.audit.migrations import STEPS as AUDIT_STEPS
from console.services.backup import lineage
from console.services.backup.seal import unseal
from console.services.home import Home
from console.services.store import Step, Store
from console.trust.checkpoint import open_checkpoint
from console.trust.note import SignerKey, VerifierKey


def trusted(home: Home, vkey: str) -> list[VerifierKey]:
    """Return the keys that may have signed the backup: the one named, else the home's own."""
    if vkey:
        return [VerifierKey.parse(vkey)]
    keys = []
    with suppress(OSError):
        keys.append(VerifierKey.parse((home.path / "log.vkey").read_text().strip()))
    with suppress(OSError, ValueError):
        keys.append(SignerKey.parse((home.keys / "log.key").read_text()).verifier)
    if not keys:
        return []
    with suppress(PilotError, OSError), opened(home.store("audit"), AUDIT_STEPS) as audit:
        name = keys[0].name
        keys += audit.read_now(lambda conn: handover.keys_before(conn, name))
        keys += audit.read_now(lambda conn: handover.ended_keys(conn, name))
    return keys


def check_head(home: Home, manifest: Manifest, *, is_key_named: bool) -> None:
    """Hold the log's head in a backup to the key of its log, and to the log that is here.

    Whoever has a key that no longer signs the log can still sign a backup: it is believed only
    where the operator names the key, and no further than the log that is here bears it out.
    Raises `PilotError` (`backup-untrusted`, exit 5).
    """
    key = VerifierKey.parse(manifest.log_key)
    try:
        head = open_checkpoint(manifest.log_head.encode(), key).checkpoint
    except PilotError:
        raise untrusted("the head of its log is not signed by its log's key") from None
    if head.size != manifest.tree_size:
        raise untrusted("the head of its log is of another size than its manifest says")
    made = None
    with suppress(PilotError, OSError), opened(home.store("audit"), AUDIT_STEPS) as audit:
        made = audit.read_now(lambda conn: handover.passed_on(conn, key))
    if made is None:
        return
    if not is_key_named:
        raise untrusted(f"its key no longer signs this pilot's log, since {made.at:%Y-%m-%d %H:%M}")
    last = open_checkpoint(made.old_head.encode(), key).checkpoint
    if head.size > last.size:
        raise untrusted(f"its log has {head.size} entries, and its key signed only {last.size}")
    has_parted = None
    with suppress(sqlite3.Error):
        has_parted = lineage.parted_before(home.store("audit"), last, head)
    # A log that was restarted may lack entries of the one before it: then it tells nothing.
    if has_parted or (has_parted is None and made.kind == HandoverKind.ROTATION):
        raise untrusted("the entries of its log are not those of the log that is here")


def sealed_key(unpacked: Path, passphrase: bytes | None) -> VerifierKey:
    """Return the log key in the sealed part of a backup: only the passphrase leads to it."""
    sealed = unpacked / "keys.sealed"
    if not sealed.exists():
        raise untrusted("it holds no keys, and there are none here: nothing tells whose it is")
    return log_key_of(unsealed(sealed, passphrase))


def unsealed(sealed: Path, passphrase: bytes | None) -> dict[str, bytes]:
    """Return the sealed keys by their file names."""
    if passphrase is None:
        raise PilotError(
            "missing-value",
            "the keys in the backup are sealed, and there are none in the state folder",
            exit=ExitCode.USAGE,
            hint="give the passphrase with --passphrase-file",
        )
    plain = unseal(sealed.read_bytes(), passphrase)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        for info in tar:
            content = tar.extractfile(info)
            if content is not None and Path(info.name).name == info.name:
                found[info.name] = content.read()
    return found


def log_key_of(keys: dict[str, bytes]) -> VerifierKey:
    """Return the verifier of the log key among these. Raises `PilotError` where there is none."""
    try:
        return SignerKey.parse(keys["log.key"].decode()).verifier
    except (KeyError, ValueError, PilotError):
        raise untrusted("its sealed part holds no key of a log") from None


def untrusted(why: str) -> PilotError:
    """Return the error (exit 5) that says why a backup is not believed."""
    return PilotError(
        "backup-untrusted",
        f"the backup is not trusted: {why}",
        exit=ExitCode.REFUSED,
        hint="nothing was changed; name the key of its log: --vkey KEY (`pilotctl log show`)",
    )


@contextmanager
def opened(path: Path, steps: Sequence[Step]) -> Iterator[Store]:
    """Open a store for a while. Raises the `PilotError` `not-found` where there is none."""
    if not path.exists():
        raise PilotError("not-found", f"there is no store {path.name}", exit=ExitCode.NOT_FOUND)
    store = Store.open(path, steps, readers=1)
    try:
        yield store
    finally:
        store.close()
