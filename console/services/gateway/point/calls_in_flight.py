"""Calls that are being served now, and how a change ends them at once."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable

from console.services.gateway.decision.decide import Asked, Verdict

_CUTS_REMEMBERED = 256


class Running:
    """One call in flight."""

    __slots__ = ("asked", "committing", "cut", "drop", "id", "task", "verdict")

    def __init__(
        self,
        *,
        id: str,
        asked: Asked,
        verdict: Verdict,
        task: asyncio.Task[object],
        drop: Callable[[], None],
    ) -> None:
        self.id = id
        self.asked = asked
        self.verdict = verdict
        self.task = task
        self.drop = drop
        """Close the caller's connection at once, with all that is buffered for it."""
        self.cut: Verdict | None = None
        """The refusal that ended it."""
        self.committing = False
        """Its record is being written: it looks at `cut` itself when that is done."""

    def end(self, verdict: Verdict) -> None:
        """End the call with a refusal: whatever it waits for is given up."""
        if self.cut is None:
            self.cut = verdict
            if not self.committing:
                self.task.cancel()


class InFlight:
    """The calls in flight of one point."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._cuts: OrderedDict[int, int] = OrderedDict()
        self.emptied = asyncio.Event()
        """Set whenever a call that was cut has let go."""

    def __len__(self) -> int:
        return len(self._running)

    def add(self, call: Running) -> None:
        """Take a call in."""
        self._running[call.id] = call

    def remove(self, call: Running) -> None:
        """Let a call go: nothing of it is on its way to the caller any more."""
        if self._running.pop(call.id, None) is not None and call.cut is not None:
            self.emptied.set()

    def judge(self, again: Callable[[Running], Verdict], sequence: int) -> int:
        """Judge every call again; end those that are refused now. Returns how many."""
        ended = 0
        for call in list(self._running.values()):
            if call.cut is not None:
                continue
            verdict = again(call)
            if verdict.allow:
                call.verdict = verdict
            else:
                call.end(verdict)
                ended += 1
        if ended:
            self._cuts[sequence] = self._cuts.get(sequence, 0) + ended
            while len(self._cuts) > _CUTS_REMEMBERED:
                self._cuts.popitem(last=False)
        return ended

    def end_all(self, ending: Callable[[Running], Verdict]) -> list[Running]:
        """End every call, each with its own words to the caller; return those that were ended."""
        found = [call for call in self._running.values() if call.cut is None]
        for call in found:
            call.end(ending(call))
        return found

    def drop_all(self, refusal: Callable[[Running], Verdict]) -> None:
        """End every call and drop its connection: the lease is gone."""
        for call in list(self._running.values()):
            call.drop()
            call.end(refusal(call))

    def by_principal(self) -> dict[str, int]:
        """Return how many calls run for each principal, by its salted hash."""
        return dict(Counter(c.asked.principal for c in self._running.values() if c.asked.principal))

    @property
    def cutting(self) -> int:
        """How many calls were ended and have not let go yet."""
        return sum(1 for call in self._running.values() if call.cut is not None)

    @property
    def cuts(self) -> dict[int, int]:
        """Change sequence to the number of calls that it ended, for recent changes."""
        return dict(self._cuts)

    def by_credential(self) -> dict[str, int]:
        """Return how many calls run under each credential."""
        return dict(Counter(c.verdict.key.id for c in self._running.values() if c.verdict.key))
