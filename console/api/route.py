"""A route of the contract, as data: what the client, the services and `spec` all read."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from console.model.operator import Direction, Role

Api = Literal["policy", "gateway", "audit"]
Method = Literal["GET", "POST", "PUT", "DELETE"]


class Route(NamedTuple):
    """One method on one path of one API.

    `path` holds `{name}` parameters. `query` names the query parameters it takes.
    `body` is the request's struct, `answer` the type of a successful answer. `if_match`
    marks a write that must name the revision it was planned on (428 without).
    """

    id: str
    api: Api
    method: Method
    path: str
    answer: Any
    role: Role = Role.VIEWER
    direction: Direction = Direction.NEUTRAL
    body: type | None = None
    query: tuple[str, ...] = ()
    if_match: bool = False
    created: bool = False
    """Answers 201 where it makes something."""
    streams: bool = False
    """Answers with server-sent events, each with one `answer`: no flow asks it."""

    @property
    def writes(self) -> bool:
        """Whether it changes anything: then it takes an idempotency key."""
        return self.method != "GET"

    @property
    def secret(self) -> bool:
        """Whether an answer may hold a secret that is shown once.

        Such a type can be `redacted`: that is how its answer is kept and told again.
        """
        return "secret" in getattr(self.answer, "__struct_fields__", ())


PAGING = ("cursor", "limit")
"""Every list takes these: an opaque cursor, and at most so many rows (1 to 500, 100)."""
