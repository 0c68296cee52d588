"""The file that a backup is: a tar with a signed manifest of everything in it.

It is written whole under another name first, and read whole, every digest checked, before
anything is believed or changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

import msgspec

from console.errors import ExitCode, PilotError
from console.model.backup import FORMAT, Manifest, Member
from console.trust.note import SignerKey, VerifierKey, open_note, sign_note

MANIFEST, SIGNATURE = "manifest.json", "manifest.note"
_MAX_SMALL = 64 * 1024 * 1024
_NAME = re.compile(
    r"stores/[a-z0-9][a-z0-9.-]{0,80}\.db|keys\.sealed|pilot\.toml|log\.vkey"
    r"|log/(?:checkpoint|tile/(?:entries|[0-9]{1,2})/[x0-9/]{3,40}(?:\.p/[0-9]{1,3})?)"
)
"""The names that a backup may hold: none leads out of the folder it is read into."""


def member_of(name: str, path: Path) -> Member:
    """Describe a file that goes into a backup."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return Member(name=name, bytes=size, sha256=digest.hexdigest())


def write(
    target: Path, manifest: Manifest, signer: SignerKey, files: Mapping[str, Path]
) -> tuple[int, str]:
    """Write a backup, 0600 from its first byte; return its size and SHA-256.

    Raises `PilotError` where the file is there already, or the disk refuses.
    """
    part = target.with_name(f".{target.name}.part")
    raw = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    text = f"{FORMAT}\n{hashlib.sha256(raw).hexdigest()}\n"
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                _put(tar, MANIFEST, raw)
                _put(tar, SIGNATURE, sign_note(text, (signer,)))
                for name, path in files.items():
                    info = tarfile.TarInfo(name)
                    info.size, info.mode = path.stat().st_size, 0o600
                    with path.open("rb") as content:
                        tar.addfile(info, content)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, it never replaces what is there.
        target.hardlink_to(part)
    except FileExistsError:
        raise PilotError(
            "file-exists", f"{target} is there already", exit=ExitCode.CONFLICT
        ) from None
    except OSError as error:
        raise PilotError(
            "backup-failed", f"the backup cannot be written: {error.strerror or error}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    _flush(target.parent)
    whole = member_of(target.name, target)
    return whole.bytes, whole.sha256


def unpack(
    archive: Path,
    into: Path,
    trusted: Sequence[VerifierKey],
    sealed_key: Callable[[Path], VerifierKey],
) -> Manifest:
    """Read a backup into an empty folder and return its manifest, everything checked.

    The manifest must be signed by the log key that it names, and that must be one of `trusted`.
    Where there is none to go by, it must be the log key that the passphrase opens: `sealed_key`
    finds it in the folder, from a file whose digest the manifest holds. A key that only the
    backup itself names proves nothing.
    Raises `PilotError`: `backup-damaged`, or `backup-untrusted` (exit 5).
    """
    try:
        with tarfile.open(archive, mode="r:") as tar:
            raw = _small(tar, tar.next(), MANIFEST)
            note = _small(tar, tar.next(), SIGNATURE)
            manifest = _manifest(raw)
            if trusted:
                _check_signed(raw, note, manifest, trusted)
            wanted = {each.name: each for each in manifest.members}
            while (info := tar.next()) is not None:
                member = wanted.pop(info.name, None)
                if member is None or not _NAME.fullmatch(info.name) or not info.isreg():
                    raise _damaged(f"it holds {info.name[:80]!a}, which its manifest does not")
                content = tar.extractfile(info)
                assert content is not None
                _extract(content, into / info.name, member)
            if wanted:
                raise _damaged(f"{next(iter(wanted))!a} is missing from it")
            if not trusted:
                _check_signed(raw, note, manifest, [sealed_key(into)])
            return manifest
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise _damaged(f"it is no whole tar file ({error})") from None
    except FileNotFoundError:
        raise PilotError(
            "not-found", f"there is no file {archive}", exit=ExitCode.NOT_FOUND
        ) from None
    except OSError as error:
        raise PilotError(
            "backup-failed", f"the backup cannot be read: {error.strerror or error}"
        ) from error


def _manifest(raw: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
        VerifierKey.parse(manifest.log_key)
    except (msgspec.MsgspecError, PilotError):
        raise _damaged("its manifest is not understood") from None
    if manifest.format != FORMAT:
        raise _damaged(f"it is of another format: {manifest.format[:40]!a}")
    return manifest


def _check_signed(
    raw: bytes, note: bytes, manifest: Manifest, trusted: Sequence[VerifierKey]
) -> None:
    try:
        # Another key that is trusted, an older one, says nothing of what the newer one signs.
        opened = open_note(note, [each for each in trusted if str(each) == manifest.log_key])
    except PilotError as error:
        raise PilotError(
            "backup-untrusted",
            f"the backup is not signed by the key of this pilot's log: {error.message}",
            exit=ExitCode.REFUSED,
            hint="nothing was changed; --vkey names the key of the log that it should be of",
        ) from None
    if opened.text != f"{FORMAT}\n{hashlib.sha256(raw).hexdigest()}\n":
        raise _damaged("its manifest is not the one that was signed")


def _small(tar: tarfile.TarFile, info: tarfile.TarInfo | None, name: str) -> bytes:
    if info is None or info.name != name or not info.isreg() or info.size > _MAX_SMALL:
        raise _damaged(f"it does not begin with {name}")
    content = tar.extractfile(info)
    assert content is not None
    return content.read()


def _extract(content: IO[bytes], path: Path, member: Member) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if (size, digest.hexdigest()) != (member.bytes, member.sha256):
        raise _damaged(f"{member.name!a} is not what its manifest says")


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, BytesIO(content))


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(why: str) -> PilotError:
    return PilotError("backup-damaged", f"the backup is damaged: {why}", hint="nothing was changed")
