"""Sealing content, so that it can be read by whoever holds the day's key, and then by nobody.

Each day on which content expires has a key of its own (X25519). The points seal to its public
half and keep nothing that opens it; when the day is over the key is deleted, and with it every
copy, wherever it lies. Sealing is X25519 (RFC 7748), HKDF-SHA256 (RFC 5869) and
ChaCha20-Poly1305 (RFC 8439), with a fresh key pair for each piece of content.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from console.services.home import Home, secret_file

FOLDER = "content"
_PURPOSE = b"pilotctl content 1"
_NONCE = bytes(12)
"""Each key seals one message, so one nonce is enough (as in RFC 9180)."""
_POINT_BYTES = 32


class UnsealableError(ValueError):
    """What was kept cannot be opened: another key, another call, or damaged."""


class ContentKeys:
    """The keys of the days on which content expires."""

    def __init__(self, home: Home) -> None:
        self._folder: Path = home.keys / FOLDER
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._public: dict[date, bytes] = {}

    def public(self, day: date) -> bytes:
        """Return the public half of a day's key, which is made where there is none."""
        known = self._public.get(day)
        if known is None:
            private = secret_file(self._path(day), lambda: os.urandom(32))
            key = X25519PrivateKey.from_private_bytes(private).public_key()
            known = self._public[day] = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return known

    def private(self, day: date) -> bytes | None:
        """Return the private half of a day's key, None once it was deleted."""
        try:
            return self._path(day).read_bytes()
        except FileNotFoundError:
            return None

    def delete_before(self, day: date) -> list[str]:
        """Delete the keys of days that are over: what was sealed to them is gone."""
        gone = []
        for path in sorted(self._folder.glob("*.key")):
            if path.stem < day.isoformat():
                size = path.stat().st_size
                with path.open("r+b") as file:
                    file.write(bytes(size))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
                gone.append(path.stem)
        return gone

    def _path(self, day: date) -> Path:
        return self._folder / f"{day.isoformat()}.key"


def day_of(moment: datetime) -> date:
    """Return the day (UTC) whose key seals what expires at `moment`."""
    return moment.astimezone(UTC).date()


def seal(public: bytes, about: str, plain: bytes) -> bytes:
    """Return `plain` sealed to a key; `about` (the call's id) must be given to open it."""
    ours = X25519PrivateKey.generate()
    shared = ours.exchange(X25519PublicKey.from_public_bytes(public))
    point = ours.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    sealed = ChaCha20Poly1305(_derived(shared, point, public)).encrypt(
        _NONCE, plain, about.encode()
    )
    return point + sealed


def unseal(private: bytes, about: str, sealed: bytes) -> bytes:
    """Return what was sealed. Raises `UnsealableError`."""
    ours = X25519PrivateKey.from_private_bytes(private)
    public = ours.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    point = sealed[:_POINT_BYTES]
    try:
        shared = ours.exchange(X25519PublicKey.from_public_bytes(point))
        return ChaCha20Poly1305(_derived(shared, point, public)).decrypt(
            _NONCE, sealed[_POINT_BYTES:], about.encode()
        )
    except (InvalidTag, ValueError):
        raise UnsealableError("it cannot be opened with this key") from None


def _derived(shared: bytes, point: bytes, public: bytes) -> bytes:
    return HKDF(SHA256(), 32, point + public, _PURPOSE).derive(shared)
