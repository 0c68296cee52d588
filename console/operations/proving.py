"""Proving rows of the log one after the other: each against the head that is pinned.

Proofs are made here, of the log's own tiles, so that a long tail asks for few of them. An
event is proven when its exact bytes are in the tree of a head that was checked, and say
what the row says.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

import msgspec

from console.api.audit import HEAD, log_files
from console.api.flow import Flow, TrustedHead, Wait, check_head
from console.errors import ExitCode, PilotError
from console.model.audit import Event
from console.trust.merkle import inclusion_proof, leaf_hash, verify_inclusion
from console.trust.tiles import TileReader

CHECKPOINT_SECONDS = 3.0
"""Seconds that an event may take until a checkpoint holds it."""
_CACHED = 512


class _Facts(msgspec.Struct):
    at: datetime | None = None
    actor: str = ""
    kind: str = ""
    target: str = ""
    outcome: str = ""
    partner: str = ""
    reason: str = ""


class _Metadata(msgspec.Struct):
    uid: str = ""
    event_code: str = ""
    log_name: str = ""
    sequence: int = -1
    correlation_uid: str = ""


class _Leaf(msgspec.Struct):
    metadata: _Metadata
    unmapped: _Facts = msgspec.field(default_factory=_Facts)


def contradiction(event: Event) -> str:
    """Return what a listed event says otherwise than its own bytes; empty where nothing."""
    try:
        leaf = msgspec.json.decode(event.body.encode(), type=_Leaf)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return "its bytes are not an event"
    said = {
        "id": leaf.metadata.uid, "action": leaf.metadata.event_code,
        "source": leaf.metadata.log_name, "actor": leaf.unmapped.actor,
        "kind": leaf.unmapped.kind, "target": leaf.unmapped.target,
        "outcome": leaf.unmapped.outcome, "partner": leaf.unmapped.partner,
        "at": leaf.unmapped.at, "reason": leaf.unmapped.reason,
        "sequence": leaf.metadata.sequence, "request_id": leaf.metadata.correlation_uid,
    }  # fmt: skip
    wrong = [name for name, value in said.items() if getattr(event, name) != value]
    return f"listed with another {', '.join(wrong)} than in the log" if wrong else ""


class Prover:
    """Proves events of one profile's log, keeping the tiles that it read."""

    def __init__(self) -> None:
        self.failed = ""
        """What does not hold, in words: the log is not what it was, or the row is not its own."""
        self._head: TrustedHead | None = None
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def prove(self, events: Sequence[Event]) -> Flow[list[str]]:
        """Return for each event why it is not proven, or an empty string."""
        try:
            head = yield from self._covering(max(each.index for each in events))
        except PilotError as error:
            if error.exit is ExitCode.LOG_FAILED:
                self.failed = error.message
            return [f"unverified: {error.message}"] * len(events)
        found: list[str] = []
        for event in events:
            found += [(yield from self._one(event, head))]
        return found

    def _one(self, event: Event, head: TrustedHead) -> Flow[str]:
        if event.index >= head.size:
            return "unverified: not under a checkpoint yet"
        wrong = event.fault or contradiction(event)
        while not wrong:
            try:
                self._check(event, head)
                return ""
            except _MissingError as missing:
                try:
                    got = (yield from log_files([missing.path]))[0]
                except PilotError as error:
                    return f"unverified: {error.message}"
                if got is None:
                    return "unverified: the log does not give its tiles"
                self._keep(missing.path, got)
            except PilotError as error:
                wrong = error.message
        self.failed = f"entry {event.index}: {wrong}"
        return f"FAILED: {wrong}"

    def _check(self, event: Event, head: TrustedHead) -> None:
        nodes = TileReader(self._read, head.size, cached=4).nodes
        path = inclusion_proof(event.index, head.size, nodes)
        hashed = leaf_hash(event.body.encode())
        verify_inclusion(hashed, event.index, head.size, path, head.root)

    def _covering(self, index: int) -> Flow[TrustedHead]:
        """Return a checked head, one that holds the entry if that comes in time."""
        waited, pause = 0.0, 0.05
        while True:
            if self._head is not None and self._head.size > index:
                return self._head
            note = (yield from HEAD()).checkpoint
            self._head = yield from check_head(note)
            if self._head.size > index or waited > CHECKPOINT_SECONDS:
                return self._head
            yield Wait(pause)
            waited, pause = waited + pause, min(0.5, pause * 2)

    def _read(self, path: str) -> bytes:
        if (raw := self._files.get(path)) is None:
            raise _MissingError(path)
        self._files.move_to_end(path)
        return raw

    def _keep(self, path: str, raw: bytes) -> None:
        self._files[path] = raw
        if len(self._files) > _CACHED:
            self._files.popitem(last=False)


class _MissingError(Exception):
    """A tile has to be asked for first."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path
