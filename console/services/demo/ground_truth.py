"""What the making of a history leaves behind: its secrets, its size, and what was planted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple


class Planted(NamedTuple):
    """One incident of the story, and the alert that it ought to lead to."""

    rule: str
    at: datetime
    about: Mapping[str, str]
    """Some of what the alert groups by."""


class Made(NamedTuple):
    """A history. Keys and tokens are secret: they go to the partners' clients and to 0600 files."""

    first: datetime
    day: int
    keys: dict[str, str]
    tokens: dict[str, str]
    planted: list[Planted]
    rows: dict[str, int]
