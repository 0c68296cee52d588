"""Flows: what an operation does to the APIs, described and not done.

A flow is a generator. It yields what it wants (`Call`, `Many`, `Wait`, `Report`),
is sent what came back, and returns its result. It has no other effect, so a driver
may be synchronous or asynchronous, may stop between two yields, and a test feeds the
replies by hand. `net/drive.py` holds the two drivers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from console.api.route import Route

T = TypeVar("T")


class Call(NamedTuple):
    """One request to one API. Answered by a `Reply`, or raised as `PilotError`."""

    route: Route
    path: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    body: msgspec.Struct | None = None
    if_match: int | None = None
    """The revision that the change was planned on."""
    validate_only: bool = False
    idempotency_key: str = ""
    """Empty lets the driver make one for a write, and keep it over retries."""


class Many(NamedTuple):
    """Calls that may run side by side. Answered by one outcome each, in order."""

    calls: Sequence[Call]


class Wait(NamedTuple):
    """Ask again later: the driver sleeps `seconds`, or raises at its deadline.

    Answered by the seconds left until the deadline (`inf` where there is none); a flow
    that must end by then looks at it.
    """

    seconds: float


class Report(NamedTuple):
    """A step that is worth showing as it happens. `state` is the result so far."""

    text: str
    state: Any = None


class Waiting(NamedTuple):
    """The state of a report that says: `api` is not there, and is waited for before going on."""

    api: str


class Reply(NamedTuple):
    """An API's successful answer, decoded as its route declares."""

    status: int
    value: Any
    etag: str = ""
    request_id: str = ""
    source: str = ""
    """Which API answered and where, in words."""
    replayed: bool = False


Step: TypeAlias = Call | Many | Wait | Report
Flow: TypeAlias = Generator[Step, Any, T]


def ask(
    route: Route,
    *,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, str | None] | None = None,
    body: msgspec.Struct | None = None,
    if_match: int | None = None,
    validate_only: bool = False,
    idempotency_key: str = "",
) -> Flow[Any]:
    """Make one call and return its decoded value.

    `query` members that are None or empty are left out.
    """
    reply = yield Call(
        route,
        path or {},
        {name: value for name, value in (query or {}).items() if value},
        body,
        if_match,
        validate_only,
        idempotency_key,
    )
    return reply.value
