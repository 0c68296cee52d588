"""Probe tokens: how gateway control asks a point whether it would serve a credential.

Control has no raw keys, so a probe names the credential by its id, under a MAC with a
key that only control and its points can read. The point takes the same path as for a
call, up to the upstream and not into it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import Final

import msgspec

PREFIX: Final = "probe."
LIVES_SECONDS: Final = 15.0
HEADER: Final = "x-pilotctl-probe"
WOULD_SERVE: Final = "would-serve"


class Probe(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What one probe asks. `exp` is in seconds since 1970; `address` stands in for a caller's."""

    credential: str
    model: str
    route: str
    nonce: str
    exp: float
    capability: str = ""
    address: str = ""
    principal: str = ""
    """The salted hash that stands in for the user whom a caller names."""


def new_key() -> bytes:
    """Return a fresh key for probes."""
    return os.urandom(32)


def mint(key: bytes, probe: Probe) -> str:
    """Return the bearer token of a probe."""
    said = base64.urlsafe_b64encode(msgspec.json.encode(probe)).rstrip(b"=").decode()
    return f"{PREFIX}{said}.{_mac(key, said)}"


def nonce() -> str:
    """Return fresh chance, so that no two probes are alike."""
    return os.urandom(12).hex()


def read(key: bytes, token: str, now: float) -> Probe | None:
    """Return the probe in `token`, or None where it is forged, garbled or expired."""
    said, dot, mac = token.removeprefix(PREFIX).partition(".")
    if not dot or not hmac.compare_digest(_mac(key, said).encode(), mac.encode("utf-8", "replace")):
        return None
    try:
        raw = base64.b64decode(said + "=" * (-len(said) % 4), altchars=b"-_", validate=True)
        probe = msgspec.json.decode(raw, type=Probe)
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return None
    return probe if now < probe.exp <= now + 10 * LIVES_SECONDS else None


def _mac(key: bytes, said: str) -> str:
    return hmac.new(key, said.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
