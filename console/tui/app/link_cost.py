"""`:net`: what the screen has cost this terminal's link, and how long each API takes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from console.present.amounts import milliseconds
from console.tui.link.api_link import APIS, Link, coarse_age
from console.tui.places.place import Place
from console.tui.terminal.canvas import Count
from console.tui.terminal.display import DisplayStatus
from console.tui.views.own_tables import own_view


class Fact(NamedTuple):
    """One line of it."""

    measure: str
    value: str
    token: str = ""


class Connected(Protocol):
    """A screen that counts what it sends to its terminal, over a link to the APIs."""

    display_status: DisplayStatus

    @property
    def count(self) -> Count:
        """The bytes and frames sent so far."""

    @property
    def link(self) -> Link:
        """The link to the APIs."""

    def enter(self, place: Place) -> None:
        """Put a place in front."""


def facts(console: Connected) -> list[Fact]:
    """Return bytes, frames, frames held back, how it is drawn, and each API's latency."""
    count = console.count
    each = count.sent // count.frames if count.frames else 0
    out = [
        Fact("sent", f"{count.sent:,} bytes"),
        Fact("frames", f"{count.frames:,}, {each:,} bytes each"),
        Fact("held back", f"{count.dropped:,} frames, while the link was behind"),
        Fact("drawn by", console.display_status.why),
    ]
    for api in APIS:
        health = console.link.health[api]
        if health.heard is None:
            out.append(Fact(api, f"{health.state}, not heard yet", "bad"))
            continue
        said = f"{milliseconds(health.latency)} lately; heard {coarse_age(health.age())} ago"
        good = health.state == "ok"
        why = "" if good else f"; {health.state}: {health.why}"
        out.append(Fact(api, said + why, "" if good else "bad"))
    return out


def show_net(console: Connected) -> None:
    """Put it in front; it is counted anew when it is read again."""
    view = own_view("net", "What the screen costs its link", ("measure", "value"))
    console.enter(Place("net", view, local=lambda: facts(console)))
