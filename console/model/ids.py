"""Identifiers: a prefix that names the noun, and a ULID (48 bits of time, 80 of chance)."""

from __future__ import annotations

import os
import re
import time

PREFIXES = {
    "pilot": "plt",
    "capability": "cap",
    "partner": "ptn",
    "terms": "trm",
    "acceptance": "acc",
    "assessment": "rsk",
    "grant": "grt",
    "credential": "crd",
    "lock": "lck",
    "call": "req",
    "alert": "alr",
    "event": "evt",
    "receipt": "rcp",
    "decision": "dec",
    "request": "rid",
    "principal": "prn",
    "suspension": "sus",
    "price": "prc",
    "bundle": "pol",
    "silence": "sil",
    "oncall": "onc",
    "operator": "opr",
    "token": "tkn",
    "delivery": "msg",
}
"""Noun to id prefix, DESIGN §2."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(r"^[a-z]{3}_[0-9A-HJKMNP-TV-Z]{26}$")


def ulid(at_ms: int | None = None) -> str:
    """Return 26 characters of Crockford base 32 that sort by time."""
    value = ((int(time.time() * 1000) if at_ms is None else at_ms) << 80) | int.from_bytes(
        os.urandom(10), "big"
    )
    out = bytearray(26)
    for place in range(25, -1, -1):
        out[place] = ord(_CROCKFORD[value & 31])
        value >>= 5
    return out.decode()


def new_id(noun: str) -> str:
    """Return a fresh id for `noun`, like `grt_01J9ZK…`. Unknown noun: KeyError."""
    return f"{PREFIXES[noun]}_{ulid()}"


def is_id(text: str, noun: str | None = None) -> bool:
    """Tell whether `text` is an id, and one of `noun` where that is given."""
    return _ULID.match(text) is not None and (noun is None or text.startswith(PREFIXES[noun] + "_"))
