"""A log file that only its owner reads and that never grows past a bound."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

MAX_BYTES = 1024 * 1024
"""A file that reaches this becomes `NAME.log.1`, replacing the one before."""


class BoundedLog:
    """Appends to a file, 0600, keeping at most two of `MAX_BYTES`."""

    def __init__(self, path: Path, most: int = MAX_BYTES) -> None:
        self.path = path
        self._most = most
        self._file = self._open()

    def write(self, data: bytes) -> None:
        """Append `data`. A full disk loses log lines, never the service."""
        try:
            if self._file.tell() + len(data) > self._most:
                self._file.close()
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._file = self._open()
            self._file.write(data[-self._most :])
        except OSError:
            return

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._file.close()

    def _open(self) -> FileIO:
        descriptor = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        return FileIO(descriptor, "ab")
