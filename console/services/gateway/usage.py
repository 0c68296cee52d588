"""Usage: what calls add up to, kept by the hour as records come in.

An hour of one partner, grant, key, model and capability is one row, so any report reads
rows by the thousand and not calls by the million.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, func, select

from console.api.problems import refusal
from console.model.stored import Page
from console.model.traffic import CallRecord, Outcome, UsageBy, UsageRow
from console.services.gateway import calls
from console.services.gateway.schema import USAGE
from console.services.web import Ask

_GROUPS: dict[UsageBy, ColumnElement[str]] = {
    UsageBy.PARTNER: USAGE.c.partner,
    UsageBy.GRANT: USAGE.c.grant_id,
    UsageBy.KEY: USAGE.c.credential_id,
    UsageBy.MODEL: USAGE.c.model,
    UsageBy.CAPABILITY: USAGE.c.capability,
    UsageBy.HOUR: USAGE.c.hour,
}
_MOST_ROWS = 10_000
_ADD = (
    "INSERT INTO usage (hour, partner, grant_id, credential_id, model, capability, calls, allowed, "
    "denied, errors, input_tokens, output_tokens, estimated_calls, first_at, last_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, "
    "allowed = allowed + excluded.allowed, denied = denied + excluded.denied, "
    "errors = errors + excluded.errors, input_tokens = input_tokens + excluded.input_tokens, "
    "output_tokens = output_tokens + excluded.output_tokens, "
    "estimated_calls = estimated_calls + excluded.estimated_calls, "
    "first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)"
)

_Key = tuple[datetime, str, str, str, str, str]


class _Sum:
    """What the records of one row add up to."""

    __slots__ = ("counts", "first", "last")

    def __init__(self, at: datetime) -> None:
        self.counts = [0] * 7
        self.first = at
        self.last = at

    def add(self, record: CallRecord) -> None:
        allowed = record.outcome in {Outcome.ALLOWED, Outcome.FLAGGED}
        denied = record.outcome in {Outcome.DENIED, Outcome.BLOCKED}
        more = (
            1, allowed, denied, not allowed and not denied,
            record.input_tokens, record.output_tokens, record.estimated,
        )  # fmt: skip
        for place, count in enumerate(more):
            self.counts[place] += count
        self.first = min(self.first, record.started_at)
        self.last = max(self.last, record.started_at)


def add(conn: Connection, records: Iterable[CallRecord]) -> None:
    """Add new records to the table."""
    sums: dict[_Key, _Sum] = {}
    for record in records:
        hour = record.started_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        # A model out of scope is the caller's own text: it makes no row of its own.
        model = record.model if record.capability else ""
        key = (
            hour, record.partner, record.grant_id, record.credential_id, model, record.capability,
        )  # fmt: skip
        held = sums.get(key)
        if held is None:
            held = sums[key] = _Sum(record.started_at)
        held.add(record)
    conn.exec_driver_sql(
        _ADD,
        [
            (
                calls.stored_time(key[0]),
                *key[1:],
                *held.counts,
                calls.stored_time(held.first),
                calls.stored_time(held.last),
            )
            for key, held in sums.items()
        ],
    )


def listing(conn: Connection, ask: Ask) -> Page[UsageRow]:
    """Answer `usage.list`: by partner where `by` is left out. Times are cut at the hour."""
    try:
        by = UsageBy(ask.query.get("by") or UsageBy.PARTNER)
    except ValueError:
        choices = ", ".join(UsageBy)
        raise refusal("invalid", f"by: it is one of {choices}") from None
    group = _GROUPS[by]
    query = select(
        group.label("group"),
        *(
            func.sum(USAGE.c[name]).label(name)
            for name in (
                "calls", "allowed", "denied", "errors", "input_tokens", "output_tokens",
                "estimated_calls",
            )
        ),
        func.min(USAGE.c.first_at).label("first_at"),
        func.max(USAGE.c.last_at).label("last_at"),
    )  # fmt: skip
    if since := ask.query.get("since"):
        query = query.where(USAGE.c.last_at >= calls.moment(since, "since"))
    if until := ask.query.get("until"):
        query = query.where(USAGE.c.first_at < calls.moment(until, "until"))
    if partner := ask.query.get("partner"):
        query = query.where(USAGE.c.partner == partner)
    rows = conn.execute(query.group_by(group).order_by(group).limit(_MOST_ROWS + 1)).all()
    items = [
        UsageRow(
            group=row.group if isinstance(row.group, str) else calls.stored_time(row.group),
            calls=row.calls,
            allowed=row.allowed,
            denied=row.denied,
            errors=row.errors,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            estimated_calls=row.estimated_calls,
            first_at=row.first_at,
            last_at=row.last_at,
        )
        for row in rows[:_MOST_ROWS]
    ]
    cut = len(rows) > _MOST_ROWS
    return Page(
        as_of=ask.now,
        source="gateway",
        items=items,
        partial=cut,
        warnings=[f"only the first {_MOST_ROWS} groups are listed"] if cut else [],
    )
