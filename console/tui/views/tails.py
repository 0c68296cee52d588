"""Live tails: calls, and the log, newest first. What was read stays while more comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from console.model.audit import Event
from console.operations.spec import Operation
from console.parsing.filters import terms
from console.present.amounts import amount, milliseconds, percent
from console.present.cells import width
from console.present.columns import short
from console.present.table_columns import TableColumn
from console.tui.link.log_proofs import Proofs, verified
from console.tui.views.list_views import Sight, View, ViewKey, view_of
from console.tui.widgets.strips import Ink, Line

MAX_KEPT = 5_000
"""Rows that a tail holds; older ones are asked for when they are looked for."""

TAIL_KEYS = (
    ViewKey("f", "follow", "keep the cursor on the newest, as it comes", act="follow"),
    ViewKey("p", "pause", "hold the rows as they are; again to go on", act="pause"),
)


def merged(
    held: Sequence[Any], items: Sequence[Any], row_id: Callable[[Any], str], *, ascending: bool
) -> Sequence[Any]:
    """Return the newest rows over those held. Rows between the two that were missed would be
    a hole: where the answer does not reach back to what is held, it stands alone.

    `ascending`: `items` are what came after those held, the oldest first.
    """
    if ascending:
        known = {row_id(each) for each in held[: 2 * len(items) + 1]}
        fresh = [each for each in reversed(items) if row_id(each) not in known]
        return [*fresh, *held][:MAX_KEPT] if fresh else held
    if not held:
        return items
    answered = {row_id(each) for each in items}
    rest = [each for each in held if row_id(each) not in answered]
    return [*items, *rest][:MAX_KEPT] if len(rest) < len(held) else items


def calls_view(op: Operation) -> View:
    """Return the tail of calls."""
    view = view_of(op)
    assert view is not None
    return view._replace(
        tail=lambda _: {},
        keys=TAIL_KEYS,
        every=1.5,
        columns=_with_units(view.columns),
        below=_call_totals,
        searched={name: name for name in ("partner", "model", "outcome", "code")},
    )


def _with_units(columns: Sequence[TableColumn]) -> tuple[TableColumn, ...]:
    """Return the columns with times and tokens as people read them."""
    written: dict[str, Callable[[Any, datetime], str]] = {
        "ms": lambda row, _: milliseconds(row.total_ms),
        "in": lambda row, _: amount(row.input_tokens) if row.input_tokens else "",
        "out": lambda row, _: amount(row.output_tokens) if row.output_tokens else "",
    }
    names = {"ms": "took"}
    return tuple(
        each._replace(
            name=names.get(each.name, each.name), text=written.get(each.name, each.text),
            least=6 if each.name in written else each.least,
        )
        for each in columns
    )  # fmt: skip


def _call_totals(sight: Sight) -> list[Line]:
    rows = sight.parts[0].items
    if not rows or sight.height < 12:
        return []
    denied = sum(row.outcome in {"denied", "blocked"} for row in rows)
    wrong = sum(row.outcome == "error" for row in rows)
    took = sorted(row.total_ms for row in rows if row.outcome == "allowed")
    line = [
        Ink(f" of these {len(rows):,}", "dim"),
        Ink(f"   denied {percent(denied, len(rows))}", "bad" if denied * 5 > len(rows) else "dim"),
        Ink(f"   errors {percent(wrong, len(rows))}", "bad" if wrong * 5 > len(rows) else "dim"),
    ]
    if took:
        middle, slow = took[len(took) // 2], took[min(len(took) - 1, len(took) * 95 // 100)]
        line.append(Ink(f"   served in {milliseconds(middle)}, p95 {milliseconds(slow)}", "dim"))
    return [line]


# the log


_SEARCHED = {
    "actor": "actor", "action": "action", "target": "target", "partner": "partner",
    "outcome": "outcome", "source": "source", "text": "text", "": "text",
}  # fmt: skip


def audit_view(op: Operation, proofs: Proofs) -> View:
    """Return the tail of the log, each row with what this console has proven of it."""
    view = view_of(op)
    assert view is not None
    proven = TableColumn(
        "log", lambda row, _: proofs.word(row), proofs.token, proofs.word, 0, 6, 6, moves=True,
    )  # fmt: skip
    at = next((place for place, each in enumerate(view.columns) if each.name == "index"), 0)
    columns = (*view.columns[: at + 1], proven, *view.columns[at + 1 :])
    return view._replace(
        columns=tuple(_event_column(each) for each in columns),
        tail=_after,
        keys=TAIL_KEYS,
        every=1.5,
        seen=True,
        below=lambda sight: _log_line(sight, proofs),
        searched=_SEARCHED,
        empty=(
            "No events match.",
            "/ searches the whole log: actor:, action:, target:, partner:, words; esc goes back.",
        ),
    )


def _event_column(column: TableColumn) -> TableColumn:
    if column.name == "index":
        return column._replace(text=lambda row, _: f"{row.index:,}", least=3)
    if column.name == "at":
        return column._replace(text=_clock, least=8, most=14, priority=1)
    if column.name == "target":
        return column._replace(text=lambda row, _: short(row.target), least=8, most=32)
    return column


def _clock(row: Event, now: datetime) -> str:
    here = row.at.astimezone()
    same = here.date() == now.astimezone().date()
    return f"{here:%H:%M:%S}" if same else f"{here:%b %d %H:%M}"


def _after(rows: Sequence[Any]) -> Mapping[str, str]:
    return {"after": str(rows[0].index)} if rows else {}


def _log_line(sight: Sight, proofs: Proofs) -> list[Line]:
    if sight.height < 12:
        return []
    rows = sight.parts[0].items
    said = (
        "nothing of the log was read"
        if rows is None
        else f"{verified(rows, proofs):,} of {len(rows):,} rows proven to be in the log"
    )
    line = [Ink(f" {said}", "dim")]
    row = sight.row
    if isinstance(row, Event) and (why := proofs.failure(row)):
        line = [Ink(f" FAILED: {why}", "bad")]
    words = log_words(sight)
    if sum(width(ink.text) for ink in [*line, *words]) + 3 > sight.room:
        return [line]
    return [[*line, Ink("   "), *words]]


def log_words(sight: Sight) -> Line:
    """Return how the log stands, in words."""
    log = sight.log
    if log.failed:
        return [Ink(f"LOG FAILED: {log.failed}", "bad")]
    if log.size < 0:
        return [Ink(f"log not verified yet{': ' + log.why if log.why else ''}", "pending")]
    out = [Ink(f"{log.size:,} events, verified with the pinned key", "good")]
    if log.why:
        out.append(Ink(f", not lately: {log.why}", "pending"))
    return out


def searching(view: View, filter: str) -> tuple[dict[str, str], str]:
    """Split a filter into what the API can search by, and what is left for the rows here."""
    raw: dict[str, str] = {}
    left: list[str] = []
    for word in filter.split():
        found = terms(word)
        if not found:
            continue
        term = found[0]
        name = None
        if not term.field:
            name = view.searched.get("")
        elif field := next((each for each in view.searched if each.startswith(term.field)), ""):
            name = view.searched[field]
        # as it was typed: ids are told apart by case
        value = word.replace("=", ":", 1).partition(":")[2] if term.field else word
        if name is None or not term.wanted or term.relation != ":" or not value:
            left.append(word)
        elif name == "text":
            raw[name] = f"{raw[name]} {value}" if name in raw else value
        elif name in raw:
            left.append(word)
        else:
            raw[name] = value
    return raw, " ".join(left)
