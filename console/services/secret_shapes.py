"""The secrets that this program gives out, known by how they begin, in text that callers send."""

from __future__ import annotations

import re

KEY_PREFIX = "sk-pilot-"
TOKEN_PREFIX = "opt-pilot-"  # noqa: S105  # how a token begins
BREAK_GLASS_PREFIX = "glass-pilot-"

_SECRET = re.compile(rf"({KEY_PREFIX}|{TOKEN_PREFIX}|{BREAK_GLASS_PREFIX})[A-Za-z0-9_-]+")


def mask_secrets(text: str) -> str:
    """Return the text with each secret cut to its beginning: it may be stored and shown."""
    return _SECRET.sub(r"\1***", text)
