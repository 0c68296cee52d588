"""The sample service in this process, on a real socket, and a raw caller of it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from console.model.ids import ulid
from console.services import settings
from console.services.client import Client
from console.services.listening import Bounds
from console.services.settings import Listen, Settings
from console.services.store import Store
from console.services.web import Web
from tests.services.web.sample import STEPS, mounted


class Got(NamedTuple):
    """An answer: `body` is its JSON, or the bytes where it is none."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def problem(self) -> str:
        """The name of the problem that it is."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.body["status"] == self.status
        assert self.body["request_id"] == self.headers["X-Request-Id"]
        name = self.body["type"].removeprefix("urn:pilotctl:problem:")
        assert name != self.body["type"]
        return str(name)


class Served(NamedTuple):
    """What a test holds of the running service."""

    web: Web
    store: Store
    read: Settings
    client: Client

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | io.BytesIO | None = None,
        **headers: str,
    ) -> Got:
        """Send one request. Writes get a fresh idempotency key unless one is given.

        Header names have underscores for dashes; one that is empty is left out.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = raw if body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        if method != "GET":
            sent.setdefault("Idempotency-Key", f'"{ulid()}"')
        sent = {name: value for name, value in sent.items() if value}
        return await exchange(self.client.session, "http://localhost" + path, method, data, sent)


async def exchange(
    session: aiohttp.ClientSession, url: str, method: str, data: Any, headers: dict[str, str]
) -> Got:
    """Send exactly this and return what came back."""
    async with session.request(method, url, data=data, headers=headers) as response:
        said = await response.read()
        is_json = bool(said) and response.content_type.endswith("json")
        return Got(response.status, json.loads(said) if is_json else said, response.headers)


@asynccontextmanager
async def served(
    home: Path,
    config: str = "",
    *,
    port: int | None = None,
    also: Callable[[Web], None] = lambda _web: None,
    bounds: Bounds | None = None,
) -> AsyncIterator[Served]:
    """Serve the sample service from the state folder `home` while the block runs.

    `also` may mount further routes.
    """
    place = settings.prepare(home)
    if config:
        place.config.write_text(config)
    read = settings.load(home)
    store = Store.open(place.store("policy"), STEPS)
    web = mounted(store, read.operators)
    also(web)
    try:
        await web.start(
            socket=place.socket("policy"),
            listen=None if port is None else Listen(port=port),
            bounds=bounds,
        )
        async with Client(socket=place.socket("policy")) as client:
            yield Served(web, store, read, client)
    finally:
        await web.stop()
        store.close()
