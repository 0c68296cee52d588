"""What this console has proven of the log, and how the log itself is doing.

A row of the log is *ok* when its exact bytes are in the tree of a head that belongs to the
pinned log, and say what the row says. That stays true while the log only grows, so it is
kept: of that row, whole. Another row under the same id has to be proven for itself. A row that
fails is shown as failed and is not asked about again while it is listed so.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

import msgspec

from console.api.audit import PROOF
from console.api.flow import TrustedHead, check_head
from console.errors import ExitCode, PilotError
from console.model.audit import Event, EventProof
from console.operations.closing import check_proof
from console.operations.proving import contradiction
from console.tui.link.api_link import Link

T = TypeVar("T")

AT_ONCE = 6
"""Proofs that are asked for side by side."""
MAX_KEPT = 5_000
"""Events of which is kept what came of asking: as many as a tail holds. Older ones are asked
for again when they are looked at."""
WAIT_AGAIN = 3.0
"""Seconds before an event that was not in the log yet is looked for again."""


class LogHealth(NamedTuple):
    """How the log stands: the head that fits everything seen before, and when that was."""

    size: int = -1
    """The size that was verified; -1 before it was."""
    failed: str = ""
    """Why the log does not hold, in words. It stops what opens."""
    why: str = ""
    """Why audit cannot be asked, in words."""


class _Kept(NamedTuple):
    """What came of asking about one row, told apart from any other row by its digest."""

    digest: bytes
    why: str = ""
    """Why the row failed, in words; empty where it is proven."""


class Proofs:
    """What has been proven, by event id and by all that the row says. One for a console."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._proven: dict[str, _Kept] = {}
        self._failed: dict[str, _Kept] = {}
        self._later: dict[str, float] = {}
        self._heads: dict[str, TrustedHead] = {}

    def is_proven(self, event: Event) -> bool:
        """Return whether this very row was proven: what it says, not only its id."""
        kept = self._proven.get(event.id)
        return kept is not None and kept.digest == _digest(event)

    def failure(self, event: Event) -> str:
        """Return why this row failed, in words; empty where it did not."""
        kept = self._failed.get(event.id)
        return kept.why if kept is not None and kept.digest == _digest(event) else ""

    def word(self, event: Event) -> str:
        """Return `ok`, `FAILED`, or `..` where nothing is proven."""
        if self.is_proven(event):
            return "ok"
        return "FAILED" if self.failure(event) else ".."

    def token(self, event: Event) -> str:
        """Return the token that the word is drawn in."""
        return {"ok": "good", "FAILED": "bad", "..": "dim"}[self.word(event)]

    @property
    def health(self) -> LogHealth:
        """How the log stands, as the link holds it to what was pinned."""
        audit = self._link.health["audit"]
        why = audit.why if audit.state in {"down", "refused"} else ""
        return LogHealth(audit.proven, audit.suspect, why)

    async def _trusted(self, note: str) -> TrustedHead:
        known = self._heads.get(note)
        if known is None:
            known = await self._link.read(check_head(note))
            if len(self._heads) > 64:
                self._heads.clear()
            self._heads[note] = known
        return known

    async def prove(self, events: Iterable[Any]) -> bool:
        """Prove those of `events` that are not proven yet. True: some words are others now."""
        now = time.monotonic()
        wanted = [
            each
            for each in events
            if isinstance(each, Event)
            and self.word(each) == ".."
            and self._later.get(each.id, 0.0) <= now
        ]
        changed = False
        for at in range(0, len(wanted), AT_ONCE):
            part = wanted[at : at + AT_ONCE]
            changed |= any(await asyncio.gather(*(self._one(each) for each in part)))
        return changed

    async def _one(self, event: Event) -> bool:
        try:
            answer: EventProof = await self._link.read(PROOF(event=event.id))
            head = await self._trusted(answer.proof.checkpoint)
            check_proof(answer.proof, size=head.size, root=head.root)
        except PilotError as error:
            if error.exit is not ExitCode.LOG_FAILED:
                _keep(self._later, event.id, time.monotonic() + WAIT_AGAIN)
                return False
            return self._fail(event, error.message)
        if b64decode(answer.proof.leaf) != event.body.encode():
            return self._fail(event, "the log holds other bytes than were listed")
        if answer.proof.index != event.index:
            return self._fail(event, f"it is entry {answer.proof.index} of the log")
        if wrong := event.fault or contradiction(event):
            return self._fail(event, wrong)
        self._later.pop(event.id, None)
        _keep(self._proven, event.id, _Kept(_digest(event)))
        return True

    def _fail(self, event: Event, why: str) -> bool:
        _keep(self._failed, event.id, _Kept(_digest(event), why))
        self._link.note(f"event {event.id}: {why}", "bad")
        return True


def _digest(event: Event) -> bytes:
    return sha256(msgspec.json.encode(event)).digest()


def _keep(known: dict[str, T], event: str, what: T) -> None:
    """Keep `what` came of an event; the oldest quarter goes where there are too many."""
    known[event] = what
    if len(known) > MAX_KEPT:
        for old in list(known)[: MAX_KEPT // 4]:
            del known[old]


def verified(events: Sequence[Any], proofs: Proofs) -> int:
    """Return how many of `events` are proven."""
    return sum(proofs.is_proven(each) for each in events)
