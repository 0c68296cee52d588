"""What holds of the two feeds that rules read, calls and events, live or in a history."""

from __future__ import annotations

from datetime import timedelta

BATCH = 2000
"""Calls or events taken in one transaction."""

UNHEARD = ("alert.", "silence.")
"""How the actions begin that no rule hears: an alert about alerts would feed itself."""

KEPT = {"norm": timedelta(days=8), "ratio": timedelta(days=8), "hours": timedelta(days=15)}
"""How long what a rule of a kind remembers matters, where that is more than its window."""
