"""The state folder of one pilot: what is where, who may look, and secrets made once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from console.errors import ExitCode, PilotError
from console.streams import MIN_UMASK


class Home(NamedTuple):
    """The folders and files of one pilot's state."""

    path: Path

    @property
    def run(self) -> Path:
        """Sockets and process files. Others may pass through (0711), not look in."""
        return self.path / "run"

    @property
    def keys(self) -> Path:
        """Secret keys (0700)."""
        return self.path / "keys"

    @property
    def logs(self) -> Path:
        """What the processes wrote on stderr (0700)."""
        return self.path / "logs"

    @property
    def log(self) -> Path:
        """The transparency log, as tiles."""
        return self.path / "log"

    @property
    def config(self) -> Path:
        """`pilot.toml`."""
        return self.path / "pilot.toml"

    def socket(self, service: str) -> Path:
        """Return the Unix socket of `service`."""
        return self.run / f"{service}.sock"

    @property
    def drain(self) -> Path:
        """How many seconds calls in flight have, where `down` was told another time."""
        return self.run / "drain-seconds"

    def store(self, name: str) -> Path:
        """Return the store file of a service, or of a point (`point-gw-1`)."""
        return self.path / f"{name}.db"


def prepare(path: Path) -> Home:
    """Make the state folder and what it needs, each with its mode; return it.

    Raises `PilotError` where the folder cannot be made or belongs to another user.
    """
    home = Home(path.absolute())
    try:
        # Others must be able to pass through to the sockets, and to nothing else.
        for folder, mode in (
            (home.path, 0o711),
            (home.run, 0o711),
            (home.keys, 0o700),
            (home.logs, 0o700),
            (home.log, 0o755),
        ):
            _make(folder, mode)
            if folder.stat().st_uid != os.geteuid():
                raise PilotError(
                    "state-folder",
                    f"{folder} belongs to another user",
                    exit=ExitCode.REFUSED,
                    hint="only the user who owns the state folder can run its pilot",
                )
            folder.chmod(mode)
    except OSError as error:
        raise PilotError(
            "state-folder",
            f"cannot use {home.path} as the state folder: {error.strerror}",
            hint="set XDG_STATE_HOME to a folder that you own",
        ) from error
    return home


def _make(folder: Path, mode: int) -> None:
    """Make a folder, and those above it so that only their owner may write in them."""
    for parent in reversed(folder.parents):
        if not parent.exists():
            with suppress(FileExistsError):  # another process was faster
                parent.mkdir(mode=0o777 & ~MIN_UMASK)
    folder.mkdir(mode=mode, exist_ok=True)


def secret_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the secret in `path`; where there is none, store what `make` returns.

    The file is 0600 before its first byte and appears whole or not at all; of two
    processes that make it at once, both get the one that was first.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(part)  # unlike a rename, it never replaces the other's
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return path.read_bytes()
