"""The streams of one service are shared: no operator's shut another's."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from console.api.audit import EVENT_TAIL
from console.services.web import Ask, Found, Streams, Web
from console.services.web.event_stream import FIRST_STREAMS, MAX_OPERATOR_STREAMS, MAX_STREAMS
from tests.services.web.serving import Served, served


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")


def mount(web: Web) -> None:
    """Serve a stream of nothing to whom the header names."""
    streams: list[Streams] = []

    async def tail(ask: Ask) -> Any:
        streams[:] = streams or [Streams(web._store, "nothing")]
        who = msgspec.structs.replace(ask.operator, name=ask.request.headers["X-Who"])
        ask = dataclasses.replace(ask, operator=who)
        return await streams[0].serve(ask, lambda _c, after: Found([], after), lambda _c: 0)

    web.mount_async(EVENT_TAIL, tail)


@asynccontextmanager
async def stream(up: Served, who: str) -> AsyncIterator[aiohttp.ClientResponse]:
    async with up.client.session.get(
        "http://localhost" + EVENT_TAIL.path, headers={"X-Who": who}
    ) as answer:
        yield answer


def test_whoever_has_no_stream_gets_one_however_many_the_others_hold(home: Path) -> None:
    async def run() -> None:
        async with served(home, also=mount) as up, AsyncExitStack() as held:

            async def opened(who: str) -> int:
                return (await held.enter_async_context(stream(up, who))).status

            for _ in range(MAX_OPERATOR_STREAMS):
                assert await opened("viewer-1") == 200
            async with stream(up, "viewer-1") as refused:
                assert refused.status == 503
                said = (await refused.json())["detail"]
            assert said.startswith(f"viewer-1 has {MAX_OPERATOR_STREAMS} streams open")
            others = (MAX_STREAMS - FIRST_STREAMS) // MAX_OPERATOR_STREAMS
            for n in range(2, others + 1):
                for _ in range(MAX_OPERATOR_STREAMS):
                    assert await opened(f"viewer-{n}") == 200
            assert await opened("auditor") == 200
            assert await opened("auditor") == 503

    asyncio.run(run())
