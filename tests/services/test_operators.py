"""Operators as objects: added, given tokens, cut off at every service, break-glass."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from console.api.audit import ALERT_ACKNOWLEDGE
from console.api.flow import Flow
from console.api.operators import CUT
from console.api.route import Call, Route
from console.api.status import STATUS
from console.config.profile import load_profile
from console.errors import ExitCode, PilotError
from console.model.account import CutOperator
from console.model.operator import Direction, Role, may
from console.model.text import now
from console.operations.index import find
from console.operations.outcome import outcome
from console.operations.values import build
from console.services import supervisor
from console.session.session import Session
from tests.thread.pilot_rig import Rig, running, short_folder

WHY = "tests"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with short_folder() as folder, running(folder / "home") as rig:
        yield rig


@contextmanager
def signed_in(rig: Rig, token: str) -> Iterator[Session]:
    environ = {**rig.env, "PILOTCTL_TOKEN": token}
    session = Session(load_profile(environ), environ)
    try:
        yield session
    finally:
        session.close()


def do(session: Session, operation: str, **typed: Any) -> Any:
    op = find(operation)
    params = build(op, typed, now=now())
    plan = session.run(op.plan(params)) if op.plan else None
    return session.run(op.run(params, plan))


def added(rig: Rig, name: str, *roles: str, **more: Any) -> str:
    """Add an operator by their roles; return a token of theirs."""
    rig.do("operator.add", operator=name, roles=list(roles), reason=WHY, **more)
    return str(rig.do("operator.token", operator=name, reason=WHY).secret)


def one_cut(route: Route, operator: str) -> Flow[Any]:
    """Cut an operator off at one service alone."""
    reply = yield Call(route, {"operator": operator}, {}, CutOperator(reason=WHY))
    return reply.value


def known(session: Session, api: str) -> bool:
    try:
        session.run(STATUS[api]())
    except PilotError as error:
        assert error.code == "not-an-operator"  # noqa: PT017 - any other is a failure
        return False
    return True


def refused(session: Session, api: str) -> str:
    with pytest.raises(PilotError) as caught:
        session.run(STATUS[api]())
    assert caught.value.code == "not-an-operator"
    return caught.value.message


def test_an_operator_signs_in_by_a_token_that_is_stored_nowhere(rig: Rig) -> None:
    token = added(rig, "mara", "operator", groups=["east"])
    with signed_in(rig, token) as session:
        said = session.run(STATUS["gateway"]())
        assert known(session, "policy")
    assert (said.operator.name, said.operator.roles) == ("mara", ["operator"])
    for store in rig.home.rglob("*"):
        if store.is_file():
            assert token.encode() not in store.read_bytes(), store
    sessions = rig.do("operator.sessions").items
    assert {each.service for each in sessions if each.operator == "mara"} >= {"gateway", "policy"}
    assert any(each.by.startswith("token …") for each in sessions)


def test_a_new_operator_is_known_at_every_service_from_the_answer_on(rig: Rig) -> None:
    for number in range(5):
        with signed_in(rig, added(rig, f"new-{number}", "viewer")) as session:
            assert [known(session, api) for api in ("audit", "gateway", "policy")] == [True] * 3
        other = rig.do("operator.token", operator=f"new-{number}", replace=True, reason=WHY)
        assert other.account.unaware == []
        with signed_in(rig, other.secret) as session:
            assert [known(session, api) for api in ("audit", "gateway", "policy")] == [True] * 3


@pytest.mark.filterwarnings(  # httpcore leaves the socket open when nobody listens
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_who_does_not_know_a_new_operator_yet_is_named_and_learns_it_later(rig: Rig) -> None:
    rig.do("operator.add", operator="late", roles=["viewer"], reason=WHY)
    supervisor.stop_one(rig.home, "audit")
    try:
        issued = rig.do("operator.token", operator="late", reason=WHY)
        assert issued.account.unaware == ["audit"]
        ending = outcome(find("operator.token"), issued)
        assert ending.exit is ExitCode.UNVERIFIED
        assert "audit did not take it in yet" in ending.why
        with signed_in(rig, issued.secret) as session:
            assert known(session, "gateway")
    finally:
        supervisor.start_one(rig.home, "audit")
    with signed_in(rig, issued.secret) as session:
        rig.until(lambda: known(session, "audit"))


def test_a_cut_that_was_heard_of_first_is_recorded_where_it_is_asked_for_too(rig: Rig) -> None:
    token = added(rig, "cut-3", "operator")
    one = rig.session().run(one_cut(CUT["policy"], "cut-3"))
    with signed_in(rig, token) as session:
        for api in ("gateway", "audit"):
            rig.until(lambda each=api: not known(session, each))
    cut = rig.do("operator.cut", operator="cut-3", reason=WHY)
    ids = {each.service: each.event_id for each in cut.services}
    assert ids["policy"] == one.event_id
    assert all(ids.values())
    assert len(set(ids.values())) == 3
    again = rig.do("operator.cut", operator="cut-3", reason=WHY)
    assert {each.service: each.event_id for each in again.services} == ids


def test_an_operator_that_uses_one_service_is_listed_as_used(rig: Rig) -> None:
    token = added(rig, "seldom-1", "viewer")
    assert rig.do("operator.show", operator="seldom-1").used_at is None
    with signed_in(rig, token) as session:
        rig.until(lambda: known(session, "gateway"))
    rig.until(lambda: rig.do("operator.show", operator="seldom-1").used_at)
    listed = {each.slug: each.used_at for each in rig.do("operator.list").items}
    assert listed["seldom-1"] is not None


def test_when_a_token_was_last_used_is_known_after_its_operator_is_cut(rig: Rig) -> None:
    token = added(rig, "stolen-1", "viewer")
    with signed_in(rig, token) as session:
        assert known(session, "policy")
    rig.do("operator.cut", operator="stolen-1", reason="laptop stolen")
    assert rig.do("operator.show", operator="stolen-1").used_at is not None


def test_a_use_of_another_service_is_learnt_after_the_cut(rig: Rig) -> None:
    token = added(rig, "stolen-2", "viewer")
    with signed_in(rig, token) as session:
        rig.until(lambda: known(session, "audit"))
    rig.do("operator.cut", operator="stolen-2", reason="laptop stolen")
    rig.until(lambda: rig.do("operator.show", operator="stolen-2").used_at)


def test_a_cut_holds_at_every_service_from_its_answer_on(rig: Rig) -> None:
    token = added(rig, "cut-1", "operator")
    cut = rig.do("operator.cut", operator="cut-1", reason="laptop stolen")
    assert cut.state == "cut"
    with signed_in(rig, token) as session:
        for api in ("policy", "gateway", "audit"):
            assert "cut off" in refused(session, api) or "no operator" in refused(session, api)
    again = rig.do("operator.cut", operator="cut-1", reason="again")
    assert [each.event_id for each in again.services] == [each.event_id for each in cut.services]
    assert rig.do("operator.show", operator="cut-1").state == "cut"


def test_an_operator_let_in_again_has_none_of_the_old_tokens(rig: Rig) -> None:
    old = added(rig, "back-1", "viewer")
    rig.do("operator.cut", operator="back-1", reason=WHY)
    rig.do("operator.restore", operator="back-1", reason=WHY)
    new = rig.do("operator.token", operator="back-1", reason=WHY).secret
    with signed_in(rig, new) as session:
        rig.until(lambda: known(session, "gateway"))
    with signed_in(rig, old) as session:
        refused(session, "gateway")


@pytest.mark.filterwarnings(  # httpcore leaves the socket open when nobody listens
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_cut_is_taken_by_the_gateway_while_policy_is_down_and_policy_learns_of_it(
    rig: Rig,
) -> None:
    token = added(rig, "cut-2", "operator")
    supervisor.stop_one(rig.home, "policy")
    try:
        cut = rig.do("operator.cut", operator="cut-2", reason=WHY)
        states = {each.service: each.state for each in cut.services}
        assert states == {"gateway": "cut", "policy": "unknown", "audit": "cut"}
        assert cut.state == "partial"
        with signed_in(rig, token) as session:
            refused(session, "gateway")
            refused(session, "audit")
    finally:
        supervisor.start_one(rig.home, "policy")
    rig.until(lambda: rig.do("operator.show", operator="cut-2").state == "cut")
    with signed_in(rig, token) as session:
        refused(session, "policy")


def test_what_ends_a_token_is_its_end_and_its_replacement(rig: Rig) -> None:
    first = added(rig, "two-tokens", "viewer")
    second = rig.do("operator.token", operator="two-tokens", replace=True, reason=WHY).secret
    with signed_in(rig, second) as session:
        rig.until(lambda: known(session, "audit"))
    with signed_in(rig, first) as session:
        refused(session, "audit")
    with pytest.raises(PilotError, match="ended already"):
        rig.do("operator.token", operator="two-tokens", ends_at="2020-01-01", reason=WHY)


def test_nobody_is_let_in_by_a_token_that_is_none(rig: Rig) -> None:
    with signed_in(rig, "opt-pilot-" + "x" * 43) as session:
        for api in ("policy", "gateway", "audit"):
            assert "no operator has this token" in refused(session, api)


def test_standing_operators_are_changed_in_pilot_toml(rig: Rig) -> None:
    with pytest.raises(PilotError, match=r"pilot\.toml"):
        rig.do("operator.set", operator=rig.operator, roles=["viewer"], reason=WHY)


def test_break_glass_closes_and_nothing_else_and_its_use_is_a_critical_alert(
    rig: Rig, tmp_path: Path
) -> None:
    sealed = rig.do("break-glass.seal", reason="the drawer of the duty room")
    name = sealed.account.slug
    with signed_in(rig, sealed.secret) as session:
        rig.until(lambda: known(session, "gateway"))
        lock = do(session, "lock.add", kind="model", target="aurora-2", reason="at night")
        assert lock.state == "verified"
        with pytest.raises(PilotError, match="asks for operator"):
            do(session, "lock.release", lock=lock.lock_id, reason="no")
        assert asked(session, ALERT_ACKNOWLEDGE) == (403, "refused")
    account = rig.until(
        lambda: next(
            (each for each in rig.do("break-glass.list").items
             if each.slug == name and each.used_at), None,
        )
    )  # fmt: skip
    assert account.used_at is not None
    alert = rig.until(
        lambda: next(
            (each for each in rig.do("alert.list").items if each.rule == "break-glass-used"), None
        )
    )
    assert alert.severity == "critical"
    rig.do("lock.release", lock=lock.lock_id, reason=WHY)
    again = rig.do("break-glass.seal", replace=True, reason="it was used")
    states = {each.slug: each.state for each in rig.do("break-glass.list").items}
    assert states[name] == "cut"
    assert states[again.account.slug] == "active"
    with signed_in(rig, sealed.secret) as session:
        rig.until(lambda: not known(session, "gateway"))


def test_break_glass_is_used_from_its_file_at_the_command_line(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "glass"
    words = ["break-glass", "seal", "--reason", WHY, "--yes", "--secret-file", str(file)]
    assert rig.cli(*words).exit == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    environ = {**rig.env, "PILOTCTL_BREAK_GLASS": str(file)}
    with_glass = Session(load_profile(environ), environ)
    rig.until(lambda: known(with_glass, "gateway"))
    with_glass.close()
    done = subprocess.run(
        [sys.executable, "-m", "console", "auth", "status"], env=environ, text=True,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert "break-glass-" in done.stdout
    assert file.read_text().strip() not in done.stdout + done.stderr


@pytest.mark.long
def test_role_times_route_nothing_slips(rig: Rig) -> None:
    """Every route of the contract, asked with the token of each role alone."""
    from console.api.contract import ROUTES

    counted = 0
    for role in Role:
        token = added(rig, f"only-{role.value}", role.value)
        with signed_in(rig, token) as session:
            for route in ROUTES:
                status, code = asked(session, route)
                allowed = may([role.value], route.role)
                assert (code == "role-missing") == (not allowed), (role, route.id, status, code)
                counted += 1
    assert counted == len(Role) * len(ROUTES)


def asked(session: Session, route: Any) -> tuple[int, str]:
    """Ask a route with nothing that could succeed: who may is decided before what."""
    import httpx

    path = route.path
    while "{" in path:
        before, _, rest = path.partition("{")
        path = f"{before}none{rest.partition('}')[2]}"
    socket = str(session.profile.setting(route.api)).removeprefix("unix:")
    token = session.token()
    assert token is not None
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=20) as client:
        headers = {"authorization": f"Bearer {token.secret.reveal()}"}
        try:
            with client.stream(
                route.method, f"http://localhost{path}", headers=headers,
                content=b"nonsense" if route.writes else None,
            ) as answer:  # fmt: skip
                if answer.status_code == 200:
                    return 200, ""
                body = answer.read()
        except httpx.ReadTimeout:
            return 200, ""
    import json

    kind = json.loads(body).get("type", "") if body.startswith(b"{") else ""
    return answer.status_code, str(kind).rpartition(":")[2]


def test_role_times_operation_what_the_console_enables_is_what_the_services_allow(
    rig: Rig,
) -> None:
    from tests.test_parity import OPERATIONS, written_by

    for op in OPERATIONS:
        for route in written_by(op):
            for role in Role:
                assert may([role.value], op.role) == may([role.value], route.role)
            if op.direction is Direction.CLOSES:
                # ending a whole pilot for ever is an admin's: a lock stops it until one is there
                others = {Role.ADMIN} if op.id == "pilot.close" else {Role.OPERATOR}
                assert may([Role.RESPONDER.value], op.role) or op.role in others, op.id
