"""The one event of a change, put into the outbox of the change's own transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from console.model.stored import Stored
from console.services.events import event
from console.services.store import emit
from console.services.web import Ask

SERVICE = "policy"


class Actor(NamedTuple):
    """Who changed something, when, and by which request."""

    name: str
    at: datetime
    request_id: str = ""

    @classmethod
    def of(cls, ask: Ask) -> Actor:
        """Return the operator who asks."""
        return cls(ask.operator.name, ask.now, ask.request_id)

    def stamp(self) -> dict[str, Any]:
        """Return who made a new object and when: members of `Stored`."""
        return {
            "created_at": self.at,
            "created_by": self.name,
            "updated_at": self.at,
            "updated_by": self.name,
        }

    def touch(self, thing: Stored) -> dict[str, Any]:
        """Return the members of a changed `thing`: one revision on, and by whom."""
        return {"revision": thing.revision + 1, "updated_at": self.at, "updated_by": self.name}


def record(
    conn: Connection,
    actor: Actor,
    action: str,
    kind: str,
    target: str,
    *,
    name: str = "",
    partner: str = "",
    reason: str = "",
    before: Any = None,
    after: Any = None,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Emit the event of a change to `target` and return its id."""
    return emit(
        conn,
        event(
            action,
            service=SERVICE,
            actor=actor.name,
            kind=kind,
            target=target,
            name=name,
            partner=partner,
            outcome="success",
            reason=reason,
            request_id=actor.request_id,
            before=before,
            after=after,
            at=actor.at,
            facts=facts,
        ),
    )
