"""Readings: one object with everything around it, as lines that can be acted on.

What stands around an object is told by `AROUND`: other lists, asked about it. The lists'
own columns draw them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from console.errors import PilotError
from console.model.enforcement import Receipt
from console.operations.spec import Operation
from console.present.cells import fit, width
from console.present.columns import short, text_of
from console.present.detail import Line as Detail
from console.present.detail import detail
from console.present.receipt import receipt_lines
from console.tui.ink import Ink
from console.tui.lines import ReadLine, Subject, wrap
from console.tui.link import Link
from console.tui.operate import Registry, params_of, related
from console.tui.table import GAP, arrange
from console.tui.theme import meaning
from console.tui.views import item_type, subject_of, table_columns


class Beside(NamedTuple):
    """A list beside an object: its heading, the operation, what it is asked (`{id}`)."""

    title: str
    op: str
    raw: Mapping[str, str]
    most: int = 8


AROUND: dict[str, tuple[Beside, ...]] = {
    "partner": (
        Beside("ALERTS", "alert.list", {"partner": "{id}", "state": "open"}, 4),
        Beside("GRANTS", "grant.list", {"partner": "{id}"}),
        Beside("KEYS", "key.list", {"partner": "{id}"}),
        Beside("ASSESSMENTS", "assessment.list", {"partner": "{id}"}, 4),
        Beside("USAGE, 7 days, by model", "usage.show",
               {"partner": "{id}", "by": "model", "since": "7d"}, 4),
        Beside("CALLS", "call.list", {"partner": "{id}", "limit": "5"}, 5),
        Beside("HISTORY", "audit.list", {"partner": "{id}", "limit": "8"}),
    ),
    "grant": (
        Beside("KEYS", "key.list", {"grant": "{id}"}),
        Beside("CALLS", "call.list", {"grant": "{id}", "limit": "8"}),
        Beside("HISTORY", "audit.list", {"target": "{id}", "limit": "8"}),
    ),
    "credential": (
        Beside("CALLS", "call.list", {"credential": "{id}", "limit": "8"}),
        Beside("HISTORY", "audit.list", {"target": "{id}", "limit": "8"}),
    ),
    "alert": (
        Beside("GRANT", "grant.list", {"partner": "{partner}"}, 4),
        Beside("CALLS OF THE PARTNER", "call.list", {"partner": "{partner}", "limit": "8"}),
        Beside("HISTORY", "audit.list", {"target": "{id}", "limit": "6"}),
    ),
    "lock": (Beside("HISTORY", "audit.list", {"target": "{id}", "limit": "6"}),),
    "pilot": (
        Beside("CAPABILITIES", "capability.list", {"pilot": "{id}"}),
        Beside("GRANTS", "grant.list", {"pilot": "{id}"}),
        Beside("TERMS", "terms.list", {"pilot": "{id}"}, 3),
    ),
    "capability": (Beside("GRANTS", "grant.list", {"capability": "{id}"}),),
}  # fmt: skip

_QUIET = frozenset(
    {"revision", "created_at", "created_by", "updated_at", "updated_by", "labels", "fingerprint",
     "rule_revision", "body"}
)  # fmt: skip
"""Members that are seldom what is looked for: they go to the end."""
_NAME_CELLS = 16


def fields_of(value: Any, room: int) -> list[ReadLine]:
    """Return every member of an object as lines: short ones in two columns, empty ones named
    together, what every object has at the end.
    """
    if isinstance(value, Receipt):
        return [
            ReadLine([Ink(piece)])
            for line in receipt_lines(value)
            for piece in wrap(line, room, " " * 13)
        ]
    first: list[Detail] = []
    last: list[Detail] = []
    empty: list[str] = []
    evidence: list[ReadLine] = []
    quiet = skipped = False
    for line in detail(value):
        if line.depth == 0 and line.name:
            quiet = line.name in _QUIET
            skipped = line.name.startswith("evidence ")
            if line.value == "-":
                empty.append(line.name.replace("_", " "))
                continue
        if not skipped:
            (last if quiet else first).append(line)
    for one in getattr(value, "evidence", []):
        inks = [Ink(f"{one.kind} ", "dim"), Ink(short(one.id)), Ink(f"  {text_of(one.summary)}")]
        evidence.append(ReadLine(inks, Subject(one.kind, one.id)))
    out = _columns(first, room, "")
    if evidence:
        out += [ReadLine([]), ReadLine([Ink("EVIDENCE", "header")]), *evidence]
    out += _columns(last, room, "dim")
    if empty:
        out += [
            ReadLine([Ink(piece, "dim")]) for piece in wrap(f"not set: {', '.join(empty)}", room)
        ]
    return out


def _columns(lines: Sequence[Detail], room: int, token: str) -> list[ReadLine]:
    half = room // 2
    out: list[ReadLine] = []
    held: list[Ink] = []
    for line in lines:
        label = fit("  " * line.depth + line.name.replace("_", " "), _NAME_CELLS)
        pieces = wrap(line.value, max(10, room - _NAME_CELLS - 1))
        ink = meaning(line.value) or token
        narrow = width(line.value) <= half - _NAME_CELLS - 3 and line.depth == 0 and line.name
        if narrow and held:
            out.append(ReadLine([*held, Ink(label + " ", "dim"), Ink(line.value, ink)]))
            held = []
            continue
        if held:
            out.append(ReadLine(held))
            held = []
        if narrow:
            held = [Ink(label + " ", "dim"), Ink(fit(line.value, half - _NAME_CELLS - 1), ink)]
            continue
        for at, piece in enumerate(pieces):
            lead = label if at == 0 else " " * _NAME_CELLS
            out.append(ReadLine([Ink(lead + " ", "dim"), Ink(piece, ink)]))
    return [*out, ReadLine(held)] if held else out


def list_lines(op: Operation, rows: Sequence[Any], room: int, most: int) -> list[ReadLine]:
    """Return a few rows of a list as lines that can be opened."""
    kind = item_type(op)
    if kind is None:
        return []
    columns = table_columns(kind)
    now = datetime.now(UTC)
    shown = rows[:most]
    texts = [[column.text(row, now) for column in columns] for row in shown]
    natural = [
        max([len(column.name), *(len(each[at]) for each in texts)])
        for at, column in enumerate(columns)
    ]
    widths = arrange(columns, natural, room)
    out = [
        ReadLine(
            [
                Ink(
                    " " * GAP * bool(place)
                    + fit(columns[at].name.upper(), cells, columns[at].align),
                    "dim",
                )
                for place, (at, cells) in enumerate(widths.items())
            ]
        )
    ]
    for row, each in zip(shown, texts, strict=True):
        inks = [
            Ink(
                " " * GAP * bool(place) + fit(each[at], cells, columns[at].align),
                columns[at].token(row),
            )
            for place, (at, cells) in enumerate(widths.items())
        ]
        out.append(ReadLine(inks, subject_of(row)))
    if len(rows) > most:
        out.append(ReadLine([Ink(f"and {len(rows) - most} more", "dim")]))
    return out


async def story(
    subject: Subject, registry: Registry, link: Link, room: int
) -> tuple[Any, list[ReadLine]]:
    """Return the object now, and its whole reading. Raises `PilotError` if it cannot be had.

    What stands beside it and cannot be had says so in its place.
    """
    value = subject.value
    op = registry.show_op(subject.noun)
    if op is not None:
        name = next(iter(msgspec.structs.fields(op.params))).name
        params = params_of(op, {name: subject.id}, datetime.now(UTC))
        value = await link.read(op.run(params, link.session.engines, None))
    here = subject._replace(value=value)
    beside = [each for each in AROUND.get(subject.noun, ()) if each.op in registry.by_id]
    found = await asyncio.gather(*(_beside(each, here, registry, link, room) for each in beside))
    lines = fields_of(value, room)
    for part in found:
        lines += part
    return value, lines


async def _beside(
    beside: Beside, subject: Subject, registry: Registry, link: Link, room: int
) -> list[ReadLine]:
    op = registry.by_id[beside.op]
    partner = related(subject, "partner")
    known = {"{id}": subject.id, "{partner}": partner.id if partner else ""}
    raw = {name: known.get(text, text) for name, text in beside.raw.items()}
    head = ReadLine([])
    title = ReadLine([Ink(beside.title, "header")])
    if "" in raw.values():
        return []
    try:
        params = params_of(op, raw, datetime.now(UTC))
        page = await link.read(op.run(params, link.session.engines, None))
    except PilotError as error:
        return [head, title, ReadLine([Ink(f"cannot be had: {error.message}", "bad")])]
    if not page.items:
        return [head, ReadLine([Ink(beside.title, "header"), Ink("  none", "dim")])]
    return [head, title, *list_lines(op, page.items, room, beside.most)]
