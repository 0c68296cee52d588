"""Finding what is stored, by slug or id, and naming the nearest where it is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from ipaddress import ip_interface, ip_network
from typing import Any

from sqlalchemy import Connection, Table, or_, select

from console.api.problems import refusal
from console.errors import PilotError
from console.model.access import Capability, Partner, Pilot
from console.model.evidence import Assessment, UsageTerms
from console.model.grant import Grant
from console.model.principal import Principal
from console.model.text import SLUG_PATTERN, is_slug, rfc3339
from console.parsing.suggest import suggest
from console.services.policy.state.tables import (
    ASSESSMENTS,
    CAPABILITIES,
    CLOSED_PILOTS,
    GRANTS,
    PARTNERS,
    PILOTS,
    PRINCIPALS,
    TERMS,
)


def pilot(conn: Connection, name: str) -> Pilot:
    """Return the pilot of this slug or id, or raise `not-found` naming the nearest."""
    found: Pilot = _by_name(conn, PILOTS, "pilot", name)
    return found


def open_pilot(conn: Connection, name: str) -> Pilot:
    """Return the pilot of this slug or id. Raises `not-found`, or `state` where it was closed."""
    found = pilot(conn, name)
    not_closed(conn, found.slug)
    return found


def not_closed(conn: Connection, slug: str) -> None:
    """Raise `state` where a pilot of this slug was closed, here or before a restore."""
    asked = select(CLOSED_PILOTS.c.closed_at).where(CLOSED_PILOTS.c.slug == slug)
    if at := conn.execute(asked).scalar_one_or_none():
        raise refusal(
            "state",
            f"pilot {slug} was closed at {rfc3339(at)}: its slug is never used again",
            mend="begin a new pilot under another slug: pilotctl pilot create",
        )


def capability(conn: Connection, name: str) -> Capability:
    """Return the capability of this slug or id, or raise `not-found` naming the nearest."""
    found: Capability = _by_name(conn, CAPABILITIES, "capability", name)
    return found


def partner(conn: Connection, name: str) -> Partner:
    """Return the partner of this slug or id, or raise `not-found` naming the nearest."""
    found: Partner = _by_name(conn, PARTNERS, "partner", name)
    return found


def terms(conn: Connection, name: str) -> UsageTerms:
    """Return the terms of this id, or raise `not-found`. Who accepted them is not filled in."""
    found: UsageTerms = _by_id(conn, TERMS, "terms", name)
    return found


def assessment(conn: Connection, name: str) -> Assessment:
    """Return the assessment of this id, or raise `not-found`."""
    found: Assessment = _by_id(conn, ASSESSMENTS, "assessment", name)
    return found


def grant(conn: Connection, name: str) -> Grant:
    """Return the grant of this id as it is stored, or raise `not-found`."""
    found: Grant = _by_id(conn, GRANTS, "grant", name)
    return found


def principal(conn: Connection, name: str) -> Principal:
    """Return the principal of this id, or raise `not-found`."""
    found: Principal = _by_id(conn, PRINCIPALS, "principal", name)
    return found


def nearest(wrong: str, right: Iterable[str]) -> str:
    """Return ` (nearest: x)` where something like `wrong` exists, else an empty string."""
    close = suggest(wrong, right)
    return f" (nearest: {close})" if close else ""


def one_of(name: str, value: str, choices: type[StrEnum]) -> str:
    """Return `value` where it is one of `choices`, or raise `invalid` naming them."""
    known = [str(choice) for choice in choices]
    if value in known:
        return value
    raise refusal(
        "invalid", f"{name}: {value!r} is none of {', '.join(known)}{nearest(value, known)}"
    )


def networks(name: str, wanted: Sequence[str]) -> list[str]:
    """Return the networks in their canonical form, each once, or raise `invalid`."""
    return list(dict.fromkeys(_network(f"{name}[{n}]", text) for n, text in enumerate(wanted)))


def labels(wanted: dict[str, str]) -> dict[str, str]:
    """Return the labels, or raise `invalid`: at most 32, with slugs as their names."""
    if len(wanted) > 32:
        raise refusal("invalid", f"labels: {len(wanted)} are more than 32")
    for name in wanted:
        if not is_slug(name):
            raise refusal("invalid", f"labels: {name!r} is not like {SLUG_PATTERN}")
    return wanted


def unique(wanted: Sequence[str]) -> list[str]:
    """Return `wanted` without repetition, in order."""
    return list(dict.fromkeys(wanted))


def exists(kind: str, slug: str, current: Any) -> PilotError:
    """Return the conflict that creating `slug` a second time is."""
    return refusal(
        "exists",
        f"{kind} {slug} exists already",
        mend=f"pilotctl {kind} show {slug}",
        current=current,
    )


def by_slug(conn: Connection, table: Table, slug: str) -> Any:
    """Return what is stored under `slug`, or None."""
    return conn.execute(select(table.c.body).where(table.c.slug == slug)).scalar_one_or_none()


def _by_name(conn: Connection, table: Table, kind: str, name: str) -> Any:
    asked = select(table.c.body).where(or_(table.c.slug == name, table.c.id == name))
    found = conn.execute(asked).scalar_one_or_none()
    if found is None:
        slugs = conn.execute(select(table.c.slug)).scalars()
        raise refusal(
            "not-found",
            f"there is no {kind} {name!r}{nearest(name, slugs)}",
            mend=f"pilotctl {kind} list",
        )
    return found


def _by_id(conn: Connection, table: Table, kind: str, name: str) -> Any:
    found = conn.execute(select(table.c.body).where(table.c.id == name)).scalar_one_or_none()
    if found is None:
        raise refusal("not-found", f"there is no {kind} {name!r}", mend=f"pilotctl {kind} list")
    return found


def _network(where: str, text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        host = ip_interface(text)
    except ValueError:
        raise refusal(
            "invalid", f"{where}: {text!r} is not a network like 203.0.113.0/24"
        ) from None
    raise refusal(
        "invalid",
        f"{where}: {text!r} has host bits set: write {host.network} for the network, "
        f"or {host.ip} for the one address",
    )
