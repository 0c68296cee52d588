"""The log's signing keys: the one in force, and one that is about to follow it.

`keys/log.key` signs. A key that is to follow lies beside it under its own id until the store
says that it is in force: whatever a crash leaves, the store knows which of them signs.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.errors import ExitCode, PilotError
from console.services.settings import Home, secret_file
from console.trust.note import SignerKey, VerifierKey
from console.trust.writer import replace_file, sync_folder

ORIGIN = "pilotctl.local"


def log_key(home: Home, origin: str = "") -> SignerKey:
    """Return the log's key, made if there is none, and write `log.vkey` for verifiers.

    A new log is called `origin`; without one, `pilotctl.local/<8 hex digits of its key's
    SHA-256>`. Raises `PilotError` (`log-key-malformed`) for a file that holds no such key.
    """
    raw = secret_file(home.keys / "log.key", lambda: _text(new_signer(origin)))
    signer = _parsed(raw, home.keys / "log.key")
    _show(home, signer)
    return signer


def new_signer(origin: str = "", *, distinct: bool = False) -> SignerKey:
    """Make a key for a log called `origin`; `distinct` adds the key's mark to the name."""
    private = Ed25519PrivateKey.generate()
    mark = sha256(private.public_key().public_bytes_raw()).hexdigest()[:8]
    if not origin or distinct:
        return SignerKey(f"{origin or ORIGIN}/{mark}", private)
    return SignerKey(origin, private)


def successor_of(key: VerifierKey) -> SignerKey:
    """Make another key for the same log."""
    return SignerKey(key.name, Ed25519PrivateKey.generate())


def shelve(home: Home, signer: SignerKey) -> None:
    """Put a key on the disk (0600), durably, for when the store says that it is in force."""
    replace_file(_shelf(home, str(signer.verifier)), _text(signer))


def promote(home: Home, key: str) -> SignerKey | None:
    """Make the key that the store calls for the one in force; None where it is not there."""
    shelf = _shelf(home, key)
    try:
        signer = _parsed(shelf.read_bytes(), shelf)
    except FileNotFoundError:
        return None
    shelf.replace(home.keys / "log.key")
    sync_folder(home.keys)
    _show(home, signer)
    return signer


def forget_shelved(home: Home) -> None:
    """Remove the keys that never came into force. Only before anything is served."""
    for path in home.keys.glob("log.key.next-*"):
        path.unlink(missing_ok=True)


def _shelf(home: Home, key: str) -> Path:
    return home.keys / f"log.key.next-{sha256(key.encode()).hexdigest()[:16]}"


def _show(home: Home, signer: SignerKey) -> None:
    vkey = home.path / "log.vkey"
    said = f"{signer.verifier}\n".encode()
    if not vkey.exists() or vkey.read_bytes() != said:
        replace_file(vkey, said, mode=0o644)


def _parsed(raw: bytes, path: Path) -> SignerKey:
    try:
        return SignerKey.parse(raw.decode())
    except (PilotError, UnicodeDecodeError, ValueError):
        raise PilotError(
            "log-key-malformed",
            f"{path} holds no signing key",
            exit=ExitCode.FAILED,
            hint="put the log's own key back; a new key would be a new log",
        ) from None


def _text(signer: SignerKey) -> bytes:
    return signer.secret_text().encode() + b"\n"
