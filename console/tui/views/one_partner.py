"""One partner: the whole story on one screen, the worst first, each line an entry to act on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from console.model.access import Partner
from console.model.enforcement import Credential, Lock
from console.model.grant import Grant
from console.model.traffic import CallRecord
from console.present.amounts import amount, counted, milliseconds, percent
from console.present.cells import width
from console.present.columns import all_or, old_version
from console.present.sparkline import sparkline
from console.present.table_columns import TableColumn
from console.present.times import age, ago, until
from console.tui.theme.palette import meaning
from console.tui.views.briefs import alert_line, history_lines
from console.tui.views.story_reader import Beside, Story, Told, rows_as_lines
from console.tui.views.usage import sparks
from console.tui.widgets.strips import Ink
from console.tui.widgets.text_lines import ReadLine, Subject

LEAD = 10
"""Cells of the heading at the left."""
MAX_GRANTS, MAX_KEYS, MAX_NETWORKS, MAX_ALERTS = 6, 5, 4, 4
SPARK_CELLS = 28
DAYS = 7
_RANK = {
    "active": 0, "suspended": 1, "pending_approval": 2, "approved": 2, "provisioning": 2,
    "draft": 3, "revoking": 4,
}  # fmt: skip


def locks_on(locks: Iterable[Any], partner: Partner) -> list[Lock]:
    """Return the locks in force that hold this partner, or one who holds its keys."""
    return [
        lock
        for lock in locks
        if lock.state == "active"
        and (
            lock.kind == "everything"
            or partner.slug in lock.blast.partners
            or (lock.kind == "partner" and lock.target == partner.slug)
            or (lock.kind == "subprocessor" and lock.target in partner.subprocessors)
        )
    ]


def last_used(keys: Iterable[Any]) -> dict[str, datetime]:
    """Return when each grant was last used, by its id, from its keys."""
    out: dict[str, datetime] = {}
    for key in keys:
        if key.last_used_at is not None:
            out[key.grant_id] = max(key.last_used_at, out.get(key.grant_id, key.last_used_at))
    return out


def observed(calls: Iterable[Any], keys: Iterable[Any]) -> list[tuple[str, int, bool]]:
    """Return the addresses that calls came from, with how many and whether they are declared:
    the undeclared first, then the busiest.
    """
    many: Counter[str] = Counter()
    declared: dict[str, bool] = {}
    for call in calls:
        if call.address:
            many[call.address] += 1
            declared[call.address] = declared.get(call.address, True) and call.declared
    for key in keys:
        if key.last_network and key.last_network not in many:
            many[key.last_network] = 0
            declared[key.last_network] = True
    return sorted(
        ((address, count, declared[address]) for address, count in many.items()),
        key=lambda each: (each[2], -each[1], each[0]),
    )


def _lines(told: Told) -> list[ReadLine]:
    partner = told.subject.value
    assert isinstance(partner, Partner)
    held = locks_on(told.items("LOCKS"), partner)
    return [
        *_head(partner, held, told.now),
        *_unread_locks(told),
        *_grants(told),
        *_keys(told),
        *_egress(partner, told),
        *_holders(partner, held, told),
        *_usage(told),
        *_alerts(told),
        *_history(told),
        *_evidence(told),
    ]


def _head(partner: Partner, held: Sequence[Lock], now: datetime) -> list[ReadLine]:
    verified = "never verified"
    token = "bad"  # noqa: S105  # a style
    if partner.verified_until is not None:
        left = partner.verified_until - now
        verified = f"verified to {partner.verified_until.astimezone():%Y-%m-%d}"
        if left < timedelta(days=30):
            verified += f" ({until(partner.verified_until, now)})"
        token = "bad" if left < timedelta(0) else "pending" if left < timedelta(days=30) else "good"
    inks = [
        Ink(partner.name, "title"), Ink("   "), Ink(partner.state, meaning(partner.state)),
        Ink(f"   sponsor op:{partner.sponsor}   ", "dim"), Ink(verified, token),
    ]  # fmt: skip
    out = [ReadLine(inks)]
    for lock in held:
        by = f"{lock.kind}:{lock.target}" if lock.kind != "everything" else "everything"
        out.append(
            ReadLine(
                [
                    Ink("LOCKED", "bad"), Ink(f"  {by}  {age(lock.created_at, now)}"),
                    Ink(f"  op:{lock.created_by}  {lock.reason}", "dim"),
                ],
                Subject("lock", lock.id, lock),
            )
        )  # fmt: skip
    return out


def _unread_locks(told: Told) -> list[ReadLine]:
    """Say that nobody knows whether the partner is locked, where that is so."""
    if not (fault := told.unread("LOCKS")):
        return []
    return [ReadLine([Ink("LOCKS     ", "title"), Ink(f"cannot be had: {fault}", "bad")])]


def _titled(title: str, told: Told, *others: str) -> list[ReadLine]:
    """Return the line of a part that has nothing to show: why, or that there is nothing."""
    if fault := told.unread(title, *others):
        return [ReadLine([Ink(f"{title:<{LEAD}}", "title"), Ink(f"cannot be had: {fault}", "bad")])]
    return [ReadLine([Ink(f"{title:<{LEAD}}", "title"), Ink("none", "dim")])]


def _beside(title: str, lines: Sequence[ReadLine]) -> list[ReadLine]:
    """Return lines with the title at the left of the first."""
    out = []
    for at, line in enumerate(lines):
        lead = Ink(f"{title if at == 0 else '':<{LEAD}}", "title")
        out.append(ReadLine([lead, *line.inks], line.subject))
    return out


def _grants(told: Told) -> list[ReadLine]:
    grants = sorted(
        told.items("GRANTS"), key=lambda each: (_RANK.get(each.state, 9), each.expires_at)
    )
    if not grants:
        return _titled("GRANTS", told)
    used = last_used(told.items("KEYS"))

    def plain(_: Any) -> str:
        return ""

    def state(grant: Grant) -> str:
        return meaning(grant.state)

    columns = (
        TableColumn("grants", lambda each, _: ", ".join(each.capabilities), plain,
                    lambda each: each.id, 0, 12, 60),
        TableColumn("tier", lambda each, _: f"T{each.tier}", plain, lambda each: each.tier, 1, 4),
        TableColumn("models", lambda each, _: all_or(each.models), plain,
                    lambda each: each.models, 3, 8, 30),
        TableColumn("ends", lambda each, now: until(each.expires_at, now) if each.state == "active"
                    else "-", plain, lambda each: each.expires_at, 1, 6),
        TableColumn("state", lambda each, _: each.state.replace("_", " "), state,
                    lambda each: each.state, 0, 9),
        TableColumn("last used", lambda each, now: "unknown" if told.unread("KEYS")
                    else ago(used.get(each.id), now), plain,
                    lambda each: each.id, 1, 9),
        TableColumn("why", lambda each, _: each.state_reason
                    or ", ".join(gap.code for gap in each.gaps), lambda _: "dim",
                    lambda each: each.state_reason, 4, 8, 60),
    )  # fmt: skip
    return rows_as_lines(columns, grants, told.room, MAX_GRANTS, told.now)


def _keys(told: Told) -> list[ReadLine]:
    keys = [each for each in told.items("KEYS") if each.state != "revoked"]
    gone = len(told.items("KEYS")) - len(keys)
    if not keys:
        out = _titled("KEYS", told)
        if gone:
            out[0].inks.append(Ink(f", {counted(gone, 'key')} revoked", "dim"))
        return out
    keys.sort(key=lambda each: -(each.last_used_at.timestamp() if each.last_used_at else 0))
    lines = [_key(each, told.now) for each in keys[:MAX_KEYS]]
    more = [f"{len(keys) - MAX_KEYS} more"] if len(keys) > MAX_KEYS else []
    more += [f"{gone} revoked"] if gone else []
    if more:
        lines.append(ReadLine([Ink(f"and {', '.join(more)}", "dim")]))
    return _beside("KEYS", lines)


def _key(key: Credential, now: datetime) -> ReadLine:
    return ReadLine(
        [
            Ink(f"…{key.hint}  v{key.version}  held by {key.holder}  "),
            Ink(key.state.replace("_", " "), meaning(key.state)),
            Ink(f"  {ago(key.last_used_at, now)}"
                + (f" from {key.last_network}" if key.last_network else ""), "dim"),
            *_rotation(key, now),
        ],
        Subject("credential", key.id, key),
    )  # fmt: skip


def _rotation(key: Credential, now: datetime) -> list[Ink]:
    """Say of a replaced key when it ends, and whether somebody still uses it."""
    if key.ends_at is None:
        return []
    ends = f"  ends {until(key.ends_at, now)}, {old_version(key)}"
    return [Ink(ends, "high" if key.calls_since_rotation else "dim")]


def _egress(partner: Partner, told: Told) -> list[ReadLine]:
    groups = [[Ink(f"declared {', '.join(partner.egress) or 'nothing'}")]]
    seen = observed(told.items("CALLS"), told.items("KEYS"))
    groups += [
        [Ink("observed "), Ink(f"{address} ({counted(count, 'call')}) UNDECLARED", "bad")]
        for address, count, declared in seen[:MAX_NETWORKS]
        if not declared
    ]
    if known := [each for each in seen if each[2]]:
        inside = counted(len(known), "address", many="addresses")
        groups.append([Ink(f"observed inside: {inside}", "dim")])
    if told.unread("CALLS", "KEYS"):
        groups.append([Ink("observed: unknown", "bad")])
    return _beside("EGRESS", flowed(groups, told.room - LEAD, " | "))


def flowed(groups: Sequence[Sequence[Ink]], room: int, between: str) -> list[ReadLine]:
    """Return groups of inks in as many lines as they need, never broken inside a group."""
    lines: list[list[Ink]] = [[]]
    used = 0
    for group in groups:
        taken = sum(width(ink.text) for ink in group)
        if used and used + width(between) + taken > room:
            lines.append([])
            used = 0
        if used:
            lines[-1].append(Ink(between, "dim"))
            used += width(between)
        lines[-1] += group
        used += taken
    return [ReadLine(line) for line in lines]


def _holders(partner: Partner, held: Sequence[Lock], told: Told) -> list[ReadLine]:
    keys = Counter(each.holder for each in told.items("KEYS") if each.state != "revoked")
    unread = bool(told.unread("KEYS"))
    locked = {lock.target: lock for lock in held if lock.kind in {"subprocessor", "partner"}}
    groups = []
    for name in dict.fromkeys([partner.slug, *partner.subprocessors, *keys]):
        role = "" if name == partner.slug else "subprocessor, "
        if name not in {partner.slug, *partner.subprocessors}:
            role = "UNDECLARED, "
        many = "keys unknown" if unread else counted(keys[name], "key")
        inks = [Ink(f"{name} ({role}{many})")]
        if name in locked:
            inks.append(Ink(f" LOCKED {age(locked[name].created_at, told.now)}", "bad"))
        groups.append(inks)
    return _beside("HOLDERS", flowed(groups, told.room - LEAD, ", "))


def _usage(told: Told) -> list[ReadLine]:
    rows = told.items("USAGE")
    if not rows:
        return _titled("USAGE", told)
    calls, denied = sum(row.calls for row in rows), sum(row.denied for row in rows)
    drawn = sparkline(sparks(rows, told.now - timedelta(days=DAYS), told.now, SPARK_CELLS),
                      SPARK_CELLS)  # fmt: skip
    groups = [
        [Ink(f"{DAYS} d "), Ink(drawn.strip() or "▁", "bars")],
        [Ink(f"{amount(sum(row.input_tokens for row in rows))} tok in")],
        [Ink(f"{amount(sum(row.output_tokens for row in rows))} out")],
        [Ink(counted(calls, "call"))],
        [Ink(f"denied {percent(denied, calls) or '0'}", "bad" if denied * 5 > calls else "")],
    ]
    took = sorted(
        each.total_ms
        for each in told.items("CALLS")
        if isinstance(each, CallRecord) and each.outcome == "allowed"
    )
    if took:
        slow = took[min(len(took) - 1, len(took) * 95 // 100)]
        groups.append([Ink(f"p95 {milliseconds(slow)}", "dim")])
    return _beside("USAGE", flowed(groups, told.room - LEAD, "  "))


def _alerts(told: Told) -> list[ReadLine]:
    alerts = told.items("ALERTS")
    if not alerts:
        return _titled("ALERTS", told)
    lines = [alert_line(each, told.now) for each in alerts[:MAX_ALERTS]]
    if len(alerts) > MAX_ALERTS:
        lines.append(ReadLine([Ink(f"and {len(alerts) - MAX_ALERTS} more", "dim")]))
    return _beside("ALERTS", lines)


def _history(told: Told) -> list[ReadLine]:
    if not told.items("HISTORY"):
        return _titled("HISTORY", told)
    return _beside("HISTORY", history_lines(told.items("HISTORY"), told))


def _evidence(told: Told) -> list[ReadLine]:
    lines = [
        ReadLine(
            [
                Ink(f"assessed for {each.capability}  "),
                Ink(each.state.replace("_", " "), meaning(each.state)),
                Ink(f"  {until(each.valid_until, told.now)}  by {each.assessor}", "dim"),
            ],
            Subject("assessment", each.id, each),
        )
        for each in told.items("EVIDENCE")
    ]
    lines += [
        ReadLine(
            [
                Ink(f"accepted terms of {each.pilot} v{each.version}"),
                Ink(f"  {ago(each.created_at, told.now)} by {each.signatory}", "dim"),
            ]
        )
        for each in told.items("TERMS")
    ]
    if not lines:
        return _titled("EVIDENCE", told, "TERMS")
    if fault := told.unread("EVIDENCE", "TERMS"):
        lines.append(ReadLine([Ink(f"not all: {fault}", "bad")]))
    return _beside("EVIDENCE", lines)


PARTNER = Story(
    (
        Beside("GRANTS", "grant.list", {"partner": "{id}"}),
        Beside("KEYS", "key.list", {"partner": "{id}"}),
        Beside("LOCKS", "lock.list", {"state": "active"}),
        Beside("CALLS", "call.list", {"partner": "{id}", "limit": "200"}),
        Beside("USAGE", "usage.show", {"partner": "{id}", "by": "hour", "since": f"{DAYS}d"}),
        Beside("ALERTS", "alert.list", {"partner": "{id}", "state": "open"}),
        Beside("HISTORY", "audit.list", {"partner": "{id}", "limit": "8"}),
        Beside("EVIDENCE", "assessment.list", {"partner": "{id}", "limit": "20"}),
        Beside("TERMS", "terms.acceptances", {"partner": "{id}", "limit": "5"}),
    ),
    _lines,
)
