"""Nobody keeps a service busy by waiting: every wait ends, and connections have shares."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from console.services.background import BackgroundTasks, EndServiceError
from console.services.failures import FailureLog
from console.services.listening import Bounds, Connection, Connections
from console.services.listening.bounds import STRANGER_CONNECTIONS, STRANGERS_CONNECTIONS
from console.services.web import Web
from tests.services.web.serving import Served, served


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")  # short: a socket's path has a bound


def play(
    home: Path,
    scene: Callable[[Served], Awaitable[None]],
    port: int | None = None,
    also: Callable[[Web], None] = lambda _web: None,
    bounds: Bounds | None = None,
) -> None:
    async def run() -> None:
        async with served(home, port=port, also=also, bounds=bounds) as up:
            try:
                await scene(up)
            finally:
                for each in OPEN:
                    each.writer.close()
                OPEN.clear()

    asyncio.run(run())


async def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := true()):  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)
    return found


class Line(NamedTuple):
    """A raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def rest(self) -> bytes:
        """Return all that comes until the other side ends it."""
        async with asyncio.timeout(60):
            with suppress(ConnectionError):
                return await self.reader.read()
            return b""


OPEN: list[Line] = []


async def line(up: Served, said: bytes = b"", *, tcp: bool = False) -> Line:
    """Connect and say something; the scene's end closes it."""
    if tcp:
        ends = await asyncio.open_connection("127.0.0.1", up.web.port)
    else:
        ends = await asyncio.open_unix_connection(str(up.read.home.socket("policy")))
    OPEN.append(found := Line(*ends))
    found.writer.write(said)
    await found.writer.drain()
    return found


HEAD = b"POST /v1/partners HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n"
JSON = b"Content-Type: application/json\r\n"

HALVES = {
    "nothing": b"",
    "half a line": b"GET /v1/sta",
    "half the headers": b"GET /v1/status HTTP/1.1\r\nHost: x\r\nAccept",
}


@pytest.mark.parametrize("half", HALVES)
def test_what_never_becomes_a_request_is_ended(home: Path, half: str) -> None:
    async def scene(up: Served) -> None:
        held = await line(up, HALVES[half])
        await until(lambda: len(up.web.connections) == 1)
        connections = up.web.connections
        (connection,) = connections
        if half != "nothing":
            await until(lambda: connection.head_since is not None)
        now = asyncio.get_running_loop().time()
        connections.sweep(now + connections.bounds.head_seconds / 2)
        assert len(connections) == 1
        connections.sweep(now + connections.bounds.idle_seconds + 1)
        assert await held.rest() == b""
        await until(lambda: not len(connections))

    play(home, scene)


def test_a_body_that_stays_away_is_answered_and_ended(home: Path) -> None:
    async def scene(up: Served) -> None:
        held = await line(up, HEAD + JSON + b"Content-Length: 500000\r\n\r\n{")
        connections = up.web.connections
        await until(lambda: [each for each in connections if each.is_receiving])
        now = asyncio.get_running_loop().time()
        connections.sweep(now + connections.bounds.body_seconds / 2)
        assert [each for each in connections if each.is_receiving]
        connections.sweep(now + connections.bounds.body_seconds + 0.9)
        said = await held.rest()
        assert said.startswith(b"HTTP/1.1 400")
        assert b"did not arrive in time" in said
        assert connections.counts["slow bodies"] == 1

    play(home, scene)


def test_a_caller_that_takes_nothing_of_its_answer_is_dropped(home: Path) -> None:
    async def flood(_ask: Any) -> bytes:
        return b"x" * 30_000_000

    def waiting(up: Served) -> list[Connection]:
        return [
            each
            for each in up.web.connections
            if each.transport and each.transport.get_write_buffer_size()
        ]

    async def scene(up: Served) -> None:
        await line(up, b"GET /internal/v1/flood HTTP/1.1\r\nHost: x\r\n\r\n")
        connections = up.web.connections
        await until(lambda: waiting(up))
        now = asyncio.get_running_loop().time()
        for seconds in (0.0, connections.bounds.write_seconds + 1):
            connections.sweep(now + seconds)
        await until(lambda: not len(connections))
        assert connections.counts["stalled readers"] == 1

    play(home, scene, also=lambda web: web.internal("GET", "/internal/v1/flood", flood))


def test_who_waits_for_100_continue_is_told_to_go_on(home: Path) -> None:
    async def scene(up: Served) -> None:
        body = b'{"slug":"acme","name":"Acme","sponsor":"root","reason":"asked"}'
        head = HEAD + JSON + b"Expect: 100-continue\r\nConnection: close\r\n"
        held = await line(up, head + b"Content-Length: %d\r\n\r\n" % len(body))
        async with asyncio.timeout(60):
            assert await held.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        held.writer.write(body)
        assert (await held.rest()).startswith(b"HTTP/1.1 201")

    play(home, scene)


BAD = {
    "an encoded body": (b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", b"415"),
    "two encodings": (b"Content-Encoding: identity, br\r\nContent-Length: 2\r\n\r\n{}", b"415"),
    "an unknown coding": (b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"400"),
    "no final chunked": (b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", b"400"),
    "a bad chunk size": (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", b"400"),
    "a length and chunks": (
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400",
    ),
    "a key with a zero byte": (b"Authorization: Bearer secret-key-value\x00\r\n\r\n", b"400"),
    "a space before the colon": (b"Authorization : Bearer secret-key-value\r\n\r\n", b"400"),
    "too many headers": (b"".join(b"A%d: b\r\n" % n for n in range(200)) + b"\r\n", b"400"),
    "a header without end": (b"A: " + b"b" * 100_000 + b"\r\n\r\n", b"400"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_read_as_it_is_meant_is_one_plain_problem(
    home: Path, bad: str, capfd: pytest.CaptureFixture[str]
) -> None:
    sent, status = BAD[bad]

    async def scene(up: Served) -> None:
        held = await line(up, HEAD + JSON + sent)
        said = await held.rest()
        assert said.partition(b" ")[2][:3] == status, said
        assert b"application/problem+json" in said
        assert b"secret-key-value" not in said
        assert b"itself in trouble" not in said
        assert sum(up.web.connections.counts.values()) == 1

    play(home, scene)
    assert capfd.readouterr() == ("", "")


def test_a_bad_chunk_that_comes_later_ends_the_wait_for_the_body(home: Path) -> None:
    async def scene(up: Served) -> None:
        held = await line(up, HEAD + JSON + b'Transfer-Encoding: chunked\r\n\r\n2\r\n{"\r\n')
        await until(lambda: [each for each in up.web.connections if each.is_receiving])
        held.writer.write(b"zz\r\n")
        said = await held.rest()
        assert said.startswith(b"HTTP/1.1 400")
        assert b"could not be read" in said

    play(home, scene)


def test_after_a_request_of_http_1_0_with_chunks_the_connection_ends(home: Path) -> None:
    async def scene(up: Served) -> None:
        head = b"GET /v1/status HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n"
        chunks = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        held = await line(up, head + chunks + b"GET /v1/status HTTP/1.0\r\n\r\n")
        said = await held.rest()
        assert said.startswith(b"HTTP/1.0 200")
        assert said.count(b"HTTP/1.") == 1

    play(home, scene)


def test_anybody_may_ask_whether_it_lives_and_is_ready(home: Path) -> None:
    async def scene(up: Served) -> None:
        for path in (b"/healthz", b"/readyz"):
            asked = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            said = await (await line(up, asked, tcp=True)).rest()
            assert said.startswith(b"HTTP/1.1 200")
            assert said.endswith(b"\r\n\r\nok\n")
        up.store.close()
        asked = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await (await line(up, asked, tcp=True)).rest()).startswith(b"HTTP/1.1 503")

    play(home, scene, port=0)


# shares


class Nothing:
    """A socket that is none."""

    def close(self) -> None:
        pass


class Received:
    """A request whose body is still awaited."""

    @property
    def content(self) -> Received:
        return self

    def is_eof(self) -> bool:
        return False


class Answered(Received):
    """A request that is here."""

    def is_eof(self) -> bool:
        return True


def peers(connections: Connections) -> Callable[..., Connection]:
    """Return what admits a connection of a peer, or None where it is refused."""

    def admit(peer: Any, at: float = 0.0) -> Any:
        made = Connection(peer, Nothing(), at)  # type: ignore[arg-type]
        return made if connections.admit(made) else None

    return admit


def test_a_user_who_is_nobody_takes_no_connection_from_an_operator() -> None:
    connections = Connections(Bounds(total=256))
    admit = peers(connections)
    for uid in range(1000, 1500):
        for _ in range(20):
            assert admit(connections.of_user(uid, is_own=False, is_operator=False))
    assert len(connections) == STRANGERS_CONNECTIONS
    held = [admit(connections.of_user(7, is_own=False, is_operator=True)) for _ in range(100)]
    own = [admit(connections.of_user(0, is_own=True, is_operator=True)) for _ in range(50)]
    assert all(held)
    assert all(own)
    assert len(connections) == STRANGERS_CONNECTIONS + 150


def test_one_stranger_displaces_only_strangers_of_its_own_user() -> None:
    connections = Connections(Bounds())
    admit = peers(connections)
    other = admit(connections.of_user(1000, is_own=False, is_operator=False))
    for _ in range(100):
        admit(connections.of_user(1001, is_own=False, is_operator=False))
    assert other in set(connections)
    assert len(connections) == STRANGER_CONNECTIONS + 1


def test_a_newcomer_takes_the_oldest_unknown_place_and_never_one_that_is_being_answered() -> None:
    connections = Connections(Bounds(total=64))
    admit = peers(connections)
    network = connections.bounds.network

    peer = connections.of_address("192.0.2.1", is_proxy=True)
    first = [admit(peer) for _ in range(network)]
    first[0].request = Answered()
    first[1].holder = "acme"
    assert admit(peer)
    assert first[0] in set(connections)
    assert first[1] in set(connections)
    assert first[2] not in set(connections)
    for each in connections:
        each.request = Answered()  # type: ignore[assignment]
    assert admit(peer) is None
    assert connections.counts["refused connections"] == 1


def test_of_those_who_are_known_the_one_with_the_most_gives_way() -> None:
    connections = Connections(Bounds(total=64))
    admit = peers(connections)
    peer = connections.of_address("192.0.2.1", is_proxy=True)
    honest = [admit(peer) for _ in range(4)]
    greedy = [admit(peer) for _ in range(connections.bounds.network - 4)]
    for each in honest:
        each.holder = "honest"
    for each in greedy:
        each.holder = "greedy"
        each.request = Received()
    for _ in range(500):
        admit(peer).holder = "greedy"
        admit(peer).holder = ""
    assert set(honest) <= set(connections)


def test_an_address_has_its_share_and_a_declared_proxy_the_networks() -> None:
    connections = Connections(Bounds(total=400))
    admit = peers(connections)
    for _ in range(1000):
        admit(connections.of_address("192.0.2.1"))
    assert len(connections) < connections.bounds.network
    assert admit(connections.of_address("192.0.2.2"))
    for _ in range(1000):
        admit(connections.of_address("192.0.2.3", is_proxy=True))
    assert len(connections) == connections.bounds.network


def test_a_thousand_idle_connections_leave_room_for_the_next(home: Path) -> None:
    """By the real socket, with few connections allowed."""

    async def scene(up: Served) -> None:
        bound = up.web.connections.bounds.network
        for _ in range(200):
            await line(up, tcp=True)
        asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await (await line(up, asked, tcp=True)).rest()).startswith(b"HTTP/1.1 200")
        assert len(up.web.connections) <= bound
        assert (await up.ask("GET", "/v1/status")).status == 200

    play(home, scene, port=0, bounds=Bounds(total=64))


def test_a_connection_that_is_displaced_before_it_is_served_is_closed(home: Path) -> None:
    async def scene(up: Served) -> None:
        held = [socket.create_connection(("127.0.0.1", up.web.port or 0)) for _ in range(50)]
        connections = up.web.connections
        await until(lambda: connections.counts["displaced connections"] >= 50 - 1)
        assert len(connections) == 1
        for each in held[:-1]:
            each.settimeout(20)
            with suppress(ConnectionError):
                assert await asyncio.to_thread(each.recv, 1) == b""
        for each in held:
            each.close()

    play(home, scene, port=0, bounds=Bounds(total=2))


CROWD = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
held = [socket.socket(socket.AF_UNIX) for _ in range(100)]
for each in held:
    try:
        each.connect(sys.argv[1])
        each.send(b"GET /v1/sta")
    except OSError:
        pass
print("opened", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_crowd_of_another_user_holds_few_places_at_the_operators_socket(home: Path) -> None:
    for parent in (home, *home.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)

    async def scene(up: Served) -> None:
        crowd = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", CROWD, str(up.read.home.socket("policy")),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert crowd.stdin is not None
        assert crowd.stdout is not None
        async with asyncio.timeout(30):
            assert await crowd.stdout.readline() == b"opened\n"
        assert (await up.ask("GET", "/v1/status")).status == 200
        strangers = [each for each in up.web.connections if not each.peer.privileged]
        assert len(strangers) == STRANGER_CONNECTIONS
        crowd.stdin.close()
        await crowd.wait()

    play(home, scene)


def test_a_lack_of_files_is_outlived_and_an_operator_gets_through_it(home: Path) -> None:
    async def scene(up: Served) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = max(int(each) for each in os.listdir("/proc/self/fd")) + 1  # noqa: PTH208
        ready = socket.socket(socket.AF_UNIX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
        held: list[int] = []
        try:
            with suppress(OSError):
                while True:
                    held.append(os.dup(0))
            ready.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(ready, str(up.read.home.socket("policy")))
            await loop.sock_sendall(ready, b"GET /healthz HTTP/1.0\r\n\r\n")
            async with asyncio.timeout(60):
                assert (await loop.sock_recv(ready, 100)).startswith(b"HTTP/1.0 200")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for each in held:
                os.close(each)
            ready.close()
        assert (await up.ask("GET", "/v1/status")).status == 200

    play(home, scene, port=0)


# tasks


def test_a_task_that_fails_is_told_and_begins_again() -> None:
    told: list[str] = []

    async def run() -> None:
        tasks = BackgroundTasks(FailureLog("svc", write=told.append))
        goes_on = asyncio.Event()
        turns = 0

        async def fails() -> None:
            nonlocal turns
            turns += 1
            if turns == 1:
                raise OSError(24, "Too many open files: secret-path")
            if turns == 2:
                return
            goes_on.set()
            await asyncio.Event().wait()

        tasks.add("turning", fails)
        async with asyncio.timeout(60):
            await goes_on.wait()
        assert tasks.notes() == ["turning failed (it ended), 2 times: it is tried again"]
        await tasks.stop()

    asyncio.run(run())
    assert [each.split(" ", 1)[0] for each in told] == ["svc", "svc"]
    assert "OSError" in told[0]
    assert "secret-path" not in "".join(told)


def test_a_task_that_means_the_service_to_end_ends_it_by_its_error() -> None:
    async def run() -> None:
        tasks = BackgroundTasks(FailureLog("svc", write=lambda _: None))

        async def ends() -> None:
            raise EndServiceError from ValueError("another process is the point now")

        tasks.add("leasing", ends)
        with pytest.raises(ValueError, match="another process"):
            async with asyncio.timeout(20):
                await tasks.until(asyncio.Event())
        await tasks.stop()

    asyncio.run(run())


def test_the_log_gets_so_many_lines_and_then_a_count() -> None:
    told: list[str] = []
    clock = iter([0.0, *[1.0] * 1000, 100.0]).__next__
    log = FailureLog("svc", most=5, write=told.append, clock=clock)
    for _ in range(1000):
        log.line("malformed")
    log.line("later")
    assert told == ["svc malformed\n"] * 5 + ["svc 995 more lines like these were left out\n"] + [
        "svc later\n"
    ]
