"""How far policy has come with its peers: numbers that outlive the process."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, select

from console.services.policy.state.tables import MARKS
from console.services.store.upsert import insert_or_update

Mark = Literal["gateway_applied", "closings_seen", "notices_seen", "demo_day"]
"""The projection that the gateway has taken; its closings and notices that were taken here."""


def mark(conn: Connection, name: Mark) -> int:
    """Return a mark, 0 before it was ever set."""
    found = conn.execute(select(MARKS.c.value).where(MARKS.c.name == name)).scalar_one_or_none()
    return found or 0


def set_mark(conn: Connection, name: Mark, value: int) -> None:
    """Set a mark, in the transaction of what it stands for."""
    insert_or_update(conn, MARKS, {"name": name, "value": value}, changed=("value",))
