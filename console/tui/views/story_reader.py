"""Readings: one object with everything around it, as lines that can be acted on.

What stands around an object is described in `stories`; this asks for it and draws it. The
lists' own columns draw the lists.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from console.errors import PilotError
from console.model.enforcement import Receipt
from console.model.ids import is_id
from console.model.stored import Page
from console.operations.spec import Operation
from console.present.cells import fit, width
from console.present.columns import short, text_of
from console.present.detail import Line as Detail
from console.present.detail import detail
from console.present.receipt import receipt_lines, standing
from console.present.safe import safe
from console.present.table_columns import GAP, TableColumn, arrange
from console.tui.link.api_link import Link
from console.tui.link.form_values import Registry, params_of
from console.tui.link.log_proofs import Proofs
from console.tui.link.subjects import related
from console.tui.theme.palette import meaning
from console.tui.views.list_views import item_type, subject_of, table_columns
from console.tui.views.read_parts import Part
from console.tui.widgets.strips import Ink
from console.tui.widgets.text_lines import ReadLine, Subject, wrap

_NOTHING = Part(())


class Told(NamedTuple):
    """An object and what was found around it, ready to be drawn."""

    subject: Subject
    found: Mapping[str, Part]
    """By the title of what was asked."""
    room: int
    now: datetime
    proofs: Proofs

    def part(self, title: str) -> Part:
        """Return what is known of it; what was not asked for is known to be nothing."""
        return self.found.get(title, _NOTHING)

    def items(self, title: str) -> Sequence[Any]:
        """Return what was found, to list it. Whether it could be read is `unread`'s to say."""
        return self.part(title).known()

    def unread(self, *titles: str) -> str:
        """Return why one of these could not be read, or not whole; empty where all were."""
        return next((self.part(each).fault for each in titles if self.part(each).fault), "")


class Beside(NamedTuple):
    """What is asked about an object: a heading, the operation, what it is asked with.

    `{id}` is the object's, `{target}` what it is about;
    `{partner}`, `{grant}` and `{pilot}` are what it belongs to.
    With `each`, the operation is asked once for each of those ids.
    """

    title: str
    op: str
    raw: Mapping[str, str]
    most: int = 8
    columns: tuple[str, ...] = ()
    """Only these; without them all, as far as there is room."""
    keep: Callable[[Any, Subject], bool] = lambda _, __: True
    each: Callable[[Any], Sequence[str]] | None = None
    lines: Callable[[Sequence[Any], Told], list[ReadLine]] | None = None
    """How it is drawn, where it is no list."""


class Story(NamedTuple):
    """How an object is told: what is asked about it, and how all of it is laid out."""

    asks: tuple[Beside, ...] = ()
    lines: Callable[[Told], list[ReadLine]] | None = None
    head: Callable[[Any, datetime], list[ReadLine]] | None = None
    """Lines before its members: it in a few words."""
    said: frozenset[str] = frozenset()
    """Members that those lines have told already."""
    fixed: bool = False
    """It never changes, and reading it in full goes into the log: beside the table its row is
    told, and only who opens it reads it."""


_QUIET = frozenset(
    {"revision", "created_at", "created_by", "updated_at", "updated_by", "labels", "fingerprint",
     "rule_revision", "body", "decision", "receipt_id"}
)  # fmt: skip
"""Members that are seldom what is looked for: they go to the end."""
_HEADINGS = {"pages": "who is told"}
"""Lists of small objects that are told first, and what stands over them."""
_SHORTER = {"snapshot_sequence": "snapshot", "calls_since_rotation": "calls since"}
"""Names that would be cut."""
_PROSE = frozenset({"description", "runbook"})
"""Members that are paragraphs and lists, in lines of any length."""
_OWN_LINE = re.compile(r"\s*(\d+[.)]|[-*#|`]|$)")
_NAME_CELLS = 16
_MAX_IN_A_TABLE = 12
_NARROW = 76
"""Cells below which ids are cut to what tells them apart."""


def fields_of(value: Any, room: int) -> list[ReadLine]:
    """Return every member of an object as lines: short ones in two columns, lists of objects
    as tables, empty ones named together, what every object has at the end.
    """
    if isinstance(value, Receipt):
        first, *rest = receipt_lines(value)
        token = "good" if standing(value).proven else "bad"
        inks = [(first, token), *((line, _receipt_token(line)) for line in rest)]
        return [
            ReadLine([Ink(piece, token)])
            for line, token in inks
            for piece in wrap(line, room, " " * 13)
        ]
    return [*told_of(value, room), *quiet_of(value, room)]


def _receipt_token(line: str) -> str:
    """Return the token of a receipt's line: what is proven, and what is not."""
    words = line.split()
    if words[0] == "point":
        return "good" if words[2:3] in (["refused"], ["lapsed"]) else "pending"
    if words[0] in {"enforced", "logged"}:
        return "bad" if words[1] == "not" else "good"
    return {"why": "bad"}.get(words[0], "")


def told_of(value: Any, room: int, said: frozenset[str] = frozenset()) -> list[ReadLine]:
    """Return the members of an object that are looked for, without those told already."""
    first, _ = _sorted(value, room, said)
    tables: list[ReadLine] = []
    for name in sorted(_members(value), key=lambda name: name not in _HEADINGS):
        if _is_flat(getattr(value, name)):
            tables += _table_of(name, getattr(value, name), room)
    return _columns(first, room, "") + tables


def quiet_of(value: Any, room: int) -> list[ReadLine]:
    """Return what every object has, and what is not set, for the end of a reading."""
    _, last = _sorted(value, room)
    empty = [
        line.name.replace("_", " ")
        for line in detail(value)
        if line.depth == 0 and line.name and line.value == "-"
    ]
    out = _columns(last, room, "dim")
    if empty:
        out += [
            ReadLine([Ink(piece, "dim")]) for piece in wrap(f"not set: {', '.join(empty)}", room)
        ]
    return out


def _sorted(
    value: Any, room: int, said: frozenset[str] = frozenset()
) -> tuple[list[Detail], list[Detail]]:
    """Return the lines of the members that are looked for, and of the others."""
    first: list[Detail] = []
    last: list[Detail] = []
    tabled = {name for name in _members(value) if _is_flat(getattr(value, name))}
    quiet = skipped = prose = False
    for written in detail(value):
        line = _readable(written)
        if line.depth == 0 and line.name:
            quiet = line.name in _QUIET
            skipped = line.name.rpartition(" ")[0] in tabled or line.name in said
            skipped = skipped or _unset(getattr(value, written.name, None))
            if line.value == "-":
                continue
        if skipped:
            continue
        narrow = room < _NARROW and is_id(line.value)
        shown = line._replace(value=short(line.value)) if narrow else line
        lines = last if quiet else first
        prose = prose if not line.name else line.name in _PROSE
        if prose and not line.name and lines[-1].value and not _OWN_LINE.match(line.value):
            # written in lines of its author's: they end where the room ends
            lines[-1] = lines[-1]._replace(value=f"{lines[-1].value} {line.value.strip()}")
            continue
        lines.append(shown)
    return first, last


def _readable(line: Detail) -> Detail:
    """Return a line with its name in the room there is."""
    return line._replace(name=_SHORTER.get(line.name, line.name))


def _unset(value: Any) -> bool:
    """Tell whether an object within another says nothing beyond its defaults."""
    if not isinstance(value, msgspec.Struct):
        return False
    return all(
        getattr(value, field.name) == field.default
        or (field.default_factory is not msgspec.NODEFAULT and not getattr(value, field.name))
        for field in msgspec.structs.fields(value)
    )


def _members(value: Any) -> tuple[str, ...]:
    return value.__struct_fields__ if isinstance(value, msgspec.Struct) else ()


def _is_flat(value: Any) -> bool:
    """Tell whether this is a list of small objects: something to make a table of."""
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], msgspec.Struct)
        and not any(isinstance(getattr(value[0], n), msgspec.Struct) for n in _members(value[0]))
    )


def _table_of(name: str, values: Sequence[Any], room: int) -> list[ReadLine]:
    now = datetime.now(UTC)
    title = ReadLine([Ink(_HEADINGS.get(name, name.replace("_", " ")).upper(), "title")])
    columns = table_columns(type(values[0])) or tuple(map(_member, _members(values[0])))
    return [
        ReadLine([]), title, *rows_as_lines(columns, values, room, _MAX_IN_A_TABLE, now,
                                            subject_of=_named_subject),
    ]  # fmt: skip


def _named_subject(value: Any) -> Subject | None:
    """Return what a small object points at: evidence names a call or an event."""
    kind, name = getattr(value, "kind", ""), getattr(value, "id", "")
    return Subject(kind, name) if kind in {"call", "event"} and name else subject_of(value)


def _member(name: str) -> TableColumn:
    def text(row: Any, _: datetime) -> str:
        value = getattr(row, name)
        if isinstance(value, datetime):
            here = value.astimezone()
            today = here.date() == datetime.now(UTC).astimezone().date()
            return f"{here:%H:%M:%S}" if today else f"{here:%m-%d %H:%M:%S}"
        if name.endswith("_seconds") and isinstance(value, int):
            return f"{value // 86400}d" if value % 86400 == 0 else f"{value / 3600:.1f}h"
        written = text_of(value)
        return short(written) if name == "id" or name.endswith("_id") else written

    long = name in {"message", "summary", "found", "why", "mend", "reason"}
    number = name.startswith("most_") or name.endswith("_seconds")
    return TableColumn(
        name.removesuffix("_seconds").replace("_", " "), text,
        lambda row: meaning(str(getattr(row, name))), lambda row: getattr(row, name),
        {"mend": 2, "kind": 3}.get(name, 0 if long else 1), 6, 200 if long else 40,
        "right" if number else "left",
    )  # fmt: skip


def _columns(lines: Sequence[Detail], room: int, token: str) -> list[ReadLine]:
    half = room // 2
    out: list[ReadLine] = []
    held: list[Ink] = []
    for line in lines:
        label = fit("  " * line.depth + safe(line.name).replace("_", " "), _NAME_CELLS)
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
            held = [
                Ink(label + " ", "dim"),
                Ink(fit(safe(line.value), half - _NAME_CELLS - 1), ink),
            ]
            continue
        for at, piece in enumerate(pieces):
            lead = label if at == 0 else " " * _NAME_CELLS
            out.append(ReadLine([Ink(lead + " ", "dim"), Ink(piece, ink)]))
    return [*out, ReadLine(held)] if held else out


def list_lines(
    op: Operation, rows: Sequence[Any], room: int, most: int, only: Sequence[str] = ()
) -> list[ReadLine]:
    """Return a few rows of a list as lines that can be opened."""
    kind = item_type(op) or (type(rows[0]) if rows else None)
    if kind is None:
        return []
    columns = table_columns(kind)
    if only:
        known = {column.name: column for column in columns}
        columns = tuple(known[name] for name in only if name in known)
    return rows_as_lines(columns, rows, room, most, datetime.now(UTC))


def rows_as_lines(
    columns: Sequence[TableColumn],
    rows: Sequence[Any],
    room: int,
    most: int,
    now: datetime,
    *,
    subject_of: Callable[[Any], Subject | None] = subject_of,
) -> list[ReadLine]:
    """Return rows under their columns' names, at most `most` of them."""
    shown = rows[:most]
    texts = [[column.text(row, now) for column in columns] for row in shown]
    natural = [
        max([width(column.name), *(width(each[at]) for each in texts)])
        for at, column in enumerate(columns)
    ]
    used = [at for at in range(len(columns)) if not texts or any(each[at] for each in texts)]
    widths = arrange([columns[at] for at in used], [natural[at] for at in used], room)
    places = [(used[at], cells) for at, cells in widths.items()]
    heads = (fit(columns[at].name.upper(), cells, columns[at].align) for at, cells in places)
    out = [ReadLine([Ink((" " * GAP).join(heads), "dim")])]
    for row, each in zip(shown, texts, strict=True):
        inks = [
            Ink(
                " " * GAP * bool(place) + fit(safe(each[at]), cells, columns[at].align),
                columns[at].token(row),
            )
            for place, (at, cells) in enumerate(places)
        ]
        out.append(ReadLine(inks, subject_of(row)))
    if len(rows) > most:
        out.append(ReadLine([Ink(f"and {len(rows) - most} more", "dim")]))
    return out


async def story(
    subject: Subject, told: Story, registry: Registry, link: Link, proofs: Proofs, *,
    room: int, glance: bool = False,
) -> tuple[Any, list[ReadLine]]:  # fmt: skip
    """Return the object now, and its whole reading. Raises `PilotError` if it cannot be had.

    What stands beside it and cannot be had says so in its place. At a `glance`, what is
    fixed is told by the row that is held.
    """
    value = subject.value
    op = registry.show_op(subject.noun)
    if op is not None and not (glance and told.fixed and value is not None):
        name = next(iter(msgspec.structs.fields(op.params))).name
        params = params_of(op, {name: subject.id}, datetime.now(UTC))
        value = await link.read(op.run(params, None))
    here = subject._replace(value=value)
    asks = [each for each in told.asks if each.op in registry.by_id]
    answers = await asyncio.gather(*(_asked(each, here, registry, link) for each in asks))
    found = {each.title: answer for each, answer in zip(asks, answers, strict=True)
             if answer is not None}  # fmt: skip
    events = [row for part in found.values() for row in part.known()]
    await proofs.prove([value, *events])
    facts = Told(here, found, room, datetime.now(UTC), proofs)
    if told.lines is not None:
        return value, told.lines(facts)
    lines = told.head(value, facts.now) if told.head is not None else []
    if isinstance(value, Receipt):
        lines += fields_of(value, room)
    else:
        lines += told_of(value, room, told.said)
    for each in asks:
        if each.title in found:
            lines += _beside_lines(each, facts, registry)
    if not isinstance(value, Receipt):
        lines += [ReadLine([]), *quiet_of(value, room)]
    return value, lines


async def _asked(beside: Beside, subject: Subject, registry: Registry, link: Link) -> Part | None:
    """Return what was found; None where the question makes no sense of this object."""
    op = registry.by_id[beside.op]
    # the events of a lock are about the lock
    about = getattr(subject.value, "lock_id", "") or getattr(subject.value, "target", "")
    known = {"{id}": subject.id, "{target}": str(about)}
    for noun in ("partner", "grant", "pilot"):
        owner = related(subject, noun)
        known[f"{{{noun}}}"] = owner.id if owner else ""
    raw = {name: known.get(text, text) for name, text in beside.raw.items()}
    if "" in raw.values():
        return None
    questions = [raw]
    if beside.each is not None:
        name = next(iter(msgspec.structs.fields(op.params))).name
        questions = [{**raw, name: one} for one in beside.each(subject.value)[: beside.most]]
    answers = await asyncio.gather(*(_answer(op, each, link) for each in questions))
    out: list[Any] = []
    faults: list[str] = []
    for answer in answers:
        if isinstance(answer, PilotError):
            faults.append(answer.message)
        elif isinstance(answer, Page):
            out += answer.items
            if answer.partial:
                faults.append("; ".join(answer.warnings) or "some rows could not be had")
        else:
            out.append(answer)
    fault = faults[0] if faults else ""
    if len(faults) > 1:
        fault = f"{fault} (and {len(faults) - 1} more)"
    if faults and len(faults) == len(answers) and not out:
        return Part(fault=fault)
    return Part([each for each in out if beside.keep(each, subject)], fault=fault)


async def _answer(op: Operation, raw: Mapping[str, str], link: Link) -> Any:
    try:
        params = params_of(op, raw, datetime.now(UTC))
        return await link.read(op.run(params, None))
    except PilotError as error:
        return error


def _beside_lines(beside: Beside, told: Told, registry: Registry) -> list[ReadLine]:
    head = ReadLine([])
    title = Ink(beside.title, "title")
    part = told.part(beside.title)
    if part.items is None:
        return [head, ReadLine([title, Ink(f"  cannot be had: {safe(part.fault)}", "bad")])]
    short_of = [Ink(f"  not all: {safe(part.fault)}", "bad")] if part.fault else []
    items = part.items
    if not items:
        return [head, ReadLine([title, *(short_of or [Ink("  none", "dim")])])]
    if beside.lines is not None:
        return [head, ReadLine([title, *short_of]), *beside.lines(items, told)]
    op = registry.by_id[beside.op]
    return [
        head, ReadLine([title, *short_of]),
        *list_lines(op, items, told.room, beside.most, beside.columns),
    ]  # fmt: skip
