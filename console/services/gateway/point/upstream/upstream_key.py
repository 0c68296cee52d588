"""The key of an upstream, picked up anew where its file changes: rotated without a restart.

The procedure: make the new key at the upstream, write it to a file beside the old one (0600),
rename that into place, see that calls go on, then end the old key at the upstream. A file that
cannot be read, is empty or is open to others leaves the key in use as it was, and says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from console.errors import PilotError

LOOKS_EVERY_SECONDS = 1.0

_Mark = tuple[int, int, int, int]


class UpstreamKey:
    """One upstream's key, as its file has it now."""

    __slots__ = ("_fault", "_key", "_looked", "_mark", "_path", "_read")

    def __init__(self, read: Callable[[], str], path: str = "") -> None:
        """Read the key. Raises `PilotError` where it cannot be had; later that changes nothing."""
        self._read = read
        self._path = path
        self._fault = ""
        self._mark = self._now()
        self._key = read()
        self._looked = time.monotonic()

    def current(self) -> str:
        """Return the key to call with; empty where the upstream needs none."""
        self._look()
        return self._key

    @property
    def fault(self) -> str:
        """Why the file cannot be used now, so that an older key is; empty where it can."""
        self._look()
        return self._fault

    def _look(self) -> None:
        at = time.monotonic()
        if not self._path or at - self._looked < LOOKS_EVERY_SECONDS:
            return
        self._looked = at
        mark = self._now()
        if mark is None:
            self._fault = f"{self._path} cannot be read: the key before it stays in use"
        elif mark == self._mark:
            self._fault = ""
        else:
            self._take(mark)

    def doubt(self) -> None:
        """The upstream refused the key: look for another before the next call."""
        self._looked = -LOOKS_EVERY_SECONDS

    def _take(self, mark: _Mark) -> None:
        try:
            key = self._read()
        except PilotError as error:
            self._fault = f"{error.message}; the key before it stays in use"
        except UnicodeDecodeError:
            self._fault = f"{self._path} is not text: the key before it stays in use"
        else:
            self._fault = "" if key else f"{self._path} is empty: the key before it stays in use"
            if key:
                self._key, self._mark = key, mark

    def _now(self) -> _Mark | None:
        if not self._path:
            return None
        try:
            found = Path(self._path).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode


NO_KEY = UpstreamKey(str)
"""For an upstream that needs none."""
