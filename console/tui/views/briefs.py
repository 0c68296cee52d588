"""Alerts and events in one line each, for every screen that stands them beside something."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from console.model.audit import Alert
from console.present.cells import width
from console.present.times import age
from console.tui.theme.palette import meaning
from console.tui.views.story_reader import Told
from console.tui.widgets.strips import Ink
from console.tui.widgets.text_lines import ReadLine, Subject

_SEVERITY = {
    "critical": "CRIT", "high": "HIGH", "medium": "MED", "low": "LOW", "informational": "INFO",
}  # fmt: skip


def severity_word(severity: str) -> str:
    """Return a severity as the short word that every screen uses for it."""
    return _SEVERITY.get(severity, "INFO")


def history_lines(items: Sequence[Any], told: Told) -> list[ReadLine]:
    """Return events in a few words each, with what is proven of them."""
    out = []
    actions = max((width(event.action) for event in items), default=0)
    actors = max((width(event.actor) for event in items), default=0)
    digits = max((len(f"#{event.index}") for event in items), default=0)
    for event in items:
        here = event.at.astimezone()
        same = here.date() == told.now.astimezone().date()
        when = f"{here:%H:%M}" if same else f"{here:%m-%d}"
        # the reason goes first where room is short: it is the longest
        inks = [
            Ink(f"{when}  ", "dim"), Ink(f"{event.action:<{actions}}  "),
            Ink(f"{event.actor:<{actors}}  "), Ink(f"{f'#{event.index}':>{digits}} ", "dim"),
            Ink(f"{told.proofs.word(event):<3}", told.proofs.token(event)),
        ]  # fmt: skip
        if event.outcome == "failure":
            inks.append(Ink(" failed", "bad"))
        if event.reason:
            inks.append(Ink(f" {event.reason}", "dim"))
        out.append(ReadLine(inks, Subject("event", event.id, event)))
    return out


def alert_line(alert: Alert, now: datetime) -> ReadLine:
    """Return an alert in one line."""
    state = f"op:{alert.assignee}" if alert.assignee else alert.state.replace("_", " ")
    return ReadLine(
        [
            Ink(f"{severity_word(alert.severity):<5}", meaning(alert.severity)),
            Ink(f"{alert.title} x{alert.count:,}"),
            Ink(f"  {age(alert.last_seen_at, now)}  {state}", "dim"),
        ],
        Subject("alert", alert.id, alert),
    )
