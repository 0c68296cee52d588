"""Handing over a new key or token: to a file made 0600, to a pipe, or on the alternate screen.

Where it will go is settled before the secret is minted, and room for it is reserved and
synced, so that none is made that cannot be handed over; and it never reaches the scrollback.
Where handing over fails all the same, the error names what was made and how to end it.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from console.cli.output import ClosedPipe, Output
from console.cli.stderr import Stderr
from console.cli.terminal import Terminal
from console.errors import ExitCode, PilotError
from console.model.account import AccountKind, IssuedToken
from console.model.enforcement import IssuedKey
from console.present.columns import name_of
from console.present.safe import safe

STDOUT = "-"
"""The `--secret-file` that is standard output: the secret alone, where a pipe reads it."""
ROOM_BYTES = 4096
"""Reserved in a new file. A secret is far shorter."""
ANSWER_BYTES = 64 * 1024
"""What standard output must have room for, where it is a file: the whole answer."""

_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE, from <linux/falloc.h>."""
_FILE_NAME = re.compile(r"[^A-Za-z0-9_-]")

Issued = TypeVar("Issued", bound=IssuedKey | IssuedToken)


class Handover:
    """One key on its way. `prepare` before anything is sent; then `deliver` or `abandon`."""

    def __init__(self, terminal: Terminal, *, secret_file: str, format: str) -> None:
        self._terminal = terminal
        self._bare = secret_file == STDOUT
        self._path = Path(secret_file).expanduser() if secret_file and not self._bare else None
        self._format = format
        self._descriptor: int | None = None
        self._output_file: int | None = None
        """Standard output's descriptor, where it is a file and its answer is not synced yet."""

    def prepare(self) -> None:
        """Make sure that the key has somewhere to go. Raises `PilotError`."""
        if self._path is not None:
            self._descriptor = _new_file(self._path)
            return
        if self._bare:
            self._prepare_bare()
            return
        hint = "name a new file with --secret-file PATH, or read it from a pipe with -o json"
        if self._format in {"name", "csv"}:
            raise _nowhere(f"-o {self._format} does not carry the key", hint)
        if self._terminal.stdout_tty:
            if not self._terminal.stdin_tty or self._terminal.dumb or self._format != "table":
                raise _nowhere("the key would stay in this terminal's scrollback", hint)
            return
        self._output_file = _reserve_output(hint)

    def _prepare_bare(self) -> None:
        if self._format != "table":
            raise _nowhere(
                f"--secret-file - writes the key alone, and -o {self._format} does not",
                "leave one of them out: -o json carries the key too",
            )
        hint = "--secret-file - is for a pipe: name a new file with --secret-file PATH"
        if self._terminal.stdout_tty:
            raise _nowhere("the key would stay in this terminal's scrollback", hint)
        self._output_file = _reserve_output(hint)

    def deliver(self, issued: Issued, output: Output, stderr: Stderr) -> Issued:
        """Hand the key over, and return the answer as it may be printed.

        Raises `PilotError` (`secret-lost`) where it could not be: it names what was made.
        """
        if issued.secret is None:
            self.abandon()
            return issued
        with not_lost(issued):
            if self._descriptor is not None and self._path is not None:
                self._write(issued.secret)
                stderr.note(f"the key is in {self._path} (0600): it is shown nowhere else, ever")
            elif self._bare:
                output.text(issued.secret)
                self.sync()
                stderr.note(f"the key of {name_of(issued)} was written to standard output, once")
            elif self._terminal.stdout_tty:
                output.alternate_screen(_screen(issued))
                stderr.note("the key was shown once, and is gone from here")
            else:
                return issued
        return msgspec.structs.replace(issued, secret=None)

    @property
    def prints_answer(self) -> bool:
        """Whether standard output is for the answer: not where it is the key's alone."""
        return not self._bare

    def early(self, issued: Issued, output: Output, stderr: Stderr) -> bool:
        """Hand the key over before all is done, where it is not a part of the answer."""
        if self._descriptor is None and not self._bare and not self._terminal.stdout_tty:
            return False
        self.deliver(issued, output, stderr)
        return True

    def _write(self, secret: str) -> None:
        """Write the secret into the room that was reserved, through to the disk."""
        assert self._descriptor is not None
        assert self._path is not None
        descriptor, self._descriptor = self._descriptor, None
        line = f"{secret}\n".encode("ascii")
        try:
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                file.write(line)  # in the room that is there: whole, or an error
                file.truncate()
                os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                self._path.unlink()
            raise

    def sync(self) -> None:
        """Write what standard output was given through to the disk. Raises OSError."""
        if self._output_file is not None:
            descriptor, self._output_file = self._output_file, None
            os.fsync(descriptor)

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
    if not folder or folder == STDOUT:
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


@contextmanager
def not_lost(issued: IssuedKey | IssuedToken) -> Iterator[None]:
    """Turn a failure to hand a secret over into the error that says what was made.

    Raises `PilotError` (`secret-lost`, exit 9). Nothing changes where there is no secret.
    """
    try:
        yield
    except (OSError, PilotError, ClosedPipe, UnicodeEncodeError) as error:
        if issued.secret is None:
            raise
        said = str(error) or "whoever read standard output went away"
        raise lost(issued, said) from error


def lost(issued: IssuedKey | IssuedToken, why: str) -> PilotError:
    """Return the error for a secret that nobody has: what was made, and how it is ended."""
    what, mend = _ended_by(issued)
    return PilotError(
        "secret-lost",
        f"{what} was made, and could not be handed over: {why}",
        exit=ExitCode.UNVERIFIED,
        hint=f"nobody has it: end it with {mend}, and issue another",
        detail={"made": name_of(issued)},
    )


def _ended_by(issued: IssuedKey | IssuedToken) -> tuple[str, str]:
    """Return what was made, and the command that ends it."""
    if isinstance(issued, IssuedKey):
        key = issued.credential
        return (
            f"the key {key.id} of {key.partner}",
            f"`pilotctl key revoke {key.id} --confirm {key.partner} --reason '...'`",
        )
    name = issued.account.slug
    if issued.account.kind == AccountKind.BREAK_GLASS:
        again = "`pilotctl break-glass seal --replace --secret-file PATH --reason '...'`"
        return f"the break-glass account {name}", again
    again = f"`pilotctl operator token {name} --replace --secret-file PATH --reason '...'`"
    return f"the token {issued.token.id} of {name}", again


def _screen(issued: IssuedKey | IssuedToken) -> list[str]:
    if isinstance(issued, IssuedKey):
        key = issued.credential
        title = f"Key {name_of(issued)} of {key.partner}, held by {key.holder}"
        urls = issued.base_urls
    else:
        title, urls = f"Token of {issued.account.slug}", []
    lines = [
        safe(title),
        "",
        f"  {safe(issued.secret or '')}",
        "",
        *(f"  works at {safe(url)}" for url in urls),
        "",
        "It is shown once. Hand it over now; press Enter when it is done.",
    ]
    return [line for at, line in enumerate(lines) if line or lines[at - 1]]


def _new_file(path: Path) -> int:
    """Make the file, 0600, with room for the secret: reserved, and on the disk."""
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            _reserve(made, 0, ROOM_BYTES)
            os.fsync(made)
            _sync_folder(path.parent)
        except OSError:
            os.close(made)
            path.unlink(missing_ok=True)
            raise
    except FileExistsError:
        raise PilotError(
            "secret-file-exists",
            f"{path} exists: a key goes into a new file only",
            exit=ExitCode.USAGE,
            hint="name another file",
        ) from None
    except OSError as error:
        raise PilotError(
            "secret-file-unwritable",
            f"{path}: {error.strerror}: no key was made",
            exit=ExitCode.USAGE,
        ) from error
    return made


def _reserve(descriptor: int, start: int, count: int) -> None:
    """Take room on the disk. Raises OSError where there is none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, count)
    else:  # macOS
        os.pwrite(descriptor, bytes(count), start)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reserve_output(hint: str) -> int | None:
    """Refuse a standard output that others can read, or that has no room for the answer.

    Return its descriptor where it is a file: the room is reserved there, and on the disk.
    """
    descriptor = sys.stdout.fileno()
    status = os.fstat(descriptor)
    mode = status.st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise _nowhere("standard output is neither a pipe nor a file that only you can read", hint)
    try:
        _reserve_beyond(descriptor, status.st_size, ANSWER_BYTES)
        os.fsync(descriptor)
    except OSError as error:
        raise _nowhere(f"standard output has no room: {error.strerror}", hint) from error
    return descriptor


def _reserve_beyond(descriptor: int, size: int, count: int) -> None:
    """Take room behind a file's end, which stays where it is. Raises OSError where there is none.

    Whoever appends finds the end as it was, and what is not used stays the file's: to give it
    back would cut off what another appends meanwhile. A system that cannot do this only looks
    for the room.
    """
    import ctypes  # noqa: PLC0415  # no other command needs it

    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most != resource.RLIM_INFINITY and size + count > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if fallocate is not None:
        fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        if fallocate(descriptor, _KEEP_SIZE, size, count) == 0:
            return
        if (code := ctypes.get_errno()) not in {errno.EOPNOTSUPP, errno.ENOSYS}:
            raise OSError(code, os.strerror(code))
    try:
        _reserve(descriptor, size, count)
    finally:
        os.ftruncate(descriptor, size)


def _nowhere(message: str, hint: str) -> PilotError:
    return PilotError("secret-nowhere", message, exit=ExitCode.USAGE, hint=hint)
