"""Flows driven by hand: each call is answered from a table, and everything is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from console.api.flow import CheckHead, Many, PinnedKey, Report, SigningKeys, TrustedHead, Wait
from console.api.route import Call, Reply
from console.errors import ExitCode, PilotError
from console.model.access import Stage, StageKey
from console.model.enforcement import Blast, Lock, PointProof, Receipt
from console.model.grant import Decision, Grant
from console.trust.checkpoint import open_checkpoint
from console.trust.note import VerifierKey

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
GRANT = "grt_01J9ZK00000000000000000000"
KEY = "crd_01J9ZK00000000000000000000"


def trusted(note: str, vkey: str) -> TrustedHead | PilotError:
    """Open the note with the one key that is believed."""
    try:
        head = open_checkpoint(note.encode(), VerifierKey.parse(vkey)).checkpoint
    except PilotError as error:
        return error
    return TrustedHead(head.origin, head.size, head.root, AT + timedelta(seconds=3))


@dataclass
class Played:
    """What a flow came to, and what it did on the way."""

    result: Any = None
    calls: list[Call] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    waited: float = 0.0

    def call(self, route: str) -> Call:
        """Return the one call of `route`."""
        (found,) = [call for call in self.calls if call.route.id == route]
        return found


def play(flow, answers, *, vkey="", seconds=math.inf) -> Played:
    """Drive `flow` with `seconds` until its deadline, believing the one log key `vkey`.

    `answers` maps a route's id to a value, an error, a function of the call, or a list of
    these, of which the last is repeated.
    """
    played = Played()
    queues = {
        route: list(value) if isinstance(value, list) else [value]
        for route, value in answers.items()
    }

    def outcome(call):
        played.calls.append(call)
        queue = queues.get(call.route.id)
        if queue is None:
            return unavailable(f"{call.route.id} is not answered in this test")
        value = queue.pop(0) if len(queue) > 1 else queue[0]
        if callable(value):
            value = value(call)
        return value if isinstance(value, PilotError) else Reply(200, value)

    answer: Any = None
    while True:
        try:
            step = flow.throw(answer) if isinstance(answer, PilotError) else flow.send(answer)
        except StopIteration as stop:
            played.result = stop.value
            return played
        match step:
            case Call():
                answer = outcome(step)
            case Many():
                answer = [outcome(call) for call in step.calls]
            case Wait():
                left = seconds - played.waited
                if left <= 0:
                    answer = PilotError("deadline", "over", exit=ExitCode.UNVERIFIED)
                else:
                    played.waited += min(step.seconds, left)
                    answer = seconds - played.waited
            case Report():
                played.reports.append(step)
                answer = None
            case CheckHead():
                answer = trusted(step.note, vkey)
            case PinnedKey():
                answer = vkey
            case SigningKeys():
                answer = [vkey]
        assert len(played.calls) < 2000, "the flow asks for ever"


def unavailable(message="no answer"):
    """Return the error of an API that does not answer."""
    return PilotError("unreachable", message, exit=ExitCode.UNAVAILABLE)


def absent(message="no such thing"):
    """Return the error of a thing that is not there."""
    return PilotError("not-found", message, exit=ExitCode.NOT_FOUND)


def a_receipt(**changes) -> Receipt:
    """Return a receipt whose two points have refused."""
    points = [a_point(point="gw-1"), a_point(point="gw-2")]
    facts = {
        "id": "rcp_01J9ZK00000000000000000000",
        "action": "grant.revoke",
        "kind": "grant",
        "target": GRANT,
        "partner": "acme",
        "reason": "leaked",
        "by": "root",
        "requested_at": AT,
        "recorded_at": AT,
        "sequence": 40,
        "credentials": 1,
        "points": points,
        "prober": "gateway",
        "enforced_at": AT + timedelta(seconds=1),
        "event_id": "evt_01J9ZK00000000000000000000",
        "state": "verified",
    }
    return Receipt(**{**facts, **changes})


def a_point(**changes) -> PointProof:
    """Return the proof that a point has refused."""
    facts = {
        "point": "gw-1",
        "state": "refused",
        "method": "probe",
        "at": AT,
        "sequence": 40,
        "codes": ["grant_revoked"],
        "probes": 2,
    }
    return PointProof(**{**facts, **changes})


def stored(**facts):
    """Return the members that every stored object has, and `facts`."""
    return {
        "created_at": AT,
        "created_by": "root",
        "updated_at": AT,
        "updated_by": "root",
        **facts,
    }


def a_grant(**changes) -> Grant:
    """Return an active grant at revision 7."""
    facts = stored(
        id=GRANT,
        revision=7,
        pilot="aurora",
        stage="sandbox",
        partner="acme",
        capabilities=["cyber.vuln-discovery"],
        models=["aurora-1"],
        networks=[],
        purpose="research",
        not_before=AT,
        expires_at=AT + timedelta(days=30),
        tier=2,
        state="active",
    )
    return Grant(**{**facts, **changes})


def a_lock(**changes) -> Lock:
    """Return an active lock at revision 2."""
    facts = stored(
        id="lck_01J9ZK00000000000000000000",
        revision=2,
        kind="partner",
        target="acme",
        reason="an incident",
        message="",
        state="active",
        receipt_id="rcp_01J9ZK00000000000000000000",
    )
    return Lock(**{**facts, **changes})


def a_blast(partners=("acme",)) -> Blast:
    """Return what would end for `partners`."""
    return Blast(
        partners=list(partners),
        grants=[GRANT],
        credentials=2,
        streams=1,
        stays=["acme keeps one other grant"],
    )


def a_decision(**changes) -> Decision:
    """Return a policy's allow."""
    facts = {"id": "dec_1", "allow": True, "bundle_revision": "ab" * 8, "at": AT}
    return Decision(**{**facts, **changes})


SANDBOX = Stage(key=StageKey.SANDBOX, most_partners=10, longest_grant_seconds=30 * 86400)
