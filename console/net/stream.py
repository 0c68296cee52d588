"""Following a stream of an API: resumed after an outage, and without a gap or said to have one.

A stream is not a flow (it does not end), so it has its own driver. Each message names the id
before it: what does not continue where the last one ended is asked for again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from console.api.problems import as_error
from console.api.route import Call, Route
from console.errors import ExitCode, PilotError
from console.model.ids import ulid
from console.model.number import whole_number
from console.net.client import Apis, Lost, untrusted
from console.net.http_messages import Request, printable, request_of

SILENCE_SECONDS = 20.0
"""A stream that says nothing for so long is taken for dead: services beat every five."""
MAX_PAUSE_SECONDS = 15.0
_MAX_GAPS = 3
MAX_EVENT_BYTES = 4 << 20
"""The longest line, and the longest event, that is read: no service sends one so long."""
_MAX_REFUSAL_BYTES = 1 << 20


class Message(NamedTuple):
    """One row, with its number in the log or the table; None for a sign of life."""

    id: int
    row: Any


class Tail:
    """One stream, followed until its reader stops. `last` is the number reached."""

    def __init__(
        self,
        apis: Apis,
        route: Route[Any],
        query: Mapping[str, str],
        *,
        after: int | None = None,
        on_trouble: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.last = after
        self._apis = apis
        self._route = route
        self._query = query
        self._on_trouble = on_trouble
        self._sleep = sleep
        self._pause = 0.0
        self._reached = False
        """Whether a stream was ever open: before that, trouble is an error."""

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield messages as they come, those that came together in one list.

        Raises `PilotError` where the first attempt fails or the API refuses, and `stream-gap`
        (exit 9) where rows are missing however often they are asked for.
        """
        gaps = 0
        while True:
            try:
                for messages in self._once():
                    gaps, self._pause = 0, 0.0
                    yield messages
                why = "ended the stream"
            except _Gap as gap:
                gaps += 1
                why = str(gap)
                if gaps >= _MAX_GAPS:
                    raise PilotError(
                        "stream-gap",
                        f"the {self._route.api} API leaves rows out: {why}",
                        exit=ExitCode.UNVERIFIED,
                    ) from None
            except Lost as lost:
                why = lost.why
                if not self._reached:
                    raise self._unreachable(lost) from None
            self._rest(why)

    def _once(self) -> Iterator[list[Message]]:
        with self._apis.stream(self._route.api, self._request(), SILENCE_SECONDS) as (
            status,
            chunks,
        ):
            if status != 200:
                raise self._refused(status, chunks)
            self._reached = True
            for events in _events(chunks):
                messages: list[Message] = []
                try:
                    for each in events:
                        messages.append(self._message(each))  # noqa: PERF401 - what came before counts
                except (_Gap, Lost):
                    if messages:
                        yield messages
                    raise
                if messages:
                    yield messages

    def _request(self) -> Request:
        call = Call(self._route, query={k: v for k, v in self._query.items() if v})
        request = request_of(call, key="", request_id=f"rid_{ulid()}")
        headers = {**request.headers, "accept": "text/event-stream, application/problem+json"}
        if self.last is not None:
            headers["last-event-id"] = str(self.last)
        return request._replace(headers=headers)

    def _message(self, event: dict[str, str]) -> Message:
        try:
            number = _number(event["id"])
            data = msgspec.json.decode(event["data"].encode())
            previous, row = data["previous"], data["row"]
            if row is not None:
                row = msgspec.convert(row, self._route.answer)
        except (KeyError, ValueError, TypeError, msgspec.MsgspecError):
            raise Lost("sent something else than its stream", sent=True) from None
        if self.last is not None and previous != self.last:
            raise _Gap(f"it went on after {previous}, and the last one was {self.last}")
        if number < previous or (row is not None and number <= previous):
            raise _Gap(f"it went back from {previous} to {number}")
        self.last = number
        return Message(number, row)

    def _rest(self, why: str) -> None:
        """Wait before it is tried again: longer each time, and not all consoles at once."""
        self._pause = min(MAX_PAUSE_SECONDS, self._pause * 2 or 0.2)
        self._on_trouble(f"the {self._route.api} API {why}: trying again")
        self._sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - nobody guesses it

    def _refused(self, status: int, chunks: Iterator[bytes]) -> PilotError | Lost:
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > _MAX_REFUSAL_BYTES:
                break
        if self._reached and status >= 500:
            return Lost(f"answered with status {status}", sent=True)
        source = self._apis.endpoint(self._route.api).words
        return as_error(status, bytes(body), source=printable(source), request_id="")

    def _unreachable(self, lost: Lost) -> PilotError:
        endpoint = self._apis.endpoint(self._route.api)
        if lost.fault:
            return untrusted(endpoint, lost.fault)
        return PilotError(
            "unreachable",
            f"the {endpoint.api} API at {endpoint.address} {lost.why}",
            exit=ExitCode.UNAVAILABLE,
            hint="start the services with: pilotctl up",
            source=endpoint.words,
        )


class _Gap(Exception):  # noqa: N818 - it is a finding, and asked about again
    """Rows are missing, or came again."""


def _events(chunks: Iterator[bytes]) -> Iterator[list[dict[str, str]]]:
    """Parse server-sent events; those that arrived together are yielded together.

    Raises `Lost` where a line, or an event, is longer than `MAX_EVENT_BYTES`.
    """
    lines = _Lines()
    event: dict[str, list[str]] = {}
    size = 0
    for chunk in chunks:
        found = []
        for line in lines.feed(chunk):
            if not line:
                if "data" in event:
                    found.append({name: "\n".join(values) for name, values in event.items()})
                event, size = {}, 0
                continue
            size += len(line)
            if size > MAX_EVENT_BYTES:
                raise Lost("sent an event without end", sent=True)
            name, _, value = line.decode("utf-8", "replace").partition(":")
            if name:
                event.setdefault(name, []).append(value.removeprefix(" "))
        yield found


def _number(text: str) -> int:
    """Return a stream's number, -1 before the first row. Raises `ValueError`."""
    found = -1 if text == "-1" else whole_number(text)
    if found is None:
        raise ValueError(text)
    return found


class _Lines:
    """Cuts what comes into lines, and holds no more than one that has not ended."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that end in `chunk`, without their ends."""
        first, *more = chunk.split(b"\n")
        self._hold(first)
        for part in more:
            line = b"".join(self._parts)
            self._parts, self._size = [], 0
            self._hold(part)
            yield line.rstrip(b"\r")

    def _hold(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > MAX_EVENT_BYTES:
            raise Lost("sent a line without end", sent=True)
        if part:
            self._parts.append(part)
