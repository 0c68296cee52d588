"""What the partners' clients did: a day's calls, as records that a point would have kept.

Who may call is read from the gateway's own store, so no record is let through that the
state of that moment would have refused.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from console.model.enforcement import Credential, CredentialState, LockKind
from console.model.grant import GrantProjection
from console.model.ids import ulid
from console.model.price import Price
from console.model.traffic import CallRecord, Check, Outcome
from console.services.demo.cast import BY_SLUG, PRICES, Seat
from console.services.gateway.control.calls import call_store
from console.services.gateway.control.state.schema import CREDENTIALS, GRANTS, LOCKS, POINTS
from console.services.gateway.decision.decide import standing
from console.services.gateway.decision.refusal_codes import CODES
from console.services.safety_identifier import hash_of

USUAL_TOKENS = (300, 1400)
_ROUTES = ("chat.completions", "chat.completions", "messages")
_SERVED = [
    Check(name="credential", passed=True, found="known, alive"),
    Check(name="lock", passed=True, found="none"),
    Check(name="grant", passed=True, found="active"),
    Check(name="scope", passed=True, found="in scope"),
]
_encode = msgspec.json.Encoder().encode


class Sent(NamedTuple):
    """One call of the past: who sent it, from where, and what became of it."""

    at: datetime
    address: str
    model: str
    key: Credential | None = None
    code: str = ""
    """Why it was refused or failed; empty where it was served."""
    tokens: tuple[int, int] = (0, 0)
    identifier: str = ""
    """What the partner calls its user."""
    agent: str = ""


class Living(NamedTuple):
    """A key that can be called with, and until when."""

    key: Credential
    grant: GrantProjection
    ends: datetime | None


def living(conn: Connection, day: datetime) -> list[Living]:
    """Return the keys that served at some moment from `day` on, as the gateway has them."""
    grants: dict[str, GrantProjection] = {
        each.id: each for each in conn.execute(select(GRANTS.c.body)).scalars()
    }
    found = []
    for key in conn.execute(select(CREDENTIALS.c.body).order_by(CREDENTIALS.c.id)).scalars():
        ends = key.ends_at
        if key.state == CredentialState.REVOKED:
            if key.updated_at <= day:
                continue
            ends = key.updated_at
        if key.state == CredentialState.ROTATING:
            continue  # its holder uses the newer version
        found.append(Living(key, grants[key.grant_id], ends))
    return sorted(found, key=lambda each: (each.key.partner, each.key.holder, each.key.version))


def locks_of_partners(conn: Connection) -> Mapping[str, list[tuple[datetime, datetime]]]:
    """Return from when to when each partner was locked: its clients do not call meanwhile."""
    found: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    query = select(LOCKS.c.body).where(LOCKS.c.kind == LockKind.PARTNER)
    for lock in conn.execute(query).scalars():
        end = lock.released.at if lock.released else datetime.max.replace(tzinfo=UTC)
        found[lock.target].append((lock.created_at, end))
    return found


def is_workday(day: date) -> bool:
    """Tell whether people work on it."""
    return day.weekday() < 5


def usual(
    conn: Connection, day: date, until: datetime, dice: random.Random, busy: float
) -> list[Sent]:
    """Return what the partners did on an ordinary day, up to `until`."""
    begin = datetime.combine(day, time(), UTC)
    locked = locks_of_partners(conn)
    out: list[Sent] = []
    for each in living(conn, begin):
        seat = BY_SLUG.get(each.key.partner)
        if seat is None or not (seat.always or is_workday(day)):
            continue
        own = each.key.holder == seat.slug
        mean = seat.daily * busy * (1.0 if own else 0.5)
        count = round(mean if seat.always else dice.gauss(mean, mean / 6))
        out += (
            sent
            for sent in _of_key(each, seat, begin, count, dice)
            if sent.at < until
            and each.key.created_at < sent.at
            and (each.ends is None or sent.at < each.ends)
            and not standing(each.grant, sent.at)[0]
            and not any(since <= sent.at < end for since, end in locked[seat.slug])
        )
    return out


def _of_key(
    each: Living, seat: Seat, begin: datetime, count: int, dice: random.Random
) -> list[Sent]:
    first, last = seat.hours
    agent = f"{each.key.holder}-client/{1 + each.key.version}.0"
    out = []
    for number in range(max(count, 0)):
        if seat.always:  # in every part of the day, so that no hour of it is odd
            at = begin + timedelta(hours=24 * (number + dice.random()) / count)
        else:
            at = begin + timedelta(hours=first, seconds=dice.random() * (last - first) * 3600)
        luck = dice.random()
        model, code = dice.choice(each.grant.models or seat.models), ""
        if luck < 0.012:
            model, code = f"{seat.pilot}-preview", "model_out_of_scope"
        elif luck < 0.018:
            code = "upstream_timeout"
        low, high = USUAL_TOKENS
        tokens = (dice.randint(low, high), dice.randint(low // 2, high // 2))
        if model == "polaris-2":
            tokens = (tokens[0] // 10, tokens[1] // 10)
        user = dice.choice(seat.principals) if seat.principals and dice.random() < 0.9 else ""
        host = dice.randint(2, 9) if each.key.holder == seat.slug else dice.randint(240, 244)
        out.append(
            Sent(
                at=at,
                address=seat.address(host),
                model=model,
                key=each.key,
                code=code,
                tokens=(0, 0) if code else tokens,
                identifier=user,
                agent=agent,
            )
        )
    return out


class Known(NamedTuple):
    """What a record tells beside the call: the salt, the prices, the state decided by."""

    salt: bytes
    prices: Mapping[str, Price]
    bundle: str
    sequence: int


def keep(
    conn: Connection,
    sent: Sequence[Sent],
    dice: random.Random,
    known: Known,
) -> None:
    """Store a day's calls at the points that took them, with their usage."""
    points = conn.execute(select(POINTS.c.name, POINTS.c.calls_held).order_by(POINTS.c.name)).all()
    numbers = {row.name: int(row.calls_held) for row in points}
    taken: dict[str, list[CallRecord]] = {name: [] for name in numbers}
    grants = {each.id: each for each in conn.execute(select(GRANTS.c.body)).scalars()}
    names = sorted(numbers)
    for each in sorted(sent, key=lambda one: one.at):
        point = dice.choice(names)
        numbers[point] += 1
        grant = grants[each.key.grant_id] if each.key else None
        taken[point].append(_record(each, grant, dice, (point, numbers[point]), known))
    for name, records in taken.items():
        for start in range(0, len(records), 2000):
            some = records[start : start + 2000]
            call_store.take(conn, name, some, [_encode(record) for record in some])


def _record(
    sent: Sent,
    grant: GrantProjection | None,
    dice: random.Random,
    place: tuple[str, int],
    known: Known,
) -> CallRecord:
    kind = CODES.get(sent.code)
    in_scope = grant is not None and (not grant.models or sent.model in grant.models)
    found = grant.capabilities[0] if grant and in_scope else None
    seat = BY_SLUG.get(grant.partner) if grant else None
    took = dice.uniform(180, 2400) if kind is None else dice.uniform(1, 4)
    price = known.prices.get(sent.model)
    name = f"{seat.slug}/{sent.identifier}" if seat and sent.identifier else ""
    return CallRecord(
        id=f"req_{ulid(int(sent.at.timestamp() * 1000))}",
        point=place[0],
        sequence=place[1],
        started_at=sent.at,
        ended_at=sent.at + timedelta(milliseconds=took),
        pilot=grant.pilot if grant else "",
        stage=grant.stage if grant else "",
        partner=grant.partner if grant else "",
        grant_id=grant.id if grant else "",
        credential_id=sent.key.id if sent.key else "",
        holder=sent.key.holder if sent.key else "",
        capability=found.slug if found else "",
        tier=found.tier if found else 0,
        model=sent.model,
        route=dice.choice(_ROUTES),
        stream=dice.random() < 0.5,
        outcome=kind.outcome if kind else Outcome.ALLOWED,
        code=sent.code,
        status=kind.status if kind else 200,
        address=sent.address,
        declared=seat is None or sent.address.startswith(f"127.0.{seat.third}."),
        user_agent=sent.agent,
        input_tokens=sent.tokens[0],
        output_tokens=sent.tokens[1],
        finish_reason="stop" if kind is None else "",
        error_type=sent.code if kind and kind.outcome == Outcome.ERROR else "",
        upstream="builtin" if kind is None else "",
        upstream_ms=round(took * 0.97, 3) if kind is None else 0.0,
        total_ms=round(took, 3),
        snapshot_sequence=known.sequence,
        bundle_revision=known.bundle if grant else "",
        checks=_SERVED
        if kind is None
        else [Check(name="decision", passed=False, found=sent.code.replace("_", " "))],
        principal=hash_of(known.salt, grant.partner, sent.identifier) if grant and name else "",
        cost_micros=price.cost(*sent.tokens) if price and kind is None else 0,
    )


def prices_on(first: date) -> dict[str, Price]:
    """Return the price table that held through the history."""
    at = datetime.combine(first, time(), UTC)
    return {
        model: Price(
            id=f"prc_{ulid(int(at.timestamp() * 1000))}",
            revision=1,
            created_at=at,
            created_by="owner-1",
            updated_at=at,
            updated_by="owner-1",
            model=model,
            starts_on=first,
            input_micros=read,
            output_micros=write,
        )
        for model, (read, write) in PRICES.items()
    }
