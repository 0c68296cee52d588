"""The detections at work: calls and events in, alerts out, each thing counted once.

How far each feed was read, the windows and the alerts change in one transaction, so what
is read again after a crash counts no second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from sqlalchemy import Connection, and_, func, select
from sqlalchemy.dialects.sqlite import insert

from console.api.problems import refusal
from console.model.audit import Evidence, Severity
from console.model.text import now
from console.model.traffic import CallRecord, Outcome
from console.services.audit import alerts
from console.services.audit.leaf import Leaf, read_leaf
from console.services.audit.rule import Rule, Seen, Value, Window, advance
from console.services.audit.rulefile import FIELDS
from console.services.audit.schema import ADMITTED, CURSORS, LEAVES, REVOKED, WINDOWS
from console.services.events import SYSTEM, event
from console.services.store import emit

BATCH = 1000
"""Calls or events taken in one transaction."""

_CALL_FIELDS = tuple(name for name in FIELDS["calls"] if name != "ended_before")
_EVENT_FIELDS = tuple(FIELDS["events"])
_SERVED = {Outcome.ALLOWED.value, Outcome.FLAGGED.value}


class CallItem(msgspec.Struct, frozen=True):
    """A call record and its number in the gateway's feed."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    call: CallRecord


class CallPage(msgspec.Struct, frozen=True):
    """Calls in the order in which the gateway got them, and the newest number there is."""

    items: list[CallItem]
    head: Annotated[int, msgspec.Meta(ge=0, le=2**53)]


def position(conn: Connection, feed: str) -> int:
    """Return how far the detections have read `feed`; -1 or 0 before its first."""
    start = -1 if feed == "events" else 0
    found = conn.execute(select(CURSORS.c.position).where(CURSORS.c.feed == feed)).scalar()
    return start if found is None else found


def take_calls(conn: Connection, rules: Sequence[Rule], offered: CallPage) -> int:
    """Run the rules over the calls that were not read yet, and return the new position."""
    last = position(conn, "calls")
    if offered.head < last:
        _tell_rewound(conn, last, offered.head)
        _move(conn, "calls", offered.head)
        return offered.head
    calls = []
    for item in offered.items:
        if item.seq > last:
            calls.append(item.call)
            last = item.seq
    if not calls:
        return last
    if any(call.started_at.tzinfo is None for call in calls):
        raise refusal("unavailable", "a call record has a time without a zone")
    served = [call for call in calls if call.outcome in _SERVED]
    ended = _ended(conn, served)
    _note_admitted(conn, served)
    detect(conn, rules, "calls", [_seen_call(call, ended=call.id in ended) for call in calls])
    _move(conn, "calls", last)
    return last


def take_events(conn: Connection, rules: Sequence[Rule]) -> int:
    """Run the rules over the leaves that were not read yet. Return how many there were."""
    last = position(conn, "events")
    rows = conn.execute(
        select(LEAVES.c.idx, LEAVES.c.body)
        .where(LEAVES.c.idx > last)
        .order_by(LEAVES.c.idx)
        .limit(BATCH)
    ).all()
    if not rows:
        return 0
    leaves = [(row.idx, read_leaf(row.body)) for row in rows]
    for _, leaf in leaves:
        if leaf.action == "receipt.verify":
            _note_revoked(conn, rules, leaf)
    # An alert about alerts would feed itself.
    heard = [_seen_event(*each) for each in leaves if not each[1].action.startswith("alert.")]
    detect(conn, rules, "events", heard)
    _move(conn, "events", leaves[-1][0])
    return len(leaves)


def events_waiting(conn: Connection) -> bool | None:
    """Tell whether the log holds more than the rules have read; None if not."""
    newest = conn.execute(select(func.max(LEAVES.c.idx))).scalar()
    return (newest is not None and newest > position(conn, "events")) or None


def detect(conn: Connection, rules: Iterable[Rule], reads: str, seen: Sequence[Seen]) -> None:
    """Run the rules that read `reads` over what was seen."""
    for rule in rules:
        if rule.reads != reads:
            continue
        groups: dict[tuple[Value, ...], list[Evidence]] = {}
        for each in seen:
            if rule.matches(each.fields):
                groups.setdefault(rule.group(each.fields), []).append(each.evidence)
        if groups:
            _count(conn, rule, groups)


def _count(
    conn: Connection, rule: Rule, groups: Mapping[tuple[Value, ...], list[Evidence]]
) -> None:
    at = now()
    named = {group: rule.fingerprint(group) for group in groups}
    fingerprints = list(named.values())
    windows = _windows(conn, fingerprints)
    before = alerts.known(conn, fingerprints)
    moved = []
    for group, matched in groups.items():
        fingerprint = named[group]
        window, fired = advance(
            rule, windows.get(fingerprint, Window()), matched, newest=alerts.EVIDENCE
        )
        moved.append(
            {
                "fingerprint": fingerprint,
                "rule": rule.id,
                "times": msgspec.json.encode(window.recent),
                "pending": window.pending,
            }
        )
        if fired:
            values = dict(zip(rule.group_by, group, strict=True))
            alerts.fire(
                conn,
                rule,
                fired,
                group=values,
                fingerprint=fingerprint,
                before=before.get(fingerprint),
                at=at,
            )
    upsert = insert(WINDOWS)
    conn.execute(
        upsert.on_conflict_do_update(
            index_elements=[WINDOWS.c.fingerprint],
            set_={"times": upsert.excluded.times, "pending": upsert.excluded.pending},
        ),
        moved,
    )


_recent = msgspec.json.Decoder(tuple[Evidence, ...]).decode


def _windows(conn: Connection, fingerprints: Sequence[str]) -> dict[str, Window]:
    found = {}
    for start in range(0, len(fingerprints), 500):
        some = fingerprints[start : start + 500]
        for row in conn.execute(select(WINDOWS).where(WINDOWS.c.fingerprint.in_(some))):
            found[row.fingerprint] = Window(_recent(row.times), row.pending)
    return found


def _seen_call(call: CallRecord, *, ended: bool) -> Seen:
    fields: dict[str, Value] = {name: getattr(call, name) for name in _CALL_FIELDS}
    fields["ended_before"] = ended
    said = (call.outcome, call.code, call.model, f"from {call.address}", f"at {call.point}")
    summary = " ".join(each for each in said if each)
    return Seen(Evidence(kind="call", id=call.id, at=call.started_at, summary=summary), fields)


def _seen_event(idx: int, leaf: Leaf) -> Seen:
    known: dict[str, Value] = {"index": idx, "id": leaf.event_id}
    fields: dict[str, Value] = {
        name: known[name] if name in known else getattr(leaf, name) for name in _EVENT_FIELDS
    }
    summary = " ".join(each for each in (leaf.action, leaf.target, leaf.reason[:300]) if each)
    return Seen(Evidence(kind="event", id=leaf.event_id, at=leaf.at, summary=summary), fields)


def _ended(conn: Connection, served: Sequence[CallRecord]) -> set[str]:
    """Return the ids of the calls that began after the verified end of what they ran on."""
    ids = {each for call in served for each in (call.credential_id, call.grant_id) if each}
    ends: dict[tuple[str, str], datetime] = {}
    for start in range(0, len(ids), 500):
        some = list(ids)[start : start + 500]
        for row in conn.execute(select(REVOKED).where(REVOKED.c.id.in_(some))):
            ends[row.kind, row.id] = row.verified_at
    return {
        call.id
        for call in served
        for named in (("credential", call.credential_id), ("grant", call.grant_id))
        if named in ends and ends[named] < call.started_at
    }


def _note_admitted(conn: Connection, served: Sequence[CallRecord]) -> None:
    """Keep the latest call of each credential, should the record of its end come later."""
    latest: dict[str, CallRecord] = {}
    for call in served:
        held = latest.get(call.credential_id)
        if call.credential_id and (held is None or held.started_at < call.started_at):
            latest[call.credential_id] = call
    if not latest:
        return
    upsert = insert(ADMITTED)
    new = upsert.excluded
    conn.execute(
        upsert.on_conflict_do_update(
            index_elements=[ADMITTED.c.credential_id],
            set_={"grant_id": new.grant_id, "started_at": new.started_at, "call": new.call},
            where=new.started_at > ADMITTED.c.started_at,
        ),
        [
            {
                "credential_id": call.credential_id,
                "grant_id": call.grant_id,
                "started_at": call.started_at,
                "call": msgspec.structs.replace(call, checks=[]),
            }
            for call in latest.values()
        ],
    )


class _Verified(msgspec.Struct):
    """What a verified receipt says (`console.model.enforcement.Receipt`)."""

    kind: str
    target: str
    enforced_at: datetime | None = None


def _note_revoked(conn: Connection, rules: Sequence[Rule], leaf: Leaf) -> None:
    """Remember a verified end, and look at what was admitted after it meanwhile."""
    try:
        receipt = msgspec.convert(leaf.after, _Verified)
    except msgspec.ValidationError:
        return
    if receipt.kind not in {"grant", "credential"}:
        return  # a lock can be released: what it blocked may rightly be served later
    ended_at = receipt.enforced_at or leaf.at
    column = ADMITTED.c.grant_id if receipt.kind == "grant" else ADMITTED.c.credential_id
    rows = conn.execute(
        select(ADMITTED.c.call).where(
            and_(column == receipt.target, ADMITTED.c.started_at > ended_at)
        )
    ).all()
    # One that began after an earlier end was seen as such when it came.
    told = _ended(conn, [row.call for row in rows])
    late = [_seen_call(row.call, ended=True) for row in rows if row.call.id not in told]
    conn.execute(
        insert(REVOKED)
        .values(kind=receipt.kind, id=receipt.target, verified_at=ended_at, receipt=leaf.target)
        .on_conflict_do_nothing()
    )
    detect(conn, [rule for rule in rules if rule.asks("ended_before")], "calls", late)


def _move(conn: Connection, feed: str, to: int) -> None:
    conn.execute(
        insert(CURSORS)
        .values(feed=feed, position=to)
        .on_conflict_do_update(index_elements=[CURSORS.c.feed], set_={"position": to})
    )


def _tell_rewound(conn: Connection, last: int, head: int) -> None:
    emit(
        conn,
        event(
            "source.rewind",
            service="audit",
            actor=SYSTEM,
            kind="source",
            target="gateway calls",
            outcome="failure",
            reason=f"its call records went back from {last} to {head}",
            at=now(),
            severity=Severity.CRITICAL,
        ),
    )
