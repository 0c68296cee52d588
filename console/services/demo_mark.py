"""What marks a store as a demo's, for good: `up` never serves a store with personas in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from console.errors import ExitCode, PilotError
from console.services.home import Home

MARK = "demo_day"
"""In policy's store: the day of the demo that it holds."""


def day_of(home: Path) -> int:
    """Return the day of the demo that a home's store holds; 0 for a store that is no demo's."""
    store = Home(home).store("policy")
    if not store.exists():
        return 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        row = db.execute("SELECT value FROM marks WHERE name = ?", (MARK,)).fetchone()
        return int(row[0]) if row else 0
    return 0


def refuse(home: Path) -> None:
    """Refuse to serve a home whose store holds personas (exit 5)."""
    if day_of(home) or (home / "personas").is_dir():
        raise PilotError(
            "demo-store",
            f"{home} holds a demo: its operators are personas, with tokens that lie in files",
            exit=ExitCode.REFUSED,
            hint="run `pilotctl up` with another --home; `pilotctl demo` makes its own",
        )
