"""The landing view: what needs someone, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from console.model.audit import Alert, Severity
from console.model.enforcement import Lock, Receipt
from console.model.grant import Grant
from console.model.traffic import UsageRow
from console.operations.spec import Operation
from console.present.columns import short
from console.present.sparkline import sparkline
from console.present.times import age, until
from console.tui.ink import Ink, Line
from console.tui.lines import Subject
from console.tui.table import TableColumn
from console.tui.theme import meaning
from console.tui.views import Source, View

SOON = timedelta(days=7)
_WORD = {
    Severity.CRITICAL: "CRIT", Severity.HIGH: "HIGH", Severity.MEDIUM: "MED",
    Severity.LOW: "LOW", Severity.INFORMATIONAL: "INFO",
}  # fmt: skip
_RANK = {word: at for at, word in enumerate(_WORD.values())}


class Concern(NamedTuple):
    """One thing that needs someone."""

    id: str
    rank: int
    word: str
    token: str
    what: str
    partner: str
    many: int | None
    at: datetime | None
    state: str
    subject: Subject


def alerts(items: Sequence[Any], _: datetime) -> list[Concern]:
    """Return the open alerts, the worst and newest first."""
    out = []
    for alert in items:
        assert isinstance(alert, Alert)
        word = _WORD.get(Severity(alert.severity), "INFO") if alert.severity in _WORD else "INFO"
        state = f"op:{alert.assignee}" if alert.assignee else alert.state.replace("_", " ")
        out.append(
            Concern(
                alert.id, _RANK[word], word, meaning(alert.severity), alert.title, alert.partner,
                alert.count, alert.last_seen_at, state, Subject("alert", alert.id, alert),
            )
        )  # fmt: skip
    newest = sorted(out, key=lambda each: each.at.timestamp() if each.at else 0.0, reverse=True)
    return sorted(newest, key=lambda each: each.rank)


def grants(items: Sequence[Any], now: datetime) -> list[Concern]:
    """Return the grants that end soon, wait for approval, are suspended or are drafts."""
    out = []
    for grant in items:
        assert isinstance(grant, Grant)
        what = ", ".join(grant.capabilities)
        subject = Subject("grant", grant.id, grant)
        if grant.state == "active" and grant.expires_at - now < SOON:
            out.append((10, "EXP", "medium", f"{what} ends {until(grant.expires_at, now)}",
                        "renew?", grant, subject))  # fmt: skip
        elif grant.state == "pending_approval":
            out.append((11, "APR", "pending", f"{what} (T{grant.tier}) waits for approval",
                        "pending", grant, subject))  # fmt: skip
        elif grant.state == "suspended":
            out.append((9, "SUSP", "bad", f"{what}: {grant.state_reason or 'suspended'}",
                        "mend?", grant, subject))  # fmt: skip
        elif grant.state == "draft":
            missing = f", {len(grant.gaps)} missing" if grant.gaps else ""
            out.append((13, "DRFT", "muted", f"{what} is a draft{missing}",
                        "activate?", grant, subject))  # fmt: skip
    return [
        Concern(grant.id, rank, word, token, what, grant.partner, None, grant.updated_at,
                state, subject)
        for rank, word, token, what, state, grant, subject in sorted(out, key=lambda each: each[0])
    ]  # fmt: skip


def locks(items: Sequence[Any], _: datetime) -> list[Concern]:
    """Return the locks in force."""
    return [
        Concern(
            lock.id, 12, "LOCK", "high", f"{lock.kind}:{lock.target}",
            lock.target if lock.kind == "partner" else f"{len(lock.blast.partners)} partners",
            None, lock.created_at, f"op:{lock.created_by}", Subject("lock", lock.id, lock),
        )
        for lock in items
        if isinstance(lock, Lock) and lock.state == "active"
    ]  # fmt: skip


def receipts(items: Sequence[Any], _: datetime) -> list[Concern]:
    """Return what was closed and is not proven."""
    return [
        Concern(
            receipt.id, 8, "UNVF", "bad",
            f"{receipt.action} {short(receipt.target)}: {receipt.why or 'not proven'}",
            receipt.partner, None, receipt.requested_at, f"op:{receipt.by}",
            Subject("receipt", receipt.id, receipt),
        )
        for receipt in items
        if isinstance(receipt, Receipt) and receipt.state == "unverified"
    ]  # fmt: skip


def _none(_: Sequence[Any], __: datetime) -> list[Concern]:
    return []


def _aside(parts: Mapping[str, Sequence[Any]]) -> Line:
    rows = [row for row in parts.get("usage.show", ()) if isinstance(row, UsageRow)]
    if not rows:
        return []
    rows.sort(key=lambda row: row.group)
    counts = [float(row.calls) for row in rows][-24:]
    return [
        Ink("calls/h ", "dim"), Ink(sparkline(counts, 24), "bars"), Ink(f" {int(counts[-1]):,}")
    ]  # fmt: skip


def _text(name: str) -> Any:
    return lambda row, _now: str(getattr(row, name))


def _columns() -> tuple[TableColumn, ...]:
    def plain(_: Concern) -> str:
        return ""

    return (
        TableColumn("sev", _text("word"), lambda row: row.token, lambda row: row.rank, 0, 4, 4),
        TableColumn("what", _text("what"), plain, lambda row: row.what, 0, 20, 60),
        TableColumn("partner", _text("partner"), plain, lambda row: row.partner, 0, 7, 16),
        TableColumn(
            "count", lambda row, _: "" if row.many is None else f"{row.many:,}", plain,
            lambda row: row.many, 2, 5, 7, "right",
        ),
        TableColumn(
            "age", lambda row, now: age(row.at, now), plain, lambda row: row.at, 1, 4, 4,
            "right", True,
        ),
        TableColumn("state", _text("state"), plain, lambda row: row.state, 1, 7, 12),
    )  # fmt: skip


def now_view(operations: Mapping[str, Operation]) -> View:
    """Return the view of what needs someone, over the lists that there are."""
    wanted = (
        ("alert.list", {"state": "open"}, alerts),
        ("receipt.list", {"limit": "50"}, receipts),
        ("grant.list", {"limit": "500"}, grants),
        ("lock.list", {"state": "active"}, locks),
        ("usage.show", {"by": "hour", "since": "24h"}, _none),
    )
    sources = tuple(
        Source(operations[name], raw, rows) for name, raw, rows in wanted if name in operations
    )
    ids = [source.op.id for source in sources]
    return View(
        "now", "now", "What needs me", sources, _columns(),
        lambda row: row.subject, lambda row: row.id, 2.0,
        ("Nothing needs you.", "`:` goes anywhere: `:grants`, `:calls`, `:audit`. `?` lists all."),
        ("home",),
        lambda parts: _aside(dict(zip(ids, parts, strict=False))),
    )  # fmt: skip
