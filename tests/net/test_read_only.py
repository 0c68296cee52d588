"""A read-only session: nothing that opens access leaves through it, whoever asks."""

import asyncio
import re
from contextlib import closing

import pytest
from tiny_api import tiny_api

from console.api import audit, gateway, policy
from console.api.flow import Many
from console.api.route import Call, Route
from console.config.profile import load_profile
from console.errors import ExitCode, PilotError
from console.model.operator import Direction
from console.net.driver import changes
from console.session.session import Session

ROUTES = [
    route for module in (policy, gateway, audit) for route in vars(module).values()
    if isinstance(route, Route)
]  # fmt: skip
OPENING = [route for route in ROUTES if route.direction is Direction.OPENS]
OTHERS = [route for route in ROUTES if route.direction is not Direction.OPENS]


@pytest.fixture
def api(tmp_path):
    with tiny_api(tmp_path / "a.sock") as served:
        yield served


@pytest.fixture
def session(api, tmp_path):
    environ = {f"PILOTCTL_{name}": api.address for name in ("POLICY", "GATEWAY", "AUDIT")}
    environ["HOME"] = str(tmp_path)
    with closing(Session(load_profile(environ, read_only=True), environ)) as made:
        yield made


def call_of(route, **more):
    return Call(route, dict.fromkeys(re.findall(r"{(\w+)}", route.path), "x"), **more)


def one(call):
    return (yield call)


def several(*calls):
    return (yield Many(calls))


def refused(session, flow):
    with pytest.raises(PilotError) as caught:
        session.run(flow)
    return caught.value


def aoutcome(session, call):
    async def go():
        try:
            with pytest.raises(PilotError) as caught:
                await session.arun(one(call))
            return caught.value
        finally:
            await session.apis.aclose()

    return asyncio.run(go())


@pytest.mark.parametrize("route", OPENING, ids=lambda route: route.id)
def test_nothing_that_opens_leaves_by_either_driver(session, api, route):
    call = call_of(route)
    assert changes(call)
    for error in (refused(session, one(call)), aoutcome(session, call)):
        assert (error.code, error.exit) == ("read-only", ExitCode.REFUSED)
        assert "flag --read-only" in error.hint
    assert api.asked == []


@pytest.mark.parametrize("route", OTHERS, ids=lambda route: route.id)
def test_what_closes_and_what_only_asks_is_always_sent(session, api, route):
    error = refused(session, one(call_of(route)))
    assert error.code != "read-only"
    assert len(api.asked) == 1


def test_a_plan_of_what_opens_is_sent(session, api):
    error = refused(session, one(call_of(policy.GRANT_CREATE, validate_only=True)))
    assert error.code != "read-only"
    assert len(api.asked) == 1


def test_beside_others_it_alone_is_refused_and_takes_no_key(session, api):
    drive = session.drive(idempotency_key="k")
    calls = (call_of(policy.GRANT_CREATE), call_of(gateway.LOCK_ADD))
    opens, closes = session.run(several(*calls), drive)
    assert opens.code == "read-only"
    assert closes.code != "read-only"
    assert [each.headers["idempotency-key"] for each in api.asked] == ["k"]
    assert drive.unanswered is None


def test_lifting_it_lets_the_next_call_out_and_setting_it_holds_the_one_after(session, api):
    session.read_only = False
    assert refused(session, one(call_of(policy.GRANT_CREATE))).code != "read-only"
    session.read_only = True
    assert refused(session, one(call_of(policy.GRANT_CREATE))).code == "read-only"
    assert len(api.asked) == 1
