"""The one line of truth: profile, tier, read-only mark, operator, and each API's chip."""

from __future__ import annotations

from console.present.cells import clip, width
from console.tui.link.api_link import APIS, Link
from console.tui.widgets.strips import Ink, Line

_SHORT = {"production": "PROD", "staging": "STG", "development": "DEV"}


def status_line(link: Link, room: int) -> Line:
    """Return the status line in `room` cells; the profile's name gives way first."""
    operator = link.operator
    few = _SHORT.get(link.tier, link.tier.upper())
    who = f" op:{operator.name if operator else '?'}"
    tier, mark = link.tier.upper(), [Ink(" "), Ink("RO", "read-only")] if link.read_only else []
    for short, shown_tier, name, shown in (
        (False, tier, link.name, who),
        (False, few, link.name, who),
        (False, few, clip(link.name, 8), clip(who, 9)),
        (True, few, clip(link.name, 8), clip(who, 9)),
        (True, few, clip(link.name, 6), ""),
    ):
        right = _chips(link, short=short)
        left = [Ink(f" {name} ", "title"), Ink(shown_tier, link.tier), *mark, Ink(shown)]
        used = sum(width(ink.text) for ink in left)
        taken = sum(width(ink.text) for ink in right)
        if used + taken + 2 <= room:
            break
    return [*left, Ink(" " * max(2, room - used - taken - 1)), *right]


def _chips(link: Link, *, short: bool) -> Line:
    out: Line = []
    for at, api in enumerate(APIS):
        between = " " if short else " | "
        out += [Ink(between if at else "", "dim"), *link.health[api].chip(short=short)]
    return out
