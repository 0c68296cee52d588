"""The landing view: what needs someone, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from console.model.access import Partner
from console.model.audit import Alert, Severity
from console.model.enforcement import Lock, Receipt
from console.model.evidence import UsageTerms
from console.model.grant import Grant
from console.model.traffic import UsageRow
from console.operations.spec import Operation
from console.present.amounts import amount, counted, percent
from console.present.cells import width
from console.present.columns import short
from console.present.sparkline import sparkline
from console.present.times import age, until
from console.tui.fitting import TableColumn
from console.tui.ink import Ink, Line
from console.tui.lines import Subject
from console.tui.tails import log_words
from console.tui.theme import meaning
from console.tui.usage import moment_of
from console.tui.views import Sight, Source, View

SOON = timedelta(days=7)
SOON_VERIFIED = timedelta(days=30)
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
    """Return the open alerts, the worst and newest first; not what is put off or muted."""
    out = []
    for alert in items:
        assert isinstance(alert, Alert)
        if alert.snoozed_until is not None or alert.silenced_by:
            continue
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
            out.append((11, "APR", "pending", f"{what} (T{grant.tier}) to approve",
                        "pending", grant, subject))  # fmt: skip
        elif grant.state == "suspended":
            out.append((9, "SUSP", "bad", f"{what}: {grant.state_reason or 'suspended'}",
                        "mend?", grant, subject))  # fmt: skip
        elif grant.state == "draft":
            missing = f", {len(grant.gaps)} missing" if grant.gaps else ""
            out.append((13, "DRFT", "muted", f"{what}{missing or ': nothing missing'}",
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


def partners(items: Sequence[Any], now: datetime) -> list[Concern]:
    """Return the partners whose verification has ended or ends soon."""
    return [
        Concern(
            f"verification:{partner.slug}", 10, "EXP", "medium",
            f"verification ends {until(partner.verified_until, now)}"
            if partner.verified_until > now
            else f"verification ended {until(partner.verified_until, now)}",
            partner.slug, None, partner.updated_at, "verify?",
            Subject("partner", partner.slug, partner),
        )
        for partner in items
        if isinstance(partner, Partner)
        and partner.state in {"active", "restricted"}
        and partner.verified_until is not None
        and partner.verified_until - now < SOON_VERIFIED
    ]  # fmt: skip


def terms(items: Sequence[Any], now: datetime) -> list[Concern]:
    """Return the terms that have to be accepted again soon."""
    return [
        Concern(
            each.id, 10, "EXP", "medium",
            f"terms v{each.version} of {each.pilot}: accept again {until(each.reaccept_by, now)}",
            "", None, each.updated_at, "chase?", Subject("terms", each.id, each),
        )
        for each in items
        if isinstance(each, UsageTerms)
        and timedelta(0) < each.reaccept_by - now < SOON
    ]  # fmt: skip


def _none(_: Sequence[Any], __: datetime) -> list[Concern]:
    return []


def _aside(parts: Mapping[str, Sequence[Any]]) -> Line:
    rows = [row for row in parts.get("usage.show", ()) if isinstance(row, UsageRow)]
    if not rows:
        return []
    hours = {hour: row.calls for row in rows if (hour := moment_of(row.group)) is not None}
    if not hours:
        return []
    last = max(hours)
    counts = [float(hours.get(last - timedelta(hours=back), 0)) for back in range(23, -1, -1)]
    drawn = sparkline(counts, 24).strip() if len(hours) > 1 else ""
    return [
        Ink("calls/h ", "dim"), Ink(f"{drawn} " if drawn else "", "bars"),
        Ink(f"{int(counts[-1]):,}"),
    ]  # fmt: skip


def _below(sight: Sight, ids: Sequence[str]) -> list[Line]:
    """Return how the log stands, and how much of everything there is."""
    if sight.height < 10:
        return []
    parts = dict(zip(ids, sight.parts, strict=False))

    def many(op: str, noun: str, *, most: int = 500, of: Sequence[Any] | None = None) -> str:
        rows = parts.get(op, ()) if of is None else of
        return counted(len(rows), noun, more=len(parts.get(op, ())) >= most)

    live = [each for each in parts.get("grant.list", ()) if each.state == "active"]
    totals = [
        many("partner.list", "partner"),
        many("grant.list", "grant", of=live) + " active",
        many("lock.list", "lock"),
        many("alert.list", "alert", most=100) + " open",
    ]
    hours = [row for row in parts.get("usage.show", ()) if isinstance(row, UsageRow)]
    today = sum(row.input_tokens + row.output_tokens for row in hours)
    if hours:
        calls, denied = sum(row.calls for row in hours), sum(row.denied for row in hours)
        totals.append(f"24 h: {amount(today)} tokens, {amount(calls)} calls")
        totals.append(f"{percent(denied, calls)} denied" if denied else "none denied")
    while totals and width(" " + "  ".join(totals)) > sight.room:
        totals.pop()
    return [
        [Ink(" LOG   ", "title"), *log_words(sight)],
        [Ink(f" {'  '.join(totals)}", "dim")],
    ]


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
        ("partner.list", {"limit": "500"}, partners),
        ("terms.list", {"limit": "50"}, terms),
        ("lock.list", {"state": "active", "limit": "500"}, locks),
        ("usage.show", {"by": "hour", "since": "24h"}, _none),
    )
    sources = tuple(
        Source(operations[name], raw, rows, lambda _: {})
        for name, raw, rows in wanted
        if name in operations
    )
    ids = [source.op.id for source in sources]
    return View(
        "now", "now", "What needs me", sources, _columns(),
        lambda row: row.subject, lambda row: row.id, 2.0,
        ("Nothing needs you.", "`:` goes anywhere: `:grants`, `:calls`, `:audit`. `?` lists all."),
        ("home",),
        lambda parts: _aside(dict(zip(ids, parts, strict=False))),
        below=lambda sight: _below(sight, ids),
        joined=lambda parts, _: _joined(sources, parts),
    )  # fmt: skip


def _joined(sources: Sequence[Source], parts: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the concerns of every source: alerts as they stand, then the rest by weight."""
    now = datetime.now(UTC)
    found = [row for source, items in zip(sources, parts, strict=False)
             for row in source.rows(items, now)]  # fmt: skip
    return sorted(found, key=lambda row: row.rank)
