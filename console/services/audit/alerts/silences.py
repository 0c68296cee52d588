"""Silences: who muted what until when, how much it muted, and when it ended.

A silence keeps alerts from paging anybody and ranks them lower; they are counted all the
same. It never mutes a critical alert or one of a required rule, lasts at most a day, and ends by
itself: in time, or when every alert that it muted is resolved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select, update

from console.api.problems import refusal
from console.model.audit import Alert, AlertState, Severity
from console.model.ids import new_id
from console.model.silence import (
    MATCHABLE,
    MAX_SILENCE_SECONDS,
    EndSilence,
    Matcher,
    NewSilence,
    Silence,
    SilenceState,
)
from console.model.stored import Page
from console.parsing.suggest import suggest
from console.services.audit.alerts import alert_rows
from console.services.audit.paging import pages
from console.services.audit.state.schema import ALERTS, MUTED, RULES, SILENCES
from console.services.events import SYSTEM, event
from console.services.store import emit
from console.services.store.upsert import insert_missing
from console.services.web import Ask, fresh, page


def mutes(silence: Silence, alert: Alert, required: Collection[str]) -> bool:
    """Tell whether the silence's matchers all hold for an alert that may be muted.

    A critical one may not, nor one of the `required` rules.
    """
    if alert.severity == Severity.CRITICAL or alert.rule in required:
        return False
    return all(fnmatchcase(_value(alert, each.field), each.pattern) for each in silence.matchers)


def required_rules(conn: Connection) -> frozenset[str]:
    """Return the ids of the rules that guard an invariant."""
    rules = conn.execute(select(RULES.c.body)).scalars()
    return frozenset(each.id for each in rules if each.required)


class Mutes:
    """The active silences in one transaction, and what they mute in it."""

    def __init__(self, conn: Connection, at: datetime) -> None:
        self._conn = conn
        self._at = at
        self._active = [each for each in active(conn) if each.ends_at > at]
        self._required = required_rules(conn) if self._active else frozenset()
        self._hits: dict[str, int] = {}
        self._muted: set[tuple[str, str]] = set()

    def applied(self, alert: Alert, matches: int) -> Alert:
        """Return the alert as the silences leave it, `matches` of it being hits."""
        if not self._active and not alert.silenced_by:
            return alert
        over = [each.id for each in self._active if mutes(each, alert, self._required)]
        for silence in over:
            self._hits[silence] = self._hits.get(silence, 0) + matches
            self._muted.add((silence, alert.id))
        return msgspec.structs.replace(alert, silenced_by=over)

    def save(self) -> None:
        """Store what was muted, and how often."""
        if not self._hits:
            return
        insert_missing(
            self._conn,
            MUTED,
            *({"silence_id": silence, "alert_id": alert} for silence, alert in self._muted),
        )
        for silence in self._active:
            if silence.id in self._hits:
                count = select(func.count()).where(MUTED.c.silence_id == silence.id)
                _store(
                    self._conn,
                    msgspec.structs.replace(
                        silence,
                        hits=silence.hits + self._hits[silence.id],
                        alerts=int(self._conn.execute(count).scalar_one()),
                        last_hit_at=self._at,
                    ),
                )


def active(conn: Connection) -> list[Silence]:
    """Return the silences that have not ended, oldest first."""
    query = select(SILENCES.c.body).where(SILENCES.c.state == SilenceState.ACTIVE.value)
    return list(conn.execute(query.order_by(SILENCES.c.id)).scalars())


def over(conn: Connection, alert: Alert, severity: str, at: datetime) -> list[str]:
    """Return the silences that would mute the alert at this severity."""
    changed = msgspec.structs.replace(alert, severity=severity)
    required = required_rules(conn)
    return [
        each.id for each in active(conn) if each.ends_at > at and mutes(each, changed, required)
    ]


def listing(conn: Connection, ask: Ask) -> Page[Silence]:
    """Answer `silence.list`, newest first."""
    query = select(SILENCES)
    if state := ask.query.get("state", ""):
        query = query.where(SILENCES.c.state == state)
    keys = [SILENCES.c.created_at.desc(), SILENCES.c.id.desc()]
    return page(conn, query, ask, keys=keys, decode=_silence)


def show(conn: Connection, ask: Ask) -> Silence:
    """Answer `silence.show`."""
    found = conn.execute(
        select(SILENCES.c.body).where(SILENCES.c.id == ask.path["silence"])
    ).scalar()
    if found is None:
        raise refusal("not-found", f"there is no silence {ask.path['silence'][:80]!a}")
    silence: Silence = found
    return silence


def add(conn: Connection, ask: Ask) -> Silence:
    """Answer `silence.add`: what is open and matches is muted at once."""
    said: NewSilence = ask.body
    _check(said, ask.now)
    _check_rule(conn, said)
    silence = Silence(
        id=new_id("silence"),
        created_at=ask.now,
        created_by=ask.operator.name,
        updated_at=ask.now,
        updated_by=ask.operator.name,
        matchers=said.matchers,
        owner=ask.operator.name,
        reason=said.reason,
        ends_at=said.ends_at,
        state=SilenceState.ACTIVE.value,
    )
    required = required_rules(conn)
    muted = [alert for alert in _open_alerts(conn) if mutes(silence, alert, required)]
    for alert in muted:
        pages.spare(conn, _silenced(conn, alert, [*alert.silenced_by, silence.id]), ask.now)
        conn.execute(MUTED.insert().values(silence_id=silence.id, alert_id=alert.id))
    silence = msgspec.structs.replace(silence, alerts=len(muted))
    conn.execute(
        SILENCES.insert().values(
            id=silence.id, state=silence.state, created_at=ask.now, body=silence
        )
    )
    _record(conn, "silence.add", silence, ask.operator.name, ask.now, said.reason, ask=ask)
    return silence


def end(conn: Connection, ask: Ask) -> Silence:
    """Answer `silence.end`. One that has ended stays as it is."""
    said: EndSilence = ask.body
    silence = show(conn, ask)
    fresh(ask, silence)
    if silence.state != SilenceState.ACTIVE:
        return silence
    return _end(conn, silence, by=ask.operator.name, why=said.reason, at=ask.now, ask=ask)


def end_due(conn: Connection, at: datetime) -> None:
    """End the silences whose time is over."""
    for silence in active(conn):
        if silence.ends_at <= at:
            _end(conn, silence, by=SYSTEM, why="its time is over", at=at)


def end_with(conn: Connection, alert: Alert, at: datetime) -> None:
    """End the silences that muted this alert, now resolved, and have no other open one."""
    mine = select(MUTED.c.silence_id).where(MUTED.c.alert_id == alert.id)
    held = set(conn.execute(mine).scalars())
    for silence in active(conn):
        if silence.id not in held:
            continue
        left = conn.execute(
            select(func.count())
            .select_from(MUTED.join(ALERTS, ALERTS.c.id == MUTED.c.alert_id))
            .where(MUTED.c.silence_id == silence.id, ALERTS.c.state != AlertState.RESOLVED.value)
        ).scalar_one()
        if not left:
            _end(conn, silence, by=SYSTEM, why="its alerts are resolved", at=at)


def _end(
    conn: Connection, silence: Silence, *, by: str, why: str, at: datetime, ask: Ask | None = None
) -> Silence:
    ended = msgspec.structs.replace(
        silence,
        revision=silence.revision + 1,
        updated_at=at,
        updated_by=by,
        state=SilenceState.ENDED.value,
        ended_at=at,
        ended_by=by,
        ended_why=why,
    )
    _store(conn, ended)
    _record(conn, "silence.end", ended, by, at, why, before=silence, ask=ask)
    for alert in _open_alerts(conn):
        if silence.id in alert.silenced_by:
            left = [each for each in alert.silenced_by if each != silence.id]
            audible = _silenced(conn, alert, left)
            if not left and audible.state in {AlertState.NEW, AlertState.REOPENED}:
                # Nobody was told of it, and nobody has taken it on.
                pages.page(conn, audible, "unsilenced", at)
    return ended


def _check(said: NewSilence, at: datetime) -> None:
    if not said.matchers:
        raise refusal(
            "invalid",
            "matchers: it names nothing to mute",
            mend="--rule, --partner, --severity or --match, like --rule denial-burst",
        )
    for each in said.matchers:
        if each.field not in MATCHABLE:
            near = suggest(each.field, MATCHABLE)
            hint = f"did you mean {near}?" if near else f"it takes {', '.join(MATCHABLE)}"
            raise refusal("invalid", f"matchers: there is no field {each.field[:40]!a}; {hint}")
        if each.field == "severity" and each.pattern == Severity.CRITICAL:
            raise refusal("invalid", "matchers: a critical alert is never silenced")
    if all(set(each.pattern) <= {"*"} for each in said.matchers):
        raise refusal(
            "invalid", "matchers: this would mute everything", mend="name a rule or a partner"
        )
    if len({each.field for each in said.matchers}) != len(said.matchers):
        raise refusal("invalid", "matchers: a field is there twice, and both must hold")
    if said.ends_at <= at:
        raise refusal("invalid", "ends_at: lies in the past")
    if said.ends_at > at + timedelta(seconds=MAX_SILENCE_SECONDS):
        raise refusal("invalid", "ends_at: a silence is at most 24 hours", mend="--until 24h")


def _check_rule(conn: Connection, said: NewSilence) -> None:
    """Refuse a rule's name that would mute nothing, silently.

    No rule and no alert has it, or only rules that guard an invariant.
    """
    required = required_rules(conn)
    there = [*conn.execute(select(RULES.c.id)).scalars()]
    there += conn.execute(select(ALERTS.c.rule).distinct()).scalars()
    for each in said.matchers:
        if each.field != "rule":
            continue
        named = {rule for rule in there if fnmatchcase(rule, each.pattern)}
        if named and named <= required:
            raise refusal(
                "invalid",
                f"matchers: an alert of {', '.join(sorted(named))} is never silenced: "
                "the rule guards an invariant",
                mend="pilotctl alert acknowledge ALERT",
            )
        if not named:
            near = suggest(each.pattern, there)
            raise refusal(
                "invalid",
                f"matchers: there is no rule {each.pattern[:80]!a}",
                mend=f"did you mean {near}?" if near else "pilotctl rule list",
            )


def _value(alert: Alert, field: str) -> str:
    match field:
        case "grant":
            return alert.grant_id
        case "credential":
            return alert.credential_id
        case "rule" | "partner" | "severity":
            value: str = getattr(alert, field)
            return value
        case _:
            return alert.about.get(field, "")


def _open_alerts(conn: Connection) -> Sequence[Alert]:
    query = select(ALERTS.c.body).where(ALERTS.c.state != AlertState.RESOLVED.value)
    return conn.execute(query).scalars().all()


def _silenced(conn: Connection, alert: Alert, by: list[str]) -> Alert:
    changed = msgspec.structs.replace(alert, revision=alert.revision + 1, silenced_by=by)
    alert_rows.store(conn, changed)
    return changed


def _store(conn: Connection, silence: Silence) -> None:
    conn.execute(
        update(SILENCES)
        .where(SILENCES.c.id == silence.id)
        .values(state=silence.state, body=silence)
    )


def _silence(row: Row[Any]) -> Silence:
    found: Silence = row.body
    return found


def described(matchers: Sequence[Matcher]) -> str:
    """Return the matchers as they are typed."""
    return " ".join(f"{each.field}={each.pattern}" for each in matchers)


def _record(  # noqa: PLR0917 - what an event says
    conn: Connection,
    action: str,
    silence: Silence,
    actor: str,
    at: datetime,
    reason: str,
    *,
    before: Silence | None = None,
    ask: Ask | None = None,
) -> None:
    emit(
        conn,
        event(
            action,
            service="audit",
            actor=actor,
            kind="silence",
            target=silence.id,
            name=described(silence.matchers),
            reason=reason,
            request_id=ask.request_id if ask else "",
            before=before,
            after=silence,
            at=at,
        ),
    )
