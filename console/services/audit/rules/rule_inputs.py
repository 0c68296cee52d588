"""Calls and events as the rules see them: their plain fields, and what is made of these."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

import msgspec

from console.model.audit import Evidence
from console.model.traffic import CallRecord
from console.services.audit.log.leaf import Leaf
from console.services.audit.rules.rule import Seen, Value


def seen_call(call: CallRecord, *, ended: bool) -> Seen:
    """Return a call as the rules see it. `ended`: a closing in force forbade it as it began."""
    fields: dict[str, Any] = msgspec.structs.asdict(call)
    fields["ended_before"] = ended
    fields["network"] = network(call.address)

    def tell() -> Evidence:
        said = (call.outcome, call.code, call.model, f"from {call.address}", f"at {call.point}")
        summary = " ".join(each for each in said if each)
        return Evidence(kind="call", id=call.id, at=call.started_at, summary=summary)

    return Seen(call.started_at, fields, tell)


def seen_event(index: int, leaf: Leaf) -> Seen:
    """Return an event of the log as the rules see it."""
    fields: dict[str, Value] = {
        "index": index,
        "id": leaf.event_id,
        "source": leaf.source,
        "sequence": leaf.sequence,
        "actor": leaf.actor,
        "action": leaf.action,
        "kind": leaf.kind,
        "target": leaf.target,
        "partner": leaf.partner,
        "outcome": leaf.outcome,
        "reason": leaf.reason,
        "request_id": leaf.request_id,
        "tier": tier if isinstance(tier := leaf.told("tier"), int) else 0,
        "state": _text(leaf.told("state")),
        "approval": _text(leaf.told("approval_id")),
        "code": _text(leaf.told("code")),
        "by": _text(leaf.told("by")),
        "weakened": bool(leaf.told("weakened")),
        "days": days if isinstance(days := leaf.told("days"), int) else 0,
    }

    def tell() -> Evidence:
        summary = " ".join(each for each in (leaf.action, leaf.target, leaf.reason[:300]) if each)
        return Evidence(kind="event", id=leaf.event_id, at=leaf.at, summary=summary)

    return Seen(leaf.at, fields, tell)


@lru_cache(maxsize=20_000)
def network(address: str) -> str:
    """Return the /24 (IPv4) or /48 (IPv6) that an address lies in; the text itself if none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    size = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, size), strict=False))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
