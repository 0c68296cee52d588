"""Restoring a backup: a rollback that brings nothing back to life.

Everything is made ready in a folder of its own, and nothing that is there changes before all
of it is. Then the gateway's store holds a lock on everything, each revocation that the newest
copy or the log knows of, and, where neither could be read, the end of every key.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, select

from console.errors import ExitCode, PilotError
from console.model.backup import Manifest, Restored
from console.model.enforcement import LockKind, LockTarget, NewLock
from console.model.text import now
from console.services import settings
from console.services.audit.log import handover, ledger
from console.services.audit.log.signing_keys import new_signer
from console.services.audit.migrations import STEPS as AUDIT_STEPS
from console.services.audit.state.schema import TREE
from console.services.backup import anchors, lineage, newest_state, replay
from console.services.backup.anchors import opened
from console.services.backup.archive import unpack
from console.services.backup.replay import Kept, Stores, os_user
from console.services.backup.swap import exchange, finish
from console.services.events import event
from console.services.gateway.control.closing.locks import Locks
from console.services.gateway.control.migrations import STEPS as GATEWAY_STEPS
from console.services.gateway.control.state import change_log
from console.services.gateway.control.state.point_registry import Points
from console.services.home import Home, prepare
from console.services.home_lock import Lock
from console.services.operators import break_glass
from console.services.policy.migrations import STEPS as POLICY_STEPS
from console.services.store import Store, emit
from console.trust.checkpoint import Checkpoint, open_checkpoint
from console.trust.note import SignerKey, VerifierKey
from console.trust.writer import replace_file

MESSAGE = "This service is being restored. Access resumes once it has been checked."


class Order(NamedTuple):
    """What is to be restored, and what the operator says about it."""

    archive: Path
    reason: str
    passphrase: bytes | None = None
    vkey: str = ""
    """The key of the log that the backup must be of; the home's own without it."""
    heads: Sequence[bytes] = ()
    """Checkpoints that were seen elsewhere: what consoles pinned."""
    keep_keys: bool = False
    """Keys stay although nothing newer than the backup could be read."""
    dry_run: bool = False
    is_home_named: bool = False
    """The state folder is not the usual one: the commands to run next name it too."""


def restore(path: Path, order: Order) -> Restored:
    """Restore a backup into the state folder at `path`, whose services do not run.

    Raises `PilotError`; then nothing has changed. A crash later on is finished by whoever
    starts the pilot.
    """
    home = prepare(path)
    lock = Lock(home)
    try:
        if not lock.take():
            raise PilotError(
                "running",
                f"the services in {home.path} are running",
                exit=ExitCode.CONFLICT,
                hint="stop them first: pilotctl down",
            )
        finish(home)
        return _restore(home, order)
    finally:
        lock.close()


def _restore(home: Home, order: Order) -> Restored:
    with _staging(home) as folder:
        manifest = unpack(
            order.archive,
            folder / "backup",
            anchors.trusted(home, order.vkey),
            lambda unpacked: anchors.sealed_key(unpacked, order.passphrase),
        )
        anchors.check_head(home, manifest, is_key_named=bool(order.vkey))
        made = _Restore(home, order, manifest, folder).make()
        if order.dry_run:
            return made
        staged = folder / "new"
        aside = home.path / f".replaced-{now():%Y%m%dT%H%M%S%fZ}"
        # Below the state folder itself, so that each move is one rename.
        ready = home.path / f"{folder.name}.ready"
        staged.rename(ready)
        exchange(home, ready, aside, sorted(each.name for each in ready.iterdir()))
    return msgspec.structs.replace(made, changed=True, aside=str(aside))


class _Restore:
    """One restore: it makes the new state below `folder / "new"`."""

    def __init__(self, home: Home, order: Order, manifest: Manifest, folder: Path) -> None:
        self._home = home
        self._order = order
        self._manifest = manifest
        self._backup = folder / "backup"
        self._new = Home(folder / "new")
        self._by = os_user()
        self._at = now()
        self._warnings: list[str] = []
        self._used: list[str] = []

    def make(self) -> Restored:
        """Make everything ready, and say what it is."""
        self._new.path.mkdir(mode=0o700)
        self._keys()
        reached = {
            name: lineage.reach(self._home.store(name), self._backup / "stores" / f"{name}.db")
            for name in replay.SERVICES
        }
        is_strange = self._home.store("gateway").exists() and reached["gateway"] is None
        for each in sorted((self._backup / "stores").iterdir()):
            # A point's own store, where it is there, knows which calls it has recorded.
            is_left = each.name.startswith("point-") and (self._home.path / each.name).exists()
            if is_strange or not is_left:
                each.rename(self._new.path / each.name)
        if not self._home.config.exists() and (self._backup / "pilot.toml").exists():
            (self._backup / "pilot.toml").rename(self._new.config)
        continued = self._audit_there()
        with (
            opened(self._new.store("audit"), AUDIT_STEPS) as audit,
            opened(self._new.store("gateway"), GATEWAY_STEPS) as gateway,
            opened(self._new.store("policy"), POLICY_STEPS) as policy,
        ):
            replayed, log_known = self._log(audit, continued=continued)
            stores = Stores(gateway=gateway, policy=policy, audit=audit)
            kept = replay.replay(
                self._home, stores,
                replay.Wish(
                    log_known=log_known, reached=reached, keep_keys=self._order.keep_keys,
                    by=self._by, at=self._at, why=self._words(unsure=True),
                ),
            )  # fmt: skip
            self._used += kept.used
            self._warnings += kept.warnings
            lock = gateway.write_now(self._locked(gateway))
            old = self._restarted(audit)
            audit.write_now(lambda conn: emit(conn, self._event(conn, kept, lock)))
            while audit.write_now(ledger.take_own):
                pass
            size = audit.read_now(ledger.tree).size
            key = VerifierKey.parse(
                audit.read_now(lambda conn: conn.execute(select(TREE.c.key)).scalar_one())
            )
        return Restored(
            home=str(self._home.path),
            backup_of=self._manifest.created_at,
            changed=False,
            newest_copy=self._used,
            log="new" if old else "continued",
            origin=key.name,
            tree_size=size,
            old_origin=old.origin if old else "",
            old_size=old.size if old else 0,
            replayed=replayed,
            tombstones=kept.tombstones,
            closings=kept.closings,
            keys_ended=kept.unsure.keys_ended,
            grants_suspended=kept.unsure.grants_suspended,
            partners_restricted=kept.unsure.partners_restricted,
            tokens_ended=kept.unsure.tokens_ended,
            operators_cut=kept.unsure.operators_cut,
            lock_id=lock,
            next=self._next(kept, lock),
            warnings=self._warnings,
        )

    def _log(self, audit: Store, *, continued: bool) -> tuple[int, bool]:
        """Bring the log up to what is left of it; return how much was added, and if it is known."""
        if continued:
            return max(0, audit.read_now(ledger.tree).size - self._manifest.tree_size), True
        replayed, why = newest_state.replay_tiles(self._home, audit, self._log_key)
        if why:
            self._warnings.append(why)
        elif replayed:
            self._used.append("published log")
        reached = audit.read_now(ledger.tree).size
        keys = [self._log_key, *anchors.trusted(self._home, "")]
        signed = newest_state.newest_signed(self._notes(), keys, self._manifest.origin)
        if replayed and signed > reached:
            self._warnings.append(
                f"the published log has {reached} entries, and {signed} were signed"
            )
        return replayed, bool(replayed) and signed <= reached

    def _next(self, kept: Kept, lock: str) -> list[str]:
        """Return the commands that the owner runs next, in order."""
        home = f" --home {self._home.path}" if self._order.is_home_named else ""
        out = [f"pilotctl up{home}"]
        unsure = kept.unsure
        names = [each for each in unsure.operators_cut if not each.startswith("break-glass-")]
        out += [f"pilotctl owner restore {each}{home} --reason '…'" for each in names]
        if unsure.tokens_ended:
            out += ["pilotctl operator token NAME --reason '…' --secret-file PATH"]
        if unsure.tokens_ended or kept.lacks_break_glass:
            out += [break_glass.SEAL]
        if unsure.partners_restricted:
            out += ["pilotctl partner resume PARTNER --reason '…'"]
        if unsure.grants_suspended:
            out += ["pilotctl grant resume GRANT --reason '…'"]
        if unsure.keys_ended:
            out += ["pilotctl key issue GRANT --reason '…' --secret-file PATH"]
        return [*out, f"pilotctl lock release {lock} --reason '…'"]

    @property
    def _log_key(self) -> VerifierKey:
        return VerifierKey.parse(self._manifest.log_key)

    def _notes(self) -> list[bytes]:
        """Return the heads that were ever seen, of whichever log."""
        return [
            self._manifest.log_head.encode(),
            *self._order.heads,
            *newest_state.note_there(self._home),
        ]

    def _known(self) -> list[tuple[Checkpoint, bytes]]:
        """Return the heads of the backup's log that were ever seen, by its own signature."""
        found = []
        for note in self._notes():
            with suppress(PilotError):
                found.append((open_checkpoint(note, self._log_key).checkpoint, note))
        return found

    def _newest_note(self) -> bytes:
        """Return the largest signed head of the backup's log that is known."""
        return max(self._known(), key=lambda each: each[0].size)[1]

    def _audit_there(self) -> bool:
        """Take the audit store that is there for the newest copy, if it is whole."""
        copy = self._new.path.parent / "audit.there.db"
        head = open_checkpoint(self._manifest.log_head.encode(), self._log_key).checkpoint
        heads = dict([(head.size, head.root), lineage.tree_of(self._new.store("audit"))])
        why = newest_state.whole_log(self._home, copy, heads, self._notes(), self._log_key)
        if why:
            self._warnings.append(why)
            return False
        copy.replace(self._new.store("audit"))
        self._used.append("audit store")
        return True

    def _keys(self) -> None:
        """Have the keys that are there, else the sealed ones, else none."""
        if (self._home.keys / "log.key").exists():
            return
        sealed = self._backup / "keys.sealed"
        if not sealed.exists():
            self._warnings.append("the backup holds no keys: those of a new pilot are made")
            return
        self._new.keys.mkdir(mode=0o700)
        found = anchors.unsealed(sealed, self._order.passphrase)
        if str(anchors.log_key_of(found)) != self._manifest.log_key:
            raise anchors.untrusted("its sealed keys are those of another log")
        for name, content in found.items():
            replace_file(self._new.keys / name, content)

    def _locked(self, gateway: Store) -> Callable[[Connection], str]:
        views = change_log.Views()
        locks = Locks(views, Points(gateway, views))
        target = LockTarget(kind=LockKind.EVERYTHING, id="*")
        body = NewLock(target=target, reason=self._words(), message=MESSAGE)
        return lambda conn: locks.add(conn, replay.ask(body, self._by, self._at)).id

    def _restarted(self, audit: Store) -> Checkpoint | None:
        """Begin a new log where signed entries are lost, or its key is."""
        state = audit.read_now(ledger.tree)
        key = audit.read_now(lambda conn: conn.execute(select(TREE.c.key)).scalar_one())
        lost = [
            head
            for head, _ in self._known()
            if head.origin == VerifierKey.parse(key).name
            and (head.size > state.size or (head.size == state.size and head.root != state.root))
        ]
        if not lost and key in (str(each.verifier) for each in self._signers()):
            return None
        note = self._newest_note()
        old = open_checkpoint(note, self._log_key).checkpoint
        audit.write_now(
            lambda conn: handover.begin_anew(
                conn,
                self._shelf(),
                old_head=note,
                old_key=self._manifest.log_key,
                origin=self._origin(),
                by=self._by,
                reason=self._words(),
                at=self._at,
                facts={"backup_of": self._manifest.created_at.isoformat()},
            )
        )
        return old

    def _origin(self) -> str:
        """Name the new log after the one that ended, without the mark of an earlier key."""
        with suppress(PilotError):
            return settings.load(self._home.path).log.origin
        return ""

    def _signers(self) -> Iterator[SignerKey]:
        for keys in (self._new.keys, self._home.keys):
            for path in keys.glob("log.key*"):
                with suppress(PilotError, OSError, ValueError):
                    yield SignerKey.parse(path.read_text())

    def _shelf(self) -> Home:
        """Return the home whose keys folder takes a new key: one that is moved into place."""
        if not self._new.keys.exists():
            self._new.keys.mkdir(mode=0o700)
            for path in self._home.keys.iterdir():
                if path.is_file():
                    replace_file(self._new.keys / path.name, path.read_bytes())
            if not (self._new.keys / "log.key").exists():
                # It signs nothing: the store calls for the one that follows.
                replace_file(
                    self._new.keys / "log.key", new_signer().secret_text().encode() + b"\n"
                )
        return self._new

    def _words(self, *, unsure: bool = False) -> str:
        what = f"restored from the backup of {self._manifest.created_at:%Y-%m-%d %H:%M} UTC"
        if unsure:
            return f"{what}: what ended since cannot be known"
        return f"{what}: {self._order.reason}"[:1000]

    def _event(self, conn: Connection, kept: Kept, lock: str) -> dict[str, Any]:
        return event(
            "backup.restore",
            service="audit",
            actor=self._by,
            kind="backup",
            target=self._order.archive.name,
            name=self._order.archive.name,
            reason=self._order.reason,
            severity="critical",
            facts={
                "backup_of": self._manifest.created_at.isoformat(),
                "backup_tree_size": self._manifest.tree_size,
                "tree_size": ledger.tree(conn).size,
                "newest_copy": self._used,
                "tombstones_kept": kept.tombstones,
                "closings_kept": kept.closings,
                "keys_ended": kept.unsure.keys_ended,
                "grants_suspended": len(kept.unsure.grants_suspended),
                "partners_restricted": len(kept.unsure.partners_restricted),
                "tokens_ended": kept.unsure.tokens_ended,
                "operators_cut": kept.unsure.operators_cut,
                "lock": lock,
            },
            at=self._at,
        )


@contextmanager
def _staging(home: Home) -> Iterator[Path]:
    for left in home.path.glob(".restore-*"):  # of a restore that never came to its moves
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".restore-", dir=home.path))
    (folder / "backup").mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
