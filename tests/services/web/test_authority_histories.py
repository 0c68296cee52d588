"""Random histories of one operator: what they sent before counts only if nothing was lost since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from console.api import policy
from console.api.gateway import LOCK_ADD
from console.api.operators import OPERATOR_ADD
from console.api.route import Route
from console.errors import PilotError
from console.model.account import AccountKind
from console.model.operator import Direction, Operator, Role, may
from console.services.demo.stores import asked
from console.services.operators import roster_store
from console.services.operators.identities import Identities
from console.services.operators.roster import (
    Entry,
    Mark,
    Roster,
    RosterToken,
)
from console.services.store import Store
from console.services.web import authority
from console.services.web.authority import Authority, Claim
from console.services.web.callers import hash_of
from tests.services.web.sample import STEPS

START = datetime(2026, 1, 1, tzinfo=UTC)
ROUTES = (policy.PARTNER_LIST, policy.PARTNER_CREATE, LOCK_ADD, OPERATOR_ADD)
ROLES = (Role.VIEWER, Role.RESPONDER, Role.OPERATOR, Role.ADMIN)
STEPS_OF_HISTORY = ("cut", "restore", "freeze", "thaw", "replace", "wait", *ROLES)


class Person(NamedTuple):
    """The operator as a history leaves them: all that the oracle knows."""

    role: Role
    token: int = 0
    generation: int = 0
    thaws: int = 0
    cut: bool = False
    frozen: bool = False
    hours: int = 0

    def may(self, route: Route, token: int) -> bool:
        if self.cut or token != self.token or self.hours >= 3:
            return False
        if not may([self.role.value], route.role):
            return False
        return not self.frozen or route.role is Role.VIEWER or route.direction is Direction.CLOSES


def after(person: Person, step: str) -> Person:
    match step:
        case "cut":
            return person._replace(cut=True)
        case "restore":
            return person._replace(
                cut=False, generation=person.generation + person.cut,
                token=person.token + person.cut,
            )  # fmt: skip
        case "freeze":
            return person._replace(frozen=True)
        case "thaw":
            return person._replace(frozen=False, thaws=person.thaws + person.frozen)
        case "replace":
            return person._replace(token=person.token + 1)
        case "wait":
            return person._replace(hours=person.hours + 1)
        case _:
            return person._replace(role=Role(step))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(tmp_path_factory.mktemp("s") / "s.db", STEPS, durable=False)
    yield opened
    opened.close()


NAMES, SEQUENCES = count(), count(1)
NOTHING = asked(policy.PARTNER_LIST, "", START, None, {})
"""A request, whose caller is put in where it commits."""


def keep(conn: Connection, name: str, person: Person) -> None:
    """Keep a person as policy would tell it, and their marks."""
    token = RosterToken(
        id="t", hint="", sha256=hash_of(f"{name}-{person.token}"),
        ends_at=START + timedelta(hours=3),
    )  # fmt: skip
    entry = Entry(
        name=name, kind=AccountKind.PERSON.value, uid=None, roles=[person.role.value], groups=[],
        generation=person.generation, thaws=person.thaws, tokens=[token],
    )  # fmt: skip
    roster_store.keep(conn, Roster(sequence=next(SEQUENCES), entries=[entry]))
    marks = [("cut", person.generation)] * person.cut + [("frozen", person.thaws)] * person.frozen
    for kind, number in marks:
        mark = Mark(name=name, generation=number, kind=kind, at=START, by="root", reason="r")
        roster_store.add(conn, [mark])


@given(
    first=st.sampled_from(ROLES),
    steps=st.lists(st.sampled_from(STEPS_OF_HISTORY), max_size=6),
    heard=st.booleans(),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_request_is_carried_out_exactly_if_its_caller_may_as_it_arrives_and_as_it_commits(
    store: Store, monkeypatch: pytest.MonkeyPatch, first: Role, steps: list[str], heard: bool
) -> None:
    """`heard`: the process follows each change of the store; else it knows the first alone."""
    name, person = f"p{next(NAMES)}", Person(first)
    identities = Identities("policy", ())
    judges = Authority(identities)
    monkeypatch.setattr(authority, "now", lambda: START + timedelta(hours=person.hours))
    store.write_now(lambda conn: keep(conn, name, person))
    store.read_now(identities.refresh)
    arrived: list[tuple[Claim, Person]] = []
    for step in ["", *steps]:
        if step:
            person = after(person, step)
            store.write_now(lambda conn, now=person: keep(conn, name, now))  # type: ignore[misc]
            if heard:
                store.read_now(identities.refresh)
        for route in ROUTES:
            bearer = f"{name}-{person.token}"
            try:
                claim = judges.claim(route, None, bearer)
            except PilotError:
                assert not heard or not person.may(route, person.token)
                continue
            assert not heard or person.may(route, person.token)
            if person.may(route, person.token):
                arrived.append((claim, person))
    for claim, was in arrived:
        allowed = person.may(claim.route, was.token) and person.generation == was.generation
        found = committed(store, judges, claim)
        assert (found is not None) == allowed, (claim.route.id, was, person)
        if found is not None:
            assert (found.roles, found.frozen) == ([person.role.value], person.frozen)


def committed(store: Store, judges: Authority, claim: Claim) -> Operator | None:
    """Return whom the handler of the request sees; None where a transaction does nothing."""
    with judges.in_transactions(claim) as judged:
        try:
            return store.write_now(lambda _conn: judged(NOTHING).operator)
        except PilotError:
            return None
