"""The detections at work: calls and events in, alerts out, each thing counted once.

How far each feed was read, the windows and the alerts change in one transaction, so what
is read again after a crash counts no second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, delete, func, select

from console.api.problems import refusal
from console.model.audit import Severity
from console.model.text import now
from console.model.traffic import SERVED, CallRecord
from console.services.audit.alerts import alerts
from console.services.audit.log.event_search import last_index
from console.services.audit.log.leaf import Leaf
from console.services.audit.log.stored_rows import BODY, leaf_of
from console.services.audit.rules import admitted_calls
from console.services.audit.rules.closing_store import admitted_against, learn
from console.services.audit.rules.closings import ACTIONS
from console.services.audit.rules.feeds import BATCH, KEPT, UNHEARD
from console.services.audit.rules.judge import KINDS, judge
from console.services.audit.rules.prior_approval import BackedState
from console.services.audit.rules.rule import Finding, Rule, Seen
from console.services.audit.rules.rule_inputs import seen_call, seen_event
from console.services.audit.state.schema import CURSORS, LEAVES, STATES
from console.services.events import SYSTEM, event
from console.services.store import emit, signal
from console.services.store.upsert import insert_or_update
from console.services.wire.call_feed import CallFeed

EVENTS_READ = "events read"
"""What is signalled when the rules have read more of the log."""

encode = msgspec.json.Encoder().encode


def position(conn: Connection, feed: str) -> int:
    """Return how far the detections have read `feed`; -1 or 0 before its first."""
    start = -1 if feed == "events" else 0
    found = conn.execute(select(CURSORS.c.position).where(CURSORS.c.feed == feed)).scalar()
    return start if found is None else found


When: TypeAlias = Callable[[Finding], datetime]
"""Says when an alert is told of what was found."""


def at_once(_finding: Finding) -> datetime:
    """Say that an alert is told of it now."""
    return now()


def take_calls(
    conn: Connection, rules: Sequence[Rule], offered: CallFeed[CallRecord], when: When = at_once
) -> int:
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
    served = [call for call in calls if call.outcome in SERVED]
    ended = admitted_against(conn, served)
    # One that is forbidden by what is known is counted now, and never again.
    admitted_calls.keep(
        conn,
        [call for call in served if call.id not in ended],
        unread=0 if has_read("gateway", offered.events, conn) else offered.events,
    )
    seen = [seen_call(call, ended=call.id in ended) for call in calls]
    detect(conn, rules, "calls", seen, when)
    _move(conn, "calls", last)
    return last


Leaves: TypeAlias = Callable[[Connection, int], tuple[list[tuple[int, Leaf]], int]]
"""Reads the next leaves after an index, and says how far it has looked."""


def stored_leaves(conn: Connection, after: int) -> tuple[list[tuple[int, Leaf]], int]:
    """Return the next leaves as the store holds them, nothing compared with the log."""
    reached = min(after + BATCH, last_index(conn))
    rows = conn.execute(
        select(LEAVES.c.idx, BODY)
        .where(LEAVES.c.idx > after, LEAVES.c.idx <= reached)
        .order_by(LEAVES.c.idx)
    )
    read = [(row.idx, leaf_of(row.body)) for row in rows]
    return [(idx, leaf) for idx, leaf in read if leaf is not None], max(after, reached)


def take_events(
    conn: Connection,
    rules: Sequence[Rule],
    when: When = at_once,
    read: Leaves = stored_leaves,
) -> bool:
    """Run the rules over the leaves that were not read yet. Tell whether there may be more.

    A leaf that is lost holds nothing up: the rules go on behind it.
    """
    last = position(conn, "events")
    leaves, reached = read(conn, last)
    if reached == last:
        return False
    _judge_again(conn, rules, [leaf for _, leaf in leaves], when)
    heard = [seen_event(*each) for each in leaves if not each[1].action.startswith(UNHEARD)]
    detect(conn, rules, "events", heard, when)
    _move(conn, "events", reached)
    signal(conn, EVENTS_READ)
    return True


def events_waiting(
    conn: Connection, newest: Callable[[Connection], int] = last_index
) -> bool | None:
    """Tell whether the log holds more than the rules have read; None if not."""
    return newest(conn) > position(conn, "events") or None


def has_read(source: str, sequence: int, conn: Connection) -> bool | None:
    """Tell whether the rules have read an event of `source`; None if not yet."""
    if not sequence:
        return True
    asked = select(LEAVES.c.idx).where(LEAVES.c.source == source, LEAVES.c.sequence == sequence)
    index = conn.execute(asked).scalar()
    return (index is not None and index <= position(conn, "events")) or None


def detect(
    conn: Connection,
    rules: Iterable[Rule],
    reads: str,
    seen: Sequence[Seen],
    when: When = at_once,
) -> None:
    """Run the rules that read `reads` over what was seen."""
    states = _InStore(conn)
    found = [
        finding for rule in rules if rule.reads == reads for finding in judge(rule, seen, states)
    ]
    if when is at_once:
        alerts.fire(conn, found, now())
        return
    for finding in sorted(found, key=when):
        alerts.fire(conn, [finding], when(finding))


class _InStore:
    """The states of the rules' groups in this transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def load(self, rule: Rule, fingerprints: Sequence[str]) -> dict[str, Any]:
        """Return the states there are. One that cannot be read begins anew."""
        kind = BackedState if rule.kind == "unbacked" else KINDS[rule.kind].state
        found = {}
        for start in range(0, len(fingerprints), 500):
            some = fingerprints[start : start + 500]
            query = select(STATES.c.fingerprint, STATES.c.state)
            for row in self._conn.execute(query.where(STATES.c.fingerprint.in_(some))):
                with suppress(msgspec.MsgspecError):  # the rule was of another kind before
                    found[row.fingerprint] = msgspec.json.decode(row.state, type=kind)
        return found

    def save(self, rule: Rule, states: Mapping[str, Any], at: datetime) -> None:
        """Keep them, and when the rule last saw something."""
        rows = (
            {"fingerprint": name, "rule": rule.id, "at": at, "state": encode(state)}
            for name, state in states.items()
        )
        insert_or_update(self._conn, STATES, *rows, changed=("at", "state"))


def forget(conn: Connection, rules: Iterable[Rule]) -> int:
    """Drop what no rule can need any more: memory is bounded by what was seen lately.

    Measured by the newest thing that the rule itself saw, not by a clock. Returns how many.
    """
    dropped = 0
    for rule in rules:
        mine = STATES.c.rule == rule.id
        newest = conn.execute(select(func.max(STATES.c.at)).where(mine)).scalar()
        if newest is None or rule.kind == "unbacked":
            continue
        edge = datetime.fromisoformat(newest) if isinstance(newest, str) else newest
        edge -= max(rule.window * 2, KEPT.get(rule.kind, timedelta(0)))
        dropped += conn.execute(delete(STATES).where(mine, STATES.c.at < edge)).rowcount
    return dropped


def _judge_again(
    conn: Connection, rules: Sequence[Rule], leaves: Sequence[Leaf], when: When
) -> None:
    """Take in what events say of closings, and judge the calls that were read before these.

    All of them are learned before a call is looked at: what lifts may be in the same batch.
    """
    admitted_calls.follow_proofs(conn, leaves)
    proven = [
        closing.verified_at
        for leaf in leaves
        if leaf.action in ACTIONS and (closing := learn(conn, leaf)) is not None
    ]
    read = max((leaf.sequence for leaf in leaves if leaf.source == "gateway"), default=0)
    held = admitted_calls.since(conn, min(proven, default=None), read)
    against = admitted_against(conn, held) if held else set()
    late = [seen_call(call, ended=True) for call in held if call.id in against]
    detect(conn, [rule for rule in rules if rule.asks("ended_before")], "calls", late, when)
    admitted_calls.forget(conn, against)


def _move(conn: Connection, feed: str, to: int) -> None:
    insert_or_update(conn, CURSORS, {"feed": feed, "position": to}, changed=("position",))


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
