"""What a handler is asked, and what it may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from aiohttp import web

from console.api.problems import refusal
from console.api.route import Route
from console.model.operator import Operator
from console.model.stored import Stored


class Answer(NamedTuple):
    """An answer made by hand, where a struct would not do."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, checked: who asks, for what, and on which revision."""

    service: str
    route: Route[Any] | None
    """None on internal paths."""
    operator: Operator
    """Who asks. On internal paths the service user, with no roles."""
    uid: int
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    """Decoded as the route's struct, with times in UTC; None where the route has none."""
    raw: bytes
    revision: int | None
    """What `If-Match` named."""
    request_id: str
    validate_only: bool
    now: datetime
    """When it arrived, UTC. The one time that a change should carry."""
    request: web.Request
    afterwards: list[Callable[[], object]] = field(default_factory=list)
    completions: list[Callable[[Any], Awaitable[Any]]] = field(default_factory=list)

    def after(self, do: Callable[[], object]) -> None:
        """Call `do` on the event loop once the change is committed.

        Not after a refusal, a dry run or a replayed answer: then nothing was changed.
        """
        self.afterwards.append(do)

    def complete(self, do: Callable[[Any], Awaitable[Any]]) -> None:
        """Answer what `do` makes of the answer once the change is committed, and after `after`."""
        self.completions.append(do)


def fresh(ask: Ask, current: Stored) -> None:
    """Refuse a write that was planned on another revision than `current` (problem `stale`).

    A request that names no revision passes: where one is required, it never came this far.
    """
    if ask.revision is not None and ask.revision != current.revision:
        raise refusal(
            "stale",
            f"it has changed: you planned on revision {ask.revision}, "
            f"it is now at {current.revision}, changed by {current.updated_by}",
            mend="look at it again and decide anew",
            current=current,
        )
