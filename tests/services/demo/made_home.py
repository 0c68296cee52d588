"""A home with a history in it, made for a test."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from console.services.demo.chronicle import make
from console.services.demo.ground_truth import Made
from console.services.demo.stage import SETTINGS
from console.services.settings import load, prepare


class MadeHome(NamedTuple):
    """Where it is, what was made, and the moment at which it ends."""

    path: Path
    made: Made
    end: datetime


def made_home(
    folder: Path, *, day: int, seed: int = 1, calm: bool = False, end: datetime | None = None
) -> MadeHome:
    """Make a history of `day` days in `folder`."""
    home = prepare(folder / "home")
    (home.path / "pilot.toml").write_text(SETTINGS)
    now = end or datetime.now(UTC)
    return MadeHome(home.path, make(load(home.path), seed=seed, now=now, day=day, calm=calm), now)
