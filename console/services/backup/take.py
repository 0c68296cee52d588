"""Making a backup while everything serves: a consistent copy of each store, in an order.

Audit is copied first and the services whose events it takes after it, so that no log in a
backup is ahead of an outbox in it. Points come last.
"""

from __future__ import annotations

import io
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from console import __version__
from console.errors import ExitCode, PilotError
from console.model.backup import FORMAT, Backup, Manifest
from console.model.text import now
from console.services.audit.log.signing_keys import log_key
from console.services.audit.migrations import STEPS
from console.services.backup.archive import member_of, write
from console.services.backup.seal import seal
from console.services.events import event
from console.services.settings import Home
from console.services.store import Store, emit
from console.services.store.migrations import claim
from console.trust.checkpoint import open_checkpoint
from console.trust.tiles import CHECKPOINT, bundles_of, tiles_of

FIRST = ("audit", "gateway", "policy")


def take(home: Home, target: Path, *, by: str, passphrase: bytes | None) -> Backup:
    """Back the pilot in `home` up into the file (or new file in the folder) `target`.

    The keys are sealed with the passphrase, or left out without one. It is recorded in the
    log. Raises `PilotError`; then there is no file.
    """
    at = now()
    if not home.store("audit").exists() or not (home.keys / "log.key").exists():
        raise PilotError("not-found", f"there is no pilot in {home.path}", exit=ExitCode.NOT_FOUND)
    if target.is_dir():
        target = target / f"pilot-{at:%Y%m%dT%H%M%SZ}.tar"
    if target.exists():
        raise PilotError("file-exists", f"{target} is there already", exit=ExitCode.CONFLICT)
    event_id = _recorded(home, by, target.name, sealed=passphrase is not None)
    signer = log_key(home)
    with _staging(target.parent) as folder:
        files: dict[str, Path] = {}
        head = _log(home, folder, files)
        size = open_checkpoint(head, signer.verifier).checkpoint.size
        for name in _stores(home):
            copy = folder / name
            copy_store(home.path / name, copy)
            files[f"stores/{name}"] = copy
        for name in ("pilot.toml", "log.vkey"):
            if (path := home.path / name).exists():
                files[name] = path
        if passphrase is not None:
            sealed = folder / "keys.sealed"
            sealed.write_bytes(seal(_keys(home), passphrase))
            files["keys.sealed"] = sealed
        manifest = Manifest(
            format=FORMAT,
            version=__version__,
            created_at=at,
            created_by=by,
            origin=signer.verifier.name,
            log_key=str(signer.verifier),
            log_head=head.decode(),
            tree_size=size,
            keys="sealed" if passphrase is not None else "left out",
            members=[member_of(name, path) for name, path in files.items()],
        )
        written, digest = write(target, manifest, signer, files)
    return Backup(
        file=str(target),
        bytes=written,
        sha256=digest,
        created_at=at,
        origin=manifest.origin,
        tree_size=size,
        stores=[name for name in files if name.startswith("stores/")],
        keys=manifest.keys,
        event_id=event_id,
    )


def copy_store(source: Path, target: Path) -> None:
    """Copy a store as one moment shows it, while others may be writing it."""
    claim(target)  # SQLite would make it readable by all
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=10)) as ours,
            closing(sqlite3.connect(target)) as theirs,
        ):
            ours.backup(theirs)
            theirs.execute("PRAGMA journal_mode = delete")
    except sqlite3.Error as error:
        raise PilotError(
            "store-damaged",
            f"{source.name} cannot be copied: {error}",
            exit=ExitCode.FAILED,
            hint="pilotctl doctor looks at every store",
        ) from error


@contextmanager
def _staging(beside: Path) -> Iterator[Path]:
    """Give a private folder on the same disk, and leave nothing of it."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".pilotctl-backup-", dir=beside))
    except OSError as error:
        raise PilotError("backup-failed", f"cannot write in {beside}: {error.strerror}") from error
    try:
        yield folder
    except OSError as error:
        raise PilotError("backup-failed", f"the backup failed: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stores(home: Home) -> list[str]:
    found = sorted(path.name for path in home.path.glob("*.db"))
    first = [f"{name}.db" for name in FIRST if f"{name}.db" in found]
    return [*first, *(name for name in found if name not in first)]


def _log(home: Home, folder: Path, files: dict[str, Path]) -> bytes:
    """Copy the published log as its checkpoint describes it; return the checkpoint."""
    for _ in range(20):
        head = (home.log / CHECKPOINT).read_bytes()
        size = open_checkpoint(head, log_key(home).verifier).checkpoint.size
        copies: dict[str, Path] = {}
        for tile in (*tiles_of(size), *bundles_of(size)):
            source = home.log / tile.path
            if not source.exists():
                break  # it was widened meanwhile: begin again with a newer head
            copy = folder / "log" / tile.path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            copies[f"log/{tile.path}"] = copy
        else:
            kept = folder / "log" / CHECKPOINT
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(head)
            files |= {f"log/{CHECKPOINT}": kept, **copies}
            return head
    raise PilotError("backup-failed", f"the log in {home.log} is not whole")


def _keys(home: Home) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for path in sorted(home.keys.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                tar.add(path, arcname=path.name)
    return held.getvalue()


def _recorded(home: Home, by: str, name: str, *, sealed: bool) -> str:
    """Record in audit's own outbox that a backup is being made; it is then in the backup."""
    store = Store.open(home.store("audit"), STEPS, readers=1)
    try:
        made = event(
            "backup.create",
            service="audit",
            actor=by,
            kind="backup",
            target=name,
            name=name,
            facts={"keys": "sealed" if sealed else "left out"},
            at=now(),
        )
        return store.write_now(lambda conn: emit(conn, made))
    finally:
        store.close()
