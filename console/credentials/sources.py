"""Where the API token comes from: one source per profile, and which it was is always known."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from console.credentials.secret import Secret
from console.errors import ExitCode, PilotError
from console.programs import module_command, module_environment

KEYRING_SECONDS = 3.0
COMMAND_SECONDS = 10.0
WORKING_FOLDER = "/"
"""Where a command runs: interpreters take modules from the folder that they are started in."""
_MAX_BYTES = 64 * 1024


class Token(NamedTuple):
    """A token, in words where it came from, and when it ends if the source said so."""

    secret: Secret
    source: str
    expires_at: datetime | None = None


class _Said(msgspec.Struct):
    token: str
    expires_at: datetime | None = None


def obtain(setting: Mapping[str, Any], environ: Mapping[str, str], *, profile: str) -> Token | None:
    """Return the token that the profile's `token` setting leads to, None for `none`.

    Raises `PilotError` (exit 4) where the source has none, or is not to be trusted.
    """
    source = setting["source"]
    if source == "env":
        return _from_environ(setting["variable"], environ)
    if source == "file":
        return _from_file(Path(setting["path"]).expanduser())
    if source == "command":
        return _from_command(setting["argv"])
    if source == "keyring":
        return _from_keyring(
            setting.get("service") or "pilotctl", setting.get("account") or profile
        )
    return None


def describe(setting: Mapping[str, Any]) -> str:
    """Return the source in words, without asking it."""
    source = setting["source"]
    return {
        "none": "none: the operator is the OS user on a local socket",
        "env": f"environment {setting.get('variable')}",
        "file": f"file {setting.get('path')}",
        "command": f"command {(setting.get('argv') or [''])[0]}",
        "keyring": f"keyring {setting.get('service') or 'pilotctl'}",
    }[source]


def _from_environ(variable: str, environ: Mapping[str, str]) -> Token:
    text = environ.get(variable, "").strip()
    if not text:
        raise _none(f"the environment has no {variable}", f"set {variable}")
    return _checked(Token(Secret(text), f"environment {variable}"))


def _from_file(path: Path) -> Token:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _none(
            f"the token file {path} cannot be read: {error.strerror}", "see `token` in the profile"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        # asked of the open file, so that it cannot be exchanged in between
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _none(f"the token file {path} is not a file", "name a regular file")
        if status.st_mode & 0o077:
            raise _none(
                f"the token file {path} can be read by others (mode {status.st_mode & 0o777:04o})",
                f"chmod 600 {path}",
            )
        if status.st_uid not in {os.geteuid(), 0}:
            raise _none(f"the token file {path} belongs to somebody else", "own it")
        raw = file.read(_MAX_BYTES + 1)
    return _checked(_said(raw, f"file {path}"))


def _from_command(argv: Sequence[str]) -> Token:
    name = f"command {argv[0]}"
    program = _program(argv[0], name)
    for each in (program, *argv[1:]):
        # an argument may be the script that an interpreter runs
        _refuse_writable(Path(WORKING_FOLDER, each), name)
    raw = _run([program, *argv[1:]], COMMAND_SECONDS, name)
    return _checked(_said(raw, name))


def _program(named: str, source: str) -> str:
    """Return the absolute path of a command, which is never searched in the working directory."""
    if Path(named).is_absolute():
        return named
    if os.sep in named:
        raise _none(
            f"{source} is a path that depends on the working directory", "name its absolute path"
        )
    import shutil  # noqa: PLC0415  # most profiles ask no process

    folders = [each for each in os.get_exec_path() if Path(each).is_absolute()]
    found = shutil.which(named, path=os.pathsep.join(folders))
    if found is None:
        raise _none(f"{source} cannot be run: not found in PATH", "see `token` in the profile")
    return found


def _refuse_writable(named: Path, source: str) -> None:
    """Refuse a file that another user could have written, or put there. Raises `PilotError`."""
    try:
        held = named.resolve(strict=True)
        if not (held.is_file() or held.is_dir()):
            return
        # a link is as safe as the folders on its way, and as those of what it leads to
        looked_at = {held: held.stat()}
        looked_at |= {each: each.stat() for each in (*named.parents, *held.parents)}
    except (OSError, ValueError):
        return  # it names no file; running it says what is wrong
    for path, status in looked_at.items():
        is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid not in {os.geteuid(), 0}:
            why, mend = "belongs to another user", f"chown {os.geteuid()} {path}"
        elif status.st_mode & 0o022 and not is_sticky:
            why, mend = "can be written by others", f"chmod go-w {path}"
        else:
            continue
        where = "" if path == held else f": {path}"
        raise _none(f"{source} {why}{where}: it is not run", f"look at it first, then: {mend}")


def _from_keyring(service: str, account: str) -> Token:
    name = f"keyring {service}"
    raw = _run(
        module_command("console.credentials.keychain", service, account),
        KEYRING_SECONDS,
        name,
        module_environment(),
    )
    try:
        found = msgspec.json.decode(raw, type=dict[str, str | None])
    except msgspec.MsgspecError as error:
        raise _none(f"{name} answered something unreadable", "see `pilotctl doctor`") from error
    if why := found.get("error"):
        raise _none(f"{name} cannot be used: {why}", "use a token file or a command on this host")
    if not (token := found.get("token")):
        raise _none(
            f"{name} holds nothing for {account!r}",
            f"store it with: keyring set {service} {account}",
        )
    return _checked(Token(Secret(token), name))


def _run(
    argv: Sequence[str], seconds: float, name: str, environ: Mapping[str, str] | None = None
) -> bytes:
    import subprocess  # noqa: PLC0415  # most profiles ask no process

    try:
        done = subprocess.run(  # noqa: S603  # the operator's own profile names the command
            list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds,
            check=False, env=environ, cwd=WORKING_FOLDER,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _none(
            f"{name} did not answer within {seconds:g} s", "use a token file, or mend the source"
        ) from error
    except OSError as error:
        raise _none(
            f"{name} cannot be run: {error.strerror}", "see `token` in the profile"
        ) from error
    if done.returncode:
        # its standard error is not repeated: it may quote what it could not parse
        raise _none(
            f"{name} failed with exit status {done.returncode}", "run it by hand to see why"
        )
    return done.stdout


def _said(raw: bytes, source: str) -> Token:
    """Read `{"token": …, "expires_at": …}`, or the token alone as text."""
    if len(raw) > _MAX_BYTES:
        raise _none(f"{source} gave more than {_MAX_BYTES} bytes", "a token is one short line")
    stripped = raw.strip()
    if stripped.startswith(b"{"):
        try:
            said = msgspec.json.decode(stripped, type=_Said)
        except msgspec.MsgspecError:
            raise _none(
                f"{source} gave JSON that is not {{token, expires_at}}",
                "see `pilotctl help profiles`",
            ) from None
        return Token(Secret(said.token), source, said.expires_at)
    try:
        return Token(Secret(stripped.decode("ascii")), source)
    except UnicodeDecodeError:
        raise _none(f"{source} gave something that is no token", "a token is ASCII") from None


def _checked(token: Token) -> Token:
    text = token.secret.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise _none(f"{token.source} gave something that is no token", "a token is one ASCII word")
    if token.expires_at is not None:
        ends = token.expires_at if token.expires_at.tzinfo else token.expires_at.replace(tzinfo=UTC)
        if ends <= datetime.now(UTC):
            raise _none(f"the token from {token.source} has expired", "get a new one")
    return token


def _none(message: str, hint: str) -> PilotError:
    return PilotError("no-token", message, exit=ExitCode.SIGN_IN, hint=hint)
