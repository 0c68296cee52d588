"""A route of the contract, as data: what the client, the services and `spec` all read."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from console.model.operator import Direction, Role
from console.model.text import rfc3339

A = TypeVar("A")

Api = Literal["policy", "gateway", "audit"]
Method = Literal["GET", "POST", "PUT", "DELETE"]
Given: TypeAlias = str | int | datetime | None
"""A value of a route's path or query. None and an empty text are left out of a query."""

_IN_PATH = re.compile(r"\{(\w+)\}")


class Route(NamedTuple, Generic[A]):
    """One method on one path of one API; called, it is the flow that asks it.

    `path` holds `{name}` parameters. `query` names the query parameters it takes.
    `body` is the request's struct, `answer` the type of a successful answer. `if_match`
    marks a write that must name the revision it was planned on (428 without).
    """

    id: str
    api: Api
    method: Method
    path: str
    answer: type[A]
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

    def __call__(
        self,
        body: msgspec.Struct | None = None,
        /,
        *,
        if_match: int | None = None,
        validate: bool = False,
        **given: Given,
    ) -> Generator[Call, Any, A]:
        """Ask it, and return its decoded answer: a flow of one call.

        `given` are values of its path and query by name. `validate` asks for what a write
        would answer, without doing it.
        """
        reply = yield self.call(body, if_match=if_match, validate=validate, **given)
        value: A = reply.value
        return value

    def call(
        self,
        body: msgspec.Struct | None = None,
        /,
        *,
        if_match: int | None = None,
        validate: bool = False,
        **given: Given,
    ) -> Call:
        """Return the call of it with these values, for a flow that makes several at once.

        Raises TypeError for a name that is in neither its path nor its query, and for a
        value of the path that is missing.
        """
        named = _IN_PATH.findall(self.path)
        if unknown := sorted(given.keys() - {*named, *self.query}):
            raise TypeError(f"{self.id} takes no {', '.join(unknown)}")
        if missing := [name for name in named if name not in given]:
            raise TypeError(f"{self.id} needs {', '.join(missing)}")
        text = {name: _written(value) for name, value in given.items()}
        path = {name: text[name] for name in named}
        query = {name: value for name, value in text.items() if value and name not in path}
        return Call(self, path, query, body, if_match, validate)


class Call(NamedTuple):
    """One request to one API. Answered by a `Reply`, or raised as `PilotError`."""

    route: Route[Any]
    path: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    body: msgspec.Struct | None = None
    if_match: int | None = None
    """The revision that the change was planned on."""
    validate_only: bool = False
    idempotency_key: str = ""
    """Empty lets the driver make one for a write, and keep it over retries."""


class Reply(NamedTuple):
    """An API's successful answer, decoded as its route declares."""

    status: int
    value: Any
    etag: str = ""
    request_id: str = ""
    source: str = ""
    """Which API answered and where, in words."""
    replayed: bool = False


def _written(value: Given) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    return "" if value is None else str(value)


PAGING = ("cursor", "limit")
"""Every list takes these: an opaque cursor, and at most so many rows (1 to 500, 100)."""
