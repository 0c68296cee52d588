"""The web layer over a real Unix socket: who, what, once, and every refusal a problem."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, func, select

from console.api import audit, gateway
from console.api.problems import refusal
from console.errors import PilotError
from console.model.enforcement import Credential, IssuedKey
from console.model.ids import is_id
from console.services.store import OutboxPage
from console.services.store.outbox import after
from console.services.web import Answer, Ask, Web
from tests.services.web.sample import PARTNERS
from tests.services.web.serving import Got, Served, exchange, served

Scene = Callable[[Served], Awaitable[None]]

ACME = {"slug": "acme", "name": "Acme", "sponsor": "root", "reason": "asked"}


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")  # short: a socket's path has a bound


def play(
    home: Path,
    scene: Scene,
    config: str = "",
    port: int | None = None,
    also: Callable[[Web], None] = lambda _web: None,
) -> None:
    async def run() -> None:
        async with served(home, config, port=port, also=also) as up:
            await scene(up)

    asyncio.run(run())


def counted(up: Served) -> tuple[int, int]:
    """How many partners there are, and how many events."""

    def look(conn: Connection) -> tuple[int, int]:
        rows = conn.scalar(select(func.count()).select_from(PARTNERS))
        return int(rows or 0), after(conn, 0, 1).head

    return up.store.read_now(look)


def test_a_write_is_answered_with_its_object_its_etag_and_its_event(home: Path) -> None:
    async def scene(up: Served) -> None:
        got = await up.ask("POST", "/v1/partners", ACME, X_Request_Id="a-request.1")
        assert (got.status, got.headers["ETag"]) == (201, '"1"')
        assert got.headers["X-Request-Id"] == "a-request.1"
        assert got.body["created_at"].endswith("Z")
        assert counted(up) == (1, 1)
        page = await up.client.get("/internal/v1/outbox", OutboxPage, query={"after": 0})
        told = json.loads(page.items[0].body)
        assert told["metadata"]["correlation_uid"] == "a-request.1"
        assert told["metadata"]["uid"] == page.items[0].event_id
        assert told["unmapped"]["target"] == got.body["id"]

    play(home, scene)


@pytest.mark.parametrize("said", ["", "a" * 257, "é-é-é-é-é-é"])
def test_an_odd_request_id_is_replaced(home: Path, said: str) -> None:
    async def scene(up: Served) -> None:
        got = await up.ask("GET", "/v1/status", X_Request_Id=said)
        assert is_id(got.headers["X-Request-Id"], "request")

    play(home, scene)


BAD: dict[str, tuple[Any, int, str, str]] = {
    "a mistyped member": (
        {**ACME, "egres": []}, 400, "unknown-member",
        "egres: there is no such member; did you mean egress?",
    ),
    "a member nobody knows": ({**ACME, "zzz": 1}, 400, "unknown-member", "it takes egress, labels"),
    "a hostile member name": (
        {**ACME, "\x1b]0;x\x07": 1}, 400, "unknown-member", r'"\u001b]0;x\u0007": there is no',
    ),
    "a missing member": ({"slug": "a", "name": "A"}, 422, "invalid", "member sponsor is missing"),
    "a bad slug": (
        {**ACME, "slug": "Acme Inc"}, 422, "invalid",
        """slug: "Acme Inc" does not fit: lower-case letters, digits, '-' and '.', at most 63""",
    ),
    "a line end after a slug": ({**ACME, "slug": "a\n"}, 422, "invalid", r'slug: "a\n" does not'),
    "an escape in a name": (
        {**ACME, "name": "Ac\x1bme"}, 422, "invalid", "name: holds the character U+001B (at 2)",
    ),
    "a line end after a name": ({**ACME, "name": "Acme\n"}, 422, "invalid", "U+000A (at 4)"),
    "a bidi override in a name": ({**ACME, "name": "A\u202ee"}, 422, "invalid", "U+202E (at 1)"),
    "a NUL in a label": (
        {**ACME, "labels": {"a": "b\0"}}, 422, "invalid", "labels[]: holds a NUL character",
    ),
    "an empty name": ({**ACME, "name": ""}, 422, "invalid", "name: must not be empty"),
    "a long name": (
        {**ACME, "name": "x" * 300}, 422, "invalid",
        "name: is 300 characters long; at most 200 are taken",
    ),
    "a number for a name": ({**ACME, "name": 5}, 422, "invalid", "name: expected str, got int"),
    "a bad item": (
        {**ACME, "subprocessors": ["ok", "Not OK"]}, 422, "invalid", 'subprocessors[1]: "Not OK"',
    ),
    "too many items": (
        {**ACME, "egress": ["10.0.0.0/8"] * 201}, 422, "invalid",
        "egress: has 201 items; at most 200 are taken",
    ),
    "a list for an object": ([], 422, "invalid", "expected object, got array"),
    "not JSON": (b'{"slug": ', 400, "malformed", "not JSON: line 1, column"),
    "no body": (b"", 400, "malformed", "a JSON body is needed"),
    "not UTF-8": (b'{"slug": "\xff"}', 400, "malformed", "not UTF-8"),
    "a lone surrogate": (b'{"slug":"a","name":"\\ud800","sponsor":"b"}', 400, "malformed", "JSON"),
    "a member twice": (
        b'{"slug":"acme","slug":"evil","name":"A","sponsor":"b","reason":"r"}', 400, "malformed",
        'the member "slug" is there twice',
    ),
    "deep nesting": (b"[" * 200_000, 422, "invalid", "expected object, got array"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_body_is_refused_in_words_and_nothing_is_changed(home: Path, case: str) -> None:
    body, status, name, words = BAD[case]

    async def scene(up: Served) -> None:
        raw = {"raw": body} if isinstance(body, bytes) else {"body": body}
        got = await up.ask("POST", "/v1/partners", **raw)
        assert (got.status, got.problem) == (status, name), got.body
        assert words in got.body["detail"], got.body["detail"]
        assert got.body["detail"].isprintable()
        assert counted(up) == (0, 0)

    play(home, scene)


def test_values_of_other_kinds_are_refused_in_words_too(home: Path) -> None:
    async def scene(up: Served) -> None:
        await up.ask("POST", "/v1/partners", ACME)
        path = "/v1/partners/acme/verification"
        for until in ("tomorrow", "2027-01-01T00:00:00"):
            body = {"until": until, "evidence": "e", "reason": "r"}
            got = await up.ask("POST", path, body, If_Match='"1"')
            assert got.problem == "invalid"
            assert "until: must be a time in RFC 3339 with a zone" in got.body["detail"]

    play(home, scene)


def test_times_are_answered_in_utc_however_they_were_sent(home: Path) -> None:
    async def scene(up: Served) -> None:
        await up.ask("POST", "/v1/partners", ACME)
        body = {"until": "2027-01-01T02:00:00+02:00", "evidence": "e", "reason": "r"}
        got = await up.ask("POST", "/v1/partners/acme/verification", body, If_Match='"1"')
        assert got.body["verified_until"] == "2027-01-01T00:00:00Z"

    play(home, scene)


def test_a_10_mb_body_is_refused_before_it_is_read(home: Path) -> None:
    async def pieces() -> Any:
        for _ in range(150):
            yield b"x" * 65536

    async def scene(up: Served) -> None:

        began = time.monotonic()
        got = await up.ask("POST", "/v1/partners", raw=io.BytesIO(b"x" * 10_000_000))
        assert (got.status, got.problem) == (413, "too-large")
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        url = "http://localhost/v1/partners"
        got = await exchange(up.client.session, url, "POST", pieces(), headers)
        assert (got.status, got.problem) == (413, "too-large")
        assert time.monotonic() - began < 60
        assert (await up.ask("GET", "/v1/status")).status == 200

    play(home, scene)


def test_the_same_key_has_one_effect_and_the_same_answer(home: Path) -> None:
    async def scene(up: Served) -> None:
        first = await up.ask("POST", "/v1/partners", ACME, Idempotency_Key='"k-1"')
        again = await up.ask(
            "POST", "/v1/partners", dict(reversed(ACME.items())), Idempotency_Key="k-1"
        )
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["ETag"] == first.headers["ETag"]
        other = await up.ask("POST", "/v1/partners", {**ACME, "slug": "b"}, Idempotency_Key="k-1")
        assert (other.status, other.problem) == (422, "key-reused")
        missing = await up.ask("POST", "/v1/partners", {**ACME, "slug": "b"}, Idempotency_Key="")
        assert (missing.status, missing.problem) == (400, "key-required")
        bad = await up.ask("POST", "/v1/partners", {**ACME, "slug": "b"}, Idempotency_Key="a b")
        assert (bad.status, bad.problem) == (400, "malformed")
        assert counted(up) == (1, 1)

    play(home, scene)


def test_the_same_key_many_times_at_once_has_one_effect(home: Path) -> None:
    async def scene(up: Served) -> None:
        answers = await asyncio.gather(
            *(up.ask("POST", "/v1/partners", ACME, Idempotency_Key="same") for _ in range(30))
        )
        assert {got.status for got in answers} == {201}
        assert len({got.body["id"] for got in answers}) == 1
        assert sum("Idempotent-Replayed" in got.headers for got in answers) == 29
        assert counted(up) == (1, 1)

    play(home, scene)


def test_a_refused_write_leaves_its_key_free(home: Path) -> None:
    async def scene(up: Served) -> None:
        await up.ask("POST", "/v1/partners", ACME)
        got = await up.ask("POST", "/v1/partners", ACME, Idempotency_Key="k")
        assert (got.status, got.problem) == (409, "exists")
        free = await up.ask("POST", "/v1/partners", {**ACME, "slug": "b"}, Idempotency_Key="k")
        assert free.status == 201

    play(home, scene)


def test_a_raw_key_is_never_in_a_replayed_answer_nor_in_the_store(home: Path) -> None:
    secret = "sk-test-0123456789abcdef"

    async def scene(up: Served) -> None:
        got = await up.ask("POST", "/v1/credentials", ISSUE, Idempotency_Key="k")
        assert got.body["secret"] == secret
        again = await up.ask("POST", "/v1/credentials", ISSUE, Idempotency_Key="k")
        assert (again.status, again.body["secret"], again.body["replayed"]) == (201, None, True)
        assert again.body["credential"] == got.body["credential"]

    def issue(_conn: Connection, ask: Ask) -> IssuedKey:
        return IssuedKey(
            secret=secret,
            credential=Credential(
                id="crd_1", grant_id=ask.body.grant_id, partner="acme", holder="acme", hint="cdef",
                version=1, state="issued", created_at=ask.now, created_by="root",
                updated_at=ask.now, updated_by="root",
            ),
        )  # fmt: skip

    play(home, scene, also=lambda web: web.mount(gateway.KEY_ISSUE, issue))
    for file in home.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()


ISSUE = {"grant_id": "grt_1", "reason": "a test"}


def test_a_dry_run_answers_the_same_and_changes_nothing(home: Path) -> None:
    async def scene(up: Served) -> None:
        path = "/v1/partners?validate_only=true"
        got = await up.ask("POST", path, ACME, Idempotency_Key="")
        assert (got.status, got.body["slug"]) == (200, "acme")
        assert counted(up) == (0, 0)
        await up.ask("POST", "/v1/partners", ACME)
        assert (await up.ask("POST", path, ACME)).problem == "exists"
        bad = await up.ask("POST", "/v1/partners?validate_only=yes", ACME)
        assert bad.problem == "malformed"

    play(home, scene)


def test_of_two_who_planned_on_one_revision_one_wins(home: Path) -> None:
    body = {"until": "2027-01-01T00:00:00Z", "evidence": "e", "reason": "r"}
    path = "/v1/partners/acme/verification"

    async def scene(up: Served) -> None:
        await up.ask("POST", "/v1/partners", ACME)
        both = await asyncio.gather(
            *(up.ask("POST", path, {**body, "reason": r}, If_Match='"1"') for r in "ab")
        )
        assert sorted(got.status for got in both) == [200, 412]
        won, lost = sorted(both, key=lambda got: got.status)
        assert lost.problem == "stale"
        assert lost.body["current"] == won.body
        assert won.headers["ETag"] == '"2"'
        none = await up.ask("POST", path, body)
        assert (none.status, none.problem) == (428, "revision-required")
        for bad in ("1", 'W/"1"', "*", '"1", "2"', '"x"'):
            got = await up.ask("POST", path, body, If_Match=bad)
            assert (got.status, got.problem) == (400, "malformed"), bad

    play(home, scene)


def test_other_paths_methods_and_parameters_are_problems(home: Path) -> None:
    async def scene(up: Served) -> None:
        assert (await up.ask("GET", "/v1/nothing")).problem == "no-such-route"
        for method in ("DELETE", "OPTIONS", "PUT"):
            got = await up.ask(method, "/v1/partners")
            assert (got.status, got.problem) == (405, "wrong-method")
            assert got.headers["Allow"] == "GET, POST"
        head = await up.ask("HEAD", "/v1/partners")
        assert (head.status, head.headers["Allow"]) == (405, "GET, POST")
        got = await up.ask("GET", "/v1/partners?stat=active")
        assert got.problem == "unknown-member"
        assert "did you mean state?" in got.body["detail"]
        assert (await up.ask("GET", "/v1/partners?limit=1&limit=2")).problem == "malformed"
        got = await up.ask("POST", "/v1/partners", ACME, Content_Type="text/plain")
        assert (got.status, got.problem) == (415, "wrong-content-type")
        assert (await up.ask("GET", "/v1/partners/%00%1b")).problem == "not-found"

    play(home, scene)


def test_what_is_not_http_does_not_hurt_the_service(home: Path) -> None:
    async def scene(up: Served) -> None:
        for junk in (b"\x16\x03\x01" * 50, b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000, b"\r\n" * 99):
            reader, writer = await asyncio.open_unix_connection(str(up.read.home.socket("policy")))
            writer.write(junk)
            writer.write_eof()
            async with asyncio.timeout(5):
                await reader.read()
            writer.close()
        assert (await up.ask("GET", "/v1/status")).status == 200

    play(home, scene)


def test_a_list_is_paged_in_a_stable_order_without_repeats(home: Path) -> None:
    async def scene(up: Served) -> None:
        for n in range(23):
            await up.ask("POST", "/v1/partners", {**ACME, "slug": f"p{n}"})
        seen: list[str] = []
        cursor = ""
        while True:
            got = await up.ask("GET", f"/v1/partners?limit=5&cursor={cursor}")
            seen += [each["slug"] for each in got.body["items"]]
            assert got.body["source"] == "policy"
            if len(seen) == 20:  # a row that comes later does not move the ones before
                await up.ask("POST", "/v1/partners", {**ACME, "slug": "late"})
            cursor = got.body["next_cursor"]
            if not cursor:
                assert "Link" not in got.headers
                break
            link = got.headers["Link"]
            assert link.startswith("</v1/partners?")
            assert link.endswith('>; rel="next"')
            linked = await up.ask("GET", link[1 : link.index(">")])
            assert linked.body["items"][0]["slug"] == f"p{len(seen)}"
        assert seen == [f"p{n}" for n in range(23)] + ["late"]
        first = (await up.ask("GET", "/v1/partners?limit=5")).body["next_cursor"]
        for bad in ("x", "e30", first[:-3], first + "A", "%00", first + "&state=active"):
            got = await up.ask("GET", f"/v1/partners?cursor={bad}")
            assert (got.status, got.problem) == (400, "malformed"), bad
        for bad in ("0", "501", "-1", "x", "1e2", "²"):
            got = await up.ask("GET", f"/v1/partners?limit={bad}")
            assert (got.status, got.problem) == (400, "malformed"), bad

    play(home, scene)


def test_a_failure_inside_leaks_nothing_and_is_logged_by_its_request_id(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def breaks(conn: Connection, _ask: Ask) -> Any:
        conn.exec_driver_sql("SELECT 'hunter2' FROM nowhere")

    def breaks_too(_ask: Ask) -> Any:
        raise ValueError("the password is hunter2")

    def also(web: Web) -> None:
        web.mount(gateway.LOCK_LIST, breaks)
        web.mount_async(audit.HEAD, breaks_too)

    async def run() -> None:
        async with served(home, also=also) as up:
            for path in ("/v1/locks", "/v1/log/head"):
                got = await up.ask("GET", path)
                assert (got.status, got.problem) == (500, "internal")
                assert "hunter2" not in json.dumps(got.body)
                logged = capfd.readouterr().err
                assert got.headers["X-Request-Id"] in logged
                assert "hunter2" not in logged
                assert logged.count("\n") == 1

    asyncio.run(run())


def test_an_async_route_may_stream_wait_and_answer_by_hand(home: Path) -> None:
    async def by_hand(ask: Ask) -> Any:
        if ask.path["file"] == "missing":
            raise refusal("not-found", "there is no such file")
        return Answer(200, ask.path["file"].encode(), "text/plain", {"Cache-Control": "no-store"})

    async def run() -> None:
        async with served(home, also=lambda web: web.mount_async(audit.TILE, by_hand)) as up:
            for path in ("tile/0/x001/067.p/5", "checkpoint", "tile%2F0%2F000"):
                got = await up.ask("GET", f"/v1/log/files/{path}")
                assert got.body == path.replace("%2F", "/").encode()
                assert got.headers["Cache-Control"] == "no-store"
            assert (await up.ask("GET", "/v1/log/files/missing")).problem == "not-found"

    asyncio.run(run())


def test_the_outbox_wakes_who_waits_and_gives_every_event_once(home: Path) -> None:
    async def scene(up: Served) -> None:
        empty = await up.client.get("/internal/v1/outbox", OutboxPage, query={"after": 0})
        assert (empty.items, empty.head) == ([], 0)
        waiting = asyncio.create_task(
            up.client.get("/internal/v1/outbox", OutboxPage, query={"after": 0, "wait": 30})
        )
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await up.ask("POST", "/v1/partners", ACME)
        async with asyncio.timeout(25):
            assert [item.seq for item in (await waiting).items] == [1]
        for n in range(7):
            await up.ask("POST", "/v1/partners", {**ACME, "slug": f"p{n}"})
        seen: list[int] = []
        while len(seen) < 8:
            query = {"after": seen[-1] if seen else 0, "limit": 3}
            page = await up.client.get("/internal/v1/outbox", OutboxPage, query=query)
            assert page.head == 8
            seen += [item.seq for item in page.items]
        assert seen == list(range(1, 9))

    play(home, scene)


def test_stopping_does_not_wait_for_those_who_wait(home: Path) -> None:
    async def run() -> float:
        async with served(home) as up:
            waiting = asyncio.create_task(
                up.client.get("/internal/v1/outbox", OutboxPage, query={"wait": 20}, timeout=30)
            )
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await up.web.stop()
            with pytest.raises(PilotError) as caught:
                await waiting
            assert caught.value.code == "unavailable"
            return time.monotonic() - began

    assert asyncio.run(run()) < 15.0, "it did not wait the twenty seconds out"


def test_over_tcp_nobody_is_an_operator(home: Path) -> None:
    async def scene(up: Served) -> None:
        url = f"http://127.0.0.1:{up.web.port}"
        for path in ("/v1/status", "/internal/v1/outbox"):
            got = await exchange(up.client.session, url + path, "GET", None, {})
            assert got.status == 200  # the session's connector is the Unix socket
        import aiohttp

        async with aiohttp.ClientSession() as session:
            for path in ("/v1/status", "/internal/v1/outbox"):
                got = await exchange(session, url + path, "GET", None, {})
                assert (got.status, got.problem) == (401, "not-an-operator")

    play(home, scene, port=0)


def test_the_role_of_the_os_user_decides(home: Path) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    config = f'[[operators]]\nname = "{me}"\nroles = ["viewer"]\n'

    async def scene(up: Served) -> None:
        assert (await up.ask("GET", "/v1/partners")).status == 200
        got = await up.ask("POST", "/v1/partners", ACME)
        assert (got.status, got.problem) == (403, "role-missing")
        assert "operator" in got.body["mend"]

    play(home, scene, config)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_another_os_user_is_told_apart_by_the_kernel(home: Path) -> None:
    """A real process of another uid connects: first a stranger, then a viewer."""
    program = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(f'GET {sys.argv[2]} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'"
        ".encode())\n"
        "print(s.makefile('rb').readline().split()[1].decode())\n"
    )
    for parent in (home, *home.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)

    async def status(path: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(home / "run/policy.sock"), path,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        return out.decode().strip()

    async def stranger(up: Served) -> None:
        assert await status("/v1/status") == "401"
        assert await status("/internal/v1/outbox") == "401"

    async def viewer(up: Served) -> None:
        assert await status("/v1/status") == "200"
        assert await status("/internal/v1/outbox") == "401"

    play(home, stranger)
    nobody = pwd.getpwuid(65534).pw_name
    play(home, viewer, f'[[operators]]\nname = "{nobody}"\nroles = ["viewer"]\n')


def test_a_second_server_on_the_same_socket_is_refused_and_a_dead_ones_replaced(home: Path) -> None:
    async def scene(up: Served) -> None:
        from tests.services.web.sample import mounted

        second = mounted(up.store, up.read.operators)
        with pytest.raises(PilotError) as caught:
            await second.start(socket=up.read.home.socket("policy"))
        assert caught.value.code == "in-use"
        assert (await up.ask("GET", "/v1/status")).status == 200

    with socket.socket(socket.AF_UNIX) as dead:
        (home / "run").mkdir()
        dead.bind(str(home / "run" / "policy.sock"))
    play(home, scene)
    long = home / ("x" * 100)
    with pytest.raises(PilotError) as caught:
        play(long, scene)
    assert caught.value.code == "socket-path"


def test_a_full_store_is_answered_507_and_the_service_lives_on(home: Path) -> None:
    async def scene(up: Served) -> None:
        up.store.write_now(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count = 1").all())
        got: Got | None = None
        for n in range(300):
            got = await up.ask(
                "POST", "/v1/partners", {**ACME, "slug": f"p{n}", "egress": ["10.0.0.0/8"] * 200}
            )
            if got.status != 201:
                break
        assert got is not None
        assert (got.status, got.problem) == (507, "store-full")
        rows, events = counted(up)
        assert rows == events
        assert (await up.ask("GET", "/v1/partners")).status == 200

    play(home, scene)


def test_what_follows_a_commit_is_done_once_and_only_after_it(home: Path) -> None:
    done: list[str] = []

    def add(conn: Connection, ask: Ask) -> Any:
        ask.after(lambda: done.append(ask.body.reason))
        if ask.body.reason == "refuse":
            raise refusal("state", "not now")
        return {"said": ask.body.reason}

    async def run() -> None:
        async with served(home, also=lambda web: web.mount(gateway.LOCK_RELEASE, add)) as up:
            for reason, key, extra in (
                ("a", "1", ""),
                ("a", "1", ""),
                ("refuse", "2", ""),
                ("b", "3", "?validate_only=true"),
            ):
                await up.ask(
                    "POST", f"/v1/locks/x/release{extra}", {"reason": reason},
                    Idempotency_Key=key, If_Match='"1"',
                )  # fmt: skip

    asyncio.run(run())
    assert done == ["a"]


def test_every_answer_decodes_as_its_route_declares(home: Path) -> None:
    from console.api import policy

    async def scene(up: Served) -> None:
        await up.ask("POST", "/v1/partners", ACME)
        for path, route in (("/v1/partners", policy.PARTNER_LIST), ("/v1/status", policy.STATUS)):
            got = await up.ask("GET", path)
            msgspec.convert(got.body, route.answer)

    play(home, scene)
