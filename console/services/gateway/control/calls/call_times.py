"""Times in questions about calls, and as the store of calls keeps them."""

from __future__ import annotations

from datetime import UTC, datetime

from console.api.problems import refusal
from console.model.text import rfc3339


def stored_time(moment: datetime) -> str:
    """Return a moment as the `Instant` column keeps it, for statements made by hand."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(text: str, name: str) -> datetime:
    """Read a time of a query. Raises the problem `invalid`."""
    try:
        read = datetime.fromisoformat(text)
        if read.tzinfo is not None:
            return read.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # one answer for every way of being no time
    now = rfc3339(datetime.now(UTC))
    raise refusal("invalid", f"{name}: {text[:60]!r} is no RFC 3339 time like {now}")
