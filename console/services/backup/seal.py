"""Keys under a passphrase: scrypt (RFC 7914), then ChaCha20-Poly1305 (RFC 8439)."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from console.errors import ExitCode, PilotError

_ABOUT = b"pilotctl.backup.keys/v1"
_MIN_PASSPHRASE_CHARACTERS = 12


class _Head(msgspec.Struct, frozen=True):
    """How the key was made from the passphrase: the first line of a sealed file."""

    n: Annotated[int, msgspec.Meta(ge=2**14, le=2**20)]
    r: Annotated[int, msgspec.Meta(ge=8, le=16)]
    p: Annotated[int, msgspec.Meta(ge=1, le=4)]
    salt: bytes
    nonce: bytes


def check_passphrase(passphrase: bytes) -> bytes:
    """Return the passphrase without its newline. A short one is refused (exit 2)."""
    passphrase = passphrase.rstrip(b"\r\n")
    if len(passphrase) < _MIN_PASSPHRASE_CHARACTERS:
        raise PilotError(
            "bad-value",
            f"the passphrase has fewer than {_MIN_PASSPHRASE_CHARACTERS} characters",
            exit=ExitCode.USAGE,
        )
    return passphrase


def seal(plain: bytes, passphrase: bytes) -> bytes:
    """Return `plain` so that only the passphrase opens it, and a changed byte shows."""
    head = _Head(2**15, 8, 1, os.urandom(16), os.urandom(12))
    line = msgspec.json.encode(head) + b"\n"
    return line + _cipher(head, passphrase).encrypt(head.nonce, plain, _ABOUT + line)


def unseal(sealed: bytes, passphrase: bytes) -> bytes:
    """Return what was sealed. Raises `PilotError` (`backup-sealed`, exit 5)."""
    line, _, rest = sealed.partition(b"\n")
    try:
        head = msgspec.json.decode(line, type=_Head)
        if len(head.nonce) == 12 and head.n & (head.n - 1) == 0:
            return _cipher(head, passphrase).decrypt(head.nonce, rest, _ABOUT + line + b"\n")
    except (msgspec.MsgspecError, InvalidTag, ValueError):
        pass
    raise PilotError(
        "backup-sealed",
        "the keys in the backup do not open with this passphrase, or were changed",
        exit=ExitCode.REFUSED,
        hint="nothing was changed; try another passphrase file",
    )


def _cipher(head: _Head, passphrase: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(
        Scrypt(salt=head.salt, length=32, n=head.n, r=head.r, p=head.p).derive(passphrase)
    )
