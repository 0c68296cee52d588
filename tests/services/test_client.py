"""The services' client: whatever a peer does is an answer or one kind of error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from console.errors import PilotError
from console.model.operator import ServiceStatus
from console.services.client import Client
from tests.services.web.serving import served


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")


def test_a_peer_is_asked_and_its_problems_keep_their_names(home: Path) -> None:
    async def run() -> None:
        async with served(home) as up:
            status = await up.client.get("/v1/status", ServiceStatus)
            assert status.service == "policy"
            for path, code in (("/v1/nothing", "no-such-route"), ("/v1/partners/x", "not-found")):
                with pytest.raises(PilotError) as caught:
                    await up.client.get(path, ServiceStatus)
                assert caught.value.code == code
                assert caught.value.source.startswith("unix:")
            with pytest.raises(PilotError) as caught:
                await up.client.send("POST", "/v1/partners", {"slug": "X"}, dict)
            assert caught.value.code == "invalid"

    asyncio.run(run())


def refused(said: bytes | None, seconds: float = 0.3) -> str:
    """Ask a peer that answers these bytes (None: nothing) and return the error's code."""

    answered = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if said is None:
            await reader.read()  # until the caller has had enough
        else:
            writer.write(said)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        answered.set()

    async def run() -> str:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with Client(base_url=f"http://127.0.0.1:{port}", timeout=seconds) as client:
                with pytest.raises(PilotError) as caught:
                    await client.get("/v1/status", ServiceStatus)
                return caught.value.code
        finally:
            await answered.wait()
            server.close()
            await server.wait_closed()

    return asyncio.run(run())


HTML = b"<html>sorry</html>"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (None, "unavailable"),
        (b"", "unavailable"),
        (b"\x16\x03\x01 no http\r\n\r\n", "unavailable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n" + HTML, "unavailable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + HTML, "unavailable"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 18\r\n\r\n" + HTML, "http-502"),
        (b"HTTP/1.1 302 Go\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "http-302"),
    ],
)
def test_whatever_a_peer_answers_is_one_error(said: bytes | None, code: str) -> None:
    assert refused(said) == code


def test_a_peer_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    async def run(make: Callable[[], Client]) -> str:
        async with make() as client:
            with pytest.raises(PilotError) as caught:
                await client.get("/v1/status", ServiceStatus)
            return caught.value.code

    asked: list[Awaitable[str]] = [
        run(lambda: Client(socket=tmp_path / "none.sock")),
        run(lambda: Client(base_url="http://127.0.0.1:9")),
    ]

    async def both() -> list[str]:
        return await asyncio.gather(*asked)

    assert asyncio.run(both()) == ["unavailable", "unavailable"]
