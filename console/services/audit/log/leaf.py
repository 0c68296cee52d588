"""What a leaf must be, and what the log's list shows of it.

A leaf is believed in nothing but its bytes: they must be the RFC 8785 form of an event
that carries the id, number and source under which it was offered.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from console.errors import PilotError
from console.trust.canonical import canonical
from console.trust.tiles import MAX_ENTRY


class _Metadata(msgspec.Struct):
    uid: str
    event_code: str
    log_name: str
    sequence: int
    correlation_uid: str = ""


class _Facts(msgspec.Struct):
    """What OCSF has no place for (`console.services.events`)."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    actor: str
    kind: str
    target: str
    outcome: str
    name: str = ""
    partner: str = ""
    reason: str = ""
    after: Any = None
    facts: Any = None


class _Ocsf(msgspec.Struct):
    """The parts of an OCSF event that are listed and searched."""

    metadata: _Metadata
    unmapped: _Facts


class Leaf(NamedTuple):
    """One event, checked."""

    event_id: str
    source: str
    sequence: int
    at: datetime
    actor: str
    action: str
    kind: str
    target: str
    name: str
    partner: str
    outcome: str
    reason: str
    request_id: str
    after: Any
    """The object that the event left behind, as the event tells it."""
    body: bytes
    facts: Any = None
    """What else the event tells, where it tells more."""

    @property
    def contains(self) -> bool:
        """Whether it records that access was ended."""
        return ends_access(self.action, self.outcome)

    def told(self, name: str) -> Any:
        """Return a member of the object that it left behind, or else of its facts; None if none.

        An object too large for a leaf is a digest in it, and tells nothing.
        """
        for holder in (self.after, self.facts):
            if isinstance(holder, dict) and name in holder:
                return holder[name]
        return None

    def touches(self) -> Iterator[str]:
        """Yield the partners, grants and credentials that it says it was about."""
        yield self.partner
        yield self.target
        after = self.after if isinstance(self.after, dict) else {}
        for name in ("partner", "target", "grant_id"):
            if isinstance(value := after.get(name), str):
                yield value
        for holder in (after.get("blast"), self.facts):
            for name in ("partners", "grants"):
                values = holder.get(name) if isinstance(holder, dict) else None
                if isinstance(values, list):
                    yield from (each for each in values if isinstance(each, str))


def ends_access(action: str, outcome: str) -> bool:
    """Tell whether an event of this action and outcome records that access was ended."""
    return (action == "lock.add" or action.endswith(".revoke")) and outcome != "failure"


class BadLeaf(Exception):  # noqa: N818 - it is a finding about somebody else's bytes
    """Why some bytes cannot become a leaf, in words."""


_decode = msgspec.json.Decoder(_Ocsf).decode
_value = msgspec.json.Decoder().decode


def read_leaf(body: bytes) -> Leaf:
    """Read an event's own bytes, as they were stored or as a source offers them."""
    try:
        event = _decode(body)
        at = event.unmapped.at.astimezone(UTC)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise BadLeaf(f"it is not an event of ours: {error}") from None
    facts = event.unmapped
    return Leaf(
        event.metadata.uid,
        event.metadata.log_name,
        event.metadata.sequence,
        at,
        facts.actor,
        event.metadata.event_code,
        facts.kind,
        facts.target,
        facts.name,
        facts.partner,
        facts.outcome,
        facts.reason,
        event.metadata.correlation_uid,
        facts.after,
        body,
        facts.facts,
    )


def check_leaf(source: str, sequence: int, event_id: str, text: str) -> Leaf:
    """Check what `source` offers under a number and an id. Raises `BadLeaf`."""
    try:
        body = text.encode()
    except UnicodeEncodeError:
        raise BadLeaf("its text is not Unicode") from None
    if len(body) > MAX_ENTRY:
        raise BadLeaf(f"it has {len(body)} bytes, and a log takes {MAX_ENTRY}")
    leaf = read_leaf(body)
    try:
        same = canonical(_value(body)) == body
    except (PilotError, RecursionError):
        same = False
    if not same:
        raise BadLeaf("its bytes are not in the one form that is signed (RFC 8785)")
    said = (leaf.source, leaf.sequence, leaf.event_id)
    if said != (source, sequence, event_id):
        raise BadLeaf(f"inside it says {said!a}")
    return leaf
