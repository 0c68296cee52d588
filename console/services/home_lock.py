"""The lock of a state folder: one supervisor holds it, or a restore while none runs."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from console.errors import ExitCode, PilotError
from console.model.number import whole_number
from console.services.home import Home


def lock_file(home: Home) -> Path:
    """Return the file whose lock the supervisor holds."""
    return home.run / "supervisor.lock"


class Lock:
    """Held by the one supervisor of a state folder; the kernel drops it when it dies."""

    def __init__(self, home: Home) -> None:
        self.path = lock_file(home)
        try:
            self._descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PilotError(
                "state-folder",
                f"cannot use {self.path}: {error.strerror}",
                exit=ExitCode.REFUSED,
                hint="only the user who owns the state folder can start or stop its pilot",
            ) from error

    def take(self) -> bool:
        """Take the lock and write our process id into it; False where another has it."""
        for _ in range(20):
            with suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.01)  # somebody may only be looking who holds it
        else:
            return False
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return True

    def holder(self) -> int:
        """Return the process id of whoever holds it, or 0 where nobody does."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.pread(self._descriptor, 32, 0).strip()
            return whole_number(said.decode("ascii", "replace")) or 0
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return 0

    def close(self) -> None:
        """Let it go."""
        os.close(self._descriptor)
