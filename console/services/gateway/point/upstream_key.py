"""The key of an upstream, picked up anew where its file changes: rotated without a restart.

The procedure: make the new key at the upstream, write it to a file beside the old one (0600),
rename that into place, see that calls go on, then end the old key at the upstream. A file that
cannot be read, is empty or is open to others leaves the key in use as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from console.errors import PilotError

LOOKS_EVERY_SECONDS = 1.0

_Mark = tuple[int, int, int]


class UpstreamKey:
    """One upstream's key, as its file has it now."""

    __slots__ = ("_key", "_looked", "_mark", "_path", "_read")

    def __init__(self, read: Callable[[], str], path: str = "") -> None:
        """Read the key. Raises `PilotError` where it cannot be had; later that changes nothing."""
        self._read = read
        self._path = path
        self._mark = self._now()
        self._key = read()
        self._looked = time.monotonic()

    def current(self) -> str:
        """Return the key to call with; empty where the upstream needs none."""
        at = time.monotonic()
        if self._path and at - self._looked >= LOOKS_EVERY_SECONDS:
            self._looked = at
            mark = self._now()
            if mark is not None and mark != self._mark:
                self._take(mark)
        return self._key

    def doubt(self) -> None:
        """The upstream refused the key: look for another before the next call."""
        self._looked = -LOOKS_EVERY_SECONDS

    def _take(self, mark: _Mark) -> None:
        try:
            key = self._read()
        except (PilotError, UnicodeDecodeError):
            return
        if key:
            self._key, self._mark = key, mark

    def _now(self) -> _Mark | None:
        if not self._path:
            return None
        try:
            found = Path(self._path).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


NO_KEY = UpstreamKey(str)
"""For an upstream that needs none."""
