"""The columns of each result type: one table of them for the CLI and for the console.

A getter reads a row; `cell` writes what it got, escaped. The columns of a type are found
by the type's name, so that no noun is imported to show another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Literal, NamedTuple

from console.model.scope import shown_networks
from console.present.amounts import change, money, purse
from console.present.cells import Align
from console.present.safe import safe
from console.present.times import age, until, utc

Style = Literal["text", "age", "until", "time"]


class Column(NamedTuple):
    """One column: `priority` 0 is always shown, the highest goes first when room is short."""

    name: str
    get: Callable[[Any], Any]
    priority: int = 1
    style: Style = "text"
    align: Align = "left"
    width: int = 6
    """The least cells that make sense of it."""
    most: int = 60
    """The cells beyond which a screen cuts it."""


def cell(column: Column, row: Any, now: datetime) -> str:
    """Return what `column` says of `row` as one escaped line."""
    value = column.get(row)
    if isinstance(value, datetime):
        if column.style == "age":
            return age(value, now)
        return until(value, now) if column.style == "until" else utc(value)
    return text_of(value)


def text_of(value: Any) -> str:
    """Return any plain value as one escaped line: lists with commas, None as nothing."""
    if value is None:
        return ""
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(text_of(one) for one in value)
    return safe(str(value))


def columns_of(kind: type | str) -> tuple[Column, ...]:
    """Return the columns of the result type `kind`; none where it is shown as a whole."""
    return _COLUMNS.get(kind if isinstance(kind, str) else kind.__name__, ())


def name_of(row: Any) -> str:
    """Return what a person types to mean `row`: its slug, else its id (unescaped).

    An answer that wraps an object is named by it.
    """
    for member in ("slug", "id", "name", "group", "event_id", "service"):
        if isinstance(value := getattr(row, member, None), str):
            return value
    for member in ("credential", "grant", "call", "lock", "alert", "account"):
        if (inner := getattr(row, member, None)) is not None:
            return name_of(inner)
    return ""


def answer_name(value: Any) -> str:
    """Return what a person types to go on from an answer (unescaped).

    A lock just added is answered by its receipt, and named by the lock: that is what
    `lock release` takes. Everything else is named as its row is.
    """
    if getattr(value, "action", "") == "lock.add" and getattr(value, "lock_id", ""):
        return str(value.lock_id)
    return name_of(value)


def short(id: str) -> str:
    """Return an id as its prefix and last six characters: enough to tell rows apart."""
    prefix, _, rest = id.partition("_")
    return f"{prefix}_…{rest[-6:]}" if len(rest) > 10 else id


def all_or(values: Iterable[str]) -> str:
    """Return a scope as text: an empty list means ALL, and says so."""
    return ", ".join(values) or "ALL"


def old_version(row: Any) -> str | None:
    """Return who still uses a replaced key: nothing for one that was never replaced."""
    if row.rotated_at is None:
        return None
    count = row.calls_since_rotation
    if not count:
        return "no calls since"
    return f"{count} call{'' if count == 1 else 's'} since, last from {row.last_network or '?'}"


def _signs_in(row: Any) -> str:
    user = [f"user {row.user}"] if row.user else []
    return ", ".join([*user, *(f"token …{each.hint}" for each in row.tokens)]) or "nothing yet"


def _upstreams(row: Any) -> str:
    """Return each upstream's state, and why it is not well."""
    return ", ".join(
        f"{each.name} {each.state.replace('_', ' ')}" + (f" ({each.why})" if each.why else "")
        for each in row.upstreams
    )


def _matchers(row: Any) -> str:
    return " ".join(f"{each.field}={each.pattern}" for each in row.matchers)


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _threshold(rule: Any, value: int | None) -> int | str | None:
    return money(value) if rule.spends and value is not None else value


def _after(row: Any) -> str:
    """Say after how long somebody is told of what nobody took on."""
    return _span(row.after_seconds) if row.after_seconds else "at once"


def _tuned(row: Any) -> str:
    tuning = row.tuning
    said = {
        "severity": tuning.severity,
        "threshold": _threshold(row, tuning.threshold),
        "factor": tuning.factor,
    }
    if tuning.window_seconds is not None:
        said["window"] = _span(tuning.window_seconds)
    return " ".join(f"{name}={value}" for name, value in said.items() if value is not None)


def _found(row: Any) -> list[str]:
    return [
        f"{each.count} x {' '.join(value for value in each.about.values() if value)}"
        for each in row.found
    ]


def _reaccept_by(terms: Any) -> Any:
    """Until when an acceptance of the version before counts: the first has none."""
    return terms.reaccept_by if terms.version > 1 else None


def _of(path: str) -> Callable[[Any], Any]:
    names = path.split(".")

    def get(row: Any) -> Any:
        for name in names:
            row = getattr(row, name, None)
        return row

    return get


def _text(name: str, path: str = "", priority: int = 1, width: int = 6, most: int = 60) -> Column:
    return Column(name, _of(path or name), priority, width=width, most=most)


def _money(name: str, path: str, priority: int) -> Column:
    get = _of(path)
    return Column(name, lambda row: money(get(row)), priority, align="right", width=9)


def _purse(name: str, place: int, priority: int) -> Column:
    """One amount of a budget or pool, with the decimals that make its row add up."""

    def get(row: Any) -> str:
        limit = getattr(row, "budget_micros", None)
        reserved = getattr(row, "reserved_micros", 0)
        whole = row.limit_micros if limit is None else limit
        return purse(whole, row.spent_micros, reserved)[place]

    return Column(name, get, priority, align="right", width=9)


def _ends(row: Any) -> Any:
    """Return when a grant ends; of one that has ended before its time, how."""
    if row.state not in _ENDED_GRANTS or (row.state == "expired" and not row.renewed_by):
        return row.expires_at
    return "renewed" if row.renewed_by else "ended"


_ENDED_GRANTS = frozenset({"expired", "revoked", "denied"})
"""The states of a grant that no verb leads out of: its end is not what `expires_at` says."""


def _beside(now: int, norm: int | None) -> str:
    return "" if norm is None else change(now, norm)


def _number(name: str, path: str = "", priority: int = 1, width: int = 4) -> Column:
    return Column(name, _of(path or name), priority, align="right", width=width)


def _count(name: str, path: str, priority: int = 1) -> Column:
    get = _of(path)
    return Column(name, lambda row: f"{get(row):,}", priority, align="right", width=4)


def _age(name: str, path: str, priority: int = 1) -> Column:
    return Column(name, _of(path), priority, "age", "right", 4)


def _until(name: str, path: str, priority: int = 1) -> Column:
    return Column(name, _of(path), priority, "until", "left", 6)


def _time(name: str, path: str, priority: int = 1) -> Column:
    return Column(name, _of(path), priority, "time", "left", 20)


_ID = _text("id", priority=0, width=30, most=30)
_SLUG = _text("slug", priority=0, width=8, most=40)

_COLUMNS: dict[str, tuple[Column, ...]] = {
    "Pilot": (
        _SLUG,
        _text("state", priority=1),
        _text("title", priority=2),
        _text("models", priority=1),
        Column("stages", lambda row: [stage.key for stage in row.stages], 1),
        Column("terms", lambda row: row.terms_id or "none yet", 3, width=8),
        _age("updated", "updated_at", 4),
    ),
    "Capability": (
        _SLUG,
        _text("pilot", priority=1),
        Column("tier", lambda row: f"T{row.tier}", 0, width=4),
        _text("below", priority=1),
        _text("category", priority=1, width=10),
        _text("models", priority=2),
        _text("routes", priority=3),
        _text("title", priority=4),
    ),
    "Principal": (
        _ID,
        _text("partner", priority=0, width=8),
        _text("kind", priority=1),
        _text("note", priority=1, width=12),
        _text("state", priority=0),
        Column("hash", lambda row: row.hash[:12], 3, width=12),
    ),
    "QuietGrant": (
        _ID,
        _text("partner", priority=0, width=8),
        _text("capabilities", priority=1, width=12),
        Column("tier", lambda row: f"T{row.tier}", 1, width=4),
        _age("last used", "last_used_at", 0),
        _number("keys", "credentials", priority=1, width=4),
        _until("expires", "expires_at", 2),
        _text("pilot", priority=3),
        _text("stage", priority=3),
    ),
    "Partner": (
        _SLUG,
        _text("name", priority=2),
        _text("state", priority=0),
        _until("verified", "verified_until", 1),
        _text("sponsor", priority=2),
        _text("egress", priority=4),
        _text("subprocessors", priority=5),
    ),
    "UsageTerms": (
        _ID,
        _text("pilot", priority=1),
        _number("version", priority=0, width=7),
        _text("title", priority=3),
        Column("reaccept by", _reaccept_by, 2, "until", "left", 6),
        _text("accepted by", "accepted_by", 2),
    ),
    "Acceptance": (
        _ID,
        _text("partner", priority=0),
        _text("pilot", priority=1),
        _number("version", priority=1, width=7),
        _text("signatory", priority=2),
        _age("recorded", "created_at", 2),
        _text("evidence", priority=4),
    ),
    "Assessment": (
        _ID,
        _text("partner", priority=0),
        _text("capability", priority=0),
        _text("state", priority=0),
        _until("valid", "valid_until", 1),
        _text("assessor", priority=3),
        _text("decided by", "decided_by", 4),
    ),
    "Grant": (
        _ID,
        _text("partner", priority=0, width=8),
        _text("stage", priority=2),
        Column("tier", lambda row: f"T{row.tier}", 1, width=4),
        _text("capabilities", priority=1, width=12),
        _text("state", priority=0, width=10),
        Column("expires", _ends, 1, "until"),
        Column("models", lambda row: all_or(row.models), 3),
        Column("networks", lambda row: shown_networks(row.networks, row.tier), 5),
        Column("why", lambda row: row.state_reason or [gap.code for gap in row.gaps], 4),
    ),
    "Credential": (
        _ID,
        _text("partner", priority=0),
        _text("holder", priority=2),
        Column("key", lambda row: f"…{row.hint}", 1, width=5),
        _text("state", priority=0),
        _age("used", "last_used_at", 1),
        _text("from", "last_network", priority=3),
        _number("version", priority=3),
        Column("old version", old_version, 2, width=12),
        Column("grant", lambda row: short(row.grant_id), 2, width=11),
    ),
    "IssuedKey": (
        _text("id", "credential.id", priority=0, width=30, most=30),
        _text("partner", "credential.partner", priority=0),
        _number("version", "credential.version"),
        Column("key", lambda row: f"…{row.credential.hint}", 1, width=5),
        _text("replaces", "replaced.id", priority=1, width=30, most=30),
        _until("it ends", "replaced.ends_at", 1),
    ),
    "Lock": (
        _ID,
        _text("kind", priority=1),
        _text("target", priority=0),
        _text("state", priority=0),
        _age("age", "created_at", 1),
        _text("by", "created_by", priority=2),
        _text("reason", priority=3),
    ),
    "Tombstone": (
        _text("kind", priority=0),
        _text("id", priority=0, width=30, most=30),
        _text("partner", priority=1),
        _age("age", "at", 1),
        _text("by", priority=2),
        _text("reason", priority=3),
        _number("sequence", priority=4),
    ),
    "Point": (
        _text("name", priority=0),
        _text("state", priority=0),
        _number("sequence", "applied_sequence", priority=1),
        _number("in flight", "in_flight", priority=1),
        _age("seen", "last_seen_at", 1),
        Column("upstreams", _upstreams, 1, width=9),
        _text("url", priority=2),
        _text("version", priority=4),
    ),
    "Receipt": (
        _ID,
        _text("action", priority=1),
        _text("target", priority=0),
        _text("partner", priority=2),
        _text("state", priority=0),
        # blank where nobody looked: a list proves nothing
        Column("logged", lambda row: None if row.logged_at is None else True, 1),
        _age("age", "requested_at", 2),
        _text("by", priority=3),
        _text("reason", priority=4),
    ),
    "CallRecord": (
        _text("id", priority=0, width=30, most=30),
        _age("age", "started_at", 1),
        _text("partner", priority=0),
        _text("model", priority=1, most=32),
        _text("outcome", priority=0),
        _text("code", priority=1),
        _number("in", "input_tokens", priority=3),
        _number("out", "output_tokens", priority=3),
        Column("ms", lambda row: round(row.total_ms), 2, align="right", width=5),
        _text("address", priority=4),
        _text("route", priority=5),
        _text("point", priority=6),
    ),
    "UsageRow": (
        _text("group", priority=0, width=10),
        Column("then", lambda row: row.second, 0, width=0, most=40),
        _number("calls", priority=0),
        _number("allowed", priority=2),
        _number("denied", priority=1),
        _number("blocked", priority=2),
        _number("errors", priority=2),
        _number("tokens", priority=0),
        _money("cost", "cost_micros", 0),
        Column("share", lambda row: f"{100 * row.share:.1f} %", 1, align="right", width=6),
        Column("vs 7 d", lambda row: _beside(row.tokens, row.norm_tokens), 1, align="right"),
        _number("in", "input_tokens", priority=3),
        _number("out", "output_tokens", priority=3),
        _number("estimated", "estimated_calls", priority=4),
        _age("last", "last_at", 3),
    ),
    "OperatorAccount": (
        _text("slug", priority=0, width=8),
        _text("state", priority=0),
        Column("roles", lambda row: ", ".join(row.roles), 0, width=8, most=40),
        Column("groups", lambda row: ", ".join(row.groups) or "none", 2, most=30),
        _text("kind", priority=2),
        Column("signs in by", _signs_in, 1, most=40),
        _age("used", "used_at", 3),
        _text("why", "state_reason", priority=3),
    ),
    "OperatorSession": (
        _text("operator", priority=0, width=8),
        _text("service", priority=0),
        _text("by", priority=1),
        _text("agent", priority=0, width=12, most=40),
        _age("last", "last_at", 0),
        _count("requests", "requests", 2),
        _text("source", priority=3),
        _age("since", "first_at", 4),
    ),
    "Price": (
        _text("model", priority=0, width=10),
        Column("from", lambda row: row.starts_on.isoformat(), 0, width=10),
        _money("input", "input_micros", 0),
        _money("output", "output_micros", 0),
        _count("max output", "max_output_tokens", 2),
        _text("set by", "updated_by", priority=3),
        _age("set", "updated_at", 3),
    ),
    "BudgetState": (
        _text("partner", priority=0),
        _text("grant", "grant_id", priority=0, width=12, most=30),
        _text("scope", priority=1),
        _text("principal", priority=3, width=8, most=16),
        _text("period", priority=1),
        _purse("budget", 0, 0),
        _purse("spent", 1, 0),
        _purse("reserved", 2, 1),
        _purse("left", 3, 0),
        Column("renewed", lambda row: row.ends_at, 2, "until"),
    ),
    "Forecast": (
        _text("kind", priority=1),
        _text("name", priority=0, width=12, most=48),
        _text("partner", priority=1, width=11),
        _purse("limit", 0, 1),
        _purse("spent", 1, 2),
        _purse("left", 3, 0),
        Column("used", lambda row: f"{100 * row.used:.0f} %", 0, align="right", width=5),
        _money("a day", "daily_micros", 1),
        Column("runs out", lambda row: row.runs_out_at or "holds", 0, "until"),
    ),
    "Charge": (
        Column("day", lambda row: row.charge_period_start[:10], 0, width=10),
        _text("pilot", "billing_account_id", priority=1),
        _text("partner", "sub_account_id", priority=0),
        _text("model", "resource_id", priority=0),
        _text("meter", "sku_meter", priority=0),
        _number("tokens", "consumed_quantity", priority=0),
        _number("billed", "billed_cost", priority=0),
        _text("currency", "billing_currency", priority=2),
    ),
    "Event": (
        _number("index", priority=0, width=5),
        _time("at", "at", 1),
        _text("actor", priority=0),
        _text("action", priority=0, width=10),
        _text("target", priority=1, width=8),
        _text("partner", priority=3),
        _text("outcome", priority=2),
        _text("reason", priority=4),
        _text("source", priority=5),
        _text("id", priority=6, width=30, most=30),
    ),
    "Alert": (
        _ID,
        _text("severity", priority=0),
        _text("title", priority=1, width=12),
        _text("partner", priority=1),
        _number("count", priority=1),
        _age("last", "last_seen_at", 1),
        _text("state", priority=0),
        _text("verdict", priority=3),
        _text("assignee", priority=4),
        Column("quiet until", lambda row: row.snoozed_until, 4, style="until"),
        Column("silenced", lambda row: bool(row.silenced_by), 5),
        _text("rule", priority=5),
    ),
    "AlertPage": (
        _text("target", priority=0),
        _text("state", priority=0),
        _until("when", "at", 0),
        _text("said", priority=1),
    ),
    "LogHandover": (
        Column("at", lambda row: row.at, 0, "time", width=16),
        _text("kind", priority=0),
        _number("index", priority=1),
        _text("by", priority=1),
        _text("reason", priority=2),
        _number("carried", priority=4),
        _text("new key", "new_key", priority=3),
        _text("old key", "old_key", priority=5),
    ),
    "Silence": (
        _ID,
        Column("matches", _matchers, 0, width=12),
        _text("state", priority=0),
        Column("ends", lambda row: row.ends_at, 0, style="until"),
        _number("hits", priority=0),
        _number("alerts", priority=1),
        _text("owner", priority=1),
        _text("reason", priority=2),
        _text("why it ended", "ended_why", priority=4),
    ),
    "DetectionRule": (
        _text("rule", "id", priority=0, width=16),
        _text("state", priority=0),
        _text("severity", priority=0),
        _text("kind", priority=2),
        Column("threshold", lambda row: _threshold(row, row.threshold), 1, align="right"),
        Column("window", lambda row: _span(row.window_seconds), 1, align="right"),
        Column("factor", lambda row: f"{row.factor:g}" if row.factor else "", 3, align="right"),
        Column("tuned", _tuned, 2),
        _text("title", priority=2),
        _text("origin", priority=4),
        _text("error", priority=3),
    ),
    "RuleTrial": (
        _text("rule", priority=0),
        _time("since", "since", 0),
        _time("until", "until", 0),
        _number("read", priority=0),
        _number("alerts", priority=0),
        _number("matches", priority=0),
        Column("found", _found, 1, most=2000),
        _text("partial", priority=1),
        _text("warnings", priority=1),
    ),
    "OncallTarget": (
        _text("name", "slug", priority=0),
        _number("level", priority=0),
        Column("after", _after, 0, align="right", width=4),
        _text("kind", priority=1),
        _text("severities", priority=1),
        _text("hours", priority=2),
        _age("delivered", "delivered_at", 1),
        _text("failing", priority=0),
        _text("url", priority=3),
        _text("argv", priority=3),
        _text("id", priority=4, width=30, most=30),
    ),
    "Delivery": (
        _ID,
        _text("target", priority=0),
        _text("title", priority=1),
        _text("severity", priority=2),
        _text("why", priority=3),
        _text("state", priority=0),
        _number("attempts", priority=1),
        _age("age", "created_at", 1),
        Column("next", lambda row: row.next_at, 2, style="until"),
        _text("error", priority=1),
        _text("alert", "alert_id", priority=4, width=30, most=30),
    ),
    "Process": (
        _text("name", priority=0),
        _text("state", priority=0),
        _number("pid", priority=1),
        _number("restarts", priority=2),
        _age("since", "since", 2),
        _text("why", priority=3),
    ),
    "ServiceStatus": (
        _text("service", priority=0),
        Column("state", lambda row: "ok" if row.healthy else "not well", 0, width=8),
        _age("age", "as_of", 2),
        _number("sequence", priority=1),
        _text("operator", "operator.name", priority=1),
        _text("roles", "operator.roles", priority=2),
        _text("version", priority=4),
        _text("notes", priority=3),
        _text("lacks", "dependency_notes", priority=3),
    ),
}
"""By the name of the result type. A type that is not here is shown member by member."""
