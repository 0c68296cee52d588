"""The events of one stream on their way to the caller: metered, renamed, and brought to an end."""

from __future__ import annotations

from console.services.gateway.point.dialect import responses_api
from console.services.gateway.point.dialect.dialects import Dialect
from console.services.gateway.point.dialect.sse import Events, TooLongError, data_of
from console.services.gateway.point.dialect.usage_meter import (
    Meter,
    NotAnAnswerError,
    UpstreamSaidError,
)
from console.services.gateway.point.upstream.upstream import UpstreamFailedError

REST_SECONDS = 5.0
"""How long is waited for usage, and for the event that ends a stream, after the finish reason."""


class Passage:
    """What of a stream goes on to the caller. Nothing goes on after the event that ends it."""

    __slots__ = ("_dialect", "_events", "_meter", "_naming", "_wants_usage")

    def __init__(
        self,
        meter: Meter,
        naming: responses_api.Naming | None,
        *,
        wants_usage: bool,
        dialect: Dialect,
    ) -> None:
        """`wants_usage` tells whether the caller asked for the usage chunk itself."""
        self._meter = meter
        self._naming = naming
        self._wants_usage = wants_usage
        self._dialect = dialect
        self._events = Events()

    def feed(self, chunk: bytes) -> bytes:
        """Return what goes on of the events that `chunk` completes.

        Raises what `Meter.event` and `Events.feed` raise, until the answer is finished.
        """
        try:
            events = self._events.feed(chunk)
        except TooLongError:
            if not self._meter.finished:
                raise
            return self._ending()
        return self._take(events)

    def last(self) -> bytes:
        """Return what ends the stream, where the upstream ended without the event that does.

        The last event may come without its blank line, and after a finish reason nothing more
        need come. Raises UpstreamFailedError where the answer is not finished.
        """
        rest = self._events.rest().strip()
        out = self._take([rest + b"\n\n"]) if rest else b""
        if not self._meter.finished:
            raise UpstreamFailedError("upstream_broken", "ended early")
        return out + self._ending()

    def _take(self, events: list[bytes]) -> bytes:
        passed = []
        for event in events:
            try:
                only_usage = self._meter.event(event)
            except (NotAnAnswerError, UpstreamSaidError):
                if not self._meter.finished:
                    raise
                # The caller has its whole answer. Only its usage may still be to come.
                if not self._meter.estimated:
                    passed.append(self._ending())
                    break
                continue
            if self._naming is not None:
                passed.append(self._naming.event(event, data_of(event)))
            elif not only_usage or self._wants_usage:
                passed.append(event)
            if self._meter.ended:
                break
        return b"".join(passed)

    def _ending(self) -> bytes:
        """Return the event that ends the dialect's streams, where it has not come."""
        missing = self._dialect is Dialect.OPENAI and not self._meter.ended
        self._meter.ended = True
        return b"data: [DONE]\n\n" if missing else b""
