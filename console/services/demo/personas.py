"""The demo's operators: their tokens in 0600 files of its home, and nowhere else."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from console.errors import ExitCode, PilotError
from console.services.demo_mark import day_of
from console.services.home import Home

DAYS = 90
"""Days of history that the demo has."""
FOLDER_PREFIX = "pilotctl-demo-"
NAMES = ("owner-1", "duty-1", "duty-2", "approver-1", "auditor-1")


def keep(home: Home, tokens: Mapping[str, str]) -> None:
    """Write each persona's token into a file of its own, 0600 in a 0700 folder."""
    folder = home.path / "personas"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, token in tokens.items():
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        with os.fdopen(os.open(folder / f"{name}.token", flags, 0o600), "w") as file:
            file.write(token + "\n")


def running() -> Path | None:
    """Return the home of this user's newest running demo; None where there is none."""
    found = []
    for place in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/home"):
        with suppress(OSError):
            stat = place.stat()
            if stat.st_uid == os.geteuid() and _answers(Home(place).socket("policy")):
                found.append((stat.st_mtime, place))
    return max(found)[1] if found else None


def _answers(path: Path) -> bool:
    """Tell whether somebody listens there: a socket's file outlives a process that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(1.0)
        return asking.connect_ex(str(path)) == 0


def token(home: Path, name: str) -> str:
    """Return a persona's token. Raises `PilotError` where there is no such persona."""
    try:
        return (home / "personas" / f"{name}.token").read_text().strip()
    except OSError:
        raise PilotError(
            "no-persona",
            f"the demo has no operator {name!a}",
            exit=ExitCode.USAGE,
            hint=f"its operators are {', '.join(NAMES)}",
        ) from None


def told(home: Path) -> str:
    """Return what a demo's home is, in words; nothing for any other."""
    day = day_of(home)
    if not day:
        return ""
    return (
        f"a demo, day {day} of {DAYS}: its history ended when it was started, and its times "
        "are those of this machine's clock"
    )
