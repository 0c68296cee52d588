"""The log's signing key: made once, kept in a file that only the service can read."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.errors import ExitCode, PilotError
from console.services.settings import Home, secret_file
from console.trust.note import SignerKey
from console.trust.writer import replace_file

ORIGIN = "pilotctl.local"


def log_key(home: Home) -> SignerKey:
    """Return the log's key, made if there is none, and write `log.vkey` for verifiers.

    A new log is called `pilotctl.local/<8 hex digits of its key's SHA-256>`. Raises
    `PilotError` (`log-key-malformed`) for a file that holds no such key.
    """
    raw = secret_file(home.keys / "log.key", _made)
    try:
        signer = SignerKey.parse(raw.decode())
    except (PilotError, UnicodeDecodeError, ValueError):
        raise PilotError(
            "log-key-malformed",
            f"{home.keys / 'log.key'} holds no signing key",
            exit=ExitCode.FAILED,
            hint="put the log's own key back; a new key would be a new log",
        ) from None
    vkey = home.path / "log.vkey"
    said = f"{signer.verifier}\n".encode()
    if not vkey.exists() or vkey.read_bytes() != said:
        replace_file(vkey, said, mode=0o644)
    return signer


def _made() -> bytes:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    name = f"{ORIGIN}/{sha256(public).hexdigest()[:8]}"
    return SignerKey(name, private).secret_text().encode() + b"\n"
