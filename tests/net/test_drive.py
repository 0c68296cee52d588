"""The drivers over real sockets: retries, keys, deadlines, and what silence means."""

import asyncio
import socket
import threading
import time
from contextlib import closing
from typing import Any

import pytest
from tiny_api import Told, tiny_api

from console.api import audit, gateway
from console.api.flow import Many, Report, Wait
from console.api.route import Call, Reply
from console.errors import ExitCode, PilotError
from console.model.enforcement import LockKind, LockTarget, NewLock
from console.model.operator import ServiceStatus
from console.net import driver as driving
from console.net.client import Apis
from console.net.driver import Drive, arun, run

AT = "2026-03-01T12:00:00Z"
STATUS = {
    "service": "gateway", "version": "1", "as_of": AT,
    "operator": {"name": "root", "uid": 0, "roles": ["admin"]}, "new_member": 1,
}  # fmt: skip
LOCK = {
    "id": "lck_1", "created_at": AT, "created_by": "root", "updated_at": AT, "updated_by": "root",
    "kind": "partner", "target": "acme", "reason": "r", "message": "", "state": "active",
}  # fmt: skip
ADD = Call(
    gateway.LOCK_ADD,
    body=NewLock(target=LockTarget(kind=LockKind.PARTNER, id="acme"), reason="r"),
)


@pytest.fixture
def api(tmp_path):
    with tiny_api(tmp_path / "g.sock") as served:
        served.on("GET /v1/status", STATUS)
        yield served


@pytest.fixture
def apis(api):
    made = Apis({"gateway": api.address, "policy": "", "audit": ""}, token=lambda: None)
    yield made
    made.close()


def once(call: Call) -> Any:
    reply = yield call
    return reply


def both_drivers(address, flow):
    """Return what the synchronous and the asynchronous driver make of the same flow."""

    def outcome(made):
        try:
            return made()
        except PilotError as error:
            return error

    apis = Apis({"gateway": address, "policy": address, "audit": address}, token=lambda: None)
    sync = outcome(lambda: run(flow(), Drive(apis)))
    apis.close()

    async def drive():
        try:
            return await arun(flow(), Drive(apis))
        finally:
            await apis.aclose()

    return sync, outcome(lambda: asyncio.run(drive()))


def test_both_drivers_give_the_same_answer_over_a_unix_socket_and_over_tcp(api):
    with tiny_api() as tcp:
        tcp.on("GET /v1/status", STATUS)
        for served in (api, tcp):
            for reply in both_drivers(served.address, lambda: once(Call(gateway.STATUS))):
                assert isinstance(reply.value, ServiceStatus)
                assert reply.value.operator.name == "root"
                assert reply.source == f"gateway {served.address}"


def test_a_request_carries_its_id_its_key_and_nothing_that_was_not_asked_for(api, apis):
    api.on("POST /v1/locks", LOCK, status=201)
    run(once(ADD._replace(if_match=3, validate_only=True)), Drive(apis))
    asked = api.asked[-1]
    assert asked.query == {"validate_only": "true"}
    assert asked.headers["if-match"] == '"3"'
    assert asked.headers["x-request-id"].startswith("rid_")
    assert asked.headers["accept-encoding"] == "identity"
    assert len(asked.headers["idempotency-key"]) == 26
    assert "authorization" not in asked.headers
    assert asked.body["target"] == {"kind": "partner", "id": "acme"}


def test_a_path_parameter_can_never_leave_its_segment(api, apis):
    with pytest.raises(PilotError):
        run(once(Call(gateway.LOCK_SHOW, path={"lock": "a/../../x"})), Drive(apis))
    assert api.asked[-1].path == "/v1/locks/a%2F..%2F..%2Fx"
    for route, path in [
        (gateway.LOCK_SHOW, {"lock": ".."}),
        (gateway.LOCK_SHOW, {"lock": "."}),
        (gateway.LOCK_SHOW, {"lock": ""}),
        (audit.TILE, {"file": "tile/../x"}),
    ]:
        with (
            closing(Apis({"audit": api.address, "gateway": api.address}, token=lambda: None)) as at,
            pytest.raises(PilotError, match="cannot name anything") as caught,
        ):
            run(once(Call(route, path=path)), Drive(at))
        assert caught.value.exit is ExitCode.USAGE
    assert len(api.asked) == 1


def test_a_read_is_retried_and_a_refusal_is_not(api, apis):
    answers = iter([Told({}, 503), Told({}, 502), Told(STATUS)])
    api.on("GET /v1/status", lambda _: next(answers))
    assert run(once(Call(gateway.STATUS)), Drive(apis)).value.service == "gateway"
    assert len(api.asked) == 3
    api.problem("GET /v1/locks", "role-missing", 403, "you are no auditor")
    with pytest.raises(PilotError) as caught:
        run(once(Call(gateway.LOCK_LIST)), Drive(apis))
    assert (caught.value.code, caught.value.exit) == ("role-missing", ExitCode.REFUSED)
    assert len(api.asked) == 4


def test_retry_after_is_heeded_up_to_a_bound(api, apis):
    api.on("GET /v1/status", {}, status=429, headers={"retry-after": "3600"})
    with pytest.raises(PilotError) as caught:
        run(once(Call(gateway.STATUS)), Drive(apis))
    assert caught.value.exit is ExitCode.UNAVAILABLE
    assert len(api.asked) == 1


def test_a_write_whose_answer_is_lost_is_replayed_with_the_same_key(api, apis):
    answers = iter([Told(raw=b""), Told(LOCK, 201, {"idempotent-replayed": "true"})])
    api.on("POST /v1/locks", lambda _: next(answers))
    reply = run(once(ADD), Drive(apis))
    assert reply.replayed
    keys = {each.headers["idempotency-key"] for each in api.writes()}
    assert len(api.writes()) == 2
    assert len(keys) == 1
    assert len({each.headers["x-request-id"] for each in api.writes()}) == 2


def test_a_write_that_stays_unanswered_is_unknown_and_says_how_to_find_out(api):
    api.on("POST /v1/locks", Told(raw=b""))
    for error in both_drivers(api.address, lambda: once(ADD)):
        assert (error.code, error.exit) == ("unknown-outcome", ExitCode.UNVERIFIED)
        assert error.detail["operation"] == "lock.add"
        assert f"--idempotency-key {error.detail['idempotency_key']}" in error.hint


def test_an_error_after_a_lost_answer_does_not_prove_that_nothing_was_done(api, apis):
    answers = iter([Told(raw=b""), Told({}, 500), Told({}, 500), Told({}, 500)])
    api.on("POST /v1/locks", lambda _: next(answers))
    with pytest.raises(PilotError) as caught:
        run(once(ADD), Drive(apis))
    assert caught.value.code == "unknown-outcome"


def test_a_write_that_never_left_is_unavailable_and_not_unknown(tmp_path):
    gone = tmp_path / "gone.sock"
    for error in both_drivers(f"unix:{gone}", lambda: once(ADD)):
        assert (error.code, error.exit) == ("unreachable", ExitCode.UNAVAILABLE)
        assert str(gone) in error.message
        assert "pilotctl up" in error.hint


def test_a_refusal_after_the_first_sending_was_still_in_work_is_asked_again(api, apis):
    busy = {"type": "urn:pilotctl:problem:in-progress", "title": "x", "status": 409}
    answers = iter([Told(busy, 409), Told(LOCK, 201)])
    api.on("POST /v1/locks", lambda _: next(answers))
    assert run(once(ADD), Drive(apis)).value.id == "lck_1"


def test_later_writes_of_a_flow_have_keys_of_their_own(api, apis):
    api.on("POST /v1/locks", LOCK, status=201)
    api.on("POST /v1/locks:blast", {})

    def flow():
        yield Call(gateway.LOCK_BLAST, body=LockTarget(kind=LockKind.PARTNER, id="acme"))
        yield ADD
        yield ADD

    run(flow(), Drive(apis, idempotency_key="mine"))
    assert [each.headers["idempotency-key"] for each in api.writes()][1:] == ["mine", "mine.2"]


def test_many_calls_give_one_outcome_each_in_order(api):
    api.problem("GET /v1/locks", "not-found", 404, "none")

    def flow():
        return (yield Many([Call(gateway.STATUS), Call(gateway.LOCK_LIST), Call(gateway.STATUS)]))

    for outcomes in both_drivers(api.address, flow):
        first, second, third = outcomes
        assert isinstance(first, Reply)
        assert isinstance(second, PilotError)
        assert second.exit is ExitCode.NOT_FOUND
        assert isinstance(third, Reply)


def test_waiting_ends_at_the_deadline_and_the_flow_may_say_what_it_has(apis):
    def flow():
        seen = []
        try:
            while True:
                seen.append((yield Wait(0.1)))
        except PilotError as error:
            return seen, error.code

    drive = Drive(apis)
    drive.deadline = time.monotonic() + 0.5
    seen, code = run(flow(), drive)
    assert code == "deadline"
    assert 2 <= len(seen) <= 6
    assert seen == sorted(seen, reverse=True)


def test_reports_and_exchanges_are_told_as_they_happen(api, apis):
    reports, exchanges = [], []

    def flow():
        yield Report("asking", 1)
        yield Call(gateway.STATUS)

    run(flow(), Drive(apis, on_report=reports.append, on_exchange=exchanges.append))
    assert reports == [("asking", 1)]
    assert [(each.call.route.id, each.status) for each in exchanges] == [("gateway.status", 200)]


def test_a_token_is_sent_and_never_shown(api):
    from console.credentials.secret import Secret

    apis = Apis({"gateway": api.address}, token=lambda: Secret("swordfish"))
    api.problem("GET /v1/status", "not-an-operator", 401, "who are you")
    with closing(apis), pytest.raises(PilotError) as caught:
        run(once(Call(gateway.STATUS)), Drive(apis))
    assert api.asked[-1].headers["authorization"] == "Bearer swordfish"
    assert caught.value.exit is ExitCode.SIGN_IN
    assert "swordfish" not in repr(caught.value.as_json())


def test_an_api_without_an_address_is_a_mistake_in_the_profile(apis):
    with pytest.raises(PilotError, match="no address for the audit API") as caught:
        run(once(Call(audit.HEAD)), Drive(apis))
    assert caught.value.exit is ExitCode.USAGE


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (Told(b"<html>login</html>", headers={"content-type": "text/html"}), "text/html instead"),
        (Told(b'{"service": "gate'), "broken JSON"),
        (Told(b'{"x":' + b"[" * 200_000), "broken JSON"),
        (Told(b'{"service": "\xff"}'), "broken JSON"),
        (Told({"service": 3}), "JSON of another shape"),
        (Told([]), "JSON of another shape"),
        (Told(b"", status=204), "instead of JSON|broken JSON"),
        (Told(STATUS, 302, {"location": "http://127.0.0.1:1/"}), "redirected"),
        (Told(STATUS, headers={"content-encoding": "gzip"}), "an encoding"),
        (Told(STATUS, headers={"content-type": "text/\x1b[2J"}), "instead of JSON|speak HTTP"),
        (Told(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{}"), "broke off"),
        (Told(raw=b"SSH-2.0-OpenSSH_9.9\r\n"), "speak HTTP"),
        (Told(raw=b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 30_000), "speak HTTP"),
    ],
)
def test_a_server_that_misleads_is_a_clear_error_from_both_drivers(api, told, said):
    api.on("GET /v1/status", told)
    for error in both_drivers(api.address, lambda: once(Call(gateway.STATUS))):
        assert isinstance(error, PilotError)
        assert error.exit is ExitCode.UNAVAILABLE
        assert any(part in error.message for part in said.split("|")), error.message
        assert error.message.isprintable()


def test_a_body_without_an_end_and_one_that_trickles_are_cut_off(api, monkeypatch):
    from console.net import client

    monkeypatch.setattr(client, "MAX_BYTES", 100_000)
    monkeypatch.setattr(client, "MAX_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(driving, "ATTEMPTS", 1)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    api.on("GET /v1/status", Told(raw=head + b" " * 1_000_000))
    for error in both_drivers(api.address, lambda: once(Call(gateway.STATUS))):
        assert "answered with more than" in error.message
    api.on("GET /v1/status", Told(raw=head + b" " * 500, trickle=0.01))
    for error in both_drivers(api.address, lambda: once(Call(gateway.STATUS))):
        assert "did not finish its answer" in error.message


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(tmp_path, monkeypatch):
    import httpx

    from console.net import client

    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(0.2))
    path = tmp_path / "mute.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for error in both_drivers(f"unix:{path}", lambda: once(Call(gateway.STATUS))):
            assert error.code == "unreachable"
            assert "did not answer in time" in error.message
        for error in both_drivers(f"unix:{path}", lambda: once(ADD)):
            assert error.code == "unknown-outcome"


def in_a_hurry(address, call, seconds):
    """Return what each driver makes of one call within a deadline, and how long it took."""

    def timed(made):
        began = time.monotonic()
        with pytest.raises(PilotError) as caught:
            made()
        return caught.value, time.monotonic() - began

    def drive(apis):
        return Drive(apis, deadline=time.monotonic() + seconds)

    async def on_a_loop():
        apis = Apis({"gateway": address}, token=lambda: None)
        try:
            await arun(once(call), drive(apis))
        finally:
            await apis.aclose()

    with closing(Apis({"gateway": address}, token=lambda: None)) as apis:
        yield timed(lambda: run(once(call), drive(apis)))
    yield timed(lambda: asyncio.run(on_a_loop()))


@pytest.mark.parametrize(
    ("call", "code"), [(Call(gateway.STATUS), "unreachable"), (ADD, "unknown-outcome")]
)
def test_the_deadline_ends_a_call_that_a_hanging_server_never_answers(tmp_path, call, code):
    path = tmp_path / "mute.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for error, took in in_a_hurry(f"unix:{path}", call, 0.4):
            assert error.code == code
            assert 0.3 < took < 10


def test_the_deadline_ends_an_answer_that_trickles(api):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    api.on("GET /v1/status", Told(raw=head + b" " * 500, trickle=0.01))
    for error, took in in_a_hurry(api.address, Call(gateway.STATUS), 0.4):
        assert "did not finish its answer" in error.message
        assert 0.3 < took < 10


def test_a_busy_server_is_not_asked_again_after_the_deadline(api):
    """A pause that ends after the deadline is not begun: with one, it would be asked again."""
    api.on("GET /v1/status", Told({}, 503, {"retry-after": "4"}))
    for error, _ in in_a_hurry(api.address, Call(gateway.STATUS), 3):
        assert error.exit is ExitCode.UNAVAILABLE
    assert len(api.asked) == 2


def test_no_call_begins_after_the_deadline(api, apis):
    def flow():
        time.sleep(0.06)
        yield Call(gateway.STATUS)

    with pytest.raises(PilotError) as caught:
        run(flow(), Drive(apis, deadline=time.monotonic() + 0.05))
    assert caught.value.code == "deadline"
    assert not api.asked


def test_without_waiting_the_call_itself_still_has_its_time(api, apis):
    def slow(_):
        time.sleep(0.1)
        return Told(STATUS)

    api.on("GET /v1/status", slow)
    reply = run(once(Call(gateway.STATUS)), Drive(apis, deadline=time.monotonic()))
    assert reply.value.service == "gateway"


def test_a_cancelled_flow_knows_what_was_sent(api):
    release = threading.Event()
    api.on("POST /v1/locks", lambda _: Told(LOCK, 201) if release.wait(60) else Told({}, 500))
    apis = Apis({"gateway": api.address}, token=lambda: None)
    drive = Drive(apis)

    async def cancel():
        task = asyncio.ensure_future(arun(once(ADD), drive))
        while not api.writes():  # noqa: ASYNC110 - another thread cannot set an event
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await apis.aclose()

    asyncio.run(cancel())
    release.set()
    assert drive.unanswered is not None
    assert drive.writes == 1
