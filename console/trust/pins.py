"""The console's memory of each log: the last head that it accepted.

A log that later shows less, or something else, has been rewritten or shows different things
to different people; both signed notes are then kept as evidence and nothing is accepted. A
single console cannot see a split view that began before its first contact: bring the key
and a first checkpoint by another way.

State is one folder for each origin, with a file `pin.json` (0600, replaced by flush and
rename), a file that two processes lock, and the evidence.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from console.errors import ExitCode, PilotError
from console.private_files import make_private_folder
from console.trust.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from console.trust.merkle import verify_consistency
from console.trust.note import VerifierKey
from console.trust.writer import replace_file, sync_folder

_PIN = "pin.json"
_LOCK = "lock"


class Pin(NamedTuple):
    """The head that the console holds a log to."""

    origin: str
    size: int
    root: bytes
    note: bytes
    """The signed note, verbatim."""
    fingerprint: str
    """Of the key that signed it (`VerifierKey.fingerprint`)."""
    accepted_at: int
    """Unix seconds."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The same head, as `verify.verify_log` takes it for `known`."""
        return Checkpoint(self.origin, self.size, self.root)


class Monitor:
    """The pins below one state folder. Several processes may share it."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def pinned(self, origin: str) -> Pin | None:
        """Return the pin of a log, None before first contact.

        Raises `PilotError` (`log-pin-damaged`, exit 11) if the file cannot be understood:
        forgetting a pin silently would forgive a rollback.
        """
        path = self._home(origin) / _PIN
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            held = json.loads(raw)
            pin = Pin(
                origin=str(held["origin"]),
                size=int(held["size"]),
                root=b64decode(held["root"], validate=True),
                note=str(held["note"]).encode(),
                fingerprint=str(held["fingerprint"]),
                accepted_at=int(held["accepted_at"]),
            )
        except (ValueError, KeyError, TypeError):
            pin = None
        if pin is None or pin.origin != origin:
            raise PilotError(
                "log-pin-damaged",
                f"the pinned checkpoint in {path} cannot be read",
                exit=ExitCode.LOG_FAILED,
                hint="restore it from a copy; removing it makes the console forget this log",
            )
        return pin

    def accept(
        self,
        note: bytes,
        key: VerifierKey,
        proof: Sequence[bytes] = (),
        *,
        origin: str | None = None,
        since: int | None = None,
    ) -> Pin:
        """Take a newer signed checkpoint as the log's head, and return the pin.

        `proof` is the consistency proof from the pinned size to the note's; none is needed
        at first contact, from an empty log, or when nothing grew. `since` is the pinned size
        that the caller saw before it fetched (0 for no pin): if another process has moved the
        pin meanwhile, that is `log-pin-moved` (exit 7), and the caller fetches again.

        Raises `PilotError` with exit 11, both notes kept: `log-rollback`, `log-split-view`,
        `log-inconsistent`, `log-key-changed`; or as `open_checkpoint` does.
        """
        signed = open_checkpoint(note, key, origin=origin)
        name = signed.checkpoint.origin
        with self._locked(name):
            pin = self.pinned(name)
            if since is not None and since != (pin.size if pin else 0):
                raise PilotError(
                    "log-pin-moved",
                    f"another process accepted a checkpoint of {name!a} in the meantime",
                    exit=ExitCode.UNAVAILABLE,
                    hint="fetch the checkpoint again",
                )
            if pin is not None:
                self._compare(pin, signed, key, proof)
                if pin.note == note:
                    return pin
            return self._pin(signed, key)

    def hand_over(self, origin: str, old: VerifierKey, new: VerifierKey) -> None:
        """Hold a log, from its pinned head on, to the key that its old key announced.

        The caller has proven the announcement. Doing it again changes nothing.
        """
        with self._locked(origin):
            pin = self.pinned(origin)
            if pin is None or pin.fingerprint != old.fingerprint:
                return
            self._write(pin._replace(fingerprint=new.fingerprint), new)

    def evidence(self, origin: str) -> list[Path]:
        """Return the notes kept of a log that failed, oldest first; empty for an honest log."""
        kept = self._home(origin).glob("evidence-*.note")
        return sorted(kept, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def _compare(
        self, pin: Pin, signed: SignedCheckpoint, key: VerifierKey, proof: Sequence[bytes]
    ) -> None:
        new = signed.checkpoint
        if pin.fingerprint != key.fingerprint:
            raise self._caught(
                "log-key-changed",
                f"it was signed by {pin.fingerprint} and is now by {key.fingerprint}",
                pin,
                signed,
            )
        if new.size < pin.size:
            raise self._caught(
                "log-rollback", f"it had {pin.size} entries and now shows {new.size}", pin, signed
            )
        if new.size == pin.size:
            if new.root != pin.root:
                raise self._caught(
                    "log-split-view", f"it has signed two trees of {pin.size} entries", pin, signed
                )
            return
        if pin.size == 0:
            return
        try:
            verify_consistency(pin.size, new.size, proof, pin.root, new.root)
        except PilotError as error:
            raise self._caught("log-inconsistent", error.message, pin, signed) from None

    def _caught(self, code: str, what: str, pin: Pin, signed: SignedCheckpoint) -> PilotError:
        """Keep both notes and return the error that says so. Catching it twice keeps it once.

        Where they cannot be kept, the error carries them: a full disk hides no failed log.
        """
        home = self._home(pin.origin)
        case = sha256(pin.note + b"\x00" + signed.note).hexdigest()[:16]
        kept = {
            home / f"evidence-{code}-{case}-pinned.note": pin.note,
            home / f"evidence-{code}-{case}-offered.note": signed.note,
        }
        detail: dict[str, object] = {"evidence": [str(path) for path in kept]}
        hint = "both signed notes are kept; compare them with another operator's"
        try:
            for path, note in kept.items():
                if not path.exists():
                    replace_file(path, note)
        except OSError as error:
            detail = {"notes": [note.decode() for note in kept.values()]}
            hint = f"the signed notes cannot be kept in {home}: {error.strerror}; -o json has them"
        return PilotError(
            code,
            f"the log {pin.origin!a} failed: {what}",
            exit=ExitCode.LOG_FAILED,
            hint=hint,
            detail=detail,
        )

    def _pin(self, signed: SignedCheckpoint, key: VerifierKey) -> Pin:
        head = signed.checkpoint
        pin = Pin(
            head.origin, head.size, head.root, signed.note, key.fingerprint, int(self._clock())
        )
        self._write(pin, key)
        return pin

    def _write(self, pin: Pin, key: VerifierKey) -> None:
        held = {
            **pin._asdict(),
            "root": b64encode(pin.root).decode(),
            "note": pin.note.decode(),
            "key": str(key),
        }
        replace_file(self._home(pin.origin) / _PIN, json.dumps(held, indent=1).encode())

    @contextmanager
    def _locked(self, origin: str) -> Iterator[None]:
        home = self._home(origin)
        if not home.is_dir():
            make_private_folder(home)
            sync_folder(home.parent)
        handle = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _home(self, origin: str) -> Path:
        """Return the folder of one log: readable, and distinct for every origin."""
        readable = re.sub(r"[^a-z0-9.-]+", "-", origin.lower()).strip("-.")[:40]
        return self._folder / f"{readable or 'log'}-{sha256(origin.encode()).hexdigest()[:12]}"
