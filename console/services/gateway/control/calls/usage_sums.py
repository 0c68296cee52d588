"""Usage: what calls add up to, kept by the hour as records come in.

An hour of one pilot, partner, grant, key, model, capability, principal and network is one
row, so any report reads rows by the thousand and not calls by the million. The sums of
any grouping are the sums of the records, exactly.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from console.api.problems import refusal
from console.model.stored import Page
from console.model.traffic import SERVED, CallRecord, Outcome, UsageBy, UsageRow
from console.services.gateway.control.calls.call_times import moment, stored_time
from console.services.gateway.control.state.schema import USAGE
from console.services.web import Ask

_GROUPS: dict[UsageBy, ColumnElement[Any]] = {
    UsageBy.PARTNER: USAGE.c.partner,
    UsageBy.GRANT: USAGE.c.grant_id,
    UsageBy.KEY: USAGE.c.credential_id,
    UsageBy.MODEL: USAGE.c.model,
    UsageBy.CAPABILITY: USAGE.c.capability,
    UsageBy.PRINCIPAL: USAGE.c.principal,
    UsageBy.NETWORK: USAGE.c.network,
    UsageBy.PILOT: USAGE.c.pilot,
    UsageBy.HOUR: USAGE.c.hour,
    UsageBy.DAY: func.substr(USAGE.c.hour, 1, 10),
}
_FILTERS = {
    "partner": USAGE.c.partner,
    "grant": USAGE.c.grant_id,
    "key": USAGE.c.credential_id,
    "model": USAGE.c.model,
    "capability": USAGE.c.capability,
    "principal": USAGE.c.principal,
    "network": USAGE.c.network,
    "pilot": USAGE.c.pilot,
}
_BUCKETS = {UsageBy.HOUR: timedelta(hours=1), UsageBy.DAY: timedelta(days=1)}
_WEEK = timedelta(days=7)
_MAX_ROWS = 10_000
_SUMS = (
    "calls", "allowed", "denied", "blocked", "errors", "input_tokens", "output_tokens",
    "estimated_calls", "cost_micros",
)  # fmt: skip
_KEYS = (
    "hour", "pilot", "partner", "grant_id", "credential_id", "model", "capability", "principal",
    "network",
)  # fmt: skip
_NAMES = (*_KEYS, *_SUMS, "first_at", "last_at")
_ADD = "".join(
    (
        "INSERT INTO used (", ", ".join(_NAMES), ") VALUES (", ", ".join("?" * len(_NAMES)), ") ",
        "ON CONFLICT DO UPDATE SET ",
        *(f"{name} = {name} + excluded.{name}, " for name in _SUMS),
        "first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)",
    )
)  # fmt: skip

_Key = tuple[datetime, str, str, str, str, str, str, str, str]


@lru_cache(maxsize=16_384)
def network_of(address: str) -> str:
    """Return the /24 of an IPv4 address, the /48 of an IPv6 one; nothing of anything else."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, 48), strict=False))
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24), strict=False))


class _Sum:
    """What the records of one row add up to."""

    __slots__ = ("counts", "first", "last")

    def __init__(self, at: datetime) -> None:
        self.counts = [0] * len(_SUMS)
        self.first = at
        self.last = at

    def add(self, record: CallRecord) -> None:
        allowed = record.outcome in SERVED
        denied = record.outcome == Outcome.DENIED
        blocked = record.outcome == Outcome.BLOCKED
        more = (
            1, allowed, denied, blocked, not (allowed or denied or blocked),
            record.input_tokens, record.output_tokens, record.estimated, record.cost_micros,
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
            hour, record.pilot, record.partner, record.grant_id, record.credential_id, model,
            record.capability, record.principal, network_of(record.address),
        )  # fmt: skip
        held = sums.get(key)
        if held is None:
            held = sums[key] = _Sum(record.started_at)
        held.add(record)
    if not sums:
        return
    conn.exec_driver_sql(
        _ADD,
        [
            (
                stored_time(key[0]),
                *key[1:],
                *held.counts,
                stored_time(held.first),
                stored_time(held.last),
            )
            for key, held in sums.items()
        ],
    )


def listing(conn: Connection, ask: Ask) -> Page[UsageRow]:
    """Answer `usage.list`: by partner where `by` is left out. Times are cut at the hour."""
    by, also = _by(ask, "by") or UsageBy.PARTNER, _by(ask, "also")
    if also is by:
        raise refusal("invalid", f"also: it is grouped by {by} already")
    return _listed(conn, ask, by, also)


def exported(conn: Connection, ask: Ask) -> Page[UsageRow]:
    """Answer `usage.export`: whose usage there is, by pilot and partner."""
    return _listed(conn, ask, UsageBy.PILOT, UsageBy.PARTNER)


def _listed(conn: Connection, ask: Ask, by: UsageBy, also: UsageBy | None) -> Page[UsageRow]:
    groups = [_GROUPS[each] for each in (by, also) if each is not None]
    narrowed = [
        column == wanted for name, column in _FILTERS.items() if (wanted := ask.query.get(name))
    ]
    since, until = _moment(ask, "since"), _moment(ask, "until")
    rows = _sums(conn, groups, [*narrowed, *_between(since, until)])
    whole = sum(row.input_tokens + row.output_tokens for row in rows)
    asked = tuple(each for each in (by, also) if each is not None)
    norms = None
    if since is not None and since < (until or ask.now):
        norms = _norms(conn, asked, narrowed, since, (until or ask.now) - since)
    items = [_row(row, whole, norms) for row in rows[:_MAX_ROWS]]
    cut = len(rows) > _MAX_ROWS
    return Page(
        as_of=ask.now,
        source="gateway",
        items=items,
        partial=cut,
        warnings=[f"only the first {_MAX_ROWS} groups are listed"] if cut else [],
    )


def _by(ask: Ask, name: str) -> UsageBy | None:
    said = ask.query.get(name)
    if not said:
        return None
    try:
        return UsageBy(said)
    except ValueError:
        choices = ", ".join(UsageBy)
        raise refusal("invalid", f"{name}: it is one of {choices}") from None


def _moment(ask: Ask, name: str) -> datetime | None:
    said = ask.query.get(name)
    return moment(said, name) if said else None


def _between(since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if since is not None:
        hour = since.replace(minute=0, second=0, microsecond=0)
        found += [USAGE.c.hour >= hour, USAGE.c.last_at >= since]
    if until is not None:
        found += [USAGE.c.hour < until, USAGE.c.first_at < until]
    return found


def _sums(
    conn: Connection, groups: Sequence[ColumnElement[Any]], where: Sequence[ColumnElement[bool]]
) -> Sequence[Any]:
    query = select(
        *(group.label(f"group{at}") for at, group in enumerate(groups)),
        *(func.sum(USAGE.c[name]).label(name) for name in _SUMS),
        func.min(USAGE.c.first_at).label("first_at"),
        func.max(USAGE.c.last_at).label("last_at"),
    ).where(*where)
    return conn.execute(query.group_by(*groups).order_by(*groups).limit(_MAX_ROWS + 1)).all()


class _Norms(NamedTuple):
    """Each group's tokens of the seven days before, for a time as long as asked."""

    places: tuple[int, ...]
    """Which of the groups have a norm of their own: times have none."""
    tokens: dict[tuple[str, ...], int]


def _norms(
    conn: Connection,
    asked: Sequence[UsageBy],
    narrowed: Sequence[ColumnElement[bool]],
    since: datetime,
    length: timedelta,
) -> _Norms:
    """Return the norms. Groups by time are beside the mean of an hour or a day."""
    for each in asked:
        length = min(length, _BUCKETS.get(each, length))
    places = tuple(place for place, each in enumerate(asked) if each not in _BUCKETS)
    groups = [_GROUPS[asked[place]] for place in places]
    week = [*narrowed, *_between(since - _WEEK, since)]
    tokens = {}
    for row in _sums(conn, groups, week) if groups else [_total(conn, week)]:
        spent = (row.input_tokens or 0) + (row.output_tokens or 0)
        tokens[tuple(str(row[at]) for at in range(len(groups)))] = round(spent * (length / _WEEK))
    return _Norms(places, tokens)


def _total(conn: Connection, where: Sequence[ColumnElement[bool]]) -> Any:
    query = select(*(func.sum(USAGE.c[name]).label(name) for name in _SUMS)).where(*where)
    return conn.execute(query).one()


def _row(row: Any, whole: int, norms: _Norms | None) -> UsageRow:
    names = (_text(row.group0), _text(getattr(row, "group1", "")))
    tokens = row.input_tokens + row.output_tokens
    return UsageRow(
        group=names[0],
        second=names[1],
        share=round(tokens / whole, 4) if whole else 0.0,
        norm_tokens=norms.tokens.get(tuple(names[at] for at in norms.places), 0) if norms else None,
        first_at=row.first_at,
        last_at=row.last_at,
        **{name: getattr(row, name) for name in _SUMS},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else stored_time(value)
