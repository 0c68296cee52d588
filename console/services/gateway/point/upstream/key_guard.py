"""Keeps an upstream's own key out of all that the upstream sends back.

An upstream that echoes a request's header (a debugging proxy, an error page) would hand the
installation's key to a partner. The key is looked for in the bytes as they come, also where
it is split over chunks, as it is and as JSON and addresses write it. A key in another
encoding (base64, one letter at a time) is not recognised.
"""

from __future__ import annotations

import json
from functools import lru_cache
from urllib.parse import quote

MIN_KEY_CHARACTERS = 8
"""A shorter key is no secret, and would be found in ordinary words."""
REMOVED = b"[upstream key removed]"


class KeyGuard:
    """Takes one key out of one answer. `found` tells whether it was there."""

    __slots__ = ("_forms", "_tail", "found")

    def __init__(self, key: str) -> None:
        self._forms = _forms(key)
        self._tail = b""
        self.found = False

    def clean(self, data: bytes) -> bytes:
        """Return bytes that are whole, without the key."""
        for form in self._forms:
            if form in data:
                self.found = True
                data = data.replace(form, REMOVED)
        return data

    def clean_text(self, text: str) -> str:
        """Return a text (a header, a message) without the key."""
        return self.clean(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def feed(self, chunk: bytes) -> bytes:
        """Return the next bytes of a stream; what may be the key's beginning is held back."""
        data = self.clean(self._tail + chunk if self._tail else chunk)
        held = max((_overlap(data, form) for form in self._forms), default=0)
        self._tail = data[len(data) - held :] if held else b""
        return data[: len(data) - held] if held else data

    def rest(self) -> bytes:
        """Return what was held back when the stream has ended."""
        rest, self._tail = self._tail, b""
        return rest


@lru_cache(maxsize=64)
def _forms(key: str) -> tuple[bytes, ...]:
    """Return how a key may be written in an answer, the longest first."""
    if len(key) < MIN_KEY_CHARACTERS:
        return ()
    written = json.dumps(key)[1:-1]
    unicode = json.dumps(key, ensure_ascii=False)[1:-1]
    forms = {key, written, unicode, written.replace("/", "\\/"), quote(key, safe=""), quote(key)}
    return tuple(sorted((form.encode() for form in forms), key=len, reverse=True))


def _overlap(data: bytes, form: bytes) -> int:
    """Return the length of the longest end of `data` that begins `form`, and is not all of it."""
    if data.endswith(b"\n"):
        return 0  # no key has a line's end: a chunk of whole events is done
    end = data[-(len(form) - 1) :]
    at = end.find(form[:1])
    while at >= 0:
        if form.startswith(end[at:]):
            return len(end) - at
        at = end.find(form[:1], at + 1)
    return 0
