"""The one line of truth: profile, tier, read-only mark, operator, and each API's chip."""

from __future__ import annotations

from console.present.cells import clip, width
from console.tui.ink import Ink, Line
from console.tui.link import APIS, Link


def status_line(link: Link, room: int) -> Line:
    """Return the status line in `room` cells; the profile's name gives way first."""
    operator = link.operator
    right: Line = []
    for at, api in enumerate(APIS):
        right += [Ink(" | " if at else "", "dim"), *link.health[api].chip()]
    taken = sum(width(ink.text) for ink in right)
    who = f" op:{operator.name if operator else '?'}"
    for tier, name, shown in (
        (link.tier.upper(), link.name, who),
        (link.tier.upper()[:4], link.name, who),
        (link.tier.upper()[:4], clip(link.name, 8), clip(who, 9)),
        (link.tier.upper()[:4], clip(link.name, 8), ""),
    ):
        mark = [Ink(" "), Ink("RO", "read-only")] if link.read_only else []
        left = [Ink(f" {name} ", "title"), Ink(tier, link.tier), *mark, Ink(shown)]
        used = sum(width(ink.text) for ink in left)
        if used + taken + 2 <= room:
            break
    return [*left, Ink(" " * max(2, room - used - taken - 1)), *right]
