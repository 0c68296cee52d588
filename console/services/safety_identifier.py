"""Principals: how a partner's person, service or agent is known without being named.

The partner names its user in each call; what is stored, sent between services and
compared is only this salted hash. Without the salt, which stays in one file of the
installation, nobody can try names against it.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256

from console.services.home import Home, secret_file

SALT_BYTES = 32
SALT_FILE = "principals.key"


def salt_of(home: Home) -> bytes:
    """Return the installation's salt (32 bytes), made and stored 0600 where there is none."""
    return secret_file(home.keys / SALT_FILE, lambda: secrets.token_bytes(SALT_BYTES))


def hash_of(salt: bytes, partner: str, identifier: str) -> str:
    """Return the salted hash of a partner's `identifier` for one of its users: HMAC-SHA256, hex.

    The same identifier of two partners is two principals.
    """
    return hmac.new(salt, f"{partner}\0{identifier}".encode(), sha256).hexdigest()
