"""What operators do with alerts: take on, hand over, put off, raise, judge, look at again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from console.api.problems import refusal
from console.model.audit import (
    AcknowledgeAlert,
    Alert,
    AlertState,
    AssignAlert,
    CloseAlert,
    Comment,
    CommentAlert,
    EscalateAlert,
    ReopenAlert,
    SnoozeAlert,
    Verdict,
)
from console.parsing.suggest import suggest
from console.services.audit.alerts import silences
from console.services.audit.alerts.alert_rows import rank, store
from console.services.audit.alerts.alerts import find, record
from console.services.audit.log.stored_rows import BODY, leaf_of
from console.services.audit.paging import pages
from console.services.audit.rules.rule import Rule
from console.services.audit.state.schema import LEAVES
from console.services.web import Ask, fresh

MAX_SNOOZE = timedelta(days=7)
COMMENTS = 50
"""Comments that an alert keeps; the log has all of them."""


def acknowledge(conn: Connection, ask: Ask) -> Alert:
    """Answer `alert.acknowledge`: the operator takes it on.

    Doing it again changes nothing, unless others were asked for meanwhile and wait to be told.
    """
    said: AcknowledgeAlert = ask.body
    before = _open(conn, ask)
    mine = before.state == AlertState.IN_PROGRESS and before.assignee == ask.operator.name
    if mine and not pages.waits(conn, before):
        return before
    return _changed(
        conn,
        ask,
        "alert.acknowledge",
        before,
        state=AlertState.IN_PROGRESS.value,
        assignee=ask.operator.name,
        acknowledged_at=ask.now,
        note=said.reason or before.note,
        snoozed_until=None,
        snoozed_at_count=0,
    )


def assign(conn: Connection, ask: Ask, operators: Sequence[str]) -> Alert:
    """Answer `alert.assign`: it is that operator's. Whether they saw it is theirs to say."""
    said: AssignAlert = ask.body
    before = _open(conn, ask)
    if said.assignee not in operators:
        near = suggest(said.assignee, operators)
        raise refusal(
            "invalid",
            f"assignee: there is no operator {said.assignee}",
            mend=f"did you mean {near}?" if near else "`pilotctl operator list` has them",
        )
    if before.assignee == said.assignee:
        return before
    return _changed(
        conn,
        ask,
        "alert.assign",
        before,
        assignee=said.assignee,
        state=before.state if before.state != AlertState.IN_PROGRESS else AlertState.NEW.value,
        acknowledged_at=None,
        note=said.reason or before.note,
    )


def snooze(conn: Connection, ask: Ask) -> Alert:
    """Answer `alert.snooze`. It wakes by itself: in time, when it doubles, when it gets worse."""
    said: SnoozeAlert = ask.body
    before = _open(conn, ask)
    if said.until <= ask.now:
        raise refusal("invalid", "until: lies in the past")
    if said.until > ask.now + MAX_SNOOZE:
        raise refusal("invalid", "until: a snooze is at most seven days", mend="--until 7d")
    return _changed(
        conn,
        ask,
        "alert.snooze",
        before,
        state=AlertState.SNOOZED.value,
        snoozed_until=said.until,
        snoozed_at_count=before.count,
        note=said.reason,
    )


def escalate(conn: Connection, ask: Ask) -> Alert:
    """Answer `alert.escalate`: a higher severity, or the next level of those on call."""
    said: EscalateAlert = ask.body
    before = _open(conn, ask)
    changes: dict[str, Any] = {"note": said.reason}
    if said.severity is not None:
        if rank(said.severity.value) <= rank(before.severity):
            raise refusal(
                "state",
                f"{before.id} is {before.severity} already",
                mend="a severity is only raised; a verdict ends an alert",
                current=before,
            )
        changes["severity"] = said.severity.value
        changes["silenced_by"] = silences.over(conn, before, said.severity.value, ask.now)
    else:
        last = pages.last_level(conn)
        if before.level >= last:
            raise refusal(
                "state",
                f"{before.id} is at level {before.level}, and nobody is on call above it",
                mend="`pilotctl oncall add NAME --level N`, or raise its --severity",
                current=before,
            )
        changes["level"] = pages.next_level(conn, before.level)
    if before.state == AlertState.SNOOZED:
        woken = AlertState.IN_PROGRESS if before.acknowledged_at else AlertState.NEW
        changes |= {"state": woken.value, "snoozed_until": None, "snoozed_at_count": 0}
    alert = _changed(conn, ask, "alert.escalate", before, **changes)
    pages.page(conn, alert, "escalated", ask.now, asked=True)
    return alert


def reopen(conn: Connection, ask: Ask) -> Alert:
    """Answer `alert.reopen`: the verdict does not stand."""
    said: ReopenAlert = ask.body
    before, _ = find(conn, ask)
    fresh(ask, before)
    if before.state != AlertState.RESOLVED:
        if before.state == AlertState.REOPENED:
            return before
        raise refusal("state", f"{before.id} is {before.state}: it was not closed", current=before)
    alert = _changed(
        conn,
        ask,
        "alert.reopen",
        before,
        state=AlertState.REOPENED.value,
        verdict="",
        closed_at=None,
        acknowledged_at=None,
        note=said.reason,
    )
    pages.page(conn, alert, "reopened", ask.now)
    return alert


def comment(conn: Connection, ask: Ask) -> Alert:
    """Answer `alert.comment`: in any state."""
    said: CommentAlert = ask.body
    before, _ = find(conn, ask)
    fresh(ask, before)
    told = Comment(at=ask.now, by=ask.operator.name, text=said.text)
    return _changed(
        conn,
        ask,
        "alert.comment",
        before,
        reason=said.text,
        comments=[*before.comments, told][-COMMENTS:],
    )


def close(conn: Connection, ask: Ask, rules: Mapping[str, Rule]) -> Alert:
    """Answer `alert.close`. A true positive needs a containment since the alert began."""
    said: CloseAlert = ask.body
    before, began_at = find(conn, ask)
    fresh(ask, before)
    if before.state == AlertState.RESOLVED:
        if before.verdict == said.verdict:
            return before
        raise refusal(
            "state",
            f"{before.id} is already resolved as {before.verdict}",
            mend=f"`pilotctl alert reopen {before.id}` takes that back",
            current=before,
        )
    rule = rules.get(before.rule)
    if said.verdict is Verdict.TRUE_POSITIVE and (rule is None or rule.containment):
        _need_containment(conn, before, began_at)
    alert = _changed(
        conn,
        ask,
        "alert.close",
        before,
        state=AlertState.RESOLVED.value,
        verdict=said.verdict.value,
        closed_at=ask.now,
        assignee=before.assignee or ask.operator.name,
        note=said.reason,
        snoozed_until=None,
        snoozed_at_count=0,
        silenced_by=[],
    )
    silences.end_with(conn, alert, ask.now)
    return alert


def _open(conn: Connection, ask: Ask) -> Alert:
    """Return the alert, which must not be resolved."""
    before, _ = find(conn, ask)
    fresh(ask, before)
    if before.state == AlertState.RESOLVED:
        raise refusal(
            "state",
            f"{before.id} is resolved ({before.verdict})",
            mend="it reopens by itself when it happens again, or by "
            f"`pilotctl alert reopen {before.id}`",
            current=before,
        )
    return before


def _changed(
    conn: Connection, ask: Ask, action: str, before: Alert, *, reason: str = "", **changes: Any
) -> Alert:
    alert = msgspec.structs.replace(
        before,
        revision=before.revision + 1,
        updated_at=ask.now,
        updated_by=ask.operator.name,
        **changes,
    )
    store(conn, alert)
    pages.spare(conn, alert, ask.now)
    record(conn, action, alert, ask.operator.name, ask.now, before=before, ask=ask, reason=reason)
    return alert


def _need_containment(conn: Connection, alert: Alert, since: datetime) -> None:
    """Look for a lock or a revocation that touches what the alert is about."""
    about = {each for each in (alert.partner, alert.grant_id, alert.credential_id) if each}
    bodies = conn.execute(
        select(BODY)
        .where(LEAVES.c.contains == True, LEAVES.c.at >= since)  # noqa: E712 - SQL, for the partial index
        .order_by(LEAVES.c.idx.desc())
    ).scalars()
    for body in bodies:
        leaf = leaf_of(body)
        touched = set(leaf.touches()) if leaf else set()
        # An alert about nobody known is contained by whatever was locked since.
        if not about or about & touched or "*" in touched:
            return
    if alert.credential_id:
        mend = f"pilotctl key revoke {alert.credential_id}"
    elif alert.partner:
        mend = f"pilotctl lock add partner {alert.partner}"
    else:
        mend = "pilotctl lock add everything, or a network"
    raise refusal(
        "state",
        f"{alert.id} cannot be a true positive: nothing of {' / '.join(sorted(about)) or 'it'} "
        "was locked or revoked since it began",
        mend=f"contain it first ({mend}); if you just did, its record reaches the log in a moment",
        current=alert,
    )
