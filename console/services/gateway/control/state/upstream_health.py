"""What control makes of the upstreams that its points report: what has changed goes into the log.

What was last recorded of each upstream of a point is kept, so that a restart of control
records nothing twice and misses no change.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select

from console.model.audit import Severity
from console.model.enforcement import UpstreamHealth, UpstreamState
from console.services.events import SYSTEM, event
from console.services.gateway.control.state.schema import MARKS
from console.services.store import emit

_MARK = "upstream:"
_RECORDED = {
    UpstreamState.DEAD.value: ("upstream.fail", Severity.HIGH),
    UpstreamState.KEY_FAULT.value: ("upstream.key-fault", Severity.MEDIUM),
}
"""The states that are recorded when an upstream comes into them."""


def recorded_state(health: UpstreamHealth) -> str:
    """Return the state that the log should know of; empty for an upstream that serves or may."""
    return health.state if health.state in _RECORDED else ""


def known_by(health: UpstreamHealth) -> tuple[str, bool]:
    """Return what of an upstream decides about a record: another one may be due when it changes."""
    return health.state, health.last_failure_at is None


def recorded(conn: Connection, point: str) -> dict[str, str]:
    """Return what the log knows of a point's upstreams, by name."""
    lead = f"{_MARK}{point}:"
    rows = conn.execute(select(MARKS).where(MARKS.c.name.startswith(lead, autoescape=True)))
    return {row.name.removeprefix(lead): row.value for row in rows}


def record(conn: Connection, point: str, healths: list[UpstreamHealth], at: datetime) -> None:
    """Record each upstream that came into another state than the log knows of."""
    before = recorded(conn, point)
    for health in healths:
        state, known = recorded_state(health), before.get(health.name, "")
        if state == known or _says_nothing_yet(health, known):
            continue
        mark = f"{_MARK}{point}:{health.name}"
        conn.execute(delete(MARKS).where(MARKS.c.name == mark))
        if state:
            conn.execute(MARKS.insert().values(name=mark, value=state))
        action, severity = _RECORDED.get(state, ("upstream.recover", Severity.INFORMATIONAL))
        emit(
            conn,
            event(
                action,
                service="gateway",
                actor=SYSTEM,
                kind="upstream",
                target=health.name,
                name=health.name,
                outcome="failure" if state else "success",
                reason=f"at {point}: {health.why if state else _recovery(health, known)}",
                after=health,
                at=at,
                severity=severity,
                facts={"point": point, "state": health.state},
            ),
        )


def _says_nothing_yet(health: UpstreamHealth, known: str) -> bool:
    """Tell whether an upstream in a known fault was neither found well nor found worse since.

    On the way back a call that failed once says nothing, and neither does a point that has just
    begun and has not called or reached what was dead before.
    """
    if not known or health.state == UpstreamState.FAILING.value:
        return bool(known)
    untried = health.state == UpstreamState.UNTRIED.value and health.last_failure_at is None
    return known == UpstreamState.DEAD.value and untried


def _recovery(health: UpstreamHealth, known: str) -> str:
    """Return what is known of an upstream that came out of a fault."""
    if known == UpstreamState.KEY_FAULT.value:
        return "its key file can be used again"
    if health.state == UpstreamState.SERVING.value:
        return "it answers again"
    return "it takes connections again"
