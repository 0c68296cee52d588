"""Several at once: what an action on the marked rows is about, and what it reaches together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from console.errors import PilotError
from console.model.enforcement import Blast
from console.model.operator import Direction
from console.operations.spec import Field, Operation, Plan, fields
from console.present.columns import short
from console.tui.link.form_values import first_values, params_of
from console.tui.link.subjects import lock_target, related
from console.tui.widgets.text_lines import Subject


class Item(NamedTuple):
    """One marked row's part: the subject of the operation, and what a form starts with."""

    subject: Subject
    values: Mapping[str, str]
    rows: frozenset[str] = frozenset()
    """The ids of the marked rows that it is."""
    hidden: bool = False
    """A filter hides a row of it."""

    @property
    def name(self) -> str:
        """What people tell it by."""
        partner = getattr(self.subject.value, "partner", "")
        own = short(self.subject.id)
        return f"{own} {partner}" if isinstance(partner, str) and partner != own else own


class Chosen(NamedTuple):
    """What the marks come to for one operation."""

    items: list[Item]
    left_out: list[str]
    """Marked rows that it does not act on, by name."""


class Prepared(NamedTuple):
    """An item as it was planned. `fault` says why nothing is sent for it."""

    item: Item
    plan: Plan | None = None
    fault: str = ""
    blind: bool = False
    """What it reaches could not be asked, and what closes is sent without."""


def chosen(op: Operation, marked: Sequence[tuple[Subject | None, str, bool]]) -> Chosen:
    """Return what `op` acts on, each thing once, of marked rows: what a row is about, its id,
    and whether a filter hides it.
    """
    items: dict[str, Item] = {}
    left_out: list[str] = []
    for subject, row, hidden in marked:
        target = _target(op, subject)
        if target is None:
            if subject is not None:
                left_out.append(short(subject.id))
            continue
        values = first_values(op, target)
        key = repr(sorted(values.items()))
        known = items.get(key, Item(target, values))
        items[key] = known._replace(rows=known.rows | {row}, hidden=known.hidden or hidden)
    return Chosen(list(items.values()), left_out)


def _target(op: Operation, subject: Subject | None) -> Subject | None:
    if subject is None:
        return None
    if op.id == "lock.add":
        kind, name = lock_target(subject)
        if not kind:
            return None
        return subject if subject.noun == kind else Subject(kind, name)
    found = related(subject, op.subject)
    if found is not None and subject.noun != op.subject and op.direction is not Direction.CLOSES:
        return None  # what a row belongs to can be closed from it, not opened
    return found


def asked_of(op: Operation, items: Iterable[Item]) -> list[Field]:
    """Return the parameters that are asked once for all: the reason, and what a row lacks."""
    held = list(items)
    return [
        field
        for field in fields(op)
        if (field.required or field.param.asked)
        and (field.name == "reason" or any(not item.values.get(field.name) for item in held))
    ]


def line_of(op: Operation, item: Item, typed: Mapping[str, str], now: datetime) -> object:
    """Return the parameters of one item, with what was typed for all. Raises `PilotError`."""
    return params_of(op, {**item.values, **typed}, now)


def together(plans: Iterable[Plan]) -> str:
    """Return what the plans end together, in words; empty where they end nothing."""
    blasts = [plan.blast for plan in plans if plan.blast is not None]
    if not blasts:
        return ""
    partners = sorted({name for blast in blasts for name in blast.partners})
    grants = {name for blast in blasts for name in blast.grants}
    shown = ", ".join(partners[:6]) + (f" and {len(partners) - 6} more" if partners[6:] else "")
    return (
        f"{_many(len(partners), 'partner')}{f' ({shown})' if shown else ''}, "
        f"{_many(len(grants), 'grant')}, {_at_most(blasts, 'credentials', 'key')}, "
        f"{_at_most(blasts, 'streams', 'stream')} cut"
    )


def reach(plan: Plan) -> str:
    """Return what one plan reaches, in a few words."""
    if plan.blast is not None:
        blast = plan.blast
        return (
            f"{_many(len(blast.grants), 'grant')}, {_many(blast.credentials, 'key')}, "
            f"{_many(blast.streams, 'stream')}"
        )
    if plan.gaps:
        return "missing: " + "; ".join(gap.message for gap in plan.gaps)
    return next((line for section in plan.sections for line in section.lines), plan.title)


def _at_most(blasts: Sequence[Blast], member: str, noun: str) -> str:
    """Sum what is only counted: where two reach the same grant, it is counted twice."""
    total = sum(getattr(blast, member) for blast in blasts)
    named = [name for blast in blasts for name in blast.grants]
    over = total and len(named) != len(set(named))
    return ("at most " if over else "") + _many(total, noun)


def _many(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def refused(error: PilotError) -> str:
    """Return why something was refused, with what to do about it."""
    return error.message + (f" ({error.hint})" if error.hint else "")
