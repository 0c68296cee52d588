"""How a question's paging and times are written as a query."""

from __future__ import annotations

from datetime import datetime

from console.api.engines import Paging
from console.model.text import rfc3339


def query(paging: Paging, **filters: str) -> dict[str, str | None]:
    """Return the query of one page; empty filters ask for everything."""
    return {"cursor": paging.cursor, "limit": str(paging.limit), **filters}


def time(moment: datetime | None) -> str:
    """Return a moment as RFC 3339, or an empty string for none."""
    return rfc3339(moment) if moment else ""
