"""The audit side of the history: the sequencer, the rules, and the people who judge alerts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from console.api import audit as api
from console.model.audit import AcknowledgeAlert, Alert, AlertState, CloseAlert, Verdict
from console.model.traffic import CallRecord
from console.services.audit.alerts import triage
from console.services.audit.alerts.detections import (
    events_waiting,
    position,
    take_calls,
    take_events,
)
from console.services.audit.log import ledger
from console.services.audit.log.publisher import claimed
from console.services.audit.log.signing_keys import log_key
from console.services.audit.rules.rule import Finding, Rule
from console.services.audit.rules.rule_file import load_rules
from console.services.audit.state.schema import ALERTS
from console.services.demo.cast import DUTY, NIGHT
from console.services.demo.stores import Books, asked
from console.services.gateway.control.calls import call_store
from console.services.settings import Settings
from console.services.store import outbox
from console.services.wire.call_feed import CallFeed, CallRow

TOLD_AFTER = timedelta(seconds=3)
TAKEN_ON_AFTER = timedelta(minutes=4)
JUDGED_AFTER = timedelta(hours=5)
STILL_OPEN = timedelta(hours=30)
"""Alerts as young as this at the end of the history are not judged yet."""
_PAGE = 2000
_record = msgspec.json.Decoder(CallRecord).decode


class Judged(NamedTuple):
    """How somebody closes an alert."""

    verdict: Verdict
    why: str


USUAL = {
    "expiring-soon": Judged(Verdict.BENIGN, "known: it was to end"),
    "expiring-tomorrow": Judged(Verdict.BENIGN, "known: it was to end"),
}


class Desk:
    """Audit's store in its open transaction."""

    def __init__(self, conn: Connection, settings: Settings, at: datetime) -> None:
        self.conn = conn
        self._at = at
        self._verdicts: dict[tuple[str, str], Judged] = {}
        claimed(conn, str(log_key(settings.home, settings.log.origin).verifier))
        self._rules: tuple[Rule, ...] = load_rules()
        self._named: Mapping[str, Rule] = {rule.id: rule for rule in self._rules}

    def expect(self, rule: str, partner: str, verdict: Judged) -> None:
        """Say how the next alert of a rule about a partner (none: empty) is to be judged."""
        self._verdicts[rule, partner] = verdict

    def catch_up(self, books: Books, at: datetime) -> None:
        """Take everything that was committed up to `at` into the log, and run the rules."""
        for source, conn in (("policy", books.at_policy), ("gateway", books.at_gateway)):
            while ledger.take(
                self.conn,
                source,
                outbox.after(conn, ledger.place(self.conn, source).last_seq, _PAGE),
            ).appended:
                pass
        self._own()
        while events_waiting(self.conn):
            take_events(self.conn, self._rules, _when)
        self._calls(books)
        self._own()
        self._judge(at)
        self._own()
        while events_waiting(self.conn):
            take_events(self.conn, self._rules, _when)

    def _calls(self, books: Books) -> None:
        """Run the rules over the calls of these days, all together.

        The points' records lie one point after the other; live they come side by side, and
        what is judged together is judged by its time.
        """
        last = position(self.conn, "calls")
        items: list[CallRow[CallRecord]] = []
        while fed := call_store.feed(
            books.at_gateway, items[-1].seq if items else last, _PAGE
        ).items:
            items += (CallRow(seq=each.seq, call=_record(each.call)) for each in fed)
        if items:
            take_calls(self.conn, self._rules, CallFeed(items=items, head=items[-1].seq), _when)

    def size(self) -> int:
        """Return how many events are in the log."""
        return ledger.tree(self.conn).size

    def _own(self) -> None:
        while ledger.take_own(self.conn):
            pass

    def _judge(self, at: datetime) -> None:
        """Take on the alerts that nobody has, and close those whose time has come."""
        there = self.conn.execute(
            select(ALERTS.c.body).where(ALERTS.c.state != AlertState.RESOLVED.value)
        )
        for alert in sorted(there.scalars(), key=lambda each: each.created_at):
            mine = alert
            if alert.state in {AlertState.NEW, AlertState.REOPENED}:
                mine = self._take_on(alert, at)
            close_at = alert.last_seen_at + JUDGED_AFTER
            if mine.state == AlertState.IN_PROGRESS and close_at <= min(at, self._at - STILL_OPEN):
                self._close(mine, close_at)

    def _take_on(self, alert: Alert, at: datetime) -> Alert:
        when = alert.last_seen_at + TAKEN_ON_AFTER
        if when >= min(at, self._at - timedelta(hours=1)):
            return alert
        who = DUTY if 8 <= when.hour < 20 else NIGHT
        body = AcknowledgeAlert(reason="looking")
        ask = asked(api.ALERT_ACKNOWLEDGE, who, when, body, {"alert": alert.id})
        return triage.acknowledge(self.conn, ask)

    def _close(self, alert: Alert, when: datetime) -> None:
        said = self._verdicts.get((alert.rule, alert.partner)) or USUAL.get(alert.rule)
        if said is None:
            return
        body = CloseAlert(verdict=said.verdict, reason=said.why)
        who = alert.assignee or DUTY
        ask = asked(api.ALERT_CLOSE, who, when, body, {"alert": alert.id})
        triage.close(self.conn, ask, self._named)


def _when(finding: Finding) -> datetime:
    return finding.fired.last + TOLD_AFTER
