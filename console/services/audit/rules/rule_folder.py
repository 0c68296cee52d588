"""The folder of an operator's own rule files: what is there, what it says, and writing to it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from console.errors import PilotError
from console.services.audit.rules.rule import Rule
from console.services.audit.rules.rule_file import read_rule

MAX_BYTES = 60_000


class OwnFile(NamedTuple):
    """What one own file says now: a rule, or why it cannot be read."""

    text: str
    rule: Rule | None
    error: str


def read(folder: Path, name: str, shipped: Container[str]) -> OwnFile:
    """Read the file of the rule `name`, which must not be one that ships."""
    path = folder / f"{name}.toml"
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            return OwnFile("", None, f"{path}: it is longer than {MAX_BYTES} bytes")
        rule = read_rule(path, raw)
    except OSError as error:
        return OwnFile("", None, f"{path}: it cannot be read: {error.strerror}")
    except PilotError as error:
        return OwnFile("", None, error.message)
    if name in shipped:
        return OwnFile("", None, f"{path}: {name} is a rule that ships; give yours another id")
    return OwnFile(raw.decode(), rule, "")


def stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return the names of the rule files with what shows that one has changed."""
    found = []
    with suppress(OSError):
        for path in sorted(folder.glob("*.toml")):
            with suppress(OSError):
                stamp = path.stat()
                found.append((path.stem, stamp.st_mtime_ns, stamp.st_size))
    return tuple(found)


def write(path: Path, text: str) -> None:
    """Put the file there whole, or not at all."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
