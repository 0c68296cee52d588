"""How far policy has come with its peers: numbers that outlive the process."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from console.services.policy.state.tables import MARKS

Mark = Literal["gateway_applied", "closings_seen", "notices_seen", "demo_day"]
"""The projection that the gateway has taken; its closings and notices that were taken here."""


def mark(conn: Connection, name: Mark) -> int:
    """Return a mark, 0 before it was ever set."""
    found = conn.execute(select(MARKS.c.value).where(MARKS.c.name == name)).scalar_one_or_none()
    return found or 0


def set_mark(conn: Connection, name: Mark, value: int) -> None:
    """Set a mark, in the transaction of what it stands for."""
    asked = insert(MARKS).values(name=name, value=value)
    conn.execute(asked.on_conflict_do_update(index_elements=["name"], set_={"value": value}))
