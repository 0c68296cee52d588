"""Server-sent events (WHATWG HTML §9.2) whose id is a number of the log or of a table.

Each message names the id before it, so whoever follows sees that nothing is missing, even
where a filter leaves rows out; `Last-Event-ID` resumes after any id. A mark without a row
says how far the filter has looked, and that the line is alive.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from console.api.problems import refusal
from console.errors import PilotError
from console.model.number import whole_number
from console.services.store import Store
from console.services.web.request_context import Ask

BEAT_SECONDS = 5.0
"""A mark is sent at least this often."""
MAX_STREAMS = 64
"""Streams that one service serves at once."""
MAX_OPERATOR_STREAMS = 16
"""Streams that one operator has at once."""
FIRST_STREAMS = 16
"""Streams of `MAX_STREAMS` that are kept for operators who have none yet."""
BATCH = 200
_BREATH = 0.05
"""Seconds between two looks: a burst is looked at together."""

_encode = msgspec.json.Encoder().encode


class Found(NamedTuple):
    """What a filter found after a number: rows by id, ascending, and how far it looked."""

    rows: Sequence[tuple[int, Any]]
    reached: int


Look = Callable[[Connection, int], Found]
"""Looks for at most `BATCH` rows after an id."""


class Streams:
    """The streams of one service over one topic of its store."""

    def __init__(self, store: Store, topic: str) -> None:
        self._store = store
        self._topic = topic
        self._open: Counter[str] = Counter()

    async def serve(self, ask: Ask, look: Look, newest: Callable[[Connection], int]) -> Any:
        """Answer with what `look` finds, for as long as somebody listens.

        It begins after `Last-Event-ID`, else before the `from` of the query, else with what
        comes after `newest`.
        """
        who = ask.operator.name
        self._refuse_too_many(who)
        after = await self._begins(ask, newest)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-cache",
                "X-Request-Id": ask.request_id,
                "Server": "pilotctl",
            }
        )
        self._open[who] += 1
        try:
            await response.prepare(ask.request)
            await response.write(_mark(after, after))
            while True:
                after = await self._more(response, look, after)
        except PilotError:
            # Its caller is refused by now, or the store is gone: half an answer cannot say so.
            if not response.prepared:
                raise
            if ask.request.transport is not None:
                ask.request.transport.abort()
            return response
        except (ConnectionError, asyncio.CancelledError):
            if asyncio.current_task() and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            return response
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]

    def _refuse_too_many(self, who: str) -> None:
        """Refuse a stream over an operator's share, or one that would take another's first."""
        theirs, everyones = self._open[who], self._open.total()
        if theirs >= MAX_OPERATOR_STREAMS:
            raise refusal(
                "unavailable",
                f"{who} has {theirs} streams open, and may have no more at once",
                mend="end one of them: a `tail`, or a console that follows",
            )
        if everyones >= (MAX_STREAMS - FIRST_STREAMS if theirs else MAX_STREAMS):
            raise refusal("unavailable", f"{everyones} streams are open: try again later")

    async def _more(self, response: web.StreamResponse, look: Look, after: int) -> int:
        """Send what there is after `after`, waiting for it; return the last id that was sent."""

        def ready(conn: Connection) -> Found | None:
            found = look(conn, after)
            return found if found.reached > after else None

        found = await self._store.until(self._topic, ready, BEAT_SECONDS)
        if found is None:
            await response.write(_mark(after, after))
            return after
        sent = bytearray()
        for id_, row in found.rows:
            data = _encode({"previous": after, "row": row})
            sent += b"id: %d\nevent: row\ndata: %b\n\n" % (id_, data)
            after = id_
        if found.reached > after:
            sent += _mark(after, found.reached)
            after = found.reached
        await response.write(bytes(sent))
        await asyncio.sleep(_BREATH)
        return after

    async def _begins(self, ask: Ask, newest: Callable[[Connection], int]) -> int:
        last, wanted = ask.request.headers.get("Last-Event-ID", ""), ask.query.get("from", "")
        if said := last or wanted:
            number = whole_number(said.removeprefix("-"))
            if number is None:
                raise refusal("malformed", f"from: not a number: {said[:40]!a}")
            begins = -number if said.startswith("-") else number
            after, known = begins - (0 if last else 1), await self._store.read(newest)
            if after > known:
                raise refusal(
                    "invalid",
                    f"from: {after} is beyond {known}, the newest there is",
                    mend="what was there may have been restored from a backup",
                )
            return after
        return await self._store.read(newest)


def _mark(previous: int, reached: int) -> bytes:
    data = _encode({"previous": previous, "row": None})
    return b"id: %d\nevent: mark\ndata: %b\n\n" % (reached, data)
