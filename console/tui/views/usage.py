"""The usage view: what calls add up to, over time and by group, down to the calls themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

from console.errors import PilotError
from console.model.traffic import UsageBy, UsageRow
from console.operations.spec import Operation
from console.operations.values import moment
from console.present.amounts import amount, bar, change, counted, money, percent
from console.present.columns import short
from console.present.heat import heat, weekly
from console.present.plot import Bar, hours_between, plot
from console.present.table_columns import TableColumn
from console.present.times import age
from console.tui.views.list_views import Drill, Sight, Source, View, ViewKey
from console.tui.views.read_parts import Part
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.text_lines import Subject

PERIODS = ("6h", "24h", "3d", "7d", "30d")
GROUPS = tuple(str(each) for each in UsageBy)
BY_NAME, BY, SINCE = "by", str(UsageBy.PARTNER), "24h"
SHARE_CELLS = 10
_CALLS_TAKE = {
    "partner": "partner", "grant": "grant", "key": "credential", "model": "model",
    "capability": "capability", "principal": "principal", "network": "network",
}  # fmt: skip
_NARROWED = ("partner", "grant", "key", "model", "capability", "principal", "network")
_NAMELESS = {
    "partner": "no partner known", "model": "no model of ours", "principal": "nobody named",
    "network": "no address",
}  # fmt: skip
_WEEK = {"by": "hour", "since": "7d"}
_HEAT_LINES = 22
"""So many lines the view must have for a heat map above its rows."""


class Used(NamedTuple):
    """One group's usage beside the whole."""

    row: UsageRow
    whole: int
    """Tokens of every group."""
    by: str
    """What it is a group of."""

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.row.tokens

    @property
    def beyond(self) -> int:
        """Tokens above what its seven days before come to; the least where that is unknown."""
        return -1 if self.row.norm_tokens is None else self.row.tokens - self.row.norm_tokens

    def exported(self) -> dict[str, Any]:
        """Return the row as numbers, beside the tokens of all groups together."""
        members = {name: getattr(self.row, name) for name in self.row.__struct_fields__}
        return {"by": self.by, **members, "tokens": self.tokens, "tokens_of_all": self.whole}


def used(now: Sequence[Any], by: str) -> list[Used]:
    """Return the groups of `by`, the largest first; times newest first."""
    whole = sum(row.tokens for row in now)
    out = [Used(row, whole, by) for row in now]
    if by in {UsageBy.HOUR, UsageBy.DAY}:
        return sorted(out, key=lambda each: each.row.group, reverse=True)
    return sorted(out, key=lambda each: (-each.tokens, -each.row.calls, each.row.group))


def moment_of(group: str) -> datetime | None:
    """Return the hour that a group names; None where it names something else."""
    try:
        found = datetime.fromisoformat(group)
    except ValueError:
        return None
    return found if found.tzinfo else None


def by_hour(rows: Sequence[Any], since: datetime, now: datetime) -> list[tuple[datetime, UsageRow]]:
    """Return a row for each hour of the period, empty ones too."""
    known = {moment_of(row.group): row for row in rows}
    return [(hour, known.get(hour) or _nothing(hour)) for hour in hours_between(since, now)]


def hourly_plot(
    rows: Sequence[Any], since: datetime, now: datetime, *, cells: int, height: int,
    chosen: datetime | None = None,
) -> list[Line]:  # fmt: skip
    """Return tokens an hour as a plot, the hour `chosen` marked on its axis."""
    hours = by_hour(rows, since.astimezone(UTC), now.astimezone(UTC))
    days = len(hours) > 72
    every = 24 if days else 12 if len(hours) > 40 else 4 if len(hours) > 8 else 1
    bars = []
    for hour, row in hours:
        here = hour.astimezone()
        label = ""
        if here.hour % every == 0:
            label = f"{here:%b %d}" if days else f"{here:%H:%M}"
        bars.append(Bar(label, float(row.tokens)))
    marked = next((at for at, (hour, _) in enumerate(hours) if hour == chosen), None)
    drawn = plot(bars, cells, height, chosen=marked)
    out: list[Line] = [
        [Ink(" "), Ink(scale, "dim"), Ink(line, "bars")] for scale, line in drawn.rows
    ]
    out.append([Ink(" "), Ink(drawn.axis, "dim")])
    zone = f"local, {now.astimezone():%Z}" if now.astimezone().utcoffset() else "UTC"
    gap = max(2, cells - len(drawn.labels) - len(zone))
    out.append([Ink(" "), Ink(drawn.labels, "dim"), Ink(" " * gap + zone, "dim")])
    return out


def _nothing(hour: datetime) -> UsageRow:
    return UsageRow(
        group=hour.isoformat(), calls=0, allowed=0, denied=0, errors=0,
        input_tokens=0, output_tokens=0, estimated_calls=0,
    )  # fmt: skip


def weekly_heat(
    rows: Sequence[Any], since: datetime, now: datetime, *, cells: int
) -> list[Line]:  # fmt: skip
    """Return tokens by weekday and hour, in local time: told by shape, and by each day's sum."""
    hours = by_hour(rows, since.astimezone(UTC), now.astimezone(UTC))
    drawn = heat(weekly((hour.astimezone(), float(row.tokens)) for hour, row in hours), cells)
    out: list[Line] = [[Ink(" "), Ink(drawn.head, "dim")]]
    out += [
        [Ink(" "), Ink(day, "dim"), Ink(shades, "bars"), Ink(total)]
        for day, shades, total in drawn.rows
    ]
    return [*out, [Ink(" "), Ink(drawn.legend, "dim")]]


# the view


def window(raw: Mapping[str, str], now: datetime) -> tuple[datetime, datetime]:
    """Return the period that is asked for, read as the list reads it: it draws what it counts."""
    try:
        since = moment(raw.get("since", SINCE), now, ahead=False)
        until = moment(raw["until"], now, ahead=False) if raw.get("until") else now
    except PilotError:
        return now - timedelta(days=1), now  # the list says what is wrong with it
    return since, until


def _grouped(raw: Mapping[str, str]) -> Mapping[str, str]:
    return {"by": BY, "since": SINCE, **raw}


def _hours(raw: Mapping[str, str]) -> Mapping[str, str]:
    alone = {name: value for name, value in _grouped(raw).items() if name != "also"}
    return {**alone, "by": str(UsageBy.HOUR)}


def _above(sight: Sight) -> list[Line]:
    since, until = window(sight.raw, sight.now)
    part = sight.parts[1]
    rows = part.items
    height = max(2, min(10, (sight.height - 6) // 4))
    if sight.height < 14:
        return []
    if rows is None:
        return [[Ink(" tokens an hour", "title"), Ink(f"  unknown{_why(part)}", "bad")], []]
    chosen = moment_of(sight.row.row.group) if isinstance(sight.row, Used) else None
    total = sum(row.tokens for row in rows)
    calls = sum(row.calls for row in rows)
    denied = sum(row.denied + row.blocked for row in rows)
    cost = sum(row.cost_micros for row in rows)
    guessed = sum(row.estimated_calls for row in rows)
    said = (
        f"{amount(total)} tokens  {counted(calls, 'call')}  refused {percent(denied, calls) or '0'}"
        f"  cost {money(cost)}"
    )
    head = [Ink(" tokens an hour", "title"), Ink(f"  {said}", "dim")]
    if guessed:
        head.append(Ink(f"  {amount(guessed)} est.", "dim"))
    if part.age:
        head.append(Ink(f"  {part.age} old", "bad"))
    long = until - since > timedelta(days=3)
    if long and sight.raw.get("by") == UsageBy.HOUR and sight.height >= _HEAT_LINES:
        head[0] = Ink(" tokens by the hour of the week", "title")
        return [head, *weekly_heat(rows, since, until, cells=sight.room - 2), []]
    return [
        head,
        *hourly_plot(rows, since, until, cells=sight.room - 2, height=height, chosen=chosen),
        [],
    ]


def _why(part: Part) -> str:
    return f": {part.fault}" if part.fault else " yet"


def _cycled(
    known: Sequence[str], name: str, default: str, raw: Mapping[str, str]
) -> dict[str, str]:
    at = raw.get(name, default)
    place = known.index(at) if at in known else -1
    return {**raw, name: known[(place + 1) % len(known)]}


def _week(raw: Mapping[str, str]) -> Mapping[str, str]:
    """Turn to the week's hours, and from them back to the groups of a day."""
    turned = {BY_NAME: BY, "since": SINCE} if _WEEK.items() <= raw.items() else _WEEK
    return {**raw, **turned}


def _opens(row: Any, raw: Mapping[str, str]) -> Drill | None:
    if not isinstance(row, Used):
        return None
    by = raw.get("by", BY)
    options = {name: raw[name] for name in ("since", "until") if name in raw}
    options |= {_CALLS_TAKE[name]: raw[name] for name in _NARROWED if name in raw}
    options.setdefault("since", SINCE)
    if by in {UsageBy.HOUR, UsageBy.DAY}:
        begins = _begins(row.row.group)
        if begins is None:
            return None
        length = timedelta(days=1) if by == UsageBy.DAY else timedelta(hours=1)
        options |= {"since": _iso(begins), "until": _iso(begins + length)}
        return Drill("calls", options)
    if by not in _CALLS_TAKE:
        return Drill("", {}, f"calls cannot be narrowed to a {by}; g groups by another")
    if not row.row.group:
        return Drill("", {}, "these calls name nobody: :calls outcome=denied has them")
    return Drill("calls", {**options, _CALLS_TAKE[by]: row.row.group})


def _begins(group: str) -> datetime | None:
    """Return when the hour or the day (UTC) of a group began."""
    return moment_of(group) or moment_of(f"{group}T00:00:00Z")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _subject(each: Any) -> Subject | None:
    """Return what a group's calls belong to, where that is something to act on."""
    noun = {"key": "credential"}.get(each.by, each.by)
    if noun not in {"partner", "grant", "credential", "capability"} or not each.row.group:
        return None
    return Subject(noun, each.row.group)


@lru_cache(maxsize=16)
def _columns(by: str) -> tuple[TableColumn, ...]:
    def group(each: Used, _: datetime) -> str:
        if by == UsageBy.HOUR:
            moment = moment_of(each.row.group)
            return f"{moment.astimezone():%a %d  %H:%M}" if moment else each.row.group
        if by == UsageBy.PRINCIPAL and each.row.group:
            return f"{each.row.group[:16]}…"
        name = short(each.row.group) or _NAMELESS.get(by, "none")
        return f"{name} / {short(each.row.second) or 'none'}" if each.row.second else name

    def number(value: Any) -> str:
        return amount(value) if value else "0"

    def plain(_: Any) -> str:
        return ""

    return (
        TableColumn(by, group, plain, lambda each: each.row.group, 0, 10, 40),
        TableColumn("tokens", lambda each, _: number(each.tokens), plain,
                    lambda each: each.tokens, 0, 7, 8, "right"),
        TableColumn("share", lambda each, _: bar(each.tokens, each.whole, SHARE_CELLS),
                    lambda _: "bars", lambda each: each.tokens, 2, SHARE_CELLS, SHARE_CELLS),
        TableColumn("of all", lambda each, _: percent(each.tokens, each.whole), plain,
                    lambda each: each.tokens, 1, 6, 7, "right"),
        TableColumn("calls", lambda each, _: number(each.row.calls), plain,
                    lambda each: each.row.calls, 0, 6, 8, "right"),
        TableColumn("denied", lambda each, _: percent(each.row.denied, each.row.calls),
                    lambda each: "bad" if each.row.denied * 5 > each.row.calls else "",
                    lambda each: each.row.denied / (each.row.calls or 1), 1, 6, 7, "right"),
        TableColumn("blocked", lambda each, _: percent(each.row.blocked, each.row.calls),
                    lambda each: "bad" if each.row.blocked * 5 > each.row.calls else "",
                    lambda each: each.row.blocked / (each.row.calls or 1), 3, 7, 7, "right"),
        TableColumn("errors", lambda each, _: percent(each.row.errors, each.row.calls),
                    lambda each: "bad" if each.row.errors * 5 > each.row.calls else "",
                    lambda each: each.row.errors / (each.row.calls or 1), 3, 6, 7, "right"),
        TableColumn("cost", lambda each, _: money(each.row.cost_micros), plain,
                    lambda each: each.row.cost_micros, 1, 6, 10, "right"),
        TableColumn("vs 7 d", lambda each, _: "" if each.row.norm_tokens is None
                    else change(each.tokens, each.row.norm_tokens), plain,
                    lambda each: each.beyond, 2, 6, 8, "right"),
        TableColumn("in", lambda each, _: number(each.row.input_tokens), lambda _: "dim",
                    lambda each: each.row.input_tokens, 4, 6, 8, "right"),
        TableColumn("out", lambda each, _: number(each.row.output_tokens), lambda _: "dim",
                    lambda each: each.row.output_tokens, 4, 6, 8, "right"),
        TableColumn("last", lambda each, now: age(each.row.last_at, now), lambda _: "dim",
                    lambda each: each.row.last_at, 3, 4, 5, "right", True),
    )  # fmt: skip


def usage_view(op: Operation) -> View:
    """Return the view of usage: a plot of the hours over the groups."""
    every = _columns(BY)
    return View(
        "usage", "usage", "Usage",
        (
            Source(op, {}, asks=_grouped),
            Source(op, {}, lambda _, __: (), _hours),
        ),
        every,
        _subject,
        lambda each: f"{each.row.group} {each.row.second}" if isinstance(each, Used) else str(each),
        5.0,
        ("Nothing was used in this time.", "t looks further back; :points has the addresses that",
         "partners call."),
        ("use",),
        above=_above,
        keys=(
            ViewKey("g", "group", "group by the next: partner, grant, key, model, …",
                    partial(_cycled, GROUPS, "by", BY)),
            ViewKey("t", "time", "look over the next longer time",
                    partial(_cycled, PERIODS, "since", SINCE)),
            ViewKey("w", "week", "the hours of the week as a heat map, and back", _week),
            ViewKey("e", "export CSV", "save what is shown as CSV", act="export"),
        ),
        opens=_opens,
        shaped=lambda raw: _columns(raw.get("by", BY)),
        joined=lambda parts, raw: used(parts[0].known(), raw.get("by", BY)),
        called=lambda raw: f"usage by {raw.get('by', BY)}, last {raw.get('since', SINCE)}"
        + (f", {raw['partner']}" if "partner" in raw else ""),
    )  # fmt: skip


def sparks(rows: Sequence[Any], since: datetime, now: datetime, cells: int) -> list[float]:
    """Return tokens over a period in `cells` equal parts, the newest last."""
    hours = by_hour(rows, since.astimezone(UTC), now.astimezone(UTC))
    edges = [len(hours) * at // cells for at in range(cells + 1)]
    return [float(sum(row.tokens for _, row in hours[low:high])) for low, high in pairwise(edges)]
