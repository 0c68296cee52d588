"""Handing over a new key: to a file made 0600, to a pipe, or on the alternate screen.

Where it will go is settled before the key is minted, so that no key is made that cannot
be handed over; and it never reaches the scrollback.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from console.cli.output import Output
from console.cli.stderr import Stderr
from console.cli.terminal import Terminal
from console.errors import ExitCode, PilotError
from console.model.enforcement import IssuedKey
from console.present.columns import name_of
from console.present.safe import safe

_FILE_NAME = re.compile(r"[^A-Za-z0-9_-]")


class Handover:
    """One key on its way. `prepare` before anything is sent; then `deliver` or `abandon`."""

    def __init__(self, terminal: Terminal, *, secret_file: str, format: str) -> None:
        self._terminal = terminal
        self._path = Path(secret_file).expanduser() if secret_file else None
        self._format = format
        self._descriptor: int | None = None

    def prepare(self) -> None:
        """Make sure that the key has somewhere to go. Raises `PilotError`."""
        if self._path is not None:
            self._descriptor = _new_file(self._path)
            return
        hint = "name a new file with --secret-file PATH, or read it from a pipe with -o json"
        if self._format in {"name", "csv"}:
            raise _nowhere(f"-o {self._format} does not carry the key", hint)
        if self._terminal.stdout_tty:
            if not self._terminal.stdin_tty or self._terminal.dumb or self._format != "table":
                raise _nowhere("the key would stay in this terminal's scrollback", hint)
            return
        mode = os.fstat(sys.stdout.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            return
        if stat.S_ISREG(mode) and not mode & 0o077:
            return
        raise _nowhere("standard output is neither a pipe nor a file that only you can read", hint)

    def deliver(self, issued: IssuedKey, output: Output, stderr: Stderr) -> IssuedKey:
        """Hand the key over, and return the answer as it may be printed."""
        if issued.secret is None:
            self.abandon()
            return issued
        if self._descriptor is not None and self._path is not None:
            with os.fdopen(self._descriptor, "w", encoding="ascii") as file:
                self._descriptor = None
                file.write(issued.secret + "\n")
            stderr.note(f"the key is in {self._path} (0600): it is shown nowhere else, ever")
        elif self._terminal.stdout_tty:
            output.alternate_screen(_screen(issued))
            stderr.note("the key was shown once, and is gone from here")
        else:
            return issued
        return msgspec.structs.replace(issued, secret=None)

    def early(self, issued: IssuedKey, output: Output, stderr: Stderr) -> bool:
        """Hand the key over before all is done, where it goes to a file or a screen."""
        if self._descriptor is None and not self._terminal.stdout_tty:
            return False
        self.deliver(issued, output, stderr)
        return True

    def abandon(self) -> None:
        """Take back what `prepare` made: no key came."""
        if self._descriptor is not None and self._path is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._path.unlink(missing_ok=True)


def each_to_its_file(
    terminal: Terminal, *, folder: str, names: Sequence[str], format: str
) -> list[Handover]:
    """Return what hands over several keys: one new file each, `NAME.key` in a folder.

    The folder is made, 0700, where there is none. Every file is there before the first key
    is made. Raises `PilotError`.
    """
    hint = "name a folder with --secret-file DIR: each key goes into a file of its own there"
    if not folder:
        raise _nowhere("several keys cannot be shown at once", hint)
    path = Path(folder).expanduser()
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _nowhere(f"{path}: {error.strerror}", hint) from error
    made: list[Handover] = []
    try:
        for name in names:
            file = path / f"{_FILE_NAME.sub('_', name)}.key"
            one = Handover(terminal, secret_file=str(file), format=format)
            one.prepare()
            made.append(one)
    except BaseException:
        for each in made:
            each.abandon()
        raise
    return made


def _screen(issued: IssuedKey) -> list[str]:
    lines = [
        (
            f"Key {safe(name_of(issued))} of {safe(issued.credential.partner)},"
            f" held by {safe(issued.credential.holder)}"
        ),
        "",
        f"  {safe(issued.secret or '')}",
        "",
        *(f"  works at {safe(url)}" for url in issued.base_urls),
        "",
        "It is shown once. Hand it over now; press Enter when it is done.",
    ]
    return [line for at, line in enumerate(lines) if line or lines[at - 1]]


def _new_file(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise PilotError(
            "secret-file-exists",
            f"{path} exists: a key goes into a new file only",
            exit=ExitCode.USAGE,
            hint="name another file",
        ) from None
    except OSError as error:
        raise PilotError(
            "secret-file-unwritable", f"{path}: {error.strerror}", exit=ExitCode.USAGE
        ) from error


def _nowhere(message: str, hint: str) -> PilotError:
    return PilotError("secret-nowhere", message, exit=ExitCode.USAGE, hint=hint)
