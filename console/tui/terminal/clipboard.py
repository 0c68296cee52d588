"""The terminal's own clipboard, reached by OSC 52, also through tmux and screen.

The sequence asks the terminal that the operator sits at; no answer comes, so nothing is
claimed of it. Its payload is base64 of escaped text: no byte of content is control.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from console.present.safe import safe

MAX_BYTES = 74_994
"""Bytes of text that every terminal which takes the sequence takes: 100,000 with base64."""
NONE_IN = frozenset({"", "dumb", "linux", "vt100", "vt102", "vt220"})
"""Values of TERM whose terminals have no clipboard, and some of which print the sequence."""
_SCREEN_PIECE = 252
"""Characters of one device control string that GNU screen passes on whole."""


def sequence(text: str, environ: Mapping[str, str]) -> str:
    """Return what asks the terminal to keep `text`; empty where it has no clipboard.

    tmux takes it itself (`set-clipboard on`) or passes it on (`allow-passthrough on`):
    it is told both ways. The text must be short enough: see `fault`.
    """
    if fault(text, environ):
        return ""
    payload = base64.b64encode(safe(text).encode("utf-8", "backslashreplace")).decode("ascii")
    plain = f"\x1b]52;c;{payload}\x07"
    if environ.get("TMUX"):
        inner = plain.replace("\x1b", "\x1b\x1b")
        return f"{plain}\x1bPtmux;{inner}\x1b\\"
    if environ.get("STY") or environ.get("TERM", "").startswith("screen"):
        pieces = [plain[at : at + _SCREEN_PIECE] for at in range(0, len(plain), _SCREEN_PIECE)]
        return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
    return plain


def fault(text: str, environ: Mapping[str, str]) -> str:
    """Return why `text` cannot be sent to the terminal's clipboard; empty where it can."""
    term = environ.get("TERM", "")
    if term in NONE_IN and not environ.get("TMUX"):
        return f"TERM={term} has no clipboard"
    size = len(safe(text).encode("utf-8", "backslashreplace"))
    if size > MAX_BYTES:
        return f"{size:,} bytes are more than the {MAX_BYTES:,} that terminals take"
    return ""
