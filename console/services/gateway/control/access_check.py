"""What the gateway would do with a call now, for who asks before anybody calls.

The decision is that of the points, over what control holds. The policy bundle is left out: it
is policy's to answer for, and whoever asks here asks it too.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from console.api.problems import refusal
from console.model.grant import Decision, GrantProjection
from console.model.text import now
from console.model.traffic import CallCheck, Check
from console.services.gateway.control.calls.limit_check import room_for
from console.services.gateway.control.state.change_log import Views
from console.services.gateway.control.state.point_registry import Points
from console.services.gateway.decision.decide import Asked, Moment, address_of, decide, models_of
from console.services.gateway.decision.refusal_codes import CODES
from console.services.web import Ask


class CallChecks:
    """Answers `call.check`."""

    def __init__(self, views: Views, points: Points) -> None:
        self._views = views
        self._points = points

    def answer(self, conn: Connection, ask: Ask) -> CallCheck:
        """Say whether a call under a grant would be let through, and which check refuses it.

        What is not named of a call is taken to be something that the grant is for, and the
        call to be the smallest there is.
        """
        snapshot = self._views.at(conn)
        name = ask.query.get("grant", "")
        grant = snapshot.grant(name)
        if grant is None:
            raise refusal(
                "not-found", f"the gateway knows no grant {name!r}", mend="pilotctl grant list"
            )
        user = ask.query.get("principal", "")
        known = snapshot.principal(user) if user else None
        slug, model, route = _call_of(grant, ask.query)
        asked = Asked(
            route,
            model=model,
            capability=slug,
            address=ask.query.get("address") or address_of(grant),
            principal=known.hash if known else user or next(iter(grant.principals.values()), ""),
            grant=name,
        )
        names = self._points.names(conn)
        moment = Moment(
            ask.now,
            leased=any(self._points.seen(each).serving for each in names),
            policy_age=self._points.policy_age(conn, ask.now),
        )
        verdict = decide(snapshot, asked, moment, _policy_answers)
        checks = [each for each in verdict.checks if each.name not in _NOT_ASKED]
        if verdict.allow:
            room = room_for(
                conn, snapshot, grant, model=model, principal=asked.principal, at=ask.now
            )
            if room is not None:
                found = room.found or room.code or "within"
                checks.append(Check(name="limits", passed=not room.code, found=found))
            if room is not None and room.code:
                says = CODES[room.code].says
                return CallCheck(allow=False, code=room.code, message=says, checks=checks)
        return CallCheck(
            allow=verdict.allow,
            code=verdict.code,
            message=verdict.message,
            lock_id=verdict.lock_id,
            checks=checks,
        )


def _call_of(grant: GrantProjection, said: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the capability, model and route of a call: as named, else one that is granted."""
    names = ("capability", "model", "route")
    granted = (
        (each.slug, model, route)
        for each in grant.capabilities
        for model in each.models
        for route in each.routes
        if model in models_of(grant)
    )
    for call in granted:
        if all(
            said.get(name) in {None, "", value} for name, value in zip(names, call, strict=True)
        ):
            return call
    return said.get("capability", ""), said.get("model", ""), said.get("route", "")


_NOT_ASKED = frozenset({"credential", "policy"})
"""Checks that say nothing here: no key was sent, and policy answers for itself."""


def _policy_answers(_grant: GrantProjection, *_asked: str) -> Decision:
    """Stand in for the policy bundle, which is asked at policy."""
    return Decision(id="", allow=True, bundle_revision="", at=now())
