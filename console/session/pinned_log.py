"""What this console believes of a profile's log: its key, its head, and who followed whom.

The key is pinned at first contact, or named in the profile. From then on a head is believed
if that key signed it and the log grew to it from the pinned one; another key, if the old
one announced it in the log; another log, never by itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from console.api.audit import GROWTH, HANDOVERS, HEAD, PROOF, log_files
from console.api.flow import Flow, TrustedHead
from console.config.paths import state_folder
from console.config.profile import Profile
from console.errors import ExitCode, PilotError
from console.model.log import LogHandover, LogSuccession
from console.model.text import rfc3339
from console.private_files import make_private_folder

if TYPE_CHECKING:
    from console.trust.note import VerifierKey
    from console.trust.pins import Monitor, Pin


def log_folder(profile: Profile, environ: Mapping[str, str]) -> Path:
    """Return where the profile's log is remembered: another address is another log."""
    place = sha256(str(profile.setting("audit")).encode()).hexdigest()[:12]
    readable = "".join(c for c in profile.name if c.isascii() and (c.isalnum() or c in "-_"))[:40]
    return state_folder(environ) / "logs" / f"{readable}-{place}"


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def _keeping(folder: Path) -> Iterator[None]:
    """Turn a folder that cannot be read or written into words: what follows is unproven."""
    try:
        yield
    except OSError as error:
        mend = "free some space there" if error.errno in _FULL else "make that folder yours"
        raise PilotError(
            "log-pin-not-kept",
            f"what this console has seen of the log cannot be kept in {folder}: "
            f"{error.strerror or type(error).__name__}",
            exit=ExitCode.UNVERIFIED,
            hint=f"{mend}, or name another: XDG_STATE_HOME=DIR",
        ) from error


class PinnedLog:
    """`flow.LogTrust` by the pins below one folder.

    The key is the profile's `log_key`, else the one that the log showed at first contact.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self._configured = key

    @property
    def key_file(self) -> Path:
        """The key of first contact."""
        return self.folder / "vkey"

    @cached_property
    def monitor(self) -> Monitor:
        """The heads that this console holds the log to."""
        from console.trust.pins import Monitor  # noqa: PLC0415  # only proofs need cryptography

        return Monitor(self.folder)

    def pinned_key(self) -> str:
        """Return the key in force without asking the log; empty before first contact."""
        return self.keys()[-1]

    def _read(self, path: Path) -> str:
        try:
            return path.read_text("ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except (PermissionError, UnicodeDecodeError) as error:
            raise PilotError(
                "log-pin-damaged",
                f"the pinned log key in {path} cannot be read",
                exit=ExitCode.LOG_FAILED,
                hint="restore it from a copy; removing it makes the console forget this log",
            ) from error

    def key(self) -> Flow[str]:
        """Return the log's verifier key, asking for it and pinning it at first contact."""
        if known := self.pinned_key():
            return known
        from tempfile import NamedTemporaryFile  # noqa: PLC0415  # once in a log's life

        from console.trust.note import VerifierKey  # noqa: PLC0415  # see `monitor`

        head = yield from HEAD()
        try:
            key = str(VerifierKey.parse(head.key))
        except PilotError as error:
            raise PilotError(
                "log-key-malformed",
                f"the log shows a key that is none: {error.message}",
                exit=ExitCode.LOG_FAILED,
                hint="is this the right address? `pilotctl config explain` shows where it is from",
            ) from error
        with _keeping(self.folder):
            make_private_folder(self.folder)
            # linked into place whole: another process reads the key, or none, never a part of it
            with NamedTemporaryFile(dir=self.folder, prefix="vkey-") as file:
                file.write(f"{key}\n".encode())
                file.flush()
                with suppress(FileExistsError):
                    os.link(file.name, self.key_file)
        return self.pinned_key()

    def check(self, note: str) -> Flow[TrustedHead]:
        """Open the checkpoint `note`, and check that it belongs to the log as it is pinned.

        A head older than the pin is taken where the log proves that it grew from it.
        """
        from console.trust.note import VerifierKey  # noqa: PLC0415  # see `monitor`

        key = VerifierKey.parse((yield from self.key()))
        with _keeping(self.folder):
            return (yield from self._checked(note, key))

    def _checked(self, note: str, key: VerifierKey) -> Flow[TrustedHead]:
        from console.trust.checkpoint import open_checkpoint  # noqa: PLC0415  # see `monitor`

        try:
            head = open_checkpoint(note.encode(), key, origin=key.name).checkpoint
        except PilotError as error:
            if error.code != "log-key-unknown":
                raise
            earlier = yield from self._by_an_earlier_key(note.encode(), key)
            if earlier is not None:
                return earlier
            yield from self._follow(key, error)
            return (yield from self.check(note))
        for _ in range(50):  # each that fails was beaten by one that did not
            pin = self.monitor.pinned(head.origin)
            try:
                yield from self._hold(pin, note.encode(), head.size, head.root, key)
                return TrustedHead(head.origin, head.size, head.root, datetime.now(UTC), str(key))
            except PilotError as error:
                if error.code != "log-pin-moved":
                    raise
        raise PilotError(
            "log-pin-moved",
            "other processes keep moving the pinned head of the log",
            exit=ExitCode.UNAVAILABLE,
        )

    def _by_an_earlier_key(self, note: bytes, key: VerifierKey) -> Flow[TrustedHead | None]:
        """Take a head that a key signed before it handed over, if it is not beyond that."""
        from console.trust.checkpoint import open_checkpoint  # noqa: PLC0415  # see `monitor`
        from console.trust.merkle import verify_consistency  # noqa: PLC0415
        from console.trust.note import VerifierKey  # noqa: PLC0415

        pin = self.monitor.pinned(key.name)
        for each in self.keys()[:-1]:
            old = VerifierKey.parse(each)
            try:
                head = open_checkpoint(note, old, origin=key.name).checkpoint
            except PilotError:
                continue
            if pin is None or head.size > pin.size:
                return None
            if 0 < head.size < pin.size:
                proof = yield from self._growth(head.size, pin.size)
                verify_consistency(head.size, pin.size, proof or (), head.root, pin.root)
            elif head.size and head.root != pin.root:
                return None
            return TrustedHead(head.origin, head.size, head.root, datetime.now(UTC), each)
        return None

    def _follow(self, key: VerifierKey, unknown: PilotError) -> Flow[None]:
        """Find out who signs the log now, and why: believe a rotation, and tell a restart."""
        handover = yield from self._handover(key)
        if handover is None:
            raise unknown
        if handover.kind != "rotation":
            raise self._restarted(key, handover)
        from base64 import b64decode  # noqa: PLC0415  # once in a key's life

        from console.trust.checkpoint import open_checkpoint  # noqa: PLC0415
        from console.trust.succession import announced_key  # noqa: PLC0415

        note = handover.old_head.encode()
        head = open_checkpoint(note, key, origin=key.name).checkpoint
        yield from self._hold(self.monitor.pinned(key.name), note, head.size, head.root, key)
        proof = (yield from PROOF(event=handover.event_id, tree_size=head.size)).proof
        new = announced_key(
            b64decode(proof.leaf),
            index=proof.index,
            size=head.size,
            root=head.root,
            hashes=[b64decode(each) for each in proof.hashes],
            old=key,
            new=handover.new_key,
        )
        self.monitor.hand_over(key.name, key, new)
        self._followed_by(str(key), str(new))

    def _handover(self, key: VerifierKey) -> Flow[LogHandover | None]:
        try:
            found = yield from HANDOVERS(old_key=str(key))
        except PilotError as error:
            if error.exit in {ExitCode.UNAVAILABLE, ExitCode.SIGN_IN, ExitCode.REFUSED}:
                raise
            return None  # a log that knows of no handovers
        return next((each for each in found.items if each.old_key == str(key)), None)

    def _restarted(self, key: VerifierKey, handover: LogHandover) -> PilotError:
        """Return the error that says what became of the pinned log."""
        from console.trust.note import VerifierKey  # noqa: PLC0415  # see `monitor`

        new = VerifierKey.parse(handover.new_key).name
        pin = self.monitor.pinned(key.name)
        return PilotError(
            "log-restarted",
            f"the log {key.name!a} has ended: {new!a} took its place at "
            f"{rfc3339(handover.at)}, by {handover.by!a}: {handover.reason!a}; you hold "
            f"{pin.size if pin else 0} of its entries to be true, it carries {handover.carried}",
            exit=ExitCode.LOG_FAILED,
            hint="pilotctl log succession checks what it carries against what you pinned; "
            "pilotctl log repin takes it over, once you have asked whoever did it",
        )

    def succession(self) -> Flow[LogSuccession]:
        """Read the whole log that took the pinned one's place; check it against the pin."""
        return (yield from self._succession())[0]

    def repin(self) -> Flow[LogSuccession]:
        """Check it, and hold it to its head from now on. The old pin is kept as evidence."""
        found, note, old = yield from self._succession()
        from console.trust.note import VerifierKey  # noqa: PLC0415  # see `monitor`

        new = VerifierKey.parse(found.key)
        if self.monitor.pinned(new.name) is None:
            self.monitor.accept(note, new, origin=new.name, since=0)
        self._followed_by(old, found.key)
        return replace(found, repinned=True)

    def _succession(self) -> Flow[tuple[LogSuccession, bytes, str]]:
        from console.trust.note import VerifierKey  # noqa: PLC0415  # see `monitor`
        from console.trust.succession import Carried, restart_of, successor_head  # noqa: PLC0415
        from console.trust.tiles import bundles_of, unpack_entries  # noqa: PLC0415

        key = VerifierKey.parse((yield from self.key()))
        handover = yield from self._handover(key)
        if handover is None or handover.kind != "restart":
            raise PilotError(
                "log-not-restarted",
                f"no other log took the place of {key.name!a}, which this console holds to",
                exit=ExitCode.CONFLICT,
            )
        new = VerifierKey.parse(handover.new_key)
        note = (yield from HEAD()).checkpoint.encode()
        if later := (yield from self._handover(new)):
            note = later.old_head.encode()
        head = successor_head(note, old=key, new=new)
        pin = self.monitor.pinned(key.name)
        size = pin.size if pin else 0
        carried = Carried(size)
        bundles = list(bundles_of(head.size))
        for start in range(0, len(bundles), 16):
            batch = bundles[start : start + 16]
            got = yield from log_files([each.path for each in batch])
            for tile, raw in zip(batch, got, strict=True):
                # a log may have dropped a partial bundle once it has the full one
                full = [raw] if raw else (yield from log_files([tile.full.path]))
                carried.add(unpack_entries(full[0] or b"")[: tile.width])
        if (carried.whole.size, carried.whole.root) != (head.size, head.root):
            yield from self._expect_served(new)
            raise PilotError(
                "log-inconsistent",
                f"the entries of {new.name!a} are not those that its head signs",
                exit=ExitCode.LOG_FAILED,
            )
        said = restart_of(carried.first, key, handover.new_key)
        held = min(said.carried, head.size - 1)
        same = pin is not None and held >= size and carried.old.root == pin.root
        if pin is not None and held >= size and not same:
            raise PilotError(
                "log-rewritten",
                f"{new.name!a} says that it carries {held} entries of {key.name!a}, and they are "
                f"not the {size} that this console saw",
                exit=ExitCode.LOG_FAILED,
                hint="history was changed: compare with another operator, and keep the pins",
            )
        found = LogSuccession(
            pinned_origin=key.name,
            pinned_size=size,
            origin=new.name,
            key=handover.new_key,
            size=head.size,
            named_size=said.old_size,
            carried=held,
            missing=max(0, size - held),
            same=same,
            by=said.by,
            reason=said.reason,
            at=datetime.fromisoformat(said.at),
        )
        return found, note, str(key)

    def _expect_served(self, key: VerifierKey) -> Flow[None]:
        """Raise `log-ended` (exit 9) if the log of `key` ended, and proves it by its last head."""
        from console.trust.checkpoint import open_checkpoint  # noqa: PLC0415  # see `monitor`

        handover = yield from self._handover(key)
        if handover is None or handover.kind != "restart":
            return
        open_checkpoint(handover.old_head.encode(), key, origin=key.name)
        raise PilotError(
            "log-ended",
            f"{key.name!a} has ended as well: its entries are no longer served, and could not "
            "be checked",
            exit=ExitCode.UNVERIFIED,
            hint="look at who took whose place with: pilotctl log list",
        )

    def keys(self) -> list[str]:
        """Return the pinned key and those that followed it, oldest first."""
        known = [self._configured or self._read(self.key_file)]
        while known[-1] and (path := self._next_file(known[-1])).exists() and len(known) < 1000:
            known.append(self._read(path))
        return known

    def _next_file(self, key: str) -> Path:
        """Return the file that holds the key which followed `key`, if one did."""
        return self.folder / f"vkey.after-{sha256(key.encode()).hexdigest()[:16]}"

    def _followed_by(self, old: str, new: str) -> None:
        """Remember, durably, that `new` signs where `old` did."""
        from console.trust.writer import replace_file  # noqa: PLC0415  # see `monitor`

        make_private_folder(self.folder)
        replace_file(self._next_file(old), f"{new}\n".encode())

    def _hold(
        self, pin: Pin | None, note: bytes, size: int, root: bytes, key: VerifierKey
    ) -> Flow[None]:
        since = pin.size if pin else 0
        if pin is None or since in {0, size}:
            self.monitor.accept(note, key, origin=key.name, since=since)
            return
        proof = yield from self._growth(min(since, size), max(since, size))
        if size > since or proof is None:
            # without a proof, accepting is refused there, and both notes are kept
            self.monitor.accept(note, key, proof or (), origin=key.name, since=since)
        elif size:
            from console.trust.merkle import verify_consistency  # noqa: PLC0415  # see `monitor`

            try:
                verify_consistency(size, since, proof, root, pin.root)
            except PilotError:
                # refused there as well, and both notes are kept
                self.monitor.accept(note, key, origin=key.name, since=since)
                raise

    def _growth(self, old: int, new: int) -> Flow[list[bytes] | None]:
        """Ask how the log grew; None where it says that it did not, or nonsense."""
        if old == 0:
            return []
        import binascii  # noqa: PLC0415  # see `monitor`
        from base64 import b64decode  # noqa: PLC0415

        try:
            growth = yield from GROWTH(old=old, new=new)
            return [b64decode(each, validate=True) for each in growth.hashes]
        except binascii.Error:
            return None
        except PilotError as error:
            if error.exit in {ExitCode.UNAVAILABLE, ExitCode.SIGN_IN, ExitCode.REFUSED}:
                raise
            return None
