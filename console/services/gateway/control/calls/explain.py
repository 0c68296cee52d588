"""Why a call was let through or refused, in words, and what would mend it."""

from __future__ import annotations

from sqlalchemy import Connection

from console.model.traffic import CallRecord, Explanation, Outcome
from console.services.gateway.control.calls import call_store
from console.services.gateway.control.state.schema import LOCKS
from console.services.gateway.decision.refusal_codes import CODES
from console.services.web import Ask


def explain(conn: Connection, ask: Ask) -> Explanation:
    """Answer `call.explain`."""
    call = call_store.find(conn, ask.path["call"])
    return Explanation(call=call, summary=_summary(conn, call), mend=_mend(call))


def _summary(conn: Connection, call: CallRecord) -> str:
    who = f"{call.partner} (key {call.credential_id})" if call.partner else "an unknown caller"
    what = f"{call.model or 'no model'} on {call.route}"
    if not call.code:
        under = f" under {call.capability} (tier {call.tier})" if call.capability else ""
        return f"Served: {who} called {what}{under}."
    failed = next((check for check in call.checks if not check.passed), None)
    found = f" ({failed.name}: {failed.found})" if failed else ""
    if call.lock_id:
        lock = conn.execute(LOCKS.select().where(LOCKS.c.id == call.lock_id)).first()
        if lock is not None:
            why = f"locked by {lock.body.created_by}: {lock.body.reason}"
            found = f" ({lock.kind} {lock.target} is {why})"
    kind = CODES.get(call.code)
    says = kind.says if kind else ""
    match call.outcome:
        case Outcome.DENIED | Outcome.BLOCKED:
            verb = "Cut" if call.upstream and call.upstream_ms else "Refused"
            return f"{verb} with {call.code}: {who} asked for {what}. {says}{found}"
        case Outcome.ERROR:
            more = f" [{call.error_type}]" if call.error_type else ""
            return f"Failed with {call.code}{more}: {who} asked for {what}. {says}"
        case _:
            return f"Served in part, {call.code}: {who} called {what}. {says}"


def _mend(call: CallRecord) -> str:
    kind = CODES.get(call.code)
    if kind is None:
        return ""
    return kind.mend.replace("GRANT", call.grant_id or "GRANT").replace(
        "LOCK", call.lock_id or "LOCK"
    )
