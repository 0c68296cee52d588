"""Views: each a value, made from the operations that list something.

Adding a noun that can be listed adds its view. What is written by hand here is taste:
which columns matter most, other names, what an empty list should say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args, get_origin

from console.errors import ExitCode, PilotError
from console.model.number import whole_number
from console.model.stored import Page
from console.operations.spec import Effect, Operation, fields
from console.operations.values import moment
from console.present.columns import Column, cell, columns_of, name_of, short
from console.present.table_columns import TableColumn
from console.tui.link.log_proofs import LogHealth
from console.tui.link.subjects import API_OF
from console.tui.theme.palette import meaning
from console.tui.views.read_parts import Part
from console.tui.widgets.strips import Line
from console.tui.widgets.text_lines import Subject

NOUN_OF = {
    "Pilot": "pilot", "Capability": "capability", "Partner": "partner", "Grant": "grant",
    "Credential": "credential", "Lock": "lock", "Alert": "alert", "CallRecord": "call",
    "Event": "event", "UsageTerms": "terms", "Assessment": "assessment", "Point": "point",
    "Principal": "principal", "QuietGrant": "grant",
    "OperatorAccount": "operator",
    "Receipt": "receipt", "Silence": "silence", "DetectionRule": "rule", "OncallTarget": "oncall",
}  # fmt: skip
"""The type of a row to the subject of the operations that act on it."""

ROW_OF = {
    "Acceptance": "acceptance", "BudgetState": "budget", "Charge": "charge",
    "Delivery": "delivery", "Forecast": "forecast", "LogHandover": "handover",
    "OperatorSession": "session", "Price": "price", "Tombstone": "tombstone",
}  # fmt: skip
"""The type of a row that no operation shows by itself to what it is called: it is told by its
own members, and acted on through what it belongs to."""

ROWS = frozenset(ROW_OF.values())

_PLURAL = {
    "capability": "capabilities",
    "usage": "usage",
    "audit": "audit",
    "terms": "terms",
    "oncall": "oncall",
    "break-glass": "break-glass",
}
_ALIASES = {
    "partners": ("partner", "p"), "grants": ("grant", "g"), "keys": ("key", "k", "credentials"),
    "locks": ("lock",), "alerts": ("alert",), "calls": ("call",), "capabilities": ("caps",),
    "audit": ("log-events", "events", "event"), "usage": ("use",),
    "logs": ("log", "handovers", "handover"),
}  # fmt: skip
_FIRST = {
    "Grant": ("partner", "capabilities", "tier", "state", "expires", "models", "why", "id"),
    "QuietGrant": ("partner", "capabilities", "tier", "last used", "keys", "expires", "id"),
    "Principal": ("partner", "kind", "note", "state", "id"),
    "Credential": (
        "partner",
        "holder",
        "key",
        "version",
        "state",
        "used",
        "from",
        "old version",
        "grant",
        "id",
    ),
    "Lock": ("target", "kind", "state", "age", "by", "reason", "id"),
    "Alert": ("severity", "title", "partner", "count", "last", "state", "verdict", "id"),
    "CallRecord": ("age", "partner", "model", "outcome", "code", "in", "out", "ms", "id"),
    "Event": ("index", "at", "actor", "action", "target", "partner", "outcome"),
    "Receipt": ("target", "action", "state", "logged", "age", "by", "id"),
    "Assessment": ("partner", "capability", "state", "valid", "assessor", "id"),
    "Acceptance": ("partner", "pilot", "version", "signatory", "recorded", "id"),
    "UsageTerms": ("pilot", "version", "title", "reaccept by", "accepted by", "id"),
    "Silence": ("matches", "state", "ends", "hits", "alerts", "owner", "reason", "id"),
    "DetectionRule": ("rule", "state", "severity", "kind", "threshold", "window", "title"),
    "OncallTarget": ("name", "level", "after", "severities", "kind", "delivered", "failing"),
    "Delivery": ("target", "title", "state", "attempts", "age", "next", "error", "id"),
    "Tombstone": ("kind", "partner", "age", "by", "reason", "id"),
    "OperatorSession": ("operator", "service", "by", "agent", "last", "requests"),
}
_PRIORITY = {
    ("QuietGrant", "id"): 3, ("Principal", "id"): 3,
    ("Grant", "id"): 3, ("Grant", "capabilities"): 0, ("Credential", "id"): 3, ("Lock", "id"): 4,
    ("Alert", "id"): 4, ("Alert", "title"): 0, ("Alert", "verdict"): 3, ("Alert", "assignee"): 3,
    ("Acceptance", "signatory"): 0, ("CallRecord", "id"): 3, ("Receipt", "id"): 3,
    ("Assessment", "id"): 4, ("Acceptance", "id"): 4, ("UsageTerms", "id"): 4,
    ("Tombstone", "id"): 1, ("Event", "target"): 0, ("Receipt", "logged"): 5,
}  # fmt: skip
_MIN_CELLS = {
    ("Alert", "title"): 24, ("Alert", "state"): 11, ("DetectionRule", "rule"): 24,
    ("Lock", "reason"): 20, ("UsageTerms", "title"): 24,
}  # fmt: skip
"""Cells without which a column says too little: others go first."""
_TOGETHER = {
    "BudgetState": ("grant_id", "scope", "principal"),
    "Forecast": ("kind", "name", "partner"),
    "OperatorSession": ("operator", "service", "by", "source", "agent"),
}
"""Rows that have no id: what together tells them apart."""

_RUNS_OUT = ("Forecast", "name")
"""A column of names of which many are ids."""

_EMPTY = {
    "grants": (
        "No grants.",
        "`{grant.create}` makes one; `:capabilities` says what can be granted.",
    ),
    "keys": ("No keys.", "`{key.issue}` on a grant issues one: `:grants`."),
    "locks": (
        "No locks: nothing is held back.",
        "`{lock.add}` on any row locks what it is about.",
    ),
    "alerts": ("No alerts.", "Detections run over calls and events; `:audit` has all of them."),
    "silences": ("No silences: every alert is heard.", "`pilotctl silence add` mutes one a while."),
    "oncall": ("Nobody is on call.", "`pilotctl oncall add NAME` pages a webhook or a program."),
    "deliveries": ("Nobody was paged.", "`:oncall` has who would be; `:oncall test` tries."),
    "break-glass": (
        "No account is sealed for the night on which nobody can sign in.",
        "`pilotctl break-glass seal` makes one; its token is for a safe.",
    ),
    "prices": ("No prices: calls cost nothing.", "`:price set` sets what a model's tokens cost."),
    "budgets": ("No budgets.", "`:grant amend limits=budget=250,per=month` sets one."),
    "forecast": ("Nothing can run out.", "A grant's budget, or a pool in pilot.toml, would."),
    "calls": ("No calls yet.", "Partners call the points: `:points` has their addresses."),
    "partners": ("No partners.", "`:partner create` adds one."),
    "principals": ("No principals.", "A partner's user is taken in by `:principal create`."),
    "expiring": ("Nothing ends soon.", "`:expiring within=90d` looks further ahead."),
    "quiet": ("No quiet grants: each was used.", "`:quiet since=7d` looks at a shorter time."),
    "pilots": ("No pilots.", "`:pilot create` adds one: its models and stages."),
    "receipts": ("No receipts.", "Each lock, suspension and revocation leaves one: its proof."),
    "capabilities": ("No capabilities.", "`:capability create` adds one to a pilot."),
    "terms": ("No terms.", "`:terms publish` publishes a pilot's; grants need them accepted."),
    "acceptances": ("Nobody has accepted terms.", "`:terms accept` records that a partner did."),
    "assessments": ("No assessments.", "`:assessment create` records one; grants need it."),
    "logs": ("The log's first key still signs it.", "A rotation, or a log's end, is listed here."),
    "points": ("No points.", "`pilotctl up` starts them; without one no call gets through."),
    "usage": ("Nothing was used in this time.", "`:usage since=7d` looks further back."),
}
_EVERY = {"partners": 5.0, "pilots": 10.0, "capabilities": 10.0, "terms": 10.0}
_REFRESH = 2.0
_ASKED = {"expiring": {"within": "30d"}}
_WHOLE = frozenset({"budgets", "forecast", "prices"})
"""Lists whose columns are all there is to say of a row: they have the whole width."""
_FOR = {"expiring": ("renew",), "quiet": ("revoke",)}
"""What a list is made for: the verbs that it hints at first."""
_MAX_ROWS = {"calls": "200", "audit": "200"}
MAIN = ("now", "grants", "alerts", "usage", "audit", "calls", "keys", "locks", "partners")


class Source(NamedTuple):
    """One list under a view: an operation, what it is asked, and how its items become rows."""

    op: Operation
    raw: Mapping[str, str] = {}
    rows: Callable[[Sequence[Any], datetime], Sequence[Any]] = lambda items, _: items
    asks: Callable[[Mapping[str, str]], Mapping[str, str] | None] = dict
    """What it is asked of what the operator narrowed the view to. None: nothing, this time."""


class Sight(NamedTuple):
    """What a view knows when it draws around its rows."""

    parts: Sequence[Part]
    """What is known of each source."""
    raw: Mapping[str, str]
    """What the operator narrowed it to."""
    row: Any
    """The row under the cursor, or None."""
    room: int
    height: int
    """Cells and lines that the view has for everything."""
    now: datetime
    log: LogHealth


class ViewKey(NamedTuple):
    """A key of a view: it turns what the view is narrowed to, or does something by name."""

    key: str
    label: str
    what: str
    turn: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None
    act: str = ""
    """One of `console.tui.places.rows_view.ACTS`."""


class Drill(NamedTuple):
    """Where enter on a row leads, where that is not the row's own story."""

    view: str
    options: Mapping[str, str]
    why: str = ""
    """Why it leads nowhere."""


class View(NamedTuple):
    """A table over the answers of one or more lists."""

    name: str
    noun: str
    title: str
    sources: tuple[Source, ...]
    columns: tuple[TableColumn, ...]
    subject: Callable[[Any], Subject | None]
    row_id: Callable[[Any], str]
    every: float = _REFRESH
    empty: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    aside: Callable[[Sequence[Part]], Line] = lambda _: []
    """What stands at the right of the crumbs, from what is known of each source."""
    above: Callable[[Sight], list[Line]] = lambda _: []
    """Lines over the rows: a plot."""
    below: Callable[[Sight], list[Line]] = lambda _: []
    """Lines at the bottom: what the rows are part of."""
    keys: tuple[ViewKey, ...] = ()
    opens: Callable[[Any, Mapping[str, str]], Drill | None] = lambda _, __: None
    tail: Callable[[Sequence[Any]], Mapping[str, str]] | None = None
    """A live tail: what is asked for, to have what is newer than these rows (newest first)."""
    seen: bool = False
    """Its rows are events: those on the screen are proven, one by one."""
    shaped: Callable[[Mapping[str, str]], tuple[TableColumn, ...]] | None = None
    """Its columns, where they depend on what it is narrowed to; the same ones each time."""
    joined: Callable[[Sequence[Part], Mapping[str, str]], Sequence[Any]] | None = None
    """Its rows from what is known of every source and what it is narrowed to, where one
    source's alone do not make them."""
    called: Callable[[Mapping[str, str]], str] | None = None
    """What the crumbs call it, where its name and options would not read well."""
    told: bool = True
    """Whether its row under the cursor is told beside it, where there is room."""
    hinted: tuple[str, ...] = ()
    """The verbs that it is looked at for."""
    searched: Mapping[str, str] = {}
    """Fields of a filter that the API can search by, to its parameter; `""` for plain words."""

    @property
    def api(self) -> str:
        """The API that its noun belongs to."""
        return API_OF.get(self.noun, "policy")


def item_type(op: Operation) -> type | None:
    """Return the type of a list's items, or None for an operation that is no list."""
    if get_origin(op.result) is Page:
        inner: type = get_args(op.result)[0]
        return inner
    return None


def subject_of(value: Any) -> Subject | None:
    """Return what a row is about."""
    kind = type(value).__name__
    if noun := NOUN_OF.get(kind):
        return Subject(noun, name_of(value), value)
    return Subject(ROW_OF[kind], row_id(value), value) if kind in ROW_OF else None


def row_id(value: Any) -> str:
    """Return what tells a row from the others of its list, never empty."""
    if together := _TOGETHER.get(type(value).__name__):
        return " ".join(str(getattr(value, member)) for member in together)
    return str(getattr(value, "id", "")) or name_of(value) or "-"


def table_columns(kind: type) -> tuple[TableColumn, ...]:
    """Return the columns of a result type for a table, the telling ones first."""
    name = kind.__name__
    columns = {column.name: column for column in columns_of(name)}
    order = [*_FIRST.get(name, ()), *columns]
    return tuple(_column(columns[each], name) for each in dict.fromkeys(order) if each in columns)


def _column(column: Column, kind: str) -> TableColumn:
    def text(row: Any, now: datetime) -> str:
        written = cell(column, row, now)
        named = column.name in {"id", "target", "grant"} or (kind, column.name) == _RUNS_OUT
        return short(written) if named else written

    def token(row: Any) -> str:
        value = column.get(row)
        found = meaning(value) if isinstance(value, str) else ""
        return found or ("dim" if column.name == "id" else "")

    def key(row: Any) -> Any:
        value = column.get(row)
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value

    return TableColumn(
        column.name, text, token, key,
        _PRIORITY.get((kind, column.name), column.priority),
        min(11, column.width)
        if column.name == "id"
        else _MIN_CELLS.get((kind, column.name), column.width),
        column.most, column.align, column.style in {"age", "until"},
    )  # fmt: skip


def view_of(op: Operation) -> View | None:
    """Return the view of a list operation that can be asked without being told anything."""
    kind = item_type(op)
    if kind is None or any(field.required for field in fields(op)):
        return None
    name = _PLURAL.get(op.noun, f"{op.noun}s") if op.verb in {"list", "show"} else op.verb
    raw = {"limit": _MAX_ROWS[name]} if name in _MAX_ROWS else _ASKED.get(name, {})
    return View(
        name, op.noun, op.title, (Source(op, raw),), table_columns(kind), subject_of, row_id,
        _EVERY.get(name, _REFRESH), _EMPTY.get(name, (f"No {name}.",)),
        _ALIASES.get(name, (op.noun,) if op.verb == "list" and op.noun != name else ()),
        told=name not in _WHOLE,
        hinted=_FOR.get(name, ()),
    )  # fmt: skip


def list_views(operations: Iterable[Operation]) -> dict[str, View]:
    """Return every list's view by name, the main ones first."""
    found = {
        view.name: view
        for op in operations
        if op.effect is Effect.READ and (view := view_of(op)) is not None
    }
    names = [name for name in MAIN if name in found]
    return {name: found[name] for name in [*names, *(each for each in found if each not in names)]}


_TIME_WORDS = frozenset({"today", "yesterday", "tomorrow", "week", "month", "hour", "day"})
"""Words that mean a time to people, and are none that a list takes."""


def _is_time(word: str) -> bool:
    """Tell whether a bare word says since when. Raises `PilotError` for one that only seems to."""
    if word.casefold() in _TIME_WORDS:
        raise PilotError(
            "bad-value",
            f"{word!r} is not a time: since takes a distance back or a date, like 24h, 7d or "
            "2026-11-29",
            exit=ExitCode.USAGE,
        )
    if whole_number(word[:1]) is None:
        return False
    try:
        moment(word, datetime.now(UTC), ahead=False)
    except PilotError:
        return False
    return True


def narrowed(
    view: View, words: Sequence[str], options: Mapping[str, str]
) -> tuple[Mapping[str, str], str]:
    """Return what a view's list is asked for, from a command's words and options, and a filter.

    A bare word is the state, kind or other choice that it names, where the list can be
    narrowed by one; else a time or a distance back, where it can begin at one; else the
    partner, where it can be narrowed to one; else it filters what is shown. An option that
    the list does not take is a KeyError of its name, and a word for a time that is none that
    `since` takes is a `PilotError`.
    """
    taken = fields(view.sources[0].op)
    names = {field.name for field in taken}
    raw: dict[str, str] = {}
    left: list[str] = []
    for word in words:
        chosen = [field.name for field in taken if word in field.param.choices]
        if not chosen and "since" in names and _is_time(word):
            chosen = ["since"]
        ways = [*chosen, *(("partner",) if "partner" in names else ())]
        way = next((name for name in ways if name not in raw and name not in options), None)
        if way is None:
            left.append(word)
        else:
            raw[way] = word
    for name, value in options.items():
        if name not in names:
            raise KeyError(name)
        raw[name] = value
    return raw, " ".join(left)
