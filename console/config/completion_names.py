"""The names that lists have shown, kept for completion: local, 0600, never asked of an API.

One file for each profile and kind of object, a line for each: the name, a tab, a few words.
Written as a by-product of lists and screens; a shell that completes reads it and nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from console.config.paths import cache_folder
from console.private_files import make_private_folder

MAX_NAMES = 1000
"""Names kept of one kind; the ones seen last win."""

PAUSE = 30.0
"""Seconds for which the same names are not written again by the same process."""

_WORDS = ("title", "name", "partner", "holder", "kind", "target", "state")


class Names:
    """The names of one profile."""

    def __init__(self, profile: str, environ: Mapping[str, str]) -> None:
        readable = "".join(
            c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in profile
        )
        self.folder = cache_folder(environ) / "names" / (readable[:60] or "_")
        self._written: dict[str, tuple[float, frozenset[str]]] = {}
        """When each kind was written last, and the names that its file held then."""

    def remember(self, items: Sequence[Any]) -> None:
        """Keep the names of a list's items. A full disk or a folder of another's is no error."""
        if not items:
            return
        kind = type(items[0]).__name__
        lines = {name: _words(item) for item in items[:MAX_NAMES] if (name := _name(item))}
        at, known = self._written.get(kind, (-PAUSE, frozenset()))
        if not lines or (known >= lines.keys() and time.monotonic() - at < PAUSE):
            return
        self._written[kind] = time.monotonic(), frozenset(lines)
        with suppress(OSError):
            self._written[kind] = time.monotonic(), frozenset(self._write(kind, lines))

    def known(self, kind: str) -> dict[str, str]:
        """Return what is remembered of `kind`, the names seen last first."""
        if not kind.isidentifier():
            return {}
        try:
            text = (self.folder / f"{kind}.tsv").read_text("utf-8", errors="replace")
        except OSError:
            return {}
        pairs = (line.split("\t", 1) for line in text.splitlines())
        return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs if _plain(pair[0])}

    def _write(self, kind: str, lines: dict[str, str]) -> list[str]:
        """Write the names of a kind, `lines` before those that are there; return all that stay."""
        older = {name: text for name, text in self.known(kind).items() if name not in lines}
        kept = list((lines | older).items())[:MAX_NAMES]
        make_private_folder(self.folder)
        text = "".join(f"{name}\t{words}\n" for name, words in kept)
        passing = self.folder / f".{kind}.{os.getpid()}"
        opened = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            file.write(text)
        passing.replace(self.folder / f"{kind}.tsv")
        return [name for name, _ in kept]


def _name(item: Any) -> str:
    name = getattr(item, "slug", "") or getattr(item, "id", "")
    return name if isinstance(name, str) and _plain(name) else ""


def _plain(name: str) -> bool:
    """Tell whether a name can be offered to a shell: ids and slugs are, nothing else is."""
    return 0 < len(name) <= 128 and name.isascii() and all(c.isalnum() or c in "-_.:" for c in name)


def _words(item: Any) -> str:
    """Return a few words about an item, safe on any terminal: what is not plain is left out."""
    said = [getattr(item, each, "") for each in _WORDS]
    text = " ".join(each for each in said if isinstance(each, str) and each)
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c in " -_.,:/"))[:60]
