"""The line of crumbs: where the operator is and came from, and how many rows there are."""

from __future__ import annotations

from collections.abc import Sequence

from console.present.cells import width
from console.tui.places.place import Place
from console.tui.widgets.strips import Ink, Line
from console.tui.widgets.table import Table


def crumbs(places: Sequence[Place], table: Table, room: int) -> Line:
    """Return the places on the left, and on the right what the one in front has to show."""
    place = places[-1]
    left: Line = [Ink(" ")]
    for each in places[-4:-1]:
        left += [Ink(each.title, "dim"), Ink(" > ", "dim")]
    left.append(Ink(place.title, "title"))
    if place.state.filter:
        left.append(Ink(f"  /{place.state.filter}", "mark"))
    right = _counted(place, table) if place.view is not None else []
    stale = place.stale
    if stale and place.heard is not None:
        right = [Ink(stale, "bad"), *[Ink("  ")], *right[-1:]]
    used = sum(width(ink.text) for ink in left)
    taken = sum(width(ink.text) for ink in right)
    if used + taken + 2 > room and right:
        right = right[:1] if stale else right[-1:]
        taken = sum(width(ink.text) for ink in right)
    return [*left, Ink(" " * max(1, room - used - taken - 1)), *right]


def _counted(place: Place, table: Table) -> Line:
    assert place.view is not None
    right: Line = []
    shown, total = len(table.rows), table.total
    marked = len(place.state.marks)
    if marked:
        hidden = marked - table.marked_shown
        said = f"{marked} marked" + (f", {hidden} hidden" if hidden else "")
        right.append(Ink(said + "  ", "mark"))
    aside = place.view.aside(place.every_part())
    count = (
        f"{shown}/{total}"
        if shown != total
        else f"{total} row{'' if total == 1 else 's'}"
        if not place.more
        else f"{total}+ rows"
    )
    if place.local is None and all(part.items is None for part in place.every_part()):
        count = "not read"
    if place.paused:
        aside = [Ink(f"PAUSED, {place.waiting():,} new", "mark")]
    elif place.state.tail and place.state.follow:
        aside = [Ink("following", "dim")]
    elif place.state.tail and place.state.top:
        aside = [Ink(f"{place.state.top:,} above", "dim")]
    right += [*aside, Ink(f"  {count}" if aside else count, "dim")]
    return right
