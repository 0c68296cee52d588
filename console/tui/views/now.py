"""The landing view: what needs someone, worst first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from console.model.access import Partner
from console.model.audit import Alert, Severity
from console.model.enforcement import Lock, Point, PointState, Receipt, UpstreamState
from console.model.evidence import UsageTerms
from console.model.grant import Grant
from console.model.traffic import UsageRow
from console.operations.spec import Operation
from console.present.amounts import amount, percent
from console.present.cells import width
from console.present.columns import short
from console.present.sparkline import sparkline
from console.present.table_columns import TableColumn
from console.present.times import age, until
from console.tui.link.api_link import Health
from console.tui.link.subjects import API_OF
from console.tui.theme.palette import meaning
from console.tui.views.list_views import Sight, Source, View
from console.tui.views.read_parts import UNREAD, Part, count_words
from console.tui.views.tails import log_words
from console.tui.views.usage import moment_of
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Subject

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
    subject: Subject | None

    def exported(self) -> dict[str, Any]:
        """Return what it is and the object that it is about, whole; words where there is none."""
        about = self.subject
        value = about.value if about else None
        return {
            "id": self.id, "rank": self.rank, "word": self.word,
            "kind": about.noun if about else "", "partner": self.partner, "count": self.many,
            "at": self.at, "what": self.what if value is None else "", "object": value,
        }  # fmt: skip


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


_UPSTREAM = {
    UpstreamState.DEAD.value: (1, "DEAD", "bad"),
    UpstreamState.KEY_FAULT.value: (2, "KEY", "high"),
    UpstreamState.FAILING.value: (3, "FAIL", "medium"),
}
"""The state of an upstream that needs someone: its rank, word and token."""


def points(items: Sequence[Any], _: datetime) -> list[Concern]:
    """Return the points that serve nothing, and the upstreams that answer nothing."""
    out = []
    for point in items:
        assert isinstance(point, Point)
        subject = Subject("point", point.name, point)
        if point.state == PointState.FENCED:
            what = f"point {point.name} holds no lease: it serves nothing"
            out.append(Concern(f"point:{point.name}", 1, "FENC", "bad", what, "", None,
                               point.last_seen_at, "fenced", subject))  # fmt: skip
        for each in point.upstreams:
            if each.state not in _UPSTREAM:
                continue
            rank, word, token = _UPSTREAM[each.state]
            what = f"upstream {each.name} at {point.name}: {each.why}"
            out.append(Concern(f"upstream:{point.name}:{each.name}", rank, word, token, what, "",
                               each.failures or None, each.since, each.state.replace("_", " "),
                               subject))  # fmt: skip
    return out


def services(
    healths: Iterable[Health], sources: Sequence[Source], parts: Sequence[Part], now: datetime
) -> list[Concern]:
    """Return the APIs that do not answer or are not well, and the lists that cannot be read."""
    known = [(API_OF.get(source.op.noun, "policy"), _PLURALS.get(source.op.noun, source.op.noun),
              part) for source, part in zip(sources, parts, strict=True)]  # fmt: skip
    out, away = [], set()
    for health in healths:
        last = None if health.heard is None else now - timedelta(seconds=health.age())
        if health.state in {"down", "refused"}:
            away.add(health.api)
            said = "does not answer" if health.state == "down" else "refuses this console"
            unread = [noun for api, noun, part in known if api == health.api and part.items is None]
            old = [noun for api, noun, part in known if api == health.api and part.age]
            what = f"{health.api} {said}"
            if unread or old:
                what += ": " + "; ".join(
                    f"{', '.join(nouns)} {word}"
                    for nouns, word in ((unread, "unknown"), (old, "old"))
                    if nouns
                )
            word = "DOWN" if health.state == "down" else "RFSD"
            out.append(Concern(f"service:{health.api}", 0, word, "bad", what, "", None, last,
                               health.state, None))  # fmt: skip
        elif health.state == "sick" and (notes := _beyond_points(health.notes)):
            what = f"{health.api}: {notes[0]}"
            out.append(Concern(f"service:{health.api}", 1, "SICK", "bad", what, "",
                               len(notes) if len(notes) > 1 else None, last, "not well",
                               None))  # fmt: skip
        if health.current:
            out += [
                Concern(f"lacks:{health.api}:{at}", 7, "NOTE", "medium", f"{health.api}: {note}",
                        "", None, None, "waits", None)
                for at, note in enumerate(health.lacks)
                if not note.startswith("upstream ")  # each of those is a row of its own
            ]  # fmt: skip
    out += [
        Concern(f"unread:{noun}", 1, "UNKN", "bad",
                f"{noun} {'old' if part.age else 'unknown'}: {part.fault}", "", None, None,
                f"{part.age} old" if part.age else "unknown", None)
        for api, noun, part in known
        if part.fault and api not in away
    ]  # fmt: skip
    return out


_PLURALS = {
    "alert": "alerts", "receipt": "receipts", "grant": "grants", "partner": "partners",
    "lock": "locks", "point": "points",
}  # fmt: skip


def _beyond_points(notes: Sequence[str]) -> list[str]:
    """Return the notes that are not about one point: each of those is a row of its own."""
    return [note for note in notes if not note.startswith("point ")]


def _none(_: Sequence[Any], __: datetime) -> list[Concern]:
    return []


def _aside(part: Part) -> Line:
    rows = [row for row in part.known() if isinstance(row, UsageRow)]
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
    parts = dict(zip(ids, sight.parts, strict=True))

    def part(op: str) -> Part:
        return parts.get(op, UNREAD)

    live = sum(each.state == "active" for each in part("grant.list").known())
    totals = [
        count_words(part("partner.list"), "partner", most=500),
        count_words(part("grant.list"), "grant", tail=" active", most=500, of=live),
        count_words(part("lock.list"), "lock", most=500),
        count_words(part("alert.list"), "alert", tail=" open", most=100),
    ]
    hours = [row for row in part("usage.show").known() if isinstance(row, UsageRow)]
    if part("usage.show").items is None:
        totals.append("24 h: calls unknown")
    elif hours:
        today = sum(row.input_tokens + row.output_tokens for row in hours)
        calls, denied = sum(row.calls for row in hours), sum(row.denied for row in hours)
        old = f", {part('usage.show').age} old" if part("usage.show").age else ""
        totals.append(f"24 h: {amount(today)} tokens, {amount(calls)} calls{old}")
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


def now_view(operations: Mapping[str, Operation], healths: Callable[[], Iterable[Health]]) -> View:
    """Return the view of what needs someone, over the lists that there are.

    `healths` tells how each API is: one that does not answer needs someone, too.
    """
    wanted = (
        ("alert.list", {"state": "open"}, alerts),
        ("receipt.list", {"limit": "50"}, receipts),
        ("grant.list", {"limit": "500"}, grants),
        ("partner.list", {"limit": "500"}, partners),
        ("terms.list", {"limit": "50"}, terms),
        ("lock.list", {"state": "active", "limit": "500"}, locks),
        ("point.list", {"limit": "500"}, points),
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
        lambda parts: _aside(dict(zip(ids, parts, strict=True)).get("usage.show", UNREAD)),
        below=lambda sight: _below(sight, ids),
        joined=lambda parts, _: _joined(healths(), sources, parts),
    )  # fmt: skip


def _joined(
    healths: Iterable[Health], sources: Sequence[Source], parts: Sequence[Part]
) -> list[Any]:
    """Return the concerns of every source: alerts as they stand, then the rest by weight."""
    now = datetime.now(UTC)
    found: list[Concern] = services(healths, sources, parts, now)
    for source, part in zip(sources, parts, strict=True):
        rows = source.rows(part.known(), now)
        # what was read a while ago may be over: each such row says so
        found += [row._replace(state=f"{part.age} old") for row in rows] if part.age else rows
    return sorted(found, key=lambda row: row.rank)
